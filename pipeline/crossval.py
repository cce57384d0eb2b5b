"""The whole training judged on creators it never saw: k folds by creator, each clip scored by the model without it."""

from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from models.config import VdvConfig
from pipeline.child_processes import spawned_pool
from pipeline.dataset import read_clips, read_statistics
from pipeline.errors import DataError
from pipeline.fit import fit
from pipeline.folds import deal_folds
from pipeline.labels import TEST, TRAIN, LabelOptions, Labels, group_clips, make_labels
from pipeline.loading import ClipDataset
from pipeline.score import score_rows


@dataclass(frozen=True)
class _Fold:
    """One fold's work, as it goes to a process."""

    workspace: str
    dataset_dir: str
    config: VdvConfig
    device: torch.device
    options: LabelOptions
    fold_of: np.ndarray  # int64 [clips], -1: no label
    fold: int
    threads: int  # torch's, here as in the process that asks: sums depend on how many there are


def cross_validate(
    workspace: str,
    dataset_dir: str,
    config: VdvConfig,
    device: torch.device,
    folds: int = 5,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Every labelled clip of a dataset, scored by a model that saw no clip of its creator and no copy of its file.

    Clips are dealt into folds by creator, every challenge spread over them; `config.seed` decides how. The manifest's
    own split is not used. For each fold the labels are fitted on the other folds' clips, encoders and fusion are
    trained on those, and the fold is scored: what the product would have said of it. The same arguments give the same
    frame on one machine, bit for bit on a CPU, however many workers.

    Args:
        dataset_dir: relative to the workspace, as `dataset.assemble` wrote it; nothing is written.
        folds: at least 2; as many as there are creators where there are fewer.
        workers: folds trained at a time, each in a process of its own; 1: in this one.
        progress: called with folds done and folds in all.

    Returns:
        One row a labelled clip, in the dataset's order: clip_id, challenge, group (int64, one number for a creator's
        clips and copies of a file), fold, label (as fitted without the fold), percentile (of the label among the fold's
        training clips, 0..1), score, abstained, score_<cue> and attention_<cue> (see score.score_clips). Scores of
        different folds come from different models: evaluate.judge_folds puts them on one scale.

    Raises:
        DataError: fewer than two folds can be made; a fold has nothing to learn from.
    """
    clips = read_clips(workspace, dataset_dir)
    options = LabelOptions(**read_statistics(workspace, dataset_dir)["label"]["options"])
    if folds < 2:
        raise DataError(f"{folds} folds asked for; cross-validation needs at least 2")
    labelled = np.flatnonzero(clips["label"].notna())
    groups = group_clips(clips["creator_id"], clips["content_hash"], clips.index)
    challenges = clips["challenge"].to_numpy(str)
    fold_of = np.full(len(clips), -1)
    fold_of[labelled] = deal_folds(groups[labelled], challenges[labelled].tolist(), folds, config.seed)
    count = int(fold_of.max()) + 1
    if count < 2:
        raise DataError(f"{len(labelled)} labelled clips are of {count} creators; cross-validation needs at least two")
    threads = torch.get_num_threads()
    work = [_Fold(workspace, dataset_dir, config, device, options, fold_of, fold, threads) for fold in range(count)]
    parts = []
    if workers > 1:
        with spawned_pool(min(workers, count)) as pool:
            for done in as_completed([pool.submit(_run, fold) for fold in work]):
                parts.append(done.result())
                if progress:
                    progress(len(parts), count)
    else:
        for fold in work:
            parts.append(_run(fold))
            if progress:
                progress(len(parts), count)
    return pd.concat(parts).sort_index().reset_index(drop=True)


def fold_labels(clips: pd.DataFrame, options: LabelOptions, fold_of: np.ndarray, fold: int) -> Labels:
    """Labels with this fold as the test clips and the others as the training clips.

    Raises:
        DataError: a creator, or copies of a file, would be on both sides.
    """
    split = np.where(fold_of == fold, TEST, TRAIN)
    return make_labels(clips.assign(split=pd.array(split, dtype="string")), options)


def _run(work: _Fold) -> pd.DataFrame:
    """The fold's test clips, indexed by row."""
    torch.set_num_threads(work.threads)
    clips = read_clips(work.workspace, work.dataset_dir)
    labels = fold_labels(clips, work.options, work.fold_of, work.fold)
    clips["label"], clips["percentile"], clips["split"] = labels.label, labels.percentile, labels.split
    dataset = ClipDataset(work.workspace, work.dataset_dir, work.config, training=True, clips=clips)
    fitted = fit(dataset, work.config, work.device)
    rows = np.flatnonzero(work.fold_of == work.fold).tolist()
    _assert_apart(clips, fitted.rows, rows)
    model = fitted.model.to(work.device)
    scores = score_rows(model, dataset.view(*model.cues, training=False), rows, work.device)
    said = clips.loc[rows, ["clip_id", "challenge", "label", "percentile"]]
    said.insert(2, "group", group_clips(clips["creator_id"], clips["content_hash"], clips.index)[rows])
    said.insert(3, "fold", work.fold)
    return pd.concat([said, scores], axis=1)


def _assert_apart(clips: pd.DataFrame, trained: list[int], tested: list[int]) -> None:
    """What training really used, against what is tested: the split's own check, once more at the end of the way."""
    groups = group_clips(clips["creator_id"], clips["content_hash"], clips.index)
    both = set(groups[trained]) & set(groups[tested])
    if both:
        raise AssertionError(f"{len(both)} creators were trained and tested on")
