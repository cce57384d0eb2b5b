"""Workspaces that several tests begin from: made once a test run, whichever of its processes comes first."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock


@dataclass(frozen=True)
class Workspaces:
    folders: pytest.TempPathFactory

    def copy(self, make: Callable[[Path], object]) -> Path:
        """A copy, which may be changed, of the workspace that `make`, a module's function, fills."""
        shared = self.folders.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            shared = shared.parent  # of the run, where each worker has a folder of its own
        made = shared / f"{make.__module__}.{make.__qualname__}"
        with FileLock(f"{made}.lock"):
            if not (made / "finished").exists():
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                make(made / "workspace")
                (made / "finished").touch()
        return shutil.copytree(made / "workspace", self.folders.mktemp(make.__name__) / "workspace")
