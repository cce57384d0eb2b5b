"""The command started in a folder of uploads, among which lie modules and a luigi.cfg."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.tiny_clips import tiny_world
from tests.end_to_end.workspaces import REPOSITORY
from tests.pipeline.core.test_import_path import ran, uploads
from tests.support.warm_process import environment

__all__ = ["uploads"]

# As pip installs it: a script outside the working folder.
_COMMAND = "import sys\nfrom luigi.cmdline import luigi_run\nsys.exit(luigi_run())\n"
_LOGGING = """[loggers]
keys=root
[handlers]
keys=planted
[formatters]
keys=
[logger_root]
handlers=planted
[handler_planted]
class=NullHandler
args=(open("ran-logging", "w"),)
"""


def ingest(folder: Path, python_path: str, *words: str) -> subprocess.CompletedProcess:
    command = folder.parent / "bin/luigi"
    command.parent.mkdir()
    command.write_text(_COMMAND)
    (folder / "logging.ini").write_text(_LOGGING)
    (folder / "luigi.cfg").write_text("[core]\nlogging_conf_file=logging.ini\n")
    manifest = tiny_world(folder.parent / "world", 2)
    task = ["--module", "tasks", "IngestBatch", "--manifest", str(manifest), "--workspace", str(folder / "workspace")]
    env = environment() | {"PYTHONPATH": python_path}
    return subprocess.run(
        [sys.executable, str(command), *task, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


def test_neither_modules_nor_a_luigi_cfg_that_lie_there_are_run(uploads: Path) -> None:
    done = ingest(uploads, str(REPOSITORY))
    assert "2 readable" in done.stderr, done.stderr
    assert "logging_conf_file in luigi.cfg is passed over" in done.stderr
    assert (done.returncode, ran(uploads)) == (0, set())


def test_tasks_takes_it_off_an_import_path_that_holds_it(uploads: Path) -> None:
    # An empty entry is the working folder. What Python and Luigi import before `tasks` is not ours to keep off.
    for path in uploads.glob("*.py"):
        if path.stem not in ("numpy", "pyarrow", "fsspec", "av", "cupy", "simulation", "ujson"):
            path.unlink()
    done = ingest(uploads, f"{os.pathsep}{REPOSITORY}")
    assert (done.returncode, ran(uploads)) == (0, set()), done.stderr


def test_a_logging_file_that_is_asked_for_is_read(uploads: Path) -> None:
    done = ingest(uploads, str(REPOSITORY), "--logging-conf-file", "logging.ini")
    assert ran(uploads) == {"logging"}, done.stderr
