"""From a checked manifest to `clips/<batch>/`: every clip probed and hashed, and given its shard.

Each state of a batch is one Parquet file, `<sequence>-<fingerprint>.parquet`; the newest counts, and knows all that is
needed of those before it.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import CLIP_CODES, TooManyFailed, WorkspaceError
from pipeline.core.fingerprint import fingerprint as fingerprint_of
from pipeline.core.options import DecodeLimits
from pipeline.decode.clips import Probe
from pipeline.ingest.manifest import Batch
from pipeline.ingest.shard_assignment import SHARD_CLIPS, Member, assign_shards, home_shards, next_number
from pipeline.ingest.signatures import signatures, stat_signature, states_content

__all__ = [
    "Ingest", "IngestedClip", "assign_shards", "find_ingest", "ingest_fingerprint", "read_ingest", "run_ingest",
    "signatures", "stat_signature",
]  # fmt: skip

SCHEMA = "ingest/1"  # in every fingerprint and file; change it with the columns, or with what Probe's fields mean
CHECKPOINT_S = 20.0  # at most so much probing is lost when the process is killed
MAX_LOST = 8  # clips that may be lost in one go before MAX_LOST_SHARE is asked
MAX_LOST_SHARE = 0.5

_FILE = re.compile(r"(\d{4,})-([0-9a-f]{16})\.parquet")
_CHECKPOINT = "probed.parquet"

_COLUMNS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("uri", pa.string()),
        ("signature", pa.string()),
        ("status", pa.string()),  # ok or failed
        ("code", pa.string()),  # one of errors.CLIP_CODES; empty for ok
        ("reason", pa.string()),
        ("retryable", pa.bool_()),
        ("shard", pa.string()),  # null for failed
        ("shard_position", pa.int32()),  # among the shard's members; null for failed
        ("content_hash", pa.string()),
        ("size_bytes", pa.int64()),
        ("container", pa.string()),
        ("codec", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rotation", pa.int32()),
        ("fps", pa.float64()),
        ("duration_s", pa.float64()),
        ("frames", pa.int64()),
    ]
)
_PROBE_FIELDS = tuple(field.name for field in fields(Probe))

ProbeClips = Callable[[Iterable[tuple[str, str]], DecodeLimits, int], Iterator[Probe]]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class IngestedClip:
    """One clip of the manifest, looked at."""

    uri: str
    signature: str  # of the file when it was probed; pipeline.ingest.signatures
    probe: Probe
    shard: str | None  # None: it cannot be used, see `code`

    @property
    def clip_id(self) -> str:
        return self.probe.clip_id

    @property
    def content_hash(self) -> str:
        return self.probe.content_hash

    @property
    def code(self) -> str:
        return self.probe.code

    @property
    def reason(self) -> str:
        return self.probe.reason

    @property
    def status(self) -> str:
        return "failed" if self.probe.code else "ok"

    @property
    def retryable(self) -> bool:
        return bool(self.probe.code) and CLIP_CODES[self.probe.code].retryable


@dataclass(frozen=True)
class Ingest:
    """A batch as its clips' files are.

    A file made of a shard may hold rows of clips that are gone or have moved to another shard since: of shard S's
    files take only the clips whose `shard` is S.
    """

    clips: tuple[IngestedClip, ...]  # those in the manifest, in its order
    shards: Mapping[str, tuple[Member, ...]]  # (clip_id, content_hash) in order, with those that are gone
    next_shard: int = 0  # number of the next new shard

    def content(self) -> str:
        """16 hex of what the clips are and where their features lie; where their files are, and when they were touched,
        is not in it."""
        return fingerprint_of([[clip.clip_id, clip.content_hash, clip.code, clip.shard] for clip in self.clips])


def ingest_fingerprint(batch: Batch, shard_clips: int = SHARD_CLIPS, marks: Sequence[str] | None = None) -> str:
    """16 hex of what the ingest of a batch depends on: its clips' ids, uris and files as they are now.

    Likes, challenges and the like are not in it. marks: `signatures` of the rows' uris, taken now where not given.
    """
    marks = signatures(batch.rows["uri"].tolist()) if marks is None else marks
    clips = list(zip(batch.rows["clip_id"].tolist(), batch.rows["uri"].tolist(), marks, strict=True))
    return fingerprint_of({"schema": SCHEMA, "shard_clips": shard_clips, "clips": clips})


def find_ingest(workspace: str, batch: str, fingerprint: str) -> str | None:
    """Path of the batch's newest ingest file if it is of this fingerprint; one listing, no file is opened.

    An older file of the same fingerprint does not count: shards may have been extracted since without clips that
    were gone for a while.
    """
    newest = _newest(workspace, batch)
    return newest[1] if newest and newest[2] == fingerprint else None


def run_ingest(
    workspace: str,
    batch: Batch,
    workers: int,
    limits: DecodeLimits,
    shard_clips: int = SHARD_CLIPS,
    progress: Progress | None = None,
    probe: ProbeClips | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    retry: Collection[str] = (),
    marks: Sequence[str] | None = None,
) -> str:
    """Brings `clips/<batch>/` up to date with a batch and its files; returns the path of the ingest file.

    Only clips are probed whose file, uri or id is new since the last time, or whose failure then may have passed.
    A clip that cannot be used becomes a row with its code, and ends nothing. The file appears whole or not at all;
    a run that is killed loses at most the last `checkpoint_s` seconds of probing.

    workers: processes that probe. limits: what a clip may cost. progress: called with clips done, clips in all, and
    what is being done. probe: pipeline.decode.pool.probe_clips, or one of its kind. retry: clip_ids to begin anew, in a
    new shard, though nothing of them has changed: those whose decoding failed for a reason that may have passed. marks:
    see `ingest_fingerprint`.

    Raises:
        TooManyFailed: most of the clips that could be read last time cannot be now, as when a disk is not mounted or a
            network is down. Nothing is written, since all of them would be done anew when they are back.
        WorkspaceError: the workspace cannot be read or written.
    """
    uris = batch.rows["uri"].tolist()
    marks = signatures(uris) if marks is None else marks
    wanted = list(zip(batch.rows["clip_id"].tolist(), uris, marks, strict=True))
    fingerprint = ingest_fingerprint(batch, shard_clips, marks)
    newest = _newest(workspace, batch.name)
    if newest and newest[2] == fingerprint and not retry:
        return newest[1]
    previous = _read(newest[1], other_version_ok=True) if newest else Ingest((), {})

    checkpoint = storage.join(_folder(workspace, batch.name), _CHECKPOINT)
    known = _still_true((*previous.clips, *_read_checkpoint(checkpoint)), wanted)
    todo = [(clip_id, uri) for clip_id, uri, _ in wanted if clip_id not in known]
    if progress:
        progress(len(known), len(wanted), "probing" if todo else "every clip is known from before")
    saved_at = time.monotonic()
    with _closing((probe or _default_probe())(todo, limits, workers) if todo else iter(())) as results:
        for result in results:
            known[result.clip_id] = result
            if progress:
                progress(len(known), len(wanted), "probing")
            if time.monotonic() - saved_at >= checkpoint_s:
                _write(checkpoint, Ingest(_looked_at(wanted, known), {}), batch.name, fingerprint)
                saved_at = time.monotonic()
    clips = _looked_at(wanted, known)
    if len(clips) < len(wanted):
        raise RuntimeError(f"probing gave no answer for {len(wanted) - len(clips)} of {len(wanted)} clips")

    _refuse_an_outage(batch, previous, clips)
    current = [(clip.clip_id, clip.content_hash) for clip in clips if clip.status == "ok"]
    lived = {
        (clip.clip_id, clip.content_hash): clip.shard
        for clip in previous.clips
        if clip.shard is not None and clip.clip_id not in retry
    }
    shards = assign_shards(current, previous.shards, lived, shard_clips, previous.next_shard)
    home = home_shards(shards)
    placed = tuple(
        replace(clip, shard=home[clip.clip_id, clip.content_hash]) if clip.status == "ok" else clip for clip in clips
    )
    sequence = newest[0] + 1 if newest else 1
    path = storage.join(_folder(workspace, batch.name), f"{sequence:04d}-{fingerprint}.parquet")
    _write(path, Ingest(placed, shards, next_number(shards, previous.next_shard)), batch.name, fingerprint)
    storage.remove(checkpoint)
    return path


@contextmanager
def _closing(results: Iterator[Probe]) -> Iterator[Iterator[Probe]]:
    """A probe's workers end now, and not when the last traceback that mentions them is forgotten."""
    try:
        yield results
    finally:
        if isinstance(results, Generator):
            results.close()


def _default_probe() -> ProbeClips:
    from pipeline.decode.pool import probe_clips  # planning reads this module, and needs no decoder

    return probe_clips


def _still_true(clips: Iterable[IngestedClip], wanted: Iterable[tuple[str, str, str]]) -> dict[str, Probe]:
    """What need not be probed again, by clip_id: same uri, same file, and no failure that may have passed."""
    sought = set(wanted)
    return {
        clip.clip_id: clip.probe
        for clip in clips
        if (clip.clip_id, clip.uri, clip.signature) in sought and states_content(clip.signature) and not clip.retryable
    }


def _looked_at(wanted: Iterable[tuple[str, str, str]], known: Mapping[str, Probe]) -> tuple[IngestedClip, ...]:
    """The clips whose probe is known, in the manifest's order; they have no shard yet."""
    return tuple(
        IngestedClip(uri, signature, known[clip_id], None) for clip_id, uri, signature in wanted if clip_id in known
    )


def read_ingest(path: str) -> Ingest:
    """Raises WorkspaceError where the file is missing, damaged or of another version of vdv."""
    return _read(path)


def _refuse_an_outage(batch: Batch, previous: Ingest, clips: Sequence[IngestedClip]) -> None:
    readable = {clip.clip_id for clip in previous.clips if clip.status == "ok"}
    still = [clip for clip in clips if clip.clip_id in readable]
    lost = [clip for clip in still if clip.retryable]
    if len(lost) > MAX_LOST and len(lost) > MAX_LOST_SHARE * len(still):
        raise TooManyFailed(
            f"{batch.path}: {len(lost)} of {len(still)} clips that could be read before cannot be now (the first: "
            f"{lost[0].clip_id} at {lost[0].uri}: {lost[0].reason}); check that their disk is mounted and the network "
            "up, and run again; if they are gone for good, take them out of the manifest or set removed=true"
        )


# --- files


def _folder(workspace: str, batch: str) -> str:
    return storage.join(workspace, "clips", batch)


def _newest(workspace: str, batch: str) -> tuple[int, str, str] | None:
    """Sequence, path and fingerprint of the newest ingest file."""
    folder = _folder(workspace, batch)
    found = [match for match in map(_FILE.fullmatch, storage.listing(folder, recursive=False)) if match]
    if not found:
        return None
    newest = max(found, key=lambda match: (int(match[1]), match[0]))
    return int(newest[1]), storage.join(folder, newest[0]), newest[2]


def _write(path: str, ingest: Ingest, batch: str, fingerprint: str) -> None:
    shard_of = {(clip.clip_id, clip.content_hash): clip.shard for clip in ingest.clips}
    position: dict[Member, int] = {}
    gone: dict[str, list] = {}
    for shard, members in ingest.shards.items():
        for at, member in enumerate(members):
            if shard_of.get(member) == shard:
                position[member] = at
            else:
                gone.setdefault(shard, []).append([at, *member])
    rows = [
        {name: getattr(clip.probe, name) for name in _PROBE_FIELDS}
        | {name: getattr(clip, name) for name in ("uri", "signature", "status", "retryable", "shard")}
        | {"shard_position": position.get((clip.clip_id, clip.content_hash))}
        for clip in ingest.clips
    ]
    metadata = {
        "vdv.schema": SCHEMA,
        "vdv.batch": batch,
        "vdv.fingerprint": fingerprint,
        "vdv.next_shard": str(ingest.next_shard),
        "vdv.gone": json.dumps(gone),  # shard: [position, clip_id, content_hash] of each member that is not in the rows
    }
    table = pa.Table.from_pylist(rows, schema=_COLUMNS).replace_schema_metadata(metadata)
    with storage.staged(path) as file:
        pq.write_table(table, file, compression="zstd")


def _read(path: str, other_version_ok: bool = False) -> Ingest:
    """other_version_ok: a file of another version of vdv counts as nothing known, instead of raising."""
    try:
        table = pq.read_table(pa.BufferReader(storage.read_bytes(path)))
    except (pa.ArrowInvalid, OSError) as error:
        missing = isinstance(error, FileNotFoundError)
        what = "is not there" if missing else f"is damaged ({error})"
        raise WorkspaceError(f"{path} {what}; remove it if it is there, and run again to make it anew") from error
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if metadata.get("vdv.schema") != SCHEMA:
        if other_version_ok:
            return Ingest((), {})
        raise WorkspaceError(
            f"{path} was written as {metadata.get('vdv.schema', 'something else')}, and this vdv reads {SCHEMA}; "
            "run the same command again to make it anew"
        )
    clips = []
    members: dict[str, list[tuple[int, Member]]] = {
        shard: [(at, (clip_id, content_hash)) for at, clip_id, content_hash in absent]
        for shard, absent in json.loads(metadata["vdv.gone"]).items()
    }
    for row in table.to_pylist():
        probe = Probe(**{name: row[name] for name in _PROBE_FIELDS})
        clips.append(IngestedClip(row["uri"], row["signature"], probe, row["shard"]))
        if row["shard"] is not None:
            members.setdefault(row["shard"], []).append((row["shard_position"], (probe.clip_id, probe.content_hash)))
    shards = {shard: tuple(member for _, member in sorted(members[shard])) for shard in sorted(members)}
    return Ingest(tuple(clips), shards, int(metadata["vdv.next_shard"]))


def _read_checkpoint(path: str) -> tuple[IngestedClip, ...]:
    return _read(path, other_version_ok=True).clips if storage.exists(path) else ()
