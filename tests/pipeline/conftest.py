"""Object stores for the tests of this folder."""

import uuid
from collections.abc import Iterator

import fsspec
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server of this process, reached as a user reaches one: by environment variables alone."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL_S3", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # one made before would not know of the server
        yield address
    server.stop()


@pytest.fixture
def s3(s3_server: str) -> str:
    """URL of an empty bucket."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}"


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
