"""The clips as tar shards, as WebDataset reads them: the files of a clip stand one after the other.

<split>-000000.tar    <key>.json          scalars: `ExportedClip.about`, and clip_id
                      <key>.<modality>.npz    arrays of a modality that the clip has
                      <key>.mp4               the film, if asked for
                      <key>.face-0000.jpg     each face, if biometrics are asked for
"""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.export.arrays import clip_arrays
from pipeline.export.contents import Contents, ExportedClip, exported_clips
from pipeline.export.films import FilmReader
from pipeline.modalities.face import FaceRows

SHARD_BYTES = 512 << 20  # of a shard, about: the next clip begins another


def key_of(clip_id: str) -> str:
    """The clip's key: its id, with %2E for dots, where WebDataset ends a key, and %5F for an underscore at its start,
    by which it knows files of its own; urllib.parse.unquote gives the id.
    """
    key = clip_id.replace(".", "%2E")
    return f"%5F{key[1:]}" if key.startswith("_") else key


def write_webdataset(
    contents: Contents,
    folder: Path,
    films: FilmReader | None,
    progress: Callable[[int, int], None],
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, list[str]]:
    """Write the shards; returns their names by split."""
    names: dict[str, list[str]] = {}
    done, total = 0, len(contents.clips)
    for split in contents.splits:
        with _Shards(folder, split, shard_bytes) as shards:
            for clip in exported_clips(contents, contents.rows_of(split)):
                shards.add(clip, contents.biometrics, films)
                done += 1
                progress(done, total)
        names[split] = shards.names
    return names


class _Shards:
    """The shards of one split, written one after the other."""

    def __init__(self, folder: Path, split: str, most: int):
        self.names: list[str] = []
        self._folder, self._split, self._most = folder, split, most
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar is not None:
            self._tar.close()

    def add(self, clip: ExportedClip, biometrics: bool, films: FilmReader | None) -> None:
        tar, key = self._open(), key_of(clip.clip_id)
        _add(tar, f"{key}.json", json.dumps(clip.about, default=str).encode())
        for modality, rows in clip.rows.items():
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **clip_arrays(rows, biometrics))
            _add(tar, f"{key}.{modality}.npz", buffer.getvalue())
            if biometrics and isinstance(rows, FaceRows):
                for number, crop in enumerate(rows.crop):
                    _add(tar, f"{key}.face-{number:04d}.jpg", crop)
        if films is not None and clip.clip_id in films.films:
            copy = self._folder / ".film"
            if films.copy(clip.clip_id, copy):
                tar.add(copy, f"{key}{films.films[clip.clip_id].suffix}", filter=_anonymous)
                copy.unlink()

    def _open(self) -> tarfile.TarFile:
        if self._tar is not None and self._tar.offset >= self._most:
            self._tar.close()
            self._tar = None
        if self._tar is None:
            self.names.append(f"{self._split}-{len(self.names):06d}.tar")
            path = self._folder / self.names[-1]
            self._tar = tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 (closed when it is full)
        return self._tar


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time: the same clips give the same shard."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime, entry.mode = 0, 0o644
    return entry
