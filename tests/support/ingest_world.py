"""A folder of files to ingest as clips; their probe hashes them and needs no decoder."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.core import storage
from pipeline.core.options import DecodeLimits
from pipeline.decode.clips import Probe
from pipeline.ingest.clip_table import IngestedBatch, read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import Batch, read_manifests

LIMITS = DecodeLimits()


class Probing:
    """A probe that hashes files without a video decoder, and records which clips it was asked for."""

    def __init__(self, failing: dict[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self.failing = failing or {}  # clip_id: code

    def __call__(self, clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
        for clip_id, uri in list(clips)[::-1]:  # workers answer in any order
            self.asked.append(clip_id)
            try:
                data = storage.read_bytes(uri)
            except FileNotFoundError:
                yield Probe(clip_id, code="missing", reason=f"no file at {uri}")
                continue
            digest = hashlib.sha256(data).hexdigest()
            code = self.failing.get(clip_id, "")
            yield Probe(clip_id, digest, len(data), "mp4", "h264", 720, 1280, 90, True, 29.97, 9.5, 285, code, code)


class World:
    """A folder of files, a manifest of them, and a workspace."""

    def __init__(self, folder: Path, workspace: str | None = None) -> None:
        self.folder = folder
        self.workspace = workspace or str(folder / "workspace")
        self.likes: dict[str, int] = {}
        (folder / "clips").mkdir()

    def put(self, *names: str, content: str = "") -> None:
        for name in names:
            (self.folder / "clips" / name).write_text(content or f"content of {name}")

    def batch(self, *names: str) -> Batch:
        lines = [f"{name},clips/{name},dance,{self.likes.get(name, 1)}" for name in names]
        (self.folder / "june.csv").write_text("\n".join(["clip_id,uri,challenge,likes", *lines]) + "\n")
        (batch,) = read_manifests(str(self.folder / "june.csv"))
        return batch

    def ingest(self, *names: str, probe: Probing | None = None, **kwargs: Any) -> tuple[IngestedBatch, list[str]]:
        """The batch as ingested, and the ids of the clips that were probed for it."""
        probe = probe or Probing()
        path = run_ingest(
            self.workspace, self.batch(*names), 1, LIMITS, kwargs.pop("shard_clips", 4), probe=probe, **kwargs
        )
        return read_ingest(path), sorted(probe.asked)

    def shards(self, ingest: IngestedBatch) -> dict[str, str | None]:
        return {clip.clip_id: clip.shard for clip in ingest.clips}
