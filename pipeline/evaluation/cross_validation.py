"""The whole training judged on creators it never saw: each clip scored by the model of a fold that lacks it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch

from models.virality.config import VdvConfig
from pipeline.core import storage
from pipeline.core.child_processes import spawned_pool
from pipeline.dataset.assemble import read_clips, read_statistics, read_table
from pipeline.dataset.labels import ENGAGEMENT, LabelOptions
from pipeline.dataset.loading import ClipDataset
from pipeline.evaluation.baselines import BaselineInputs, Ridge, baseline_inputs, fit_and_predict, predict
from pipeline.evaluation.concatenation import concatenated
from pipeline.evaluation.other_fusions import fuse_otherwise
from pipeline.evaluation.predictors import BASELINE, FUSION, PERMUTED
from pipeline.evaluation.protocol import Fold, assert_apart, clip_groups, fold_labels, make_folds
from pipeline.scoring.scores import score_rows
from pipeline.training.checkpoints import mark
from pipeline.training.fit import fit


@dataclass(frozen=True)
class _Work:
    """One fold's work, as it goes to a process."""

    workspace: str
    dataset_dir: str
    config: VdvConfig
    device: torch.device
    options: LabelOptions
    fold: Fold
    number: int
    rivals: bool
    permuted: bool
    threads: int  # torch's
    checkpoints: str | None


def cross_validate(
    workspace: str,
    dataset_dir: str,
    config: VdvConfig,
    device: torch.device,
    folds: int = 5,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    protocol: str = "kfold",
    rivals: bool = False,
    permuted: bool = False,
    checkpoints: str | None = None,
    split_seed: int | None = None,
) -> pd.DataFrame:
    """Labelled clips of a dataset, scored by a model that saw no clip of their creators and no copy of their files.

    protocol.make_folds says which clips train and which are judged (`split_seed` deals them); the manifest's own split
    is not used. For each fold the labels are fitted on its training clips, encoders and fusion are trained on those,
    and its test clips are scored: what the product would have said of them. The same arguments give the same frame on
    one machine, bit for bit on a CPU, however many workers.

    Args:
        dataset_dir: relative to the workspace, as `dataset.assemble` wrote it; nothing is written.
        folds: at least 2; as many as there are creators where there are fewer.
        device: `cuda` without a number: folds are dealt over all GPUs that torch sees (deal_devices).
        workers: folds trained at a time on a device, each in a process of its own; 1 on a single device: in this one.
        progress: called with folds done and folds in all.
        protocol: one of protocol.PROTOCOLS.
        rivals: other predictors learn from the same training clips: baselines (classical.predict), other fusions of the
            fold's encoders (other_fusions.fuse_otherwise; concatenation.concatenated) and, as a control, a ridge
            regression on labels that were permuted.
        permuted: the model, too, is trained once more on permuted labels. Doubles the time.
        checkpoints: folder, anywhere that pipeline.core.storage writes, where finished folds and encoders are kept; the
            caller clears it. What is there is not trained again: of the same arguments nothing, and of a config that
            differs in one modality's network the other modalities' encoders. The frame is the same. None: nothing is
            kept.
        split_seed: of the folds; None: `config.seed`. Given, folds stay where the training's seed is another.

    Returns:
        One row a clip judged, in the dataset's order: clip_id, challenge, group (int64, one number for a creator's
        clips and copies of a file), fold, label (as fitted without the fold), percentile (of the label among the fold's
        training clips, 0..1), score, abstained, score_<modality> and attention_<modality> (see score.score_clips).
        Scores of different folds come from different models: evaluate.on_one_scale puts them on one.
        With `rivals`: baseline_<name>, fusion_<name>; label_permuted and permuted_ridge, and with `permuted`
        permuted_fused: engagement, followers and upload time are dealt anew among a challenge's clips before anything
        else is done, and the score is to be held against label_permuted. It must find nothing.

    Raises:
        DataError: the protocol's folds cannot be made; a fold has nothing to learn from.
    """
    clips = read_clips(workspace, dataset_dir)
    options = LabelOptions(**read_statistics(workspace, dataset_dir)["label"]["options"])
    made = make_folds(clips, protocol, folds, config.seed if split_seed is None else split_seed)
    # Sums depend on how many threads share them, and folds side by side, each of many threads, wait for one another.
    threads = 1 if device.type == "cpu" else torch.get_num_threads()
    devices = deal_devices(device, len(made), torch.cuda.device_count())
    work = [
        _Work(workspace, dataset_dir, config, at, options, fold, number, rivals, permuted, threads, checkpoints)
        for number, (fold, at) in enumerate(zip(made, devices, strict=True))
    ]
    parts = []
    for part in _run_all(work, workers):
        parts.append(part)
        if progress:
            progress(len(parts), len(work))
    return pd.concat(parts).sort_index().reset_index(drop=True)


def deal_devices(device: torch.device, folds: int, gpus: int) -> list[torch.device]:
    """The device of each fold: of `cuda` without a number, fold i's is GPU i modulo `gpus`; else it is `device`.

    gpus: how many the machine has.
    """
    if device.type != "cuda" or device.index is not None or gpus < 2:
        return [device] * folds
    return [torch.device("cuda", fold % gpus) for fold in range(folds)]


def _run_all(work: Sequence[_Work], workers: int) -> Iterator[pd.DataFrame]:
    """What `_run` gives of each fold, as they end."""
    by_device: dict[torch.device, list[_Work]] = {}
    for fold in work:
        by_device.setdefault(fold.device, []).append(fold)
    if len(work) == 1 or (workers == 1 and len(by_device) == 1):
        yield from map(_run, work)
        return
    with ExitStack() as stack:
        futures = []
        # A pool a device: no device has more folds at a time than it is to have, however long those of others take.
        for theirs in by_device.values():
            pool = stack.enter_context(spawned_pool(min(workers, len(theirs))))
            futures += [pool.submit(_run, fold) for fold in theirs]
        for done in as_completed(futures):
            yield done.result()


def permute_facts(clips: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The clips with engagement, followers and upload time dealt anew, together, among a challenge's labelled clips."""
    facts = [*ENGAGEMENT, "followers", "uploaded_at"]
    rng = np.random.default_rng(seed)
    source = np.arange(len(clips))
    labelled = clips["label"].notna().to_numpy(bool)
    for name in clips["challenge"].unique():
        rows = np.flatnonzero(labelled & (clips["challenge"] == name).to_numpy(bool))
        source[rows] = rng.permutation(rows)
    dealt = clips[facts].iloc[source].set_axis(clips.index)
    return clips.assign(**{name: dealt[name] for name in facts})


def _run(work: _Work) -> pd.DataFrame:
    """The fold's test clips, indexed by row."""
    before = torch.get_num_threads()
    torch.set_num_threads(work.threads)
    try:
        return _judge(work)
    finally:
        torch.set_num_threads(before)  # this may be the process that asked


def _judge(work: _Work) -> pd.DataFrame:
    plain = read_clips(work.workspace, work.dataset_dir)
    if work.checkpoints is None:
        return _judge_fold(work, plain)
    path = storage.join(work.checkpoints, f"fold-{work.number}.{_mark(work, plain)}.parquet")
    if storage.exists(path):
        return read_table(path)
    judged = _judge_fold(work, plain)
    with storage.staged(path) as local:
        judged.to_parquet(local)
    return judged


def _mark(work: _Work, clips: pd.DataFrame) -> str:
    return mark(
        work.device,
        dataset=work.dataset_dir,
        clips=clips,
        train=work.fold.train,
        test=work.fold.test,
        config=asdict(work.config),
        options=asdict(work.options),
        rivals=work.rivals,
        permuted=work.permuted,
    )


def _judge_fold(work: _Work, plain: pd.DataFrame) -> pd.DataFrame:
    groups = clip_groups(plain)
    rows = work.fold.test
    said, dataset, scores = _learn_and_score(work, plain, work.rivals)
    parts = [said, scores]
    if work.rivals:
        numbers = baseline_inputs(
            work.workspace, dataset, work.config, [*work.fold.train, *work.fold.test], work.fold.train
        )
        clips = dataset.clips
        percentile, challenge = clips["percentile"].to_numpy(float), clips["challenge"].to_numpy(str)
        found = predict(numbers, percentile, groups, challenge, work.fold, work.config.seed)
        parts.append(found.add_prefix(BASELINE))
        parts.append(_controls(work, permute_facts(plain, work.config.seed), numbers, groups))
    whole = pd.concat(parts, axis=1)
    whole.insert(2, "group", groups[rows])
    whole.insert(3, "fold", work.number)
    return whole


def _learn_and_score(work: _Work, clips: pd.DataFrame, fusions: bool) -> tuple[pd.DataFrame, ClipDataset, pd.DataFrame]:
    """What the test clips are, the dataset with the fold's labels, and the test clips' scores."""
    labels = fold_labels(clips, work.options, work.fold)
    clips = clips.assign(label=labels.label, percentile=labels.percentile, split=labels.split)
    dataset = ClipDataset(work.workspace, work.dataset_dir, work.config, training=True, clips=clips)
    fitted = fit(dataset, work.config, work.device, checkpoints=work.checkpoints)
    # What training really used, against what is tested: the folds' own check, once more at the end of the way.
    assert_apart(clips, clip_groups(clips), np.asarray(fitted.rows), work.fold.test)
    rows = work.fold.test.tolist()
    model = fitted.model.to(work.device)
    scores = score_rows(model, dataset.view(*model.modalities, training=False), rows, work.device)
    if fusions:
        others = fuse_otherwise(model.cpu(), fitted.held, scores, clips)
        others["concatenation"] = concatenated(dataset, fitted.rows, rows, clip_groups(clips), work.config, work.device)
        scores = pd.concat([scores, others.add_prefix(FUSION)], axis=1)
    return clips.loc[rows, ["clip_id", "challenge", "label", "percentile"]], dataset, scores


def _controls(work: _Work, clips: pd.DataFrame, numbers: BaselineInputs, groups: np.ndarray) -> pd.DataFrame:
    """What is learned of labels that mean nothing."""
    labels = fold_labels(clips, work.options, work.fold)
    challenge = clips["challenge"].to_numpy(str)
    found = {"label_permuted": labels.label[work.fold.test]}
    ridge = fit_and_predict(Ridge(), numbers.means, labels.percentile, groups, challenge, work.fold)
    if ridge is not None:
        found[f"{PERMUTED}ridge"] = ridge
    if work.permuted:
        _, _, scores = _learn_and_score(work, clips, fusions=False)
        found[f"{PERMUTED}fused"] = scores["score"].to_numpy(float, na_value=np.nan)
    return pd.DataFrame(found, index=work.fold.test)
