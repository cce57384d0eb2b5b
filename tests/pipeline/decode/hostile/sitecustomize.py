"""Makes decode workers meet hostile input for real; Python runs this at start where it is first on PYTHONPATH.

In a worker, a clip whose file name begins with one of these does its worst once `after` sampled frames are out:
    spin      native code that loops and never lets go of the GIL
    segfault  a read from address 0
    eat       memory, until there is no more
    ask       one allocation larger than any machine's memory
    mute      closes the connection to its parent and runs on
    escape    writes, connects and starts whatever it can, and ends with a list of it
`sound-...` does it when its sound is decoded and not sent yet, `done-...` when all is sent but the last word; and
`once-...` does it in the first worker only, as told by the file that $VDV_TEST_STARTS names.
"""

import sys
from collections.abc import Iterator
from typing import Any


def _worst(kind: str, path: str) -> None:
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
    elif kind == "escape":
        raise RuntimeError(f"escaped: {_escapes(path)}")


def _escapes(path: str) -> list[str]:
    """Ways out of the process that are open. path: of a file that may be spoilt."""
    import ctypes
    import os
    import socket
    import subprocess
    from pathlib import Path

    beside = path + ".new"
    syscall = ctypes.CDLL(None).syscall
    threads = list(Path("/proc/self/task").glob("*/status"))
    ways = {
        "create": lambda: open(beside, "w").close(),
        "write": lambda: open(path, "r+b").close(),
        "truncate": lambda: os.truncate(path, 1),
        "remove": lambda: os.remove(path),
        "rename": lambda: os.rename(path, beside),
        "link": lambda: os.link(path, beside),
        "symlink": lambda: os.symlink(path, beside),
        "folder": lambda: os.mkdir(beside),
        "pipe": lambda: os.mkfifo(beside),
        "mode": lambda: os.chmod(path, 0o777),
        "times": lambda: os.utime(path, (0, 0)),
        "attribute": lambda: os.setxattr(path, "user.vdv", b"x"),
        "parent's memory": lambda: open(f"/proc/{os.getppid()}/mem", "r+b").close(),
        "parent": lambda: os.kill(os.getppid(), 0),
        "tcp": lambda: socket.socket().close(),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "unix": lambda: socket.socket(socket.AF_UNIX).close(),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
        "io_uring": lambda: 1 / (syscall(425, 8, ctypes.byref(ctypes.create_string_buffer(256))) >= 0),
        "another thread": lambda: 1 / sum("Seccomp:\t2" not in status.read_text() for status in threads),
        "program": lambda: subprocess.run(["/bin/true"], check=True),
    }
    open_ways = []
    for name, way in ways.items():
        try:
            way()
        except (OSError, ZeroDivisionError):
            continue
        open_ways.append(name)
    return open_ways


def _install() -> None:
    import os
    from multiprocessing.connection import Connection

    from pipeline.decode import decoders, sound

    with open(os.environ.get("VDV_TEST_STARTS", os.devnull), "ab") as starts:
        first = starts.tell() == 0
        starts.write(b"x")

    def kind_of(source: Any, moment: str) -> str:
        """What the clip is to do at a moment; "": nothing."""
        file = os.path.basename(source.name)
        if file.startswith("once-") and not first:
            return ""
        file = file.removeprefix("once-")
        if moment:
            return file.removeprefix(f"{moment}-").split("-")[0] if file.startswith(f"{moment}-") else ""
        return file.split("-")[0]

    at_hand: list[Any] = []  # the source whose sound was decoded last

    def decode_sound(source: Any, *rest: Any, real: Any = sound.decode_sound) -> Any:
        heard = real(source, *rest)
        at_hand[:] = [source]
        _worst(kind_of(source, "sound"), source.name)
        return heard

    def send_bytes(connection: Any, message: bytes, *rest: Any, real: Any = Connection.send_bytes) -> None:
        if b'"event": "done"' in message and at_hand:
            source = at_hand.pop()
            _worst(kind_of(source, "done"), source.name)
        real(connection, message, *rest)

    setattr(sound, "decode_sound", decode_sound)  # noqa: B010 (the types differ on purpose)
    setattr(Connection, "send_bytes", send_bytes)  # noqa: B010

    for name, backend in list(decoders.BACKENDS.items()):

        def frames(source: Any, *rest: Any, real: Any = backend) -> Iterator[Any]:
            for count, frame in enumerate(real(source, *rest)):
                if count == 10:
                    _worst(kind_of(source, ""), source.name)
                yield frame

        decoders.BACKENDS[name] = frames


if "pipeline.decode.worker" in " ".join(sys.orig_argv):
    _install()
