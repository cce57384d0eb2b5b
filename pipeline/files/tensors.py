"""Tensors of a workspace as safetensors files, each with its checksum."""

import json
from collections.abc import Mapping

from safetensors.torch import load, save
from torch import Tensor

from pipeline.core import storage
from pipeline.files.checksums import CHECKSUM, PLACE, check_tensors, place_of, placeholder, seal


def write_tensors(path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, whole or not at all."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    mark = placeholder()
    with storage.staged(path) as local:
        # Not save_file, which puts another file in its place: unlocked, and for nobody else to read.
        local.write_bytes(_in_order(save(plain, {**(metadata or {}), PLACE: place_of(path), CHECKSUM: mark})))
        seal(local, mark)


def _in_order(data: bytes) -> bytes:
    """A safetensors file with its metadata in the order of their keys; `save` writes them in another each time."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[end:]


def read_tensors(path: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata that were written. Raises DamagedFile."""
    data = storage.read_bytes(path)
    metadata = check_tensors(path, data)
    return load(data), metadata
