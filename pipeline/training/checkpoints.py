"""Checkpoints of a training, kept until all of it is finished: killed and started again, it resumes from them.

<folder>/<number>.<modality>.<key>.safetensors  a trained encoder
<folder>/<number>.<modality>.<key>.ckpt         the encoder in training, after its last whole epoch, by Lightning
<folder>/fold-<n>.<key>.parquet                 a finished fold of a cross-validation

(numbered within a modality; all folds of a cross-validation share the folder)

<key> (`cache_key`) is a fingerprint of everything that decides the content, the code that makes it included. So a file
that exists is valid unless its checksum says otherwise, as elsewhere in the workspace, and files of another
configuration, other clips or another version are never read.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.core.fingerprint import fingerprint
from pipeline.core.source_code import code_hash
from pipeline.files.checksums import framed, unframed
from pipeline.files.tensors import read_tensors, write_tensors

# Folders in a run's: of the model and its folds, and of ablations. Who is done clears its own, and who goes on from it
# does so again, for a process may be killed before it has.
CHECKPOINTS, ABLATIONS_CHECKPOINTS = "checkpoints", "ablations-checkpoints"
_LIBRARIES = ("torch", "lightning", "numpy", "scipy")
log = logging.getLogger(__name__)

_ABOUT = "vdv"  # the key of `about` in the metadata of an encoder's file


def cache_key(module: str, device: torch.device, **parts: object) -> str:
    """Fingerprint, 16 hex, of `parts`, the code of `module`, the libraries, the kind of device and torch's threads.

    module: the one that makes the content; with its code counts that of all modules of the product that it imports.
    parts: what pipeline.core.fingerprint takes, and besides numpy arrays and tables.
    """
    software = {"code": code_hash(module)} | _library_versions()
    where = {"device": device.type, "threads": torch.get_num_threads(), "software": software}
    plain = {
        name: _digest(part) if isinstance(part, np.ndarray | pd.DataFrame) else part for name, part in parts.items()
    }
    return fingerprint({"where": where, "of": plain})


@cache
def _library_versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}  # 4 ms each


def _digest(values: np.ndarray | pd.DataFrame) -> str:
    if isinstance(values, pd.DataFrame):
        kind, content = ",".join(map(str, values.columns)), pd.util.hash_pandas_object(values).to_numpy()
    else:
        kind, content = f"{values.dtype} {values.shape}", np.ascontiguousarray(values)
    return hashlib.sha256(kind.encode() + content.tobytes()).hexdigest()


def write_encoder(path: str, weights: Mapping[str, Tensor], about: Mapping) -> None:
    """Write an encoder. about: what JSON takes, and NaN."""
    write_tensors(path, weights, {_ABOUT: json.dumps(dict(about))})


def read_encoder(path: str) -> tuple[dict[str, Tensor], dict] | None:
    """Read weights and `about` as written; None: there is no such file, or it was damaged."""
    with forget_damaged(path):
        if storage.exists(path):
            weights, metadata = read_tensors(path)
            return weights, json.loads(metadata[_ABOUT])
    return None


def write_epoch(path: str, state: Path) -> None:
    """Keep the state of a training, a file of torch's."""
    storage.write_bytes(path, framed(path, state.read_bytes()))


def fetch_epoch(path: str, scratch: str) -> Path | None:
    """Copy what `write_epoch` kept into the folder `scratch`; None: there is no such file, or it was damaged."""
    with forget_damaged(path):
        if storage.exists(path):
            local = Path(scratch, path.rsplit("/", 1)[-1])
            local.write_bytes(unframed(path, storage.read_bytes(path)))
            return local
    return None


@contextmanager
def forget_damaged(path: str) -> Iterator[None]:
    """Read a checkpoint, and pass over one that is damaged: what it held is trained again, and the file replaced."""
    try:
        yield
    except DamagedFile as damaged:
        log.warning(f"{path} is damaged ({damaged.what}); what it held is trained again")


def clear(folder: str) -> None:
    """Remove a folder of checkpoints, if it exists."""
    for name in storage.listing(folder):
        storage.remove(storage.join(folder, name))
    if storage.is_local(folder):
        # Empty folders are left, and temporary files of writers that were killed.
        shutil.rmtree(storage.local_path(folder), ignore_errors=True)
