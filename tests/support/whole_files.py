"""Files of a workspace that are as they were written, for tests that look at no content."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from pipeline.core import storage
from pipeline.files.checksums import json_bytes, write_parquet
from pipeline.files.folder import Folder


def write_json(path: Path | str, content: Mapping[str, Any]) -> None:
    storage.write_bytes(str(path), json_bytes(str(path), content))


def read_json(path: Path | str) -> dict[str, Any]:
    folder, _, name = str(path).rpartition("/")
    return Folder(folder).read_json(name)


def make_whole(path: Path | str) -> None:
    """A file that stands for one of its kind."""
    name = str(path)
    if name.endswith(".parquet"):
        write_parquet(name, pa.table({"clip_id": ["a"]}))
    elif name.endswith(".json"):
        write_json(name, {"files": {}, "clips": 0})
    elif name.endswith(".safetensors"):
        from pipeline.files.tensors import write_tensors  # torch

        write_tensors(name, {})
    else:
        storage.write_bytes(name, b"-")


def cut(path: Path, keep: float) -> None:
    """Cut a file off. keep: share of its bytes, below 1."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])


def flip(path: Path, place: int, bit: int = 2) -> None:
    """Turn one bit of a file; a negative `place` counts from its end."""
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1 << bit
    path.write_bytes(bytes(whole))


def write_table(path: Path | str, table: pd.DataFrame | pa.Table) -> None:
    folder, _, name = str(path).rpartition("/")
    Folder(folder).write_table(name, table)
