"""The features of a dataset's clips in one modality, as a mapping."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.core import storage
from pipeline.core.errors import OptionError
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.rows import OPEN_SHARDS
from pipeline.features.reader import ReaderCache, tensors
from pipeline.modalities.record import ModalityRows
from pipeline.modalities.registry import extracted_names, find_extracted

if TYPE_CHECKING:
    import pandas as pd


class ClipFeatures(Mapping[str, Any]):
    """clip_id -> tensors, of the clips that have rows in a modality, in the dataset's order.

    A clip is read when it is asked for. It may be pickled and handed to the workers of a DataLoader; not for several
    threads at once.
    """

    def __init__(self, dataset: DatasetFolder, modality: str):
        """Raises OptionError where the dataset has no such modality, ProfileError where there is none, or a derived."""
        find_extracted(modality)
        clips = dataset.read_clips()
        there, column = modalities_of(clips), f"shard_{modality}"
        if modality not in there:
            raise OptionError(
                f"{dataset.path} has no {modality}, only {', '.join(there)}; BuildVDV with --modalities makes it"
            )
        self._workspace, self._dataset, self._modality = dataset.workspace, dataset.place, modality
        has_rows = clips[column].notna()
        self._shards = dict(zip(clips["clip_id"][has_rows], clips[column][has_rows], strict=True))
        self._lacking = {row["clip_id"]: _why(row, modality) for row in clips[~has_rows].to_dict("records")}
        self._open = ReaderCache(OPEN_SHARDS)

    def __getitem__(self, clip_id: str) -> Any:
        """A clip's PoseTensors, FaceTensors, of all other modalities FeatureTensors (pipeline.modalities).

        Raises:
            KeyError: the clip is not of the dataset, or failed, or has nothing in the modality; the message says which.
            WorkspaceError: its shard is missing or damaged.
        """
        return tensors(self._read(clip_id, crops=False))

    def rows(self, clip_id: str) -> ModalityRows:
        """The same as numpy arrays, with what tensors lack: crops of faces, categories of scenes. Raises the same."""
        return self._read(clip_id, crops=True)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._shards

    def __iter__(self) -> Iterator[str]:
        return iter(self._shards)

    def __len__(self) -> int:
        return len(self._shards)

    def __repr__(self) -> str:
        return f"<{self._modality} of {len(self)} clips, {len(self._lacking)} have none; {self._dataset}>"

    def _read(self, clip_id: str, crops: bool) -> ModalityRows:
        if clip_id not in self._shards:
            why = self._lacking.get(clip_id, f"it is no clip of {self._dataset}")
            raise KeyError(f"clip {clip_id} has no {self._modality}: {why}")
        reader = self._open.reader(storage.join(self._workspace, self._shards[clip_id]))
        if clip_id not in reader.clip_ids:
            raise KeyError(
                f"clip {clip_id} has no {self._modality} any more: its shard {reader.path} was made anew since; open"
                " the workspace again, after BuildVDV"
            )
        return reader.read(clip_id, crops)


def modalities_of(clips: "pd.DataFrame") -> list[str]:
    """The extracted modalities that a dataset has. clips: clips.parquet."""
    return [name for name in extracted_names() if f"shard_{name}" in clips]


def _why(clip: Mapping[str, Any], modality: str) -> str:
    """Why a clip of the dataset has no rows."""
    if clip["status"] == "failed":
        return f"it failed ({clip['code']}): {clip['reason']}"
    without = clip.get(f"without_{modality}")
    return f"it cannot be heard ({without})" if isinstance(without, str) else "it was decoded and gave none"
