"""The import path of this process and of those that it starts, without the working folder.

Python puts the folder that it is started in on the import path: in a folder of uploads, a file named json.py would run.
The working folder stays on the path where the product itself lies in it: who can write there can change the product.
"""

import os
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PRODUCT = str(Path(__file__).resolve().parents[2])
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_PATH, _SAFE_PATH = "PYTHONPATH", "PYTHONSAFEPATH"  # the latter: neither the working folder nor the script's is added
_changing = threading.RLock()  # held while the path is not the caller's


def module_command(module: str, *arguments: str) -> list[str]:
    """Command that runs a module of the product; to be started with `module_environment()`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """This process's environment, with all of its import path but the working folder."""
    path = without_working_folder([*_environment_path(), *sys.path])
    if _PRODUCT not in path:  # it was found by an import hook, or from a folder that was the working one then
        path.append(_PRODUCT)
    return {**os.environ, _PATH: os.pathsep.join(path)}


def leave_out_working_folder() -> None:
    """Take the working folder off the import path of this process and of all Python processes started from now on."""
    sys.path[:] = without_working_folder(sys.path)
    os.environ[_SAFE_PATH] = "1"
    if _PATH in os.environ:
        os.environ[_PATH] = os.pathsep.join(without_working_folder(_environment_path()))


@contextmanager
def working_folder_left_out() -> Iterator[None]:
    """`leave_out_working_folder` for as long as the block lasts: a notebook's own modules stay importable."""
    with _changing:
        path, environment = sys.path[:], {name: os.environ.get(name) for name in (_PATH, _SAFE_PATH)}
        leave_out_working_folder()
        try:
            yield
        finally:
            sys.path[:] = path
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def without_working_folder(path: Iterable[str]) -> list[str]:
    """Absolute entries of an import path, each once, less the working folder: by its name, a link to it, or empty.

    The folders of the product, of the standard library and of installed packages are kept whatever they are.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # removed meanwhile: nothing lies in it
        return list(dict.fromkeys(entry for entry in path if os.path.isabs(entry)))
    absolute = dict.fromkeys(os.path.abspath(entry) for entry in path)
    if here in {os.path.realpath(folder) for folder in (_PRODUCT, *_INSTALLED)}:
        return list(absolute)
    return [entry for entry in absolute if os.path.realpath(entry) != here]


def _environment_path() -> list[str]:
    return os.environ[_PATH].split(os.pathsep) if os.environ.get(_PATH) else []
