"""Tensors of a workspace as safetensors files, each with its checksum."""

from collections.abc import Mapping

from safetensors.torch import load, save
from torch import Tensor

from pipeline.core import storage
from pipeline.files.checksums import CHECKSUM, check_tensors, placeholder, seal


def write_tensors(path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, whole or not at all."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    mark = placeholder()
    with storage.staged(path) as local:
        # Not save_file, which puts another file in its place: unlocked, and for nobody else to read.
        local.write_bytes(save(plain, {**(metadata or {}), CHECKSUM: mark}))
        seal(local, mark)


def read_tensors(path: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata that were written. Raises DamagedFile."""
    data = storage.read_bytes(path)
    metadata = check_tensors(path, data)
    return load(data), metadata
