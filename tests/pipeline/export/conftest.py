from pathlib import Path

import pytest

from tests.support.exports import make_hard_run
from tests.support.made_once import Workspaces
from tests.support.small_run import make_run


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    """A trained run, judged by folds."""
    return workspaces.copy(make_run)


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of exports.HARD_CLIPS."""
    return make_hard_run(tmp_path_factory.mktemp("hard") / "workspace")
