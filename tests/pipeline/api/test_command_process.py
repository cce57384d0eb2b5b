"""Commands in processes of their own, from a program without a terminal; tests/docs/test_python_page.py: a notebook."""

import re
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks.tiny_clips import tiny_world
from pipeline.api.command_process import run_command
from pipeline.core.errors import CommandFailed, ManifestError


def test_what_a_command_prints_is_printed_and_lines_tell_its_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tiny_world(tmp_path, 2)
    (tmp_path / "clips/clip001.mp4").write_text("no film")
    options = [f"--manifest={manifest}", f"--workspace={tmp_path}/workspace", "--progress-s=0.05"]
    assert run_command("IngestBatch", options) == {}
    said = capsys.readouterr().err
    assert re.search(r"^ingest tiny after \d s: 2 of 2 clips \(100 %\), 1 failed", said, re.MULTILINE)
    assert "clips: 1 readable, 1 failed" in said


def test_a_refused_command_raises_its_own_error_which_is_not_printed_too_and_imports_nothing_from_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.csv").write_text("clip_id\na\n")
    (tmp_path / "luigi.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as a notebook has it
    with pytest.raises(ManifestError, match=r"2 problems in the manifest; nothing was done\nwrong.csv:1: column 'uri'"):
        run_command("IngestBatch", ["--manifest=wrong.csv", "--workspace=workspace"])
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "workspace").exists()


def test_a_command_that_is_killed_harms_nobody_and_says_so(tmp_path: Path) -> None:
    def is_it(process: psutil.Process) -> bool:
        with suppress(psutil.Error):  # others end meanwhile
            return f"--manifest={tmp_path}" in process.cmdline()
        return False

    def kill() -> None:
        while not (found := [*filter(is_it, psutil.Process().children())]):
            time.sleep(0.001)
        found[0].kill()

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(CommandFailed, match="IngestBatch was ended by SIGKILL, by the system where memory was short"):
        run_command("IngestBatch", [f"--manifest={tmp_path}", f"--workspace={tmp_path}"])
