"""Compiled networks on disk, by which a process begins without tracing and compiling its networks anew.

A file's name is a digest of all that decides what is compiled, so none is ever out of date; its content begins with a
checksum. One that is damaged, or that OpenVINO does not take, is made again.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import NoneType

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, treespec_dumps, treespec_loads

FOLDER_VARIABLE = "VDV_COMPILED"
MAX_BYTES = 2 * 2**30  # of the folder; the five networks of the largest profile take 0.4 GB
_LIBRARIES = (
    "openvino", "torch", "torchvision", "facenet-pytorch", "mmcv", "mmcv-lite", "mmdet", "mmengine", "mmpose"
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
        return Path(chosen).expanduser()
    import pooch  # as the catalogue of weights does, and as late

    return Path(pooch.os_cache("vdv")) / "compiled"


def cache_key(network: nn.Module, **options: object) -> str:
    """Digest, 64 hex, of a network's structure, weights and code, of `options`, and of the libraries that run it.

    options: how it is compiled, and for which processor.
    """
    digest = hashlib.sha256(f"{_code()} {sorted(options.items())}".encode())
    for name, module in network.named_modules():
        parts = {
            key: value for key, value in vars(module).items() if key not in ("_parameters", "_buffers", "_modules")
        }
        digest.update(f"\n{name} {_name_of(type(module))} ".encode())
        for part in _described(parts):
            digest.update(part)
    for kind in (network.named_parameters(), network.named_buffers()):
        for name, tensor in kind:
            digest.update(f"\n{name} ".encode())
            for part in _described(tensor):
                digest.update(part)
    return digest.hexdigest()


def _described(value: object) -> Iterator[bytes]:
    """Whatever of a layer's attributes may decide what it computes, as bytes that differ where it differs."""
    if isinstance(value, Tensor):
        array = value.detach().contiguous()
        yield f"{array.dtype} {tuple(array.shape)} ".encode()
        yield array.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield f"{{{key!r}:".encode()
            yield from _described(value[key])
    elif isinstance(value, list | tuple):
        yield f"{len(value)}[".encode()
        for item in value:
            yield from _described(item)
    elif isinstance(value, NoneType | bool | int | float | str | torch.dtype | torch.device):
        yield f"{value!r},".encode()
    else:  # a function or an object, whose code is that of a library or of the extractors
        yield f"{_name_of(value if hasattr(value, '__qualname__') else type(value))},".encode()


def _name_of(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


@cache
def _code() -> str:
    """Digest of the extractors' source, of this module's, and of the versions of what they run."""
    digest = hashlib.sha256()
    extractors = Path(__file__).parents[1] / "extractors"
    for path in (Path(__file__), *sorted(extractors.rglob("*.py"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):  # mmcv comes as one of two
            digest.update(f"{name} {version(name)}".encode())
    return digest.hexdigest()


def read(key: str) -> CompiledFile | None:
    """What is kept under a key; None where there is nothing, or nothing whole."""
    path = folder() / key
    try:
        content = path.read_bytes()
        os.utime(path)  # the file that was not used for the longest time goes first
    except FileNotFoundError:
        return None
    except OSError as error:
        log.info("%s cannot be read (%s): the network is compiled", path, error.strerror)
        return None
    checksum, _, rest = content.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != checksum:
        log.warning("%s is damaged: the network is compiled again", path)
        return None
    about, _, model = rest.partition(b"\n")
    described = json.loads(about)
    return CompiledFile(model, described["leaves"], treespec_loads(described["tree"]))


def write(key: str, file: CompiledFile) -> None:
    """Keep a network under a key, whole or not at all; where that cannot be, processes compile as they need."""
    about = json.dumps({"leaves": file.leaves, "tree": treespec_dumps(file.tree)}).encode()
    rest = about + b"\n" + file.model
    try:
        folder().mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".part-", dir=folder())
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(hashlib.sha256(rest).hexdigest().encode() + b"\n")
                opened.write(rest)
            os.replace(part, folder() / key)
        except BaseException:
            os.unlink(part)
            raise
        _remove_oldest(keep=key)
    except OSError as error:
        log.info("%s cannot be written to (%s): each process compiles its networks", folder(), error.strerror)


def _remove_oldest(keep: str) -> None:
    """Delete files until all together are no larger than MAX_BYTES."""
    files = []
    for path in folder().iterdir():
        with suppress(FileNotFoundError):  # another process is doing the same
            files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total > MAX_BYTES and path.name != keep:
            path.unlink(missing_ok=True)
            total -= size
