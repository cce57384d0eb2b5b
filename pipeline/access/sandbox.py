"""Confinement of a process that handles hostile data: no network, no writing, no other program. For good.

Landlock and seccomp are the kernel's; neither needs rights. Open files stay as usable as they were.
"""

import errno
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from operator import or_

_NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4")
_PROGRAMS = ("execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev")
_AROUND = ("io_uring_setup", "io_uring_enter", "io_uring_register")  # does most of the others in another way
_METADATA = (  # of files, which Landlock leaves alone; not every machine has each
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utime", "utimes", "futimesat",
    "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
)  # fmt: skip
_X32 = 0x40000000  # the same calls by another number, where x86_64's kernel has the x32 ABI


def confine() -> list[str]:
    """Confine this process, which has one thread; return what it could not be kept from, and why."""
    lacking: list[str] = []
    ready = {}
    # One after the other has been prepared: to find the C library they start programs and write temporary files.
    for what, prepare in {"files can be written": _no_writing, "the network can be used": _no_network}.items():
        with _noted(what, lacking):
            ready[what] = prepare()
    for what, take in ready.items():
        with _noted(what, lacking):
            take()
    return lacking


@contextmanager
def _noted(what: str, lacking: list[str]) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        lacking.append(f"{what}: {error.name} is not installed")
    except OSError as error:  # the packages' own errors are such: an old kernel, or one that was built without
        lacking.append(f"{what}: the kernel says {error.strerror or error}")


def _no_writing() -> Callable[[], object]:
    from landlockpy import AccessFS, AccessNet, Ruleset, Scope

    denied = [right for right in AccessFS if right not in (AccessFS.READ_FILE, AccessFS.READ_DIR)]
    scoped = Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL  # nor are other processes to be reached
    return Ruleset(handled_fs=reduce(or_, denied), handled_net=AccessNet.NONE, scoped=scoped).restrict


def _no_network() -> Callable[[], object]:
    from seccompy import Filter, supported, syscall_nr

    calls = Filter()
    for name in (*_NETWORK, *_PROGRAMS, *_AROUND, *_METADATA):
        try:
            number = syscall_nr(name)
        except ValueError:
            if name in _METADATA:
                continue
            raise
        calls.errno(number, errno.EPERM)
        if platform.machine() == "x86_64":
            calls.errno(number | _X32, errno.EPERM)
    supported()  # finds the C library
    return calls.load
