"""A command says how long its threads wait for each other, unless the user has; a notebook's threads are its own."""

import os
import subprocess
import sys

import pytest

_SPINS = "GOMP_SPINCOUNT"


def spins(imports: str, **env: str) -> str:
    """What OpenMP's library, once it is loaded, says of its threads' waits."""
    env = {name: value for name, value in os.environ.items() if name != _SPINS} | env | {"OMP_DISPLAY_ENV": "VERBOSE"}
    command = [sys.executable, "-P", "-c", f"import {imports}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=True)
    said = [line.split("'")[1] for line in done.stderr.splitlines() if _SPINS in line]
    if not said:
        pytest.skip("this torch has another OpenMP library than GCC's")
    return said[0]


def test_a_command_sets_how_long_threads_wait_and_nothing_else_does() -> None:
    assert spins("luigi.cmdline, tasks, torch") == "5000"
    assert spins("luigi.cmdline, tasks, torch", GOMP_SPINCOUNT="70") == "70"
    assert spins("tasks, torch") not in ("5000", "70")
