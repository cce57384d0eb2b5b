"""The soak finds what a command lets grow, and what it leaves behind."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.soak import Sample, leaks, watched

CLIPS = 8

# Does eight clips, one in a while, and with each of them what is to be found.
PROGRAM = """
import os, subprocess, sys, time
from pathlib import Path
kept = []
for clip in range(8):
    {grow}
    Path(sys.argv[1]).write_text(str(clip + 1))
    time.sleep(0.6)
"""


def found(tmp_path: Path, grow: str) -> list[str]:
    done = tmp_path / "done"
    done.write_text("0")
    command = [sys.executable, "-c", PROGRAM.format(grow=grow), str(done)]
    samples, left = watched(command, lambda: int(done.read_text() or 0), dict(os.environ), every_s=0.2)
    return leaks(samples, CLIPS, {"processes": left})


@pytest.mark.parametrize(
    ("grow", "what"),
    [
        ("pass", ""),
        ("kept.append(b'x' * (10 * 2**20))", "memory_mib"),
        ("kept.append(subprocess.Popen(['sleep', '30'], start_new_session=True))", "processes"),
        ("kept.extend(open('/dev/null') for _ in range(4))", "descriptors"),
        ("kept.append(os.memfd_create('x')); os.write(kept[-1], bytes(4 * 2**20))", "shared_mib"),
    ],
)
def test_what_grows_with_the_clips_is_named(tmp_path: Path, grow: str, what: str) -> None:
    named = " ".join(found(tmp_path, grow))
    assert what in named if what else not named
    assert ("left" in named) == (what == "processes")


def test_what_goes_up_and_down_is_no_leak() -> None:
    samples = [Sample(clip, clip, 500 + 40 * (clip % 2), 3, 40 + 3 * (clip % 2), 3 * (clip % 3)) for clip in range(50)]
    assert leaks(samples, 50, {"processes": 0}) == []
    assert leaks(samples, 50, {"processes": 2}) == ["2 processes left"]
