"""The working folder, in which strangers' files may lie, and the import path of every process."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pipeline.core.import_path import module_environment, without_working_folder, working_folder_left_out
from tests.support.warm_process import environment

CHECKOUT = str(Path(__file__).resolve().parents[3])
# Python's own modules, those of packages, those that packages try for and do without, and what Python runs at start.
PLANTED = (
    "json", "pickle", "logging", "ctypes", "socket", "numpy", "torch", "av", "pyarrow", "fsspec", "ujson", "orjson",
    "cupy", "tasks", "models", "simulation", "sitecustomize", "usercustomize",
)  # fmt: skip


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """A folder with modules of many names: whichever is imported leaves a file `ran-<name>` there."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(f"open({str(folder / f'ran-{name}')!r}, 'w').close()\n")
    return folder


def ran(folder: Path) -> set[str]:
    return {path.name.removeprefix("ran-") for path in folder.glob("ran-*")}


BUILD_STEPS = """
import sys
from pathlib import Path

if __name__ == "__main__":
    from pipeline.core.child_processes import spawned_pool
    from pipeline.core.options import DecodeLimits, SamplingOptions
    from pipeline.decode.pool import DecodeJob, DecodePool, probe_clips
    from benchmarks.tiny_clips import render_clip

    sys.path.insert(0, "")  # as in a notebook: there every later import looks into the working folder first
    clip = str(Path(sys.argv[1]).parent / "clip.mp4")
    with spawned_pool(1) as pool:
        pool.submit(render_clip, Path(clip), 1).result()
    limits = DecodeLimits(slot_mb=1)
    assert [probe.code for probe in probe_clips([("clip", clip)], limits, 1)] == [""]
    with DecodePool(SamplingOptions(), limits, 1) as pool:
        assert [event.frames for event in pool.run([DecodeJob("clip", clip, (100,))])][-1] == 8
    assert sys.path[0] == ""
"""


@pytest.mark.parametrize("path", [CHECKOUT, f"{CHECKOUT}{os.pathsep}", f".{os.pathsep}{CHECKOUT}"])
def test_no_child_process_runs_what_lies_in_the_working_folder(uploads: Path, path: str) -> None:
    program = uploads.parent / "steps.py"
    program.write_text(BUILD_STEPS)
    env = environment() | {"PYTHONPATH": CHECKOUT}
    # The program itself starts safely; the variable that its children inherit names the working folder or does not.
    start = f"import os, runpy, sys; os.environ['PYTHONPATH'] = {path!r}; sys.argv = sys.argv[1:]; "
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-P", "-c", start, str(program), str(uploads)]
    done = subprocess.run(command, cwd=uploads, env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, ran(uploads)) == (0, set()), done.stderr


def test_the_planted_modules_would_run_in_a_process_that_is_started_carelessly(uploads: Path) -> None:
    command = [sys.executable, "-c", "import json, ujson"]
    careless = {name: value for name, value in environment().items() if name != "PYTHONSAFEPATH"}
    subprocess.run(command, cwd=uploads, env=careless, capture_output=True, timeout=60, check=False)
    assert ran(uploads) >= {"json", "ujson"}


def test_entries_that_are_the_working_folder_are_left_out_by_whatever_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, link, beside = tmp_path / "here", tmp_path / "link", tmp_path / "beside"
    here.mkdir()
    link.symlink_to(here)
    monkeypatch.chdir(here)
    path = ["", ".", str(here), f"{here}/", str(link), "../here", str(beside), "../beside", "lib", CHECKOUT]
    assert without_working_folder(path) == [str(beside), str(here / "lib"), CHECKOUT]


@pytest.mark.parametrize("kept", [CHECKOUT, sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")])
def test_folders_of_the_product_and_of_python_are_kept_though_one_works_in_them(
    kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kept)
    assert without_working_folder([kept, "/lib"]) == [kept, "/lib"]


def test_a_working_folder_that_was_removed_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert without_working_folder(["", "lib", "/lib"]) == ["/lib"]


def test_the_product_is_found_by_its_workers_wherever_it_was_found_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != CHECKOUT])
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.chdir(tmp_path)
    assert CHECKOUT in module_environment()["PYTHONPATH"].split(os.pathsep)


def test_what_was_left_out_for_a_block_is_there_again_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}/lib")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = list(sys.path)
    with working_folder_left_out():
        assert "" not in sys.path
        assert (os.environ["PYTHONPATH"], os.environ["PYTHONSAFEPATH"]) == ("/lib", "1")
    assert sys.path == before
    assert os.environ["PYTHONPATH"] == f"{os.pathsep}/lib"
    assert "PYTHONSAFEPATH" not in os.environ
