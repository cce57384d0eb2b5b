"""Runs that many tests look at, made once."""

import json
from pathlib import Path

import pytest

from tests.support.made_once import Workspaces
from tests.support.made_reports import PAGE_DATA, make_few_clips, make_page_data


@pytest.fixture(scope="session")
def workspace(workspaces: Workspaces) -> str:
    """28 clips of two challenges, six modalities, folds; nobody writes into it but the embeddings' cache."""
    return str(workspaces.copy(make_page_data))


@pytest.fixture(scope="session")
def page_data(workspace: str) -> tuple[dict, list]:
    """Payload and media of the run, without pictures."""
    payload, media = json.loads(Path(workspace, PAGE_DATA).read_text())
    return payload, media


@pytest.fixture
def copied(workspace: str, tmp_path: Path) -> Path:
    """The run's workspace, to be changed."""
    import shutil

    shutil.copytree(workspace, tmp_path / "ws")
    return tmp_path / "ws"


@pytest.fixture
def few_clips(workspaces: Workspaces) -> Path:
    """The workspace of a smaller run, to be changed."""
    return workspaces.copy(make_few_clips)
