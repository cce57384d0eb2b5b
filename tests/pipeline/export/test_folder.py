"""The folder of an export: whole or not there, whatever is killed; nothing of others is overwritten."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.export.folder import ABOUT, check_out, whole_folder

HOLD = """
import sys, time
from pathlib import Path
from pipeline.export.folder import whole_folder
with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def write(out: Path, text: str) -> None:
    with whole_folder(out) as folder:
        (folder / ABOUT).write_text("{}")
        (folder / "text").write_text(text)
        assert not (out / "text").exists() or (out / "text").read_text() != text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_export_appears_when_it_is_whole_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as folder:
        (folder / ABOUT).write_text("{}")
        (folder / "data").mkdir()
        (folder / "data/stale").touch()
    write(tmp_path / "out", "second")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["text", ABOUT]
    assert (tmp_path / "out/text").read_text() == "second"


def test_an_export_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    write(tmp_path / "out", "first")
    with suppress(ZeroDivisionError), whole_folder(tmp_path / "out") as folder:
        (folder / "text").write_text("second")
        raise ZeroDivisionError
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/text").read_text() == "first"


def test_a_killed_export_leaves_nothing_at_its_place_and_the_next_one_clears_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed, living = (
        subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    for process in (killed, living):
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not out.exists()
    assert len(names(tmp_path)) == 2
    write(out, "whole")
    left = names(tmp_path)
    living.terminate()
    living.wait()
    assert len(left) == 2, "the folder of the export that is under way stays"
    assert names(out) == ["text", ABOUT]


def test_a_folder_that_was_filled_meanwhile_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fill() -> None:
        with whole_folder(out) as folder:
            (folder / ABOUT).write_text("{}")
            out.mkdir()
            (out / "thesis").touch()

    with pytest.raises(WorkspaceError, match=f"cannot write {re.escape(str(out))}"):
        fill()
    assert names(out) == ["thesis"]


@pytest.mark.parametrize("name", ["notes.txt", "data/film.mp4", "workspace/latest.json", "link"])
def test_what_others_put_into_an_earlier_export_is_not_lost(name: str, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "out" / name
    write(out, "first")

    def put() -> None:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.symlink_to(tmp_path) if name == "link" else other.write_text("precious")

    def export_meanwhile() -> None:
        with whole_folder(out) as folder:
            (folder / ABOUT).write_text("{}")
            put()

    with pytest.raises(OptionError, match=f"holds {name}, which the earlier export there did not write"):
        export_meanwhile()
    with pytest.raises(OptionError, match=f"holds {name}, which the earlier export there did not write"):
        check_out(str(out), str(tmp_path / "workspace"))
    assert other.exists()
    assert names(tmp_path) == ["out"]
    (out / ABOUT).write_text("{}")
    with pytest.raises(OptionError, match="did not write"):
        check_out(str(out), str(tmp_path / "workspace"))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("x" * 300, "File name too long"),
        ("a\0b", "embedded null byte"),
        ("circle", "Symlink loop|Too many levels of symbolic links"),
        ("/proc", "is where a filesystem is mounted"),
    ],
)
def test_a_place_that_no_folder_can_have_is_refused_in_words(
    given: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(OptionError, match=why):
        check_out(given, "workspace")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("thesis", "is not empty, and no earlier export"),
        ("file", "is a file"),
        ("workspace/out", "is in the workspace"),
        ("workspace", "is in the workspace"),
        ("s3://bucket/out", "is written to a folder of this machine"),
    ],
)
def test_what_is_no_place_for_an_export_is_refused(
    given: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter").touch()
    (tmp_path / "file").touch()
    (tmp_path / "workspace").mkdir()
    with pytest.raises(OptionError, match=rf"--out (is )?{given}.*{why}|--out is {given}.*{why}"):
        check_out(given, "workspace")


@pytest.mark.parametrize("given", ["new/deep", "empty", "earlier"])
def test_a_place_that_is_not_there_empty_or_an_export_is_taken(given: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "earlier", "x")
    assert check_out(str(tmp_path / given), str(tmp_path / "workspace")) == tmp_path / given
