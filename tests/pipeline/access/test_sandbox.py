"""Confinement: what a process is kept from, and what is said where it is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import json, socket, sys
for name in sys.argv[2:]:
    sys.modules[name] = None
from pipeline.access.sandbox import confine
lacking = confine()

def open_ways():
    for name, way in {"write": lambda: open(sys.argv[1], "a"), "network": socket.socket}.items():
        try:
            way()
        except OSError:
            continue
        yield name

print(json.dumps([lacking, list(open_ways()), open(sys.argv[1]).read()]))
"""


def confined(path: Path, *missing: str) -> tuple[list[str], list[str], str]:
    """(what a new process cannot be kept from, what it can do, what it reads), without the packages named."""
    command = [sys.executable, "-c", CODE, str(path), *missing]
    lacking, ways, content = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return lacking, ways, content


def lacking_here() -> list[str]:
    """What processes cannot be kept from on this machine; [] where the kernel and the packages offer it all."""
    return confined(Path(__file__))[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("content")
    return tmp_path / "file"


def test_a_confined_process_reads_and_does_nothing_else(file: Path) -> None:
    lacking, ways, content = confined(file)
    if lacking:
        pytest.skip(f"no confinement on this machine: {lacking}")
    assert (ways, content) == ([], "content")


@pytest.mark.parametrize(
    ("package", "said", "way"),
    [("landlockpy", "files can be written", "write"), ("seccompy", "the network can be used", "network")],
)
def test_what_is_left_open_is_said_and_the_rest_is_taken(file: Path, package: str, said: str, way: str) -> None:
    if lacking := lacking_here():
        pytest.skip(f"no confinement on this machine: {lacking}")
    assert confined(file, package) == ([f"{said}: {package} is not installed"], [way], "content")
