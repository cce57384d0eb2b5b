"""Contents of an export: a table of a run's clips, and their features, read one clip at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.core import storage
from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.dataset.folder import CLIPS, STATISTICS, DatasetFolder
from pipeline.features.plan import FEATURES
from pipeline.features.reader import ReaderCache
from pipeline.modalities.audio import AudioRows
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import ModalityRows
from pipeline.modalities.registry import extracted_names
from pipeline.runs.run import FOLDS, Run

OPEN_SHARDS = 16
FAILED = "failed"
# Of clips.parquet and scores.parquet: places in the workspace, and what identifies a file.
_INTERNAL = ("shard_", "content_hash", "line")
_COUNTS = {
    "pose": {"people": "number of people who are seen"},
    "face": {"faces": "number of faces in the sampled frames"},
    "audio": {"beats": "number of beats", "tempo": "beats a minute; 0: none found", "tempo_confidence": "0 to 1"},
}  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """A run's clips as they are exported."""

    run_folder: Run
    run: Mapping[str, Any]  # run.json
    statistics: Mapping[str, Any]  # of the dataset
    clips: pd.DataFrame  # clips.parquet; index 0..N-1
    about: pd.DataFrame  # one row a clip, of scalars: what `about_clips` gives
    modalities: tuple[str, ...]  # whose features go along
    biometrics: bool  # whether embeddings and crops of faces do

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have clips; training first."""
        names = self.about["split"].unique().tolist()
        return sorted(names, key=lambda name: (name != "train", name))

    def rows_of(self, split: str) -> list[int]:
        return np.flatnonzero((self.about["split"] == split).to_numpy(bool)).tolist()


@dataclass(frozen=True)
class ExportedClip:
    """One clip."""

    clip_id: str
    about: dict[str, Any]  # scalars by column of `Contents.about` and of `count_columns`; None where missing
    rows: dict[str, ModalityRows]  # by modality that the clip has


def read_contents(run_folder: Run, modalities: Sequence[str] = (), biometrics: bool = False) -> Contents:
    """The run's clips.

    Args:
        modalities: whose features go along; (): all extracted ones that the dataset has, but those whose
            folder was removed (docs/responsible-use.md).
        biometrics: whether embeddings and crops of faces do; without them faces are boxes, landmarks, probabilities.

    Raises:
        OptionError: the dataset does not have a modality.
        WorkspaceError: the run is of another schema, or a file is damaged or not there, as of a run not yet scored.
    """
    run = run_folder.about
    dataset = DatasetFolder.of(run_folder.workspace, run["dataset"])
    if lacking := [name for name in (CLIPS, STATISTICS) if not dataset.has(name)]:
        raise WorkspaceError(f"{dataset.file(lacking[0])} is not there; BuildVDV makes it again")
    clips, statistics = dataset.read_clips(), dataset.read_statistics()
    there = [name for name in extracted_names() if f"shard_{name}" in clips]
    kept = [name for name in there if any(storage.listing(storage.join(run_folder.workspace, FEATURES, name)))]
    if unknown := [name for name in modalities if name not in kept]:
        gone = "; its features were removed since" if set(unknown) <= set(there) else ""
        raise OptionError(f"--modalities {','.join(unknown)}: the dataset of the run has {', '.join(kept)}{gone}")
    chosen = tuple(name for name in kept if not modalities or name in modalities)
    about = about_clips(clips, run_folder.scores(), run_folder.read_table_if_there(FOLDS))
    return Contents(run_folder, run, statistics, clips, about, chosen, biometrics)


def about_clips(clips: pd.DataFrame, scores: pd.DataFrame, folds: pd.DataFrame | None) -> pd.DataFrame:
    """One row a clip, in the dataset's order: who and what it is, how it ended, its label, split, fold and scores.

    `percentile` becomes `label_percentile` and `score_percentile`; `score_unseen` is that by the fold's model, which
    saw nothing of the clip's creator.
    """
    kept = clips[[name for name in clips if not name.startswith(_INTERNAL)]]
    kept = kept.rename(columns={"percentile": "label_percentile"})
    scored = scores.set_index("clip_id").loc[clips["clip_id"]].reset_index(drop=True)
    scored = scored.drop(columns=[name for name in scored if name in clips and name != "percentile"])
    table = pd.concat([kept, scored.rename(columns={"percentile": "score_percentile"})], axis=1)
    fold, unseen = pd.NA, np.nan
    if folds is not None:
        judged = folds.drop_duplicates("clip_id").set_index("clip_id")  # other protocols may judge a clip twice
        fold, unseen = clips["clip_id"].map(judged["fold"]), clips["clip_id"].map(judged["score"])
    return table.assign(fold=pd.array(fold, "Int64") if folds is not None else pd.array([fold] * len(clips), "Int64"),
                        score_unseen=pd.Series(unseen, index=clips.index).astype("float64"))  # fmt: skip


def count_columns(modalities: Sequence[str]) -> dict[str, str]:
    """Names and meanings of the columns that are counted from features."""
    return {name: text for modality, columns in _COUNTS.items() if modality in modalities
            for name, text in columns.items()}  # fmt: skip


def count_rows(rows: Mapping[str, ModalityRows]) -> dict[str, Any]:
    """The values of `count_columns` of a clip's modalities."""
    counts: dict[str, Any] = {}
    if isinstance(pose := rows.get("pose"), PoseRows):
        counts["people"] = len(pose.tracks)
    if isinstance(face := rows.get("face"), FaceRows):
        counts["faces"] = len(face.frame)
    if isinstance(audio := rows.get("audio"), AudioRows):
        counts |= {"beats": len(audio.beats), "tempo": float(audio.tempo),
                   "tempo_confidence": float(audio.tempo_confidence)}  # fmt: skip
    return counts


def exported_clips(
    contents: Contents, rows: Sequence[int], read: Sequence[str] | None = None
) -> Iterator[ExportedClip]:
    """Clips of these rows, in their order, one at a time.

    read: the modalities whose features are read; None: all of the contents.
    """
    modalities = contents.modalities if read is None else read
    shards = ReaderCache(OPEN_SHARDS)
    names = [*contents.about, *count_columns(modalities)]
    try:
        for row in rows:
            clip_id = str(contents.clips["clip_id"].iat[row])
            found: dict[str, ModalityRows] = {}
            for modality in modalities:
                if pd.isna(shard := contents.clips[f"shard_{modality}"].iat[row]):
                    continue
                reader = shards.reader(storage.join(contents.run_folder.workspace, str(shard)))
                if clip_id in reader.clip_ids:  # a shard written again since may lack it
                    found[modality] = reader.read(clip_id, crops=contents.biometrics)
            values = {name: plain(contents.about[name].iat[row]) for name in contents.about} | count_rows(found)
            yield ExportedClip(clip_id, {name: values.get(name) for name in names}, found)
    finally:
        shards.close()


def plain(value: Any) -> Any:
    """A cell as Python's own type; None where it is missing."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def about_schema(contents: Contents, modalities: Sequence[str]) -> pa.Schema:
    """Arrow types of `ExportedClip.about`."""
    table = pa.Schema.from_pandas(contents.about, preserve_index=False)
    fields = [pa.field(field.name, pa.string() if pa.types.is_large_string(field.type) or pa.types.is_null(field.type)
                       else field.type) for field in table]  # fmt: skip
    counted = {"people": pa.int32(), "faces": pa.int32(), "beats": pa.int32(), "tempo": pa.float32(),
               "tempo_confidence": pa.float32()}  # fmt: skip
    return pa.schema([*fields, *(pa.field(name, counted[name]) for name in count_columns(modalities))])
