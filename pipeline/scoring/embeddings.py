"""Embeddings of clips by a run's encoders, as unit vectors whose products are cosine similarities.

runs/<id>/embeddings.parquet    made at the first use, then read from there
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import DamagedFile, DataError
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.parquet_files import reading
from pipeline.files.checksums import check_parquet, write_parquet
from pipeline.runs.run import EMBEDDINGS, SCORES, Run

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_SCHEMA = "1"  # of the file, which holds the layers without centring; raised when they change meaning


def read_embeddings(dataset_folder: DatasetFolder, run_folder: Run, device: "torch.device") -> dict[str, np.ndarray]:
    """Embeddings by modality of the run, float32 [N, E], rows as in the dataset's clips.parquet; NaN where lacking.

    A row is the pooled layer from which the encoder's network reads its score, less that layer's mean over the clips
    that have the modality, scaled to length 1 (0 where nothing is left). Without centring all clips look alike: most of
    the layer is common to all. The product of two rows is their cosine, -1..1. E differs between modalities.

    Args:
        dataset_folder: the one that the run was trained on.

    Raises:
        DataError: the run was trained on another dataset.
        WorkspaceError: a file is missing, damaged or of another schema.
    """
    run = run_folder.about
    dataset_id = dataset_folder.id
    if run["dataset"] != dataset_id:
        raise DataError(
            f"{run_folder.place} was trained on datasets/{run['dataset']}, not on {dataset_folder.place}; only the"
            " clips of its own dataset can be laid beside one another"
        )
    layers = _layers_of_run(run_folder, run, device)
    return {modality: unit_rows(values, _mean(values)) for modality, values in layers.items()}


def read_upload_embeddings(
    uploads_folder: DatasetFolder, run_folder: Run, device: "torch.device"
) -> dict[str, np.ndarray]:
    """`read_embeddings` of clips that ScoreUploads scored with the run; rows as in their clips.parquet, not kept.

    The mean is that of the run's own clips: a few uploads that are all alike stay alike.

    Raises:
        DataError: another run scored the uploads.
        WorkspaceError: as `read_embeddings`.
    """
    run = run_folder.about
    of_run = _layers_of_run(run_folder, run, device)
    layers, scores = _encode(uploads_folder, run_folder, device)
    table = uploads_folder.read_table(SCORES)
    for modality, score in scores.items():
        column = table.get(f"score_{modality}")
        if column is None or not np.allclose(score, column.astype("float64"), rtol=1e-2, atol=1e-2, equal_nan=True):
            raise DataError(
                f"{uploads_folder.place} was not scored by {run_folder.place}, or the run was trained anew since; give"
                " the run that scored it with --run, or score it again with ScoreUploads"
            )
    return {modality: unit_rows(values, _mean(of_run[modality])) for modality, values in layers.items()}


def unit_rows(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Rows of values [N, E] less the mean [E], scaled to length 1, float32; NaN rows stay."""
    centred = values.astype(np.float64) - mean
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    # Of identical clips only rounding errors are left, which are no direction.
    least = 1e-6 * np.linalg.norm(mean)
    return np.where(size <= least, centred * 0, centred / np.maximum(size, 1e-30)).astype(np.float32)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of the finite rows, float64 [E]; 0 where there is none."""
    finite = np.isfinite(values).all(1)
    return values[finite].mean(0, dtype=np.float64) if finite.any() else np.zeros(values.shape[1])


def _layers_of_run(run_folder: Run, run: Mapping, device: "torch.device") -> dict[str, np.ndarray]:
    """Pooled layers of the run's own clips by modality, float32 [N, E]; kept in the run's folder."""
    path, dataset_folder = run_folder.file(EMBEDDINGS), DatasetFolder.of(run_folder.workspace, run["dataset"])
    about = {"schema": _SCHEMA, "dataset": run["dataset"], "finished_at": run["finished_at"]}
    kept = _read(path, about) if storage.exists(path) else None
    if kept is not None:
        return kept
    layers, _ = _encode(dataset_folder, run_folder, device)
    _write(path, dataset_folder.read_clips()["clip_id"].tolist(), layers, about)
    return layers


def _encode(
    dataset_folder: DatasetFolder, run_folder: Run, device: "torch.device"
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The encoders' pooled layers, float32 [N, E], and the parts of the score, [N], by modality; NaN where lacking."""
    # Imports of seconds, not needed where embeddings are kept.
    import torch

    from models.virality.inputs import to_device
    from models.virality.vdv import encode
    from pipeline.dataset.loading import ClipDataset
    from pipeline.runs.train import load_run

    model, _ = load_run(run_folder, device)
    dataset = ClipDataset(dataset_folder, model.config, training=False)
    dataset.inputs = model.inputs  # a modality that no clip of this dataset has is missing in every clip
    layers: dict[str, list[np.ndarray]] = {modality: [] for modality in model.modalities}
    scores: dict[str, list[np.ndarray]] = {modality: [] for modality in model.modalities}
    with torch.inference_mode():
        for batch in dataset.in_batches(range(len(dataset)), model.config.batch_clips):
            for modality, sequence in to_device(batch.inputs, device).items():
                output = encode(model.encoders[modality], sequence)
                part = model.part(modality)(model.read(modality, sequence, output))[:, None]
                for parts, values in ((layers[modality], output.embedding), (scores[modality], part)):
                    parts.append(values.masked_fill(~output.present[:, None], torch.nan).float().cpu().numpy())
    whole = {modality: np.concatenate(parts) for modality, parts in layers.items()}
    return whole, {modality: np.concatenate(parts)[:, 0] for modality, parts in scores.items()}


def _write(path: str, clip_ids: list[str], layers: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Writes a row a clip: clip_id, and each modality's vector as a fixed-size list, null where lacking."""
    columns: dict[str, pa.Array] = {"clip_id": pa.array(clip_ids, pa.string())}
    for modality, values in layers.items():
        missing = pa.array(~np.isfinite(values).all(1))
        flat = pa.array(values.reshape(-1), pa.float32())
        columns[modality] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=missing)
    table = pa.table(columns)
    write_parquet(path, table, about)


def _read(path: str, about: Mapping[str, str]) -> dict[str, np.ndarray] | None:
    """Layers by modality; None: another training or another version wrote the file, or it was damaged."""
    with reading(path):
        data = storage.read_bytes(path)
        try:
            metadata = check_parquet(path, data)
        except DamagedFile as damaged:
            log.warning(f"{path} is damaged ({damaged.what}); it is made again")
            return None
        if any(metadata.get(key) != value for key, value in about.items()):
            return None
        table = pq.read_table(pa.BufferReader(data))
        return {modality: _rows(table.column(modality).combine_chunks()) for modality in table.column_names[1:]}


def _rows(column: pa.FixedSizeListArray) -> np.ndarray:
    """The column as float32 [N, E], NaN where null."""
    values = np.full((len(column), column.type.list_size), np.nan, np.float32)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    values[valid] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, values.shape[1])
    return values
