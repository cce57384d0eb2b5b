"""Compiled networks on disk, by which a process begins without tracing and compiling its networks anew.

A file's name is a digest of all that decides what is compiled, so none is ever out of date; its content begins with a
checksum. One that is damaged, or that OpenVINO does not take, is made again.
"""

import hashlib
import json
import logging
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, treespec_dumps, treespec_loads

FOLDER_VARIABLE = "VDV_COMPILED"
_PART = ".part-"  # begins the name of what is being written
_STALE_S = 3600.0  # after which nobody writes to it any more
MAX_BYTES = 2 * 2**30  # of the folder; the five networks of the largest profile take 0.4 GB
_LIBRARIES = (
    "openvino", "torch", "torchvision", "facenet-pytorch", "mmcv", "mmcv-lite", "mmdet", "mmengine", "mmpose"
)  # fmt: skip
# What says all of itself when it is printed.
_PRINTED = (
    NoneType, bool, int, float, complex, str, bytes, slice, range, Enum, np.generic,
    torch.dtype, torch.device, torch.Size,
)  # fmt: skip
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompiledFile:
    """What is kept of a network."""

    model: bytes  # as OpenVINO exports it
    leaves: list[bool]  # of the network's results, whether each is a tensor; the others are None
    tree: TreeSpec  # that they are the leaves of


def folder() -> Path:
    """$VDV_COMPILED, else a folder in the platform's cache folder for vdv."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen))  # unlike Path's, it leaves a ~ alone where there is no home
    import pooch  # as the catalogue of weights does, and as late

    return Path(pooch.os_cache("vdv")) / "compiled"


def cache_key(network: nn.Module, **options: object) -> str:
    """Digest, 64 hex, of a network's structure, weights and code, of `options`, and of the libraries that run it.

    options: how it is compiled, and for which processor.
    """
    digest = hashlib.sha256(f"{_code()} {sorted(options.items())}".encode())
    _describe(network, digest.update, set())
    return digest.hexdigest()


def _describe(value: object, write: Callable[[bytes | memoryview], object], within: set[int]) -> None:
    """Write whatever of a network may decide what it computes, as bytes that differ where it differs.

    within: ids of the values that this one is a part of.
    """
    if isinstance(value, _PRINTED):
        write(f"{type(value).__name__} {value!r},".encode())
    elif isinstance(value, Tensor):
        array = value.detach().cpu().contiguous()
        write(f"{array.dtype} {tuple(array.shape)} ".encode())
        write(array.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        write(f"{value.dtype} {value.shape} ".encode() + value.tobytes())
    elif id(value) in within:
        write(b"<itself>,")
    else:
        write(f"\n{_name_of(value if hasattr(value, '__qualname__') else type(value))}(".encode())
        within.add(id(value))
        for part in _parts(value):
            _describe(part, write, within)
        within.discard(id(value))
        write(b")")


def _parts(value: Any) -> Iterable[object]:
    """What a value consists of; of classes and built-in functions nothing, which are their names."""
    if isinstance(value, Mapping):
        return [part for key in sorted(value, key=str) for part in (key, value[key])]
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, list | tuple | np.ndarray):
        return list(value)
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, CodeType):
        return value.co_code, value.co_consts, value.co_names
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return value.__code__, value.__defaults__, value.__kwdefaults__, cells
    if isinstance(value, type | ModuleType):
        return ()
    if isinstance(value, nn.Module):  # its hooks that load weights bear numbers counted through the whole process
        return [{name: part for name, part in vars(value).items() if "state_dict" not in name}]
    return [vars(value)] if hasattr(value, "__dict__") else ()


def _name_of(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


@cache
def _code() -> str:
    """Digest of this module's and the extractors' source, and of the versions of what that runs."""
    digest, here = hashlib.sha256(), Path(__file__)
    for path in (here, *sorted((here.parents[1] / "extractors").rglob("*.py"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):  # mmcv comes as one of two
            digest.update(f"{name} {version(name)}".encode())
    return digest.hexdigest()


def processor() -> str:
    """What a compiled network depends on of a processor: one with other instructions may not run it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()} {flags}"


def read(key: str) -> CompiledFile | None:
    """What is kept under a key; None where there is nothing, or nothing whole."""
    path = folder() / key
    try:
        if not path.is_file():  # to read a pipe would take for ever
            return None
        content = path.read_bytes()
    except OSError as error:
        _warn(f"{path.parent} cannot be read ({error.strerror}): each process compiles its networks")
        return None
    checksum, _, rest = content.partition(b"\n")
    if checksum != _checksum(key, rest):
        log.warning("%s is damaged: the network is compiled again", path)
        return None
    with suppress(OSError):  # nor need the folder be one's own
        os.utime(path)  # the file that was not used for the longest time goes first
    about, _, model = rest.partition(b"\n")
    described = json.loads(about)
    return CompiledFile(model, described["leaves"], treespec_loads(described["tree"]))


def write(key: str, file: CompiledFile) -> None:
    """Keep a network under a key, whole or not at all; where that cannot be, processes compile as they need."""
    about = json.dumps({"leaves": file.leaves, "tree": treespec_dumps(file.tree)}).encode()
    rest = about + b"\n" + file.model
    part = folder() / f"{_PART}{uuid.uuid4().hex}"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as opened:
                opened.write(_checksum(key, rest) + b"\n")
                opened.write(rest)
            os.replace(part, folder() / key)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        _warn(f"{part.parent} cannot be written to ({error.strerror}): each process compiles its networks")
    else:
        _remove_oldest(keep=key)


def _checksum(key: str, rest: bytes) -> bytes:
    """64 hex of a file's content and of the key that it is for."""
    return hashlib.sha256(key.encode() + b"\n" + rest).hexdigest().encode()


@cache
def _warn(text: str) -> None:
    """Log a warning, once a process."""
    log.warning(text)


def _remove_oldest(keep: str) -> None:
    """Delete what vdv has written until all of it together is no larger than MAX_BYTES, and what was half written."""
    files = []
    with suppress(OSError):
        for path in folder().iterdir():
            if re.fullmatch(r"[0-9a-f]{64}", path.name) or path.name.startswith(_PART):
                with suppress(FileNotFoundError):  # another process is doing the same
                    found = path.stat()
                    files.append((found.st_mtime, found.st_size, path))
    total, stale = sum(size for _, size, _ in files), time.time() - _STALE_S
    for used, size, path in sorted(files):
        if used < stale if path.name.startswith(_PART) else total > MAX_BYTES and path.name != keep:
            with suppress(OSError):  # somebody else's in a folder that is shared
                path.unlink()
                total -= size
