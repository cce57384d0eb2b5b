"""The memory benchmark counts what a process tree holds: each page once, and none of it less for what strangers do."""

import mmap
import sys
from pathlib import Path

import pytest

from benchmarks.memory import peak_of

if not sys.platform.startswith("linux"):
    pytest.skip("the benchmark reads /proc", allow_module_level=True)

MIB = 2**20
PYTHON_MIB = 20  # an interpreter's own memory, and the files of one, at most

# A process that maps a file and reads it all, holds memory of its own, and does the same once more in a child.
HOLDER = """
import mmap, subprocess, sys, time
path, own, child = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
file = open(path, "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
seen = sum(mapped[::4096])
if child:
    below = subprocess.Popen([sys.executable, __file__, path, *child])
held = bytearray(b"x") * (own * 2**20)
if child:
    raise SystemExit(below.wait())
time.sleep(1.2)
"""


@pytest.fixture
def holder(tmp_path: Path) -> list[str]:
    """A command whose tree maps 64 MiB of one file twice; the parent owns 80 MiB, its child 40."""
    (tmp_path / "holder.py").write_text(HOLDER)
    (tmp_path / "mapped").write_bytes(b"\1" * (64 * MIB))
    return [sys.executable, str(tmp_path / "holder.py"), str(tmp_path / "mapped"), "80", "40"]


def test_each_process_counts_for_itself_and_a_shared_file_counts_once_whoever_else_maps_it(
    holder: list[str], tmp_path: Path
) -> None:
    with open(tmp_path / "mapped", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as ours:
        assert sum(ours[::4096]) == 64 * MIB // 4096  # the stranger: PSS would count two thirds of the file
        peak, seconds = peak_of(holder)
    assert 80 <= peak.owner / MIB < 80 + PYTHON_MIB
    assert 40 <= peak.workers / MIB < 40 + PYTHON_MIB
    assert 64 <= peak.shared / MIB < 64 + PYTHON_MIB
    assert peak.total == peak.owner + peak.workers + peak.shared
    assert seconds > 1.2


def test_a_short_peak_is_seen() -> None:
    spike = (
        "import time; time.sleep(0.5); held = bytearray(b'x') * (96 << 20); time.sleep(0.15); del held; time.sleep(0.5)"
    )
    peak, _ = peak_of([sys.executable, "-c", spike])
    assert 96 <= peak.owner / MIB < 96 + PYTHON_MIB


def test_a_command_that_fails_gives_no_figure() -> None:
    with pytest.raises(SystemExit, match="ended with 3"):
        peak_of([sys.executable, "-c", "raise SystemExit(3)"])
