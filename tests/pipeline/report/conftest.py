"""A run that many tests look at, made once."""

from pathlib import Path

import pytest

from tests.support.made_once import Workspaces
from tests.support.made_reports import built, make


@pytest.fixture(scope="session")
def workspace(workspaces: Workspaces) -> str:
    """28 clips of two challenges, four modalities, folds; nobody writes into it but the embeddings' cache."""
    return str(workspaces.copy(make))


@pytest.fixture(scope="session")
def page_data(workspace: str) -> tuple[dict, list]:
    """Payload and media of the run, without pictures."""
    return built(workspace)


@pytest.fixture
def copied(workspace: str, tmp_path: Path) -> Path:
    """The run's workspace, to be changed."""
    import shutil

    shutil.copytree(workspace, tmp_path / "ws")
    return tmp_path / "ws"
