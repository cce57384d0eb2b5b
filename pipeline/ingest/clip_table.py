"""The table of a batch's clips in `clips/<batch>/`: every clip as it was probed and hashed, with its shard.

Each state of a batch is one Parquet file, `<sequence>-<fingerprint>.parquet`; the newest counts, and holds all that is
needed of those before it.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import CLIP_CODES, WorkspaceError
from pipeline.core.fingerprint import fingerprint as fingerprint_of
from pipeline.core.records import arrow_fields
from pipeline.decode.clips import Probe
from pipeline.files.checksums import check_parquet, read_footer, write_parquet
from pipeline.ingest.shard_assignment import Member

SCHEMA = "ingest/3"  # in every fingerprint and file; change it with the columns, or with what Probe's fields mean

MANIFEST = "vdv.manifest"  # key of a file's metadata: absolute path or URL, empty or missing where it is not known

_FILE = re.compile(r"(\d{4,})-([0-9a-f]{16})\.parquet")

_FIRST_COLUMNS = pa.schema(
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
    ]
)
_PROBE_COLUMNS = [column for column in arrow_fields(Probe, nullable=True) if column.name not in _FIRST_COLUMNS.names]
_COLUMNS = pa.schema([*_FIRST_COLUMNS, *_PROBE_COLUMNS])


@dataclass(frozen=True)
class IngestedClip:
    """One probed clip of the manifest."""

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
    def member(self) -> Member:
        return self.probe.clip_id, self.probe.content_hash

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
class IngestedBatch:
    """A batch in the state of its clips' files.

    A file made of a shard may hold rows of clips that are gone or have moved to another shard since: of shard S's
    files take only the clips whose `shard` is S.
    """

    clips: tuple[IngestedClip, ...]  # those in the manifest, in its order
    shards: Mapping[str, tuple[Member, ...]]  # (clip_id, content_hash) in order, with those that are gone
    next_shard: int = 0  # number of the next new shard

    @cached_property  # a command asks for it tens of times: half of what finding nothing to do took
    def content(self) -> str:
        """16 hex digits that depend on what the clips are and where their features lie, but not on where their files
        are or when they were touched.
        """
        return fingerprint_of([[clip.clip_id, clip.content_hash, clip.code, clip.shard] for clip in self.clips])


@dataclass(frozen=True)
class TableFile:
    """A file of a batch's table."""

    sequence: int  # 1..
    path: str
    fingerprint: str


def clips_folder(workspace: str, batch: str) -> str:
    return storage.join(workspace, "clips", batch)


def newest_file(workspace: str, batch: str) -> TableFile | None:
    """The batch's newest file; one listing, no file is opened."""
    folder = clips_folder(workspace, batch)
    matches = [match for match in map(_FILE.fullmatch, storage.listing(folder, recursive=False)) if match]
    if not matches:
        return None
    newest = max(matches, key=lambda match: (int(match[1]), match[0]))
    return TableFile(int(newest[1]), storage.join(folder, newest[0]), newest[2])


def find_ingest(workspace: str, batch: str, fingerprint: str, after: int = 0) -> str | None:
    """Path of the batch's newest file if it has this fingerprint, and a sequence number above `after`.

    An older file of the same fingerprint does not count: shards may have been extracted since without clips that
    were gone for a while.
    """
    newest = newest_file(workspace, batch)
    if newest is None or newest.fingerprint != fingerprint or newest.sequence <= after:
        return None
    return newest.path


def write_ingest(path: str, ingest: IngestedBatch, batch: str, fingerprint: str, manifest: str) -> None:
    """Write a batch's table. manifest: where the batch was read from; for people, who are told of it by PurgeClips."""
    shard_of = {clip.member: clip.shard for clip in ingest.clips}
    position: dict[Member, int] = {}
    gone: dict[str, list] = {}
    for shard, members in ingest.shards.items():
        for at, member in enumerate(members):
            if shard_of.get(member) == shard:
                position[member] = at
            else:
                gone.setdefault(shard, []).append([at, *member])
    rows = [
        asdict(clip.probe)
        | {name: getattr(clip, name) for name in ("uri", "signature", "status", "retryable", "shard")}
        | {"shard_position": position.get(clip.member)}
        for clip in ingest.clips
    ]
    metadata = {
        "vdv.schema": SCHEMA,
        "vdv.batch": batch,
        "vdv.fingerprint": fingerprint,
        MANIFEST: manifest,
        "vdv.next_shard": str(ingest.next_shard),
        "vdv.gone": json.dumps(gone),  # shard: [position, clip_id, content_hash] of each member that is not in the rows
    }
    write_parquet(path, pa.Table.from_pylist(rows, schema=_COLUMNS), metadata)


def read_ingest(path: str, other_version_ok: bool = False) -> IngestedBatch:
    """A batch's table from its file.

    other_version_ok: a file of another version of vdv counts as an empty table, instead of raising.

    Raises:
        DamagedFile: the file is not as it was written.
        WorkspaceError: the file is missing, or of another version of vdv.
    """
    try:
        data = storage.read_bytes(path)
    except FileNotFoundError as error:
        raise WorkspaceError(f"{path} is not there; run the same command again to make it") from error
    _, metadata = read_footer(path, io.BytesIO(data))
    if metadata.get("vdv.schema") != SCHEMA:
        if other_version_ok:
            return IngestedBatch((), {})
        raise WorkspaceError(
            f"{path} was written as {metadata.get('vdv.schema', 'something else')}, and this vdv reads {SCHEMA}; "
            "run the same command again to make it anew"
        )
    check_parquet(path, data)
    table = pq.read_table(pa.BufferReader(data))
    clips = []
    members: dict[str, list[tuple[int, Member]]] = {
        shard: [(at, (clip_id, content_hash)) for at, clip_id, content_hash in gone]
        for shard, gone in json.loads(metadata["vdv.gone"]).items()
    }
    for row in table.to_pylist():
        probe = Probe(**{field.name: row[field.name] for field in fields(Probe)})
        clip = IngestedClip(row["uri"], row["signature"], probe, row["shard"])
        clips.append(clip)
        if clip.shard is not None:
            members.setdefault(clip.shard, []).append((row["shard_position"], clip.member))
    shards = {shard: tuple(member for _, member in sorted(members[shard])) for shard in sorted(members)}
    return IngestedBatch(tuple(clips), shards, int(metadata["vdv.next_shard"]))
