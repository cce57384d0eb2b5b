"""Makes decode workers meet hostile input for real; Python runs this at start where it is first on PYTHONPATH.

In a worker, a clip whose file name begins with one of these does its worst once `after` sampled frames are out:
    spin      native code that loops and never lets go of the GIL
    segfault  a read from address 0
    eat       memory, until there is no more
    ask       one allocation larger than any machine's memory
    mute      closes the connection to its parent and runs on
and `once-...` does it in the first attempt only, as told by a file beside the clip.
"""

import sys
from collections.abc import Iterator
from typing import Any


def _worst(kind: str) -> None:
    import ctypes
    import os
    import re

    if kind == "spin":
        re.match(r"(a+)+$", "a" * 64 + "b")  # exponential, in C, holding the GIL
    elif kind == "segfault":
        ctypes.string_at(0)
    elif kind == "eat":
        hoard = []
        while True:
            hoard.append(bytearray(64 << 20))
    elif kind == "ask":
        bytearray(1 << 46)
    elif kind == "mute":
        os.closerange(3, 256)
        while True:
            pass


def _install() -> None:
    import os

    from pipeline.decode import decoders

    for name, backend in list(decoders.BACKENDS.items()):

        def frames(source: Any, *rest: Any, real: Any = backend) -> Iterator[Any]:
            file = os.path.basename(source.name)
            once = file.startswith("once-")
            kind = file.removeprefix("once-").split("-")[0]
            if once and os.path.exists(source.name + ".tried"):
                kind = ""
            for count, frame in enumerate(real(source, *rest)):
                if count == 10:
                    if once:
                        open(source.name + ".tried", "w").close()
                    _worst(kind)
                yield frame

        decoders.BACKENDS[name] = frames


if "pipeline.decode.worker" in " ".join(sys.orig_argv):
    _install()
