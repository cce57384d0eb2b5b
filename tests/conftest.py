"""What every test may use. Real clips lie beside the checkout; without them, tests that need them skip and say so."""

import gc
import uuid
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

# Before luigi.cmdline: where that is loaded already, it takes this process for the command and changes its import path.
import tasks  # noqa: F401
from pipeline.core import child_processes
from tests.support.made_once import Workspaces, shared_folder
from tests.support.warm_process import SPAWN, server, warm_pools

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the real clips of ../shared/{name}, which is not beside this checkout")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    # The process that starts the others: in those there is no number of processes.
    if config.getoption("numprocesses", None) and not config.option.collectonly and not config.option.help:
        server()
    gc.disable()  # while all is imported: nothing of it is garbage


def pytest_collection_finish() -> None:
    gc.freeze()  # what is imported stays: nobody need look through it again and again
    gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # some libraries count what is left of them at the very end


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that are given more time than others begin first: after a long last one the other processes would idle."""
    usual = float(config.getini("timeout"))

    def limit_s(item: pytest.Item) -> float:
        limit = item.get_closest_marker("timeout")
        return max(usual, limit.args[0] if limit else 0)

    items.sort(key=limit_s, reverse=True)


@pytest.fixture(scope="session")
def dance_clips() -> Path:
    """Folder of eight real dance clips (with dance.csv one level up)."""
    return _folder("clips/dance")


@pytest.fixture(scope="session")
def hard_clips() -> Path:
    """Folder of hard inputs: damaged, rotated, variable frame rate, empty, ..."""
    return _folder("clips/hard")


@pytest.fixture(scope="session")
def upload_clips() -> Path:
    """Folder of films as people upload them: mirrored, HDR, several streams, ...; `base.mp4` is the plain one."""
    return _folder("clips/uploads")


@pytest.fixture(scope="session", autouse=True)
def compiled_networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Networks are compiled once a test run, and not found compiled by another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDV_COMPILED", str(shared_folder(tmp_path_factory) / "compiled"))
        yield


@pytest.fixture(scope="session", autouse=True)
def forked_pools() -> Iterator[None]:
    """Processes of pools begin with everything imported."""
    with warm_pools():
        yield


@pytest.fixture
def spawned_pools() -> Iterator[None]:
    """Processes of this process's pools are started as the product starts them."""
    with patch.object(child_processes._Process, "_Popen", staticmethod(SPAWN)):
        yield


@pytest.fixture(scope="session")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> Workspaces:
    """Copies of workspaces that other tests begin from, too."""
    return Workspaces(tmp_path_factory)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server of this process, reached as a user reaches one: by environment variables alone."""
    import fsspec  # here since few tests need these two, and moto takes a second
    from moto.server import ThreadedMotoServer

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
    import fsspec

    bucket = f"test-{uuid.uuid4().hex[:12]}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}"
