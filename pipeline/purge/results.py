"""Datasets, uploads and runs without the purged clips, and no shards that have no place yet.

Tables keep the rows of other clips, as they are. What shows clips side by side, and a command makes again, is deleted
whole: reports, recommendations, feedback in which a purged clip has a part, checkpoints of trainings on them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.dataset.assemble import count_clips
from pipeline.dataset.folder import CLIPS, DATASETS, FACES, REFERENCES, STATISTICS, DatasetFolder
from pipeline.features.plan import ATTEMPTS
from pipeline.files.checksums import CHECKSUM, DATA_CHECKSUM, PLACE, check_parquet, write_parquet
from pipeline.files.folder import Folder, discard
from pipeline.files.spreadsheets import spreadsheet_csv
from pipeline.purge.job import Job, Place, Step, deleting
from pipeline.purge.search import Needles, search_file
from pipeline.purge.tables import UPLOADS
from pipeline.runs.purged import mark_purged
from pipeline.runs.retraining import retrain_command
from pipeline.runs.run import (
    FEEDBACK,
    HELD_OUT,
    PURGED,
    REPORT,
    RUN,
    RUNS,
    SCORES,
    SCORES_ABOUT,
    SCORES_CSV,
    Run,
)

_OF_WRITER = (CHECKSUM, DATA_CHECKSUM, PLACE, "ARROW:schema", "pandas")
_CHECKPOINTS = ("checkpoints/", "ablations-checkpoints/")
_SHOWN = (REPORT, "report.json")
_MADE_AGAIN = ("recommendations/", "logs/")


@dataclass(frozen=True)
class Finding:
    """What is looked for in results."""

    gone: frozenset[str]  # clip_ids
    needles: Needles
    shards: Mapping[tuple[str, str], str]  # new names by (batch, shard), "": none is left

    @classmethod
    def of(cls, job: Job, needles: Needles) -> "Finding":
        return cls(frozenset(job.clip_ids), needles, job.renamed())


def result_steps(workspace: str, finding: Finding) -> Iterator[Step]:
    """Steps over all runs, then uploads and datasets: of what runs were made of they say so while it is there."""
    attempts = Folder(workspace, ATTEMPTS)
    why = "of an extraction on a cluster, in part; the next one makes it again"
    yield from _deleted(attempts, sorted(storage.listing(attempts.path)), why)
    for run_id in _folders(workspace, RUNS):
        yield from _run_steps(Run.of(workspace, run_id), finding)
    for kind in (UPLOADS, DATASETS):
        for name in _folders(workspace, kind):
            yield from _dataset_steps(DatasetFolder(workspace, f"{kind}/{name}"), finding)


def _folders(workspace: str, kind: str) -> list[str]:
    return sorted({name.split("/")[0] for name in storage.listing(storage.join(workspace, kind)) if "/" in name})


def _run_steps(run: Run, finding: Finding) -> Iterator[Step]:
    names = sorted(storage.listing(run.path))
    about = _read_json(run, RUN)
    if about is None:
        if names:
            why = "of a training that did not finish, or is damaged: nobody knows on which clips"
            yield deleting(run, names, why, run.place)
        return
    dataset = DatasetFolder.of(run.workspace, about["dataset"])
    tables = [name for name in names if name.endswith(".parquet") and "/" not in name]
    counts = {name: _count(run, name, finding.gone) for name in tables}
    touched = any(counts.values()) or bool(dataset.has(CLIPS) and _count(dataset, CLIPS, finding.gone))
    if touched:
        if counts.get(HELD_OUT) or run.has(PURGED):
            yield _mark(run, about, dataset, finding)
        yield from _deleted(run, [name for name in names if name in _SHOWN], "shows the clips; a build makes the next")
    if touched or not dataset.has(CLIPS):
        checkpoints = [name for name in names if name.startswith(_CHECKPOINTS)]
        yield from _deleted(run, checkpoints, "of a training on the clips")
    yield from _deleted(run, _feedback(run, names, touched, finding), "a purged clip has a part in it")
    made_again = [name for name in names if name.startswith(_MADE_AGAIN)]
    hits = {_stem(name) for name in made_again if search_file(run.file(name), finding.needles)}
    named = [name for name in made_again if _stem(name) in hits]  # the table and the JSON of one name
    yield from _deleted(run, named, "names a purged clip")
    yield from _table_steps(run, tables, finding)


def _mark(run: Run, about: dict, dataset: DatasetFolder, finding: Finding) -> Step:
    """The step that marks a run. Counted from what training wrote down, so that a second purge adds up."""
    held_out, scores = _read(run, HELD_OUT), _read(run, SCORES)
    trained_on = about["trained_on"] - _left(held_out, finding) if held_out is not None else about["trained_on"]
    clips = about["data"]["clips"] - _left(scores, finding) if scores is not None else trained_on
    command = retrain_command(run, about, dataset)
    clips_trained_on = f"{trained_on} purged clip{'' if trained_on == 1 else 's'}"
    why = f"its model was trained on {clips_trained_on}; train it again: {command}"
    place = Place(f"{run.place}/{PURGED}", "marked", why)
    return Step((run.place,), (place,), partial(mark_purged, run, trained_on, clips, command))


def _left(table: pd.DataFrame, finding: Finding) -> int:
    return int((~table["clip_id"].isin(finding.gone)).sum())


def _deleted(folder: Folder, names: list[str], why: str) -> Iterator[Step]:
    if names:
        yield deleting(folder, names, why, folder.place)


def _feedback(run: Run, names: list[str], touched: bool, finding: Finding) -> list[str]:
    """Feedback on a purged clip, or that compares with one; a film without its JSON may show anybody."""
    of_folder = [name for name in names if name.startswith(f"{FEEDBACK}/")]
    hits = {_stem(name) for name in of_folder if search_file(run.file(name), finding.needles)}
    if touched:
        hits |= {_stem(name) for name in of_folder if f"{_stem(name)}.json" not in names}
    return [name for name in of_folder if _stem(name) in hits]


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def _dataset_steps(folder: DatasetFolder, finding: Finding) -> Iterator[Step]:
    """Steps over datasets/<id>/ or uploads/<id>/. Its name stays: no build asks for it again."""
    names = storage.listing(folder.path)
    yield from _table_steps(folder, [name for name in (FACES, REFERENCES, SCORES) if name in names], finding)
    if SCORES_CSV in names and _is_csv_old(folder, finding):
        yield _rewriting(folder, SCORES_CSV, "as scores.parquet", partial(_rewrite_csv, folder))
    if CLIPS not in names:
        return
    clips = _read(folder, CLIPS)
    if clips is None:
        yield deleting(folder, [CLIPS], "it is damaged", folder.place)
        return
    left = _without(clips, finding)
    if left is not None:
        why = f"without {len(clips) - len(left)} of {len(clips)} clips"
        yield _rewriting(folder, CLIPS, why, partial(_rewrite_clips, folder, finding))
    statistics = _read_json(folder, STATISTICS)
    if statistics is not None and statistics["clips"] != len(clips if left is None else left):
        yield _rewriting(folder, STATISTICS, "counted again", partial(_recount, folder))


def _rewrite_clips(folder: DatasetFolder, finding: Finding) -> None:
    if (left := _without(folder.read_clips(), finding)) is not None:
        folder.write_table(CLIPS, left)


def _without(clips: pd.DataFrame, finding: Finding) -> pd.DataFrame | None:
    """clips.parquet without the purged clips, with shards by their new names; None: it has nothing to do with them."""
    kept = clips[~clips["clip_id"].isin(finding.gone)].reset_index(drop=True)
    changed = len(kept) < len(clips)
    for name in (column for column in kept if column.startswith("shard_")):
        renamed = kept[name].map(lambda path: _renamed(path, finding.shards), na_action="ignore").astype("string")
        changed |= bool((renamed.fillna("") != kept[name].fillna("")).any())
        kept[name] = renamed
    if not changed:
        return None
    for name in ("copies", "same_sound"):
        if name in kept:
            kept[name] = _named_by_first(kept, name)
    return kept


def _renamed(path: str, shards: Mapping[tuple[str, str], str]) -> str | None:
    """A shard's path in a dataset, features/<modality>/<fingerprint>/<batch>/<shard>.parquet, by its new name."""
    folder, _, name = path.rpartition("/")
    new = shards.get((folder.rsplit("/", 1)[-1], name.removesuffix(".parquet")))
    return path if new is None else f"{folder}/{new}.parquet" if new else None


def _named_by_first(kept: pd.DataFrame, column: str) -> pd.Series:
    """A column of groups by the first of each that is left; a clip that is alone now is in none."""
    first = kept.groupby(column)["clip_id"].transform("first")
    several = kept.groupby(column)["clip_id"].transform("size") > 1
    return first.where(several.fillna(False).astype(bool)).astype("string")


def _recount(folder: DatasetFolder) -> None:
    statistics, clips = folder.read_statistics(), folder.read_clips()
    purged = statistics.get("purged", 0) + statistics["clips"] - len(clips)
    counted = count_clips(clips, list(statistics["modalities"]))
    folder.write_json(STATISTICS, statistics | counted | {"purged": purged})


def _is_csv_old(folder: DatasetFolder, finding: Finding) -> bool:
    """Whether scores.csv names a clip, or a purge was killed before scores.json knew the new one."""
    about = _read_json(folder, SCORES_ABOUT)
    unknown = about is not None and about.get("files") != folder.hashes(SCORES_CSV)
    return unknown or search_file(folder.file(SCORES_CSV), finding.needles) is not None


def _rewrite_csv(folder: DatasetFolder) -> None:
    if not folder.has(SCORES):
        storage.remove(folder.file(SCORES_CSV))
        return
    storage.write_bytes(folder.file(SCORES_CSV), spreadsheet_csv(folder.read_table(SCORES)).encode())
    if (about := folder.read_intact_json(SCORES_ABOUT)) is not None:
        folder.write_json(SCORES_ABOUT, about | {"files": folder.hashes(SCORES_CSV)})


def _rewriting(folder: Folder, name: str, why: str, do: Callable[[], None]) -> Step:
    return Step((folder.place,), (Place(f"{folder.place}/{name}", "rewritten", why),), do)


def _table_steps(folder: Folder, names: list[str], finding: Finding) -> Iterator[Step]:
    """Steps that take the clips' rows out of tables; one that is damaged goes whole, for its maker to make again."""
    for name in names:
        count = _count(folder, name, finding.gone)
        if count is None:
            yield deleting(folder, [name], "it is damaged", folder.place)
        elif count:
            yield _rewriting(folder, name, f"without {count} rows", partial(_filter, folder, name, finding))


def _filter(folder: Folder, name: str, finding: Finding) -> None:
    """Take the clips' rows out of a table; its other rows, columns and metadata stay as they are."""
    path = folder.file(name)
    try:
        data = storage.read_bytes(path)
        metadata = check_parquet(path, data)
    except DamagedFile as damaged:
        discard(damaged)
        return
    table = pq.read_table(pa.BufferReader(data))
    gone = pc.is_in(table.column("clip_id"), pa.array(sorted(finding.gone), pa.string()))
    of_pandas = {key: value for key, value in (table.schema.metadata or {}).items() if key == b"pandas"}
    about = {key: value for key, value in metadata.items() if key not in _OF_WRITER}
    write_parquet(path, table.filter(pc.invert(gone)).replace_schema_metadata(of_pandas), about)


def _read(folder: Folder, name: str) -> pd.DataFrame | None:
    """A table; None: it is damaged, and so of no use, or not there."""
    try:
        return folder.read_table_if_there(name)
    except DamagedFile:
        return None


def _read_json(folder: Folder, name: str) -> dict | None:
    """The same of a JSON file. Nothing is removed here: a dry run changes nothing."""
    try:
        return folder.read_json(name)
    except (DamagedFile, FileNotFoundError):
        return None


def _count(folder: Folder, name: str, gone: frozenset[str]) -> int | None:
    """Rows of a table that are of the clips; 0 where it has no column clip_id, None where it cannot be read."""
    try:
        data = storage.read_bytes(folder.file(name))
        if "clip_id" not in pq.read_schema(pa.BufferReader(data)).names:
            return 0
        column = pq.read_table(pa.BufferReader(data), columns=["clip_id"]).column("clip_id")
    except (pa.ArrowException, OSError):
        return None
    return sum(clip_id in gone for clip_id in column.to_pylist())
