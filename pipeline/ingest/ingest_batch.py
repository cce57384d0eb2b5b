"""Ingest of a batch: from a checked manifest to its table in `clips/<batch>/`.

Every clip is probed and hashed, and given its shard; what is known from the last time is kept.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from pipeline.core import storage
from pipeline.core.errors import DataError, TooManyFailed
from pipeline.core.fingerprint import fingerprint as fingerprint_of
from pipeline.core.options import DecodeLimits
from pipeline.core.text import visible
from pipeline.decode.clips import Probe
from pipeline.ingest.clip_table import (
    SCHEMA,
    IngestedBatch,
    IngestedClip,
    TableFile,
    clips_folder,
    newest_file,
    read_ingest,
    write_ingest,
)
from pipeline.ingest.manifest import Batch
from pipeline.ingest.shard_assignment import SHARD_CLIPS, assign_shards, home_shards, next_number
from pipeline.ingest.signatures import NOT_ALLOWED, clip_signatures, states_content
from pipeline.ingest.tombstones import PURGED, Tombstones, read_tombstones, refused

CHECKPOINT_S = 20.0  # at most so much probing is lost when the process is killed
MAX_LOST = 8  # clips that may be lost in one go before MAX_LOST_SHARE is asked
MAX_LOST_SHARE = 0.5

CHECKPOINT = "probed.parquet"
_LISTED = 10  # clips in one message
log = logging.getLogger(__name__)

ProbeClips = Callable[[Iterable[tuple[str, str]], DecodeLimits, int], Iterator[Probe]]
Progress = Callable[[int, int, Mapping[str, int] | str], None]
ManifestClip = tuple[str, str, str]  # clip_id, uri, signature of the file


def ingest_fingerprint(batch: Batch, shard_clips: int = SHARD_CLIPS, signatures: Sequence[str] | None = None) -> str:
    """16 hex digits of what the ingest of a batch depends on: its clips' ids, uris and files as they are now.

    Likes, challenges and the like are not in it. signatures: of the files at the rows' uris, taken now where not given.
    """
    clips = _manifest_clips(batch, signatures, DecodeLimits())
    return fingerprint_of({"schema": SCHEMA, "shard_clips": shard_clips, "clips": clips})


def _manifest_clips(batch: Batch, signatures: Sequence[str] | None, limits: DecodeLimits) -> list[ManifestClip]:
    uris = batch.rows["uri"].tolist()
    signatures = clip_signatures(uris, limits) if signatures is None else signatures
    return list(zip(batch.rows["clip_id"].tolist(), uris, signatures, strict=True))


def without_purged(batch: Batch, tombstones: Tombstones) -> Batch:
    """The batch without the rows of purged clips, which a warning names; the same batch where it has none."""
    purged = np.fromiter(map(tombstones.has_clip, batch.rows["clip_id"]), bool)
    if not purged.any():
        return batch
    rows = batch.rows[purged]
    named = [f"{clip_id} (line {line})" for clip_id, line in zip(rows["clip_id"], rows["line"], strict=True)]
    more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    log.warning(
        f"{batch.path}: {len(named)} left out, {PURGED}: {', '.join(named[:_LISTED])}{more}. They were purged from this"
        " workspace; take their rows out of the manifest"
    )
    return replace(batch, rows=batch.rows[~purged].reset_index(drop=True))


def _tombstones(workspace: str, batch: Batch) -> Tombstones:
    """The workspace's tombstones. Raises DataError where a row is of a purged clip: it was read before the purge."""
    tombstones = read_tombstones(workspace)
    if purged := sum(map(tombstones.has_clip, batch.rows["clip_id"])):
        raise DataError(
            f"{batch.path}: {purged} of its clips were purged since this command began; run it again, and it goes on"
            " without them"
        )
    return tombstones


def run_ingest(
    workspace: str,
    batch: Batch,
    workers: int,
    limits: DecodeLimits,
    shard_clips: int = SHARD_CLIPS,
    progress: Progress = lambda *_: None,
    probe: ProbeClips | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    retry: Collection[str] = (),
    signatures: Sequence[str] | None = None,
) -> str:
    """Bring `clips/<batch>/` up to date with a batch and its files; return the path of the batch's table.

    Only clips are probed whose file, uri or id is new since the last time, or whose failure then may have passed.
    A clip that cannot be used, or whose file was purged, becomes a row with its code, and ends nothing. The table
    appears whole or not at all; a run that is killed loses at most the last `checkpoint_s` seconds of probing.

    workers: processes that probe. limits: what a clip may cost. progress: called with clips done, clips in all, and how
    many of those done are ok and failed. probe: pipeline.decode.pool.probe_clips, or one of its kind. retry: clip_ids
    to begin anew, in a new shard, though nothing of them has changed: those whose decoding failed for a reason that may
    have passed. signatures: see `ingest_fingerprint`.

    Raises:
        TooManyFailed: most of the clips that could be read last time cannot be now, as when a disk is not mounted or a
            network is down. Nothing is written, since all of them would be done anew when they are back.
        DataError: a clip of the batch was purged since its manifest was read.
        WorkspaceError: the workspace cannot be read or written.
    """
    tombstones = _tombstones(workspace, batch)
    manifest_clips = _manifest_clips(batch, signatures, limits)
    fingerprint = ingest_fingerprint(batch, shard_clips, [signature for _, _, signature in manifest_clips])
    newest = newest_file(workspace, batch.name)
    if newest and newest.fingerprint == fingerprint and not retry:
        return newest.path
    folder, manifest = clips_folder(workspace, batch.name), _absolute(batch.path)
    checkpoint = storage.join(folder, CHECKPOINT)
    previous, probes = _known(newest, checkpoint, manifest_clips, retry, tombstones)
    todo = [(clip_id, uri) for clip_id, uri, _ in manifest_clips if clip_id not in probes]
    counts = Counter(_status(known) for known in probes.values())
    progress(len(probes), len(manifest_clips), counts if todo else "every clip is known from before")
    saved_at = time.monotonic()
    with _closing((probe or _default_probe())(todo, limits, workers) if todo else iter(())) as results:
        for result in results:
            known = refused(result, tombstones)
            probes[result.clip_id] = known
            counts[_status(known)] += 1
            progress(len(probes), len(manifest_clips), counts)
            if time.monotonic() - saved_at >= checkpoint_s:
                so_far = IngestedBatch(_clips(manifest_clips, probes), {})
                write_ingest(checkpoint, so_far, batch.name, fingerprint, manifest)
                saved_at = time.monotonic()
    clips = _clips(manifest_clips, probes)
    if lacking := len(manifest_clips) - len(clips):
        raise RuntimeError(f"probing gave no answer for {lacking} of {len(manifest_clips)} clips")
    _refuse_an_outage(batch, previous, clips)
    path = storage.join(folder, f"{newest.sequence + 1 if newest else 1:04d}-{fingerprint}.parquet")
    write_ingest(path, _assigned(clips, previous, shard_clips, retry), batch.name, fingerprint, manifest)
    storage.remove(checkpoint)
    return path


def known_clips(
    workspace: str, batch: Batch, shard_clips: int, signatures: Sequence[str], retry: Collection[str] = ()
) -> IngestedBatch:
    """The clips of a batch that `run_ingest` would not probe again, in the shards that they would have without others.

    Nothing is written. Raises what `read_ingest` and `read_tombstones` do.
    """
    checkpoint = storage.join(clips_folder(workspace, batch.name), CHECKPOINT)
    manifest_clips = _manifest_clips(batch, signatures, DecodeLimits())
    newest, tombstones = newest_file(workspace, batch.name), read_tombstones(workspace)
    previous, probes = _known(newest, checkpoint, manifest_clips, retry, tombstones)
    return _assigned(_clips(manifest_clips, probes), previous, shard_clips, retry)


def _known(
    newest: TableFile | None,
    checkpoint: str,
    manifest_clips: Iterable[ManifestClip],
    retry: Collection[str],
    tombstones: Tombstones,
) -> tuple[IngestedBatch, dict[str, Probe]]:
    """The table before, and what need not be probed again of it and of an ingest that was interrupted."""
    previous = read_ingest(newest.path, other_version_ok=True) if newest else IngestedBatch((), {})
    interrupted = read_ingest(checkpoint, other_version_ok=True).clips if storage.exists(checkpoint) else ()
    return previous, _still_true((*previous.clips, *interrupted), manifest_clips, retry, tombstones)


def _status(probe: Probe) -> str:
    return "failed" if probe.code else "ok"


def _absolute(manifest: str) -> str:
    return os.path.abspath(storage.local_path(manifest)) if storage.is_local(manifest) else manifest


@contextmanager
def _closing(results: Iterator[Probe]) -> Iterator[Iterator[Probe]]:
    """End a probe's workers now, and not when the last traceback that mentions them is forgotten."""
    try:
        yield results
    finally:
        if isinstance(results, Generator):
            results.close()


def _default_probe() -> ProbeClips:
    from pipeline.decode.pool import probe_clips  # planning reads this module, and needs no decoder

    return probe_clips


def _still_true(
    clips: Iterable[IngestedClip],
    manifest_clips: Iterable[ManifestClip],
    retry: Collection[str],
    tombstones: Tombstones,
) -> dict[str, Probe]:
    """The probes that need not be repeated, by clip_id: same uri, same file, and no failure that may have passed.

    Those of `retry` are: a file may have been replaced by one of its size and time.
    """
    current = set(manifest_clips)
    return {
        clip.clip_id: refused(clip.probe, tombstones)
        for clip in clips
        if (clip.clip_id, clip.uri, clip.signature) in current
        and states_content(clip.signature)
        and not clip.retryable
        and clip.clip_id not in retry
    }


def _clips(manifest_clips: Iterable[ManifestClip], probes: Mapping[str, Probe]) -> tuple[IngestedClip, ...]:
    """The clips that are probed, in the manifest's order; they have no shard yet."""
    return tuple(
        IngestedClip(uri, signature, probes[clip_id], None)
        for clip_id, uri, signature in manifest_clips
        if clip_id in probes
    )


def _refuse_an_outage(batch: Batch, previous: IngestedBatch, clips: Sequence[IngestedClip]) -> None:
    readable = {clip.clip_id for clip in previous.clips if clip.status == "ok"}
    still = [clip for clip in clips if clip.clip_id in readable]
    lost = [clip for clip in still if clip.retryable or clip.code == NOT_ALLOWED]
    if len(lost) > MAX_LOST and len(lost) > MAX_LOST_SHARE * len(still):
        raise TooManyFailed(
            f"{batch.path}: {len(lost)} of {len(still)} clips that could be read before cannot be now (the first: "
            f"{lost[0].clip_id} at {visible(lost[0].uri)}: {lost[0].reason}); check that their disk is mounted and the "
            "network up, and run again; if they are gone for good, take them out of the manifest or set removed=true"
        )


def _assigned(
    clips: Sequence[IngestedClip], previous: IngestedBatch, shard_clips: int, retry: Collection[str]
) -> IngestedBatch:
    """The batch with every usable clip in its shard; those of `retry` get a new one."""
    usable = [clip.member for clip in clips if clip.status == "ok"]
    previous_homes = {
        clip.member: clip.shard for clip in previous.clips if clip.shard is not None and clip.clip_id not in retry
    }
    shards = assign_shards(usable, previous.shards, previous_homes, shard_clips, previous.next_shard)
    homes = home_shards(shards)
    placed = tuple(replace(clip, shard=homes[clip.member]) if clip.status == "ok" else clip for clip in clips)
    return IngestedBatch(placed, shards, next_number(shards, previous.next_shard))
