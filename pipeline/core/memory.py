"""Control of memory: a limit to it, and what glibc holds after it was freed."""

import ctypes
import resource
import sys
from typing import Any

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # mallopt's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
_BLOCK_BYTES = 32 * 2**20  # the most that every glibc takes
_FREE_BYTES = 256 * 2**20


def _of_glibc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except AttributeError:  # not glibc
        return None


def keep_blocks() -> None:
    """Have glibc reuse freed blocks of up to 32 MiB, for as long as the process lives. No effect on other C libraries.

    A network's activations are megabytes each. Mapped and unmapped one by one, the kernel has to clear each of their
    pages again and again: on a CPU about a seventh of the time of a forward pass, and of a training step.
    """
    if _mallopt is not None:
        _mallopt(_MMAP_THRESHOLD, _BLOCK_BYTES)
        _mallopt(_TRIM_THRESHOLD, _FREE_BYTES)


def trim(above: int = 0) -> None:
    """Have glibc return its free memory to the system, where that is more than `above` bytes. No effect on other C
    libraries, whose allocators do so by themselves.

    Pictures of many sizes come and go; glibc keeps the gaps that they leave, which add up clip by clip. Memory that is
    returned must be fetched and cleared again: 3 ms for 4 MiB.
    """
    if _malloc_trim is not None and _free_bytes() >= above:
        _malloc_trim(0)


def limit_memory(megabytes: int) -> None:
    """Limit the address space to what is mapped now and `megabytes` more; no effect where there is no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
    except FileNotFoundError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = mapped + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                     "keepcost")
    )  # fmt: skip


def _free_bytes() -> int:
    """Free bytes in the heap; sys.maxsize with a glibc before 2.33, which does not report them."""
    return _mallinfo2().fordblks if _mallinfo2 is not None else sys.maxsize


_malloc_trim, _mallopt, _mallinfo2 = map(_of_glibc, ("malloc_trim", "mallopt", "mallinfo2"))
if _mallinfo2 is not None:
    _mallinfo2.restype = _Mallinfo2
