"""The shell command of a task, as messages and pages print it to be copied."""

import shlex
import sys
from pathlib import Path


def luigi_program() -> str:
    """`.venv/bin/luigi` where this process runs in a `.venv`, as a checkout has one; else `luigi`, on the PATH.

    Never an absolute path: what is printed is kept and passed on.
    """
    in_checkout = Path(sys.executable).parent.parts[-2:] == (".venv", "bin")
    return ".venv/bin/luigi" if in_checkout else "luigi"


def task_command(task: str, *words: str) -> str:
    """The command that runs a task with these words, each quoted for a shell where it must be."""
    return f"{luigi_program()} --module tasks {shlex.join([task, *words])}"
