"""Workspaces that several tests begin from: made once a test run, whichever of its processes comes first."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(folders: pytest.TempPathFactory) -> Path:
    """The folder for temporary files of the test run; each of its processes has one of its own within."""
    own = folders.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


Make = Callable[[Path], object]


def begins_with(first: Make) -> Callable[[Make], Make]:
    """Decorator of a function that is given a copy of the workspace that `first` fills, to go on from."""

    def decorate(make: Make) -> Make:
        make.begins_with = first  # type: ignore[attr-defined]
        return make

    return decorate


@dataclass(frozen=True)
class Workspaces:
    folders: pytest.TempPathFactory

    def copy(self, make: Make) -> Path:
        """A copy, which may be changed, of the workspace that `make`, a module's function, fills."""
        return shutil.copytree(self._made(make), self.folders.mktemp(make.__name__) / "workspace")

    def _made(self, make: Make) -> Path:
        made = shared_folder(self.folders) / f"{make.__module__}.{make.__qualname__}"
        with FileLock(f"{made}.lock"):
            if not (made / "finished").exists():
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                if first := getattr(make, "begins_with", None):
                    shutil.copytree(self._made(first), made / "workspace")
                make(made / "workspace")
                (made / "finished").touch()
        return made / "workspace"
