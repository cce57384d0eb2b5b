"""Memory that is free goes back to the system, so that a process of many clips stays as small as one of few."""

import ctypes
from collections.abc import Callable


def _trimmer() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except AttributeError:  # not glibc
        return None


_malloc_trim = _trimmer()


def trim() -> None:
    """Asks glibc to return what it holds free; milliseconds. Elsewhere the allocator knows by itself.

    Pictures of many sizes come and go; what they leave free in between, glibc keeps, and clip by clip it adds up.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)
