"""Filesystems for the tests of this folder."""

import uuid

import pytest


@pytest.fixture
def memory() -> str:
    """URL of an empty folder of fsspec's memory filesystem."""
    return f"memory://test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest) -> str:
    """An empty folder on each kind of filesystem in turn."""
    if request.param == "local":
        return str(request.getfixturevalue("tmp_path"))
    return request.getfixturevalue(request.param)
