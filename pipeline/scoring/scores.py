"""Scores of every clip of a dataset by a run: `scores.parquet`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from models.virality.inputs import to_device
from models.virality.vdv import Vdv
from pipeline.core.errors import DataError
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import TRAIN
from pipeline.dataset.loading import ClipBatch, ClipDataset
from pipeline.metrics.ranking import percentile_within
from pipeline.runs.run import CONTEXT_SCORE, SCORES, Run
from pipeline.runs.train import load_run, warn_if_untrained
from pipeline.scoring.intervals import Calibration, calibrate, read_unseen
from pipeline.training.joint import read_context


def score_clips(dataset_folder: DatasetFolder, run_folder: Run, device: torch.device) -> None:
    """Writes one row a clip, labelled or not, in the dataset's order, to runs/<id>/scores.parquet.

    Columns: clip_id, challenge, split, label; score (higher: more popular within its challenge; null where abstained),
    percentile (of the score within the challenge, 0..1); expected_percentile, low, high (0..1, of the label within the
    challenge: the expected one and its interval at the run's level; see pipeline.scoring.intervals; null where
    abstained and where the challenge is unknown); abstained (the clip has no modality at all); for each modality of the
    run score_<modality> (its part of the score, which is their sum; null where the clip lacks it) and
    attention_<modality> (how much the part may move this clip's score, as a share; 0 where the clip lacks it). Of a run
    with the context: score_context (its part, which is in the score, and is not of the content).

    The score of a training clip is too good. Its expected percentile comes from the score of a model that did not see
    it, where there is one, else is null.

    Raises:
        DataError: the dataset's features are of another width than the run's.
    """
    model, run = load_run(run_folder, device)
    warn_if_untrained(run)
    table = score_table(dataset_folder, run_folder, model, run, device)
    unseen, _ = read_unseen(run_folder)
    score = table["score"].astype("float64")
    if run["dataset"] == dataset_folder.id:
        score_unseen = table["clip_id"].map(unseen.set_index("clip_id")["score"]).astype("float64")
        score = score.where(table["split"] != TRAIN, score_unseen)
    add_expected(table, calibrate(unseen, run["interval_level"]), score)
    run_folder.write_table(SCORES, table)


def score_table(
    dataset_folder: DatasetFolder, run_folder: Run, model: Vdv, run: Mapping, device: torch.device
) -> pd.DataFrame:
    """The table of `score_clips` without expected percentiles. model, run: as train.load_run gives them."""
    dataset = ClipDataset(dataset_folder, model.config, training=False)
    for modality, spec in dataset.inputs.items():
        if spec != model.inputs[modality]:
            raise DataError(
                f"{dataset_folder.place} has {modality} features {spec.width} wide, {run_folder.place} was trained on"
                f" {model.inputs[modality].width}; extract with the profile that the run was trained with"
            )
    dataset.inputs = model.inputs  # a modality that no clip of this dataset has is missing in every clip
    clips = dataset.clips
    scores = score_rows(model, dataset, range(len(clips)), device)
    table = pd.concat([clips[["clip_id", "challenge", "split", "label"]], scores], axis=1)
    table.insert(5, "percentile", percentile_within(table["score"], table["challenge"]))
    return table


def add_expected(table: pd.DataFrame, calibration: Calibration, score: pd.Series) -> None:
    """Inserts the columns of `Calibration.expect` for these scores behind the column percentile."""
    expected = calibration.expect(table["challenge"], score)
    at = table.columns.get_loc("percentile")
    for place, name in enumerate(expected, start=1):
        table.insert(at + place, name, expected[name])


def score_rows(model: Vdv, dataset: ClipDataset, rows: Sequence[int], device: torch.device) -> pd.DataFrame:
    """The columns of `score_clips` from score on that need no other clip, indexed by dataset row.

    `dataset` must have the model's modalities and sample as for scoring, not for training.
    """
    parts = [_score_batch(model, batch, device) for batch in dataset.in_batches(rows, model.config.batch_clips)]
    columns = {name: [value for part in parts for value in part[name]] for name in parts[0]} if parts else {}
    numbers = {name: "float64" for name in columns if name != "abstained"}  # also where no clip has a modality
    table = pd.DataFrame(columns, index=pd.Index(rows)).astype(numbers)
    if model.context is not None:
        with torch.inference_mode():
            context = model.context(read_context(model.context, dataset.clips.iloc[list(rows)]))
        table[CONTEXT_SCORE] = np.where(table["abstained"], np.nan, context.double().cpu().numpy())
        table["score"] += table[CONTEXT_SCORE]
    return table


@torch.inference_mode()
def _score_batch(model: Vdv, batch: ClipBatch, device: torch.device) -> dict[str, list]:
    """Columns of `score_rows` of a batch."""
    output = model(to_device(batch.inputs, device))
    columns = {"score": _or_none(output.score, ~output.abstained), "abstained": output.abstained.tolist()}
    for place, modality in enumerate(output.encoded):
        columns[f"score_{modality}"] = _or_none(output.parts[:, place], output.present[:, place])
        columns[f"attention_{modality}"] = output.attention[:, place].tolist()
    return columns


def _or_none(values: torch.Tensor, present: torch.Tensor) -> list[float | None]:
    return [value if known else None for value, known in zip(values.tolist(), present.tolist(), strict=True)]
