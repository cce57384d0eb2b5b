"""Freed memory: kept up to a bound, given back above it. In processes of their own, whose heaps are small."""

import subprocess
import sys

import pytest

from pipeline.core import memory

pytestmark = pytest.mark.skipif(memory._mallinfo2 is None, reason="this C library does not say what it holds free")

# Blocks below the size that is mapped one by one, and one behind them, so that they cannot be returned from the top.
FREED = """
from pipeline.core import memory
import ctypes, os
def resident(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
memory.keep_blocks()
blocks = [libc.malloc(2**20) for _ in range(64)]
behind = libc.malloc(2**20)
for block in blocks: ctypes.memset(block, 1, 2**20)
for block in blocks: libc.free(block)
full = resident()
"""


def printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", FREED + code], capture_output=True, text=True, check=True).stdout


def test_what_is_free_is_known_and_given_back() -> None:
    free, full, after = map(int, printed("print(memory._free_bytes(), full); memory.trim(); print(resident())").split())
    assert free >= 64 * 2**20
    assert full - after >= 60 * 2**20


def test_a_bound_that_is_not_reached_leaves_it_in_place() -> None:
    full, after = map(int, printed("memory.trim(above=2**30); print(full, resident())").split())
    assert abs(full - after) < 2**20


def test_large_blocks_are_used_again_and_not_mapped_anew() -> None:
    again = """
import resource
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    block = libc.malloc(16 * 2**20)
    ctypes.memset(block, 1, 16 * 2**20)
    libc.free(block)
use()
before = faults()
for _ in range(10): use()
print(faults() - before)
"""
    assert int(printed(again)) < 10 * 16 * 2**20 / 4096 / 10
