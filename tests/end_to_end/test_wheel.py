"""The installed package, outside any checkout: it brings all that it needs."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from simulation.render import write_options
from simulation.world import WorldOptions
from tests.end_to_end.workspaces import REPOSITORY
from tests.support.warm_process import environment

PACKAGES = ("models", "pipeline", "simulation", "tasks")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for setuptools leaves folders beside what it builds."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    out = tmp_path_factory.mktemp("wheel")
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out), str(source)]
    subprocess.run(build, check=True, timeout=300)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it is installed in."""
    folder = tmp_path_factory.mktemp("installed")
    install = [*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(folder), str(wheel)]
    subprocess.run(install, check=True, timeout=300)
    return folder


def luigi(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """In a folder of the user's, with the installed package and nothing of the checkout on the path."""
    command = [sys.executable, "-P", "-m", "luigi", "--module", "tasks", *words]
    env = environment() | {"PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def test_a_wheel_holds_every_file_of_its_packages(wheel: Path) -> None:
    there = {
        str(path.relative_to(REPOSITORY))
        for name in PACKAGES
        for path in (REPOSITORY / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.split("/")[0] in PACKAGES}
    assert held == there
    assert {"tasks/luigi.cfg", "pipeline/report/page/main.js", "models/weights/bundled/pose.safetensors"} <= held


def test_the_demo_is_rendered_and_read_and_its_weights_are_found_in_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    demo = tmp_path / "data_manifest/demo"  # as RenderWorld makes it, only smaller
    demo.mkdir(parents=True)
    write_options(demo, WorldOptions(seed=1010, clips=2, creators=2, challenges=1, seconds=(0.5, 0.5), broken=0))
    done = luigi(installed, tmp_path, "AssembleDataset", "--modalities", "scene", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "clips: 2 ok, 0 partial, 0 failed" in done.stderr
    assert "scheduler" not in done.stderr
    assert len(list(tmp_path.glob("workspace/features/scene/*/demo/*.parquet"))) == 1


def test_what_fails_exits_as_the_docs_say(installed: Path, tmp_path: Path) -> None:
    done = luigi(installed, tmp_path, "IngestBatch", "--manifest", "none.csv")
    assert done.returncode == 35, done.stderr
    assert "none.csv: no such file or folder" in done.stderr
    assert "Traceback" not in done.stderr
