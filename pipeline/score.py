"""Every clip of a dataset scored by a run: `scores.parquet`."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader

from models.vdv import Vdv
from pipeline import storage
from pipeline.errors import DataError
from pipeline.loading import ClipBatch, ClipDataset, to_device
from pipeline.run_files import SCORES
from pipeline.train import load_run, warn_if_untrained


def score_clips(
    workspace: str, dataset_dir: str, run_dir: str, device: torch.device, out_path: str | None = None, workers: int = 0
) -> None:
    """Writes one row a clip, labelled or not, in the dataset's order.

    Columns: clip_id, challenge, split, label; score (higher: more popular within its challenge; null where abstained),
    percentile (of the score within the challenge, 0..1), abstained (the clip has no cue at all); for each cue of the
    run score_<cue> (null where the clip lacks it) and attention_<cue> (its weight in the fused score, 0 where lacking).

    Args:
        dataset_dir, run_dir, out_path: relative to the workspace; out_path: runs/<id>/scores.parquet unless given.

    Raises:
        DataError: the dataset's features are of another width than the run was trained on.
    """
    model, run = load_run(workspace, run_dir, device)
    warn_if_untrained(run)
    dataset = ClipDataset(workspace, dataset_dir, model.config, training=False)
    for cue, width in dataset.widths.items():
        if width != run["features"][cue]:
            raise DataError(
                f"{dataset_dir} has {cue} features {width} wide, {run_dir} was trained on {run['features'][cue]};"
                " extract with the profile that the run was trained with"
            )
    dataset.widths = run["features"]  # a cue that no clip of this dataset has is missing in each of them
    clips = dataset.clips
    scores = score_rows(model, dataset, range(len(clips)), device, workers)
    table = pd.concat([clips[["clip_id", "challenge", "split", "label"]], scores], axis=1)
    if len(table):
        place = table.groupby("challenge")["score"].rank(method="average")
        count = table.groupby("challenge")["score"].transform("count")
        table.insert(5, "percentile", (place - 0.5) / count)
    path = storage.join(workspace, out_path or storage.join(run_dir, SCORES))
    with storage.staged(path) as local:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), local, compression="zstd")


def score_rows(
    model: Vdv, dataset: ClipDataset, rows: Sequence[int], device: torch.device, workers: int = 0
) -> pd.DataFrame:
    """score, abstained, score_<cue> and attention_<cue>, as `score_clips` writes them, of these rows of the dataset.

    Indexed by row. `dataset` must have the model's cues and draw as for scoring, not for training.
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
    said = model(to_device(batch.cues, device))
    columns = {
        "score": _where(said.score, ~said.abstained),
        "abstained": said.abstained.tolist(),
    }
    for place, (cue, encoded) in enumerate(said.encoded.items()):
        columns[f"score_{cue}"] = _where(encoded.score, encoded.present)
        columns[f"attention_{cue}"] = said.attention[:, place].tolist()
    return columns


def _where(values: torch.Tensor, there: torch.Tensor) -> list[float | None]:
    return [value if here else None for value, here in zip(values.tolist(), there.tolist(), strict=True)]
