"""Every clip of a dataset scored by a run: `scores.parquet`."""

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader

from models.virality.inputs import to_device
from models.virality.vdv import Vdv
from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.dataset.labels import TRAIN
from pipeline.dataset.loading import ClipBatch, ClipDataset
from pipeline.metrics.ranking import percentile_within
from pipeline.runs.files import SCORES
from pipeline.runs.train import load_run, warn_if_untrained
from pipeline.scoring.intervals import Calibration, calibrate, read_judged


def score_clips(
    workspace: str, dataset_dir: str, run_dir: str, device: torch.device, out_path: str | None = None, workers: int = 0
) -> None:
    """Writes one row a clip, labelled or not, in the dataset's order.

    Columns: clip_id, challenge, split, label; score (higher: more popular within its challenge; null where abstained),
    percentile (of the score within the challenge, 0..1); expected_percentile, low, high (0..1, of the label within the
    challenge: what is to be expected, and the interval of the run's level around it; see pipeline.scoring.intervals;
    null where abstained and where the run cannot tell); abstained (the clip has no modality at all); for each modality
    of the run score_<modality> (null where the clip lacks it) and attention_<modality> (its weight in the fused score,
    0 where lacking).

    The score of a clip that was trained on flatters it. What is expected of it comes from the score of a model that
    did not see it, where there is one, else is null.

    Args:
        dataset_dir, run_dir, out_path: relative to the workspace; out_path: runs/<id>/scores.parquet unless given.

    Raises:
        DataError: the dataset's features are of another width than the run was trained on.
    """
    model, run = load_run(workspace, run_dir, device)
    table = score_table(workspace, dataset_dir, run_dir, model, run, device, workers)
    judged, _ = read_judged(workspace, run_dir)
    score = table["score"].astype("float64")
    if run["dataset"] == dataset_dir.rstrip("/").rsplit("/", 1)[-1]:
        unseen = table["clip_id"].map(judged.set_index("clip_id")["score"]).astype("float64")
        score = score.where(table["split"] != TRAIN, unseen)
    add_expected(table, calibrate(judged, run["interval_level"]), score)
    write_scores(storage.join(workspace, out_path or storage.join(run_dir, SCORES)), table)


def score_table(
    workspace: str, dataset_dir: str, run_dir: str, model: Vdv, run: Mapping, device: torch.device, workers: int = 0
) -> pd.DataFrame:
    """What `score_clips` writes, but for what is to be expected. model, run: as train.load_run gives them."""
    warn_if_untrained(run)
    dataset = ClipDataset(workspace, dataset_dir, model.config, training=False)
    for modality, spec in dataset.inputs.items():
        if spec != model.inputs[modality]:
            raise DataError(
                f"{dataset_dir} has {modality} features {spec.width} wide, {run_dir} was trained on"
                f" {model.inputs[modality].width};"
                " extract with the profile that the run was trained with"
            )
    dataset.inputs = model.inputs  # a modality that no clip of this dataset has is missing in each of them
    clips = dataset.clips
    scores = score_rows(model, dataset, range(len(clips)), device, workers)
    table = pd.concat([clips[["clip_id", "challenge", "split", "label"]], scores], axis=1)
    table.insert(5, "percentile", percentile_within(table["score"], table["challenge"]))
    return table


def add_expected(table: pd.DataFrame, calibration: Calibration, score: pd.Series) -> None:
    """Inserts what is to be expected of clips of these scores behind the column percentile."""
    expected = calibration.expect(table["challenge"], score)
    at = table.columns.get_loc("percentile")
    for place, name in enumerate(expected, start=1):
        table.insert(at + place, name, expected[name])


def write_scores(path: str, table: pd.DataFrame) -> None:
    with storage.staged(path) as local:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), local, compression="zstd")


def score_rows(
    model: Vdv, dataset: ClipDataset, rows: Sequence[int], device: torch.device, workers: int = 0
) -> pd.DataFrame:
    """score, abstained, score_<modality> and attention_<modality>, as `score_clips` writes them, of these rows of the
    dataset.

    Indexed by row. `dataset` must have the model's modalities and draw as for scoring, not for training.
    """
    size = model.config.batch_clips
    batches = [[(0, row) for row in rows[at : at + size]] for at in range(0, len(rows), size)]  # keys: (epoch, row)
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=dataset.collate, num_workers=workers)
    found = [_score_batch(model, batch, device) for batch in loader]
    columns = {name: [value for part in found for value in part[name]] for name in found[0]} if found else {}
    return pd.DataFrame(columns, index=pd.Index(rows))


@torch.inference_mode()
def _score_batch(model: torch.nn.Module, batch: ClipBatch, device: torch.device) -> dict[str, list]:
    """Columns of the batch's rows."""
    said = model(to_device(batch.inputs, device))
    columns = {
        "score": _where(said.score, ~said.abstained),
        "abstained": said.abstained.tolist(),
    }
    for place, (modality, encoded) in enumerate(said.encoded.items()):
        columns[f"score_{modality}"] = _where(encoded.score, encoded.present)
        columns[f"attention_{modality}"] = said.attention[:, place].tolist()
    return columns


def _where(values: torch.Tensor, there: torch.Tensor) -> list[float | None]:
    return [value if here else None for value, here in zip(values.tolist(), there.tolist(), strict=True)]
