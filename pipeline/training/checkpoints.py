"""Checkpoints of a training, kept until all of it is finished: killed and started again, it resumes from them.

<folder>/<fold>.<modality>.<key>.safetensors    a trained encoder
<folder>/<fold>.<modality>.<key>.ckpt           the encoder in training, after its last whole epoch, by Lightning
<folder>/fold-<n>.<key>.parquet                 a finished fold of a cross-validation

(the encoders' <fold> is an inner one, and all folds of a cross-validation share the folder)

<key> (`cache_key`) is a fingerprint of everything that decides the content, the code that makes it included. So a file
that exists is valid, as elsewhere in the workspace, and files of another configuration, other clips or another version
are never read.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError
from pipeline.core.fingerprint import fingerprint
from pipeline.core.source_code import code_hash

CHECKPOINTS = "checkpoints"  # the folder's name in a run's
_LIBRARIES = ("torch", "lightning", "numpy", "scipy")
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
    with storage.staged(path) as local:
        plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        save_file(plain, local, {_ABOUT: json.dumps(dict(about))})


def read_encoder(path: str, scratch: str) -> tuple[dict[str, Tensor], dict] | None:
    """Read weights and `about` as written; None: there is no such file. scratch: a folder of this machine.

    Raises:
        WorkspaceError: the file is damaged.
    """
    local = fetch(path, scratch)
    if local is None:
        return None
    try:
        with safe_open(local, "pt") as file:
            names = file.keys()  # a list; the file itself cannot be iterated
            return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()[_ABOUT])
    except SafetensorError as error:
        raise WorkspaceError(f"{path} is damaged ({error}); delete it and run again") from error


def fetch(path: str, scratch: str) -> Path | None:
    """Copy a file of the workspace into the folder `scratch`; None: there is no such file."""
    if not storage.exists(path):
        return None
    local = Path(scratch, path.rsplit("/", 1)[-1])
    local.write_bytes(storage.read_bytes(path))
    return local


def clear(folder: str) -> None:
    """Remove a folder of checkpoints, if it exists."""
    for name in storage.listing(folder):
        storage.remove(storage.join(folder, name))
    if storage.is_local(folder):
        # Empty folders are left, and temporary files of writers that were killed.
        shutil.rmtree(storage.local_path(folder), ignore_errors=True)
