"""Batches without the purged clips: their shards under new names, their table, then the old files gone.

A shard is named by its members, so one that loses a member is another shard: it keeps its number, and so its rank, and
gets the name of the members that are left. Its files are written beside the old ones first, whole; then a new table of
clips names them in the place of the old; then the old ones are deleted. So a command that comes between finds all the
shards that the table names, whenever this one is killed, and nothing is extracted again.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.core.fingerprint import fingerprint
from pipeline.features.endings import read_endings, write_endings
from pipeline.features.parquet_files import SCHEMA_KEY, SCHEMA_VERSION, WRITER_KEYS
from pipeline.features.plan import forget_sizes, note_sizes, shard_path
from pipeline.features.reader import ShardReader
from pipeline.features.shards import ShardWriter
from pipeline.files.checksums import check_file, read_footer
from pipeline.files.folder import Folder, discard
from pipeline.ingest.clip_table import MANIFEST, IngestedBatch, TableFile, newest_file, read_ingest, write_ingest
from pipeline.ingest.shard_assignment import shard_name
from pipeline.purge.job import Job, Place, Step, deleting
from pipeline.purge.tables import GONE, read_table, shard_clips, table_names

_SHARD = re.compile(r"\d+-[0-9a-f]{8}\.parquet")


@dataclass(frozen=True)
class ShardFile:
    """A file of one shard: of a modality's features, or of endings."""

    folder: str  # relative to the workspace
    batch: str
    shard: str
    clip_ids: tuple[str, ...] | None  # None: the file cannot be read

    @property
    def place(self) -> str:
        return shard_path(self.folder, self.shard)

    @property
    def is_endings(self) -> bool:
        return self.folder.startswith("clips/")


def shard_files(workspace: str, batches: Iterable[str] | None = None) -> list[ShardFile]:
    """Every shard's file, of these batches or of all, with the clips in it. Reads every footer, and all endings."""
    wanted = None if batches is None else set(batches)
    found = []
    for name in storage.listing(
        storage.join(workspace, "features")
    ):  # <modality>/<fingerprint>/<batch>/<shard>.parquet
        parts = name.split("/")
        if len(parts) == 4 and _SHARD.fullmatch(parts[3]) and (wanted is None or parts[2] in wanted):
            clip_ids = shard_clips(storage.join(workspace, "features", name))
            folder = f"features/{'/'.join(parts[:3])}"
            found.append(ShardFile(folder, parts[2], parts[3].removesuffix(".parquet"), clip_ids))
    for name in storage.listing(storage.join(workspace, "clips")):  # <batch>/endings/<fingerprint>/<shard>.parquet
        parts = name.split("/")
        if len(parts) == 4 and _SHARD.fullmatch(parts[3]) and (wanted is None or parts[0] in wanted):
            read = read_table(storage.join(workspace, "clips", name), "clip_id")
            clip_ids = None if read is None else tuple(row["clip_id"] for row in read[0])
            folder = f"clips/{'/'.join(parts[:3])}"
            found.append(ShardFile(folder, parts[0], parts[3].removesuffix(".parquet"), clip_ids))
    return sorted(found, key=lambda file: file.place)


def works(batch: str) -> tuple[str, ...]:
    """The pieces of work of a batch's tasks, in the order in which they are held by one that needs both."""
    return f"features of {batch}", f"clips/{batch}"


def affected_batches(workspace: str, job: Job) -> list[str]:
    """Batches with anything of the clips, in whatever state of their table or shard; those under way included."""
    gone = set(job.clip_ids)
    batches = set(job.shards)
    for name in table_names(workspace):
        if _mentions(storage.join(workspace, "clips", name), gone):
            batches.add(name.split("/")[0])
    for file in shard_files(workspace):
        if gone & set(file.clip_ids or ()):
            batches.add(file.batch)
    return sorted(batches)


def rename_shards(workspace: str, batch: str, job: Job) -> dict[str, str]:
    """New names of the batch's shards that hold a purged clip, with those that have theirs already; "": none is left.

    Of a shard that no table names any more the members' contents are not known, and not in the name.
    """
    gone, known = set(job.clip_ids), job.shards.get(batch, {})
    names = dict(known)
    fresh = set(known.values())
    table = _newest(workspace, batch)
    for shard, members in (table[1].shards if table else {}).items():
        if shard not in names and any(clip_id in gone for clip_id, _ in members):
            left = [member for member in members if member[0] not in gone]
            names[shard] = shard_name(_number(shard), left) if left else ""
    lost: dict[str, set[str]] = {}
    for file in shard_files(workspace, [batch]):
        if file.shard not in names and file.shard not in fresh and gone & set(file.clip_ids or ()):
            lost.setdefault(file.shard, set()).update(file.clip_ids or ())
    for shard, clip_ids in lost.items():
        left = [(clip_id, "") for clip_id in sorted(clip_ids - gone)]
        names[shard] = shard_name(_number(shard), left) if left else ""
    return names


def replace_shards(workspace: str, batch: str, names: Mapping[str, str], gone: set[str]) -> None:
    """Write the shards' files without the purged clips under their new names, and a table of clips that says so.

    The old files stay. A file that is damaged is removed, to be made again by the next build.
    """
    for file in shard_files(workspace, [batch]):
        new = names.get(file.shard)
        if new and _is_readable(workspace, file):
            try:
                check_file(storage.join(workspace, file.place))  # whole: damage must not move into a file without any
                write = _write_endings if file.is_endings else _write_features
                write(storage.join(workspace, file.place), storage.join(workspace, shard_path(file.folder, new)), gone)
                note_sizes(storage.join(workspace, file.folder), [new])
            except DamagedFile as damaged:
                discard(damaged)
    _replace_table(workspace, batch, names, gone)


def remove_old(workspace: str, batch: str, names: Mapping[str, str], gone: set[str]) -> list[Step]:
    """Steps that delete the shards' old files and the tables before the newest, with what cannot be read."""
    steps = []
    folders: dict[str, list[ShardFile]] = {}
    for file in shard_files(workspace, [batch]):
        if file.shard in names or file.clip_ids is None:
            folders.setdefault(file.folder, []).append(file)
    for place, files in folders.items():
        steps.append(_forget_shards(workspace, batch, place, files))
    newest = newest_file(workspace, batch)
    current = newest.path.rsplit("/", 1)[-1] if newest else ""
    tables = [name.split("/")[1] for name in table_names(workspace) if name.split("/")[0] == batch]
    folder = Folder(workspace, f"clips/{batch}")
    old = [name for name in tables if name != current and _mentions(folder.file(name), gone)]
    if old:
        steps.append(deleting(folder, old, "an earlier state of the table of clips", works(batch)[1]))
    return steps


def planned(workspace: str, batch: str, names: Mapping[str, str], gone: set[str]) -> list[Place]:
    """The places of the batch, as they are before anything is done."""
    places = []
    for file in shard_files(workspace, [batch]):
        count = len(gone & set(file.clip_ids or ()))
        if names.get(file.shard) and _is_readable(workspace, file):
            why = f"without {count} of {len(file.clip_ids or ())} clips, as {names[file.shard]}"
            places.append(Place(file.place, "rewritten", why))
        elif file.shard in names or file.clip_ids is None:
            places.append(Place(file.place, "deleted", "nothing is left of it" if count else "it cannot be read"))
    newest = newest_file(workspace, batch)
    for name in table_names(workspace):
        path = storage.join(workspace, "clips", name)
        if name.split("/")[0] == batch and _mentions(path, gone):
            is_newest = newest is not None and path == newest.path
            why = "a new table without the clips" if is_newest else "an earlier state of the table of clips"
            places.append(Place(f"clips/{name}", "rewritten" if is_newest else "deleted", why))
    return places


def _forget_shards(workspace: str, batch: str, place: str, files: list[ShardFile]) -> Step:
    folder = Folder(workspace, place)
    names = [f"{file.shard}.parquet" for file in files]
    deleted = deleting(folder, names, "", works(batch)[0])

    def do() -> None:
        # Before they go: of one that is gone nobody would know, after a kill, that its size is still recorded.
        forget_sizes(folder.path, [file.shard for file in files])
        deleted.do()

    return replace(deleted, works=works(batch), do=do)


def _mentions(path: str, gone: set[str]) -> bool:
    """Whether a table of clips names one of the clips; also where it cannot be read."""
    read = read_table(path, "clip_id")
    if read is None:
        return True
    rows, metadata = read
    return any(row["clip_id"] in gone for row in rows) or any(
        f'"{clip_id}"' in metadata.get(GONE, "") for clip_id in gone
    )


def _newest(workspace: str, batch: str) -> tuple[TableFile, IngestedBatch] | None:
    newest = newest_file(workspace, batch)
    if newest is None:
        return None
    try:
        return newest, read_ingest(newest.path, other_version_ok=True)
    except DamagedFile as damaged:
        discard(damaged)
        return None if storage.exists(newest.path) else _newest(workspace, batch)  # a dry run leaves it there


def _replace_table(workspace: str, batch: str, names: Mapping[str, str], gone: set[str]) -> None:
    """Write the next table of clips, of a fingerprint that no manifest has: the next build goes on from it."""
    found = _newest(workspace, batch)
    if found is None or not (_mentions(found[0].path, gone) or set(names) & set(found[1].shards)):
        return
    newest, table = found
    clips = tuple(
        replace(clip, shard=names.get(clip.shard or "", clip.shard)) for clip in table.clips if clip.clip_id not in gone
    )
    shards = {
        names.get(shard, shard): tuple(member for member in members if member[0] not in gone)
        for shard, members in table.shards.items()
        if names.get(shard, shard)
    }
    _, metadata = read_table(newest.path) or ([], {})
    made_of = fingerprint({"purged": newest.fingerprint, "clips": [clip.member for clip in clips]})
    path = storage.join(workspace, "clips", batch, f"{newest.sequence + 1:04d}-{made_of}.parquet")
    left = IngestedBatch(clips, shards, table.next_shard)
    write_ingest(path, left, batch, made_of, metadata.get(MANIFEST, ""))


def _is_readable(workspace: str, file: ShardFile) -> bool:
    """Whether this version of vdv can read the file; of others, which it never reads, nothing has to be kept."""
    if file.clip_ids is None:
        return False
    path = storage.join(workspace, file.place)
    try:
        with storage.opened(path) as opened:
            _, metadata = read_footer(path, opened)
    except (FileNotFoundError, DamagedFile):
        return False
    return metadata.get(SCHEMA_KEY) == str(SCHEMA_VERSION)


def _write_features(old: str, new: str, gone: set[str]) -> None:
    """A shard of a modality without some clips: what an extraction of the others alone would have written."""
    reader = ShardReader(old)
    kept = [clip_id for clip_id in reader.clip_ids if clip_id not in gone]
    skipped = {clip_id: why for clip_id, why in reader.skipped.items() if clip_id not in gone}
    metadata = {key: value for key, value in reader.metadata.items() if key not in WRITER_KEYS}
    try:
        with ShardWriter(new, reader.modality, [*kept, *skipped], metadata) as writer:
            for clip_id in kept:
                writer.add(reader.read(clip_id))
            for clip_id, why in skipped.items():
                writer.skip(clip_id, why)
    finally:
        reader.close()


def _write_endings(old: str, new: str, gone: set[str]) -> None:
    _, metadata = read_table(old) or ([], {})
    kept = [ending for ending in read_endings(old) if ending.clip_id not in gone]
    callers = {key: value for key, value in metadata.items() if key in ("profile", "decoder")}
    write_endings(new, kept, callers)


def _number(shard: str) -> int:
    return int(shard.split("-", 1)[0])
