"""Cross-validation of the whole training: each clip is scored by a model that saw nothing of its creator."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from models.virality.config import VdvConfig
from pipeline.cluster.calls import call_on_cluster
from pipeline.cluster.connection import Cluster
from pipeline.cluster.staging import absolute
from pipeline.core import storage
from pipeline.core.child_processes import spawned_pool
from pipeline.dataset.context import REACH
from pipeline.dataset.folder import STATISTICS, DatasetFolder
from pipeline.dataset.labels import ENGAGEMENT, LabelOptions
from pipeline.dataset.loading import ClipDataset
from pipeline.evaluation.baselines import BaselineInputs, Ridge, baseline_inputs, baseline_scores, fit_and_predict
from pipeline.evaluation.concatenation import concatenation_scores
from pipeline.evaluation.other_fusions import other_fusion_scores, read_evidence
from pipeline.evaluation.predictors import BASELINE, FUSION, PERMUTED
from pipeline.evaluation.protocol import Fold, assert_apart, clip_groups, fold_labels, make_folds
from pipeline.files.checksums import write_parquet
from pipeline.files.folder import read_table
from pipeline.scoring.scores import score_rows
from pipeline.training.checkpoints import cache_key, forget_damaged
from pipeline.training.fit import fit


@dataclass(frozen=True)
class _FoldTask:
    """Training and scoring of one fold, as it goes to a process."""

    dataset_folder: DatasetFolder
    config: VdvConfig
    device: torch.device
    options: LabelOptions
    fold: Fold
    number: int
    baselines: bool
    permuted: bool
    threads: int  # torch's
    checkpoints: str | None


def cross_validate(
    dataset_folder: DatasetFolder,
    config: VdvConfig,
    device: torch.device,
    folds: int = 5,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    protocol: str = "kfold",
    baselines: bool = False,
    permuted: bool = False,
    checkpoints: str | None = None,
    split_seed: int | None = None,
    cluster: Cluster | None = None,
) -> pd.DataFrame:
    """Scores of labelled clips by models that saw no clip of their creators and no copy of their files.

    Each fold fits labels, encoders and the joint model on its training clips, and scores its test clips; the manifest's
    own split is not used. The same arguments give the same frame on one machine, on a CPU bit for bit, with any
    `workers`.

    Args:
        dataset_folder: as `dataset.assemble` wrote it; nothing is written.
        folds, protocol, split_seed: as protocol.make_folds takes them; split_seed None: `config.seed`. Given, folds
            stay the same where the training's seed is another.
        device: `cuda` without a number: folds are spread over all GPUs that torch sees (assign_devices).
        workers: folds trained at a time on a device, each in a process of its own; 1 on a single device: in this one.
        progress: called with folds done and folds in all, first of all with 0.
        baselines: fit the baselines, other fusions and a control with permuted labels on the same training clips, too.
        permuted: train the model once more on permuted labels, as a control. Doubles the time.
        checkpoints: folder, anywhere that pipeline.core.storage writes, that keeps finished folds and encoders; the
            caller clears it. What it holds is not trained again: of the same arguments nothing, and of a config that
            differs in one modality's network the other modalities' encoders. The frame is the same. None: none is kept.
        cluster: the Ray cluster on whose machines folds are trained, each on a core or a GPU; `device` and `workers`
            are not looked at. Processors of another kind give other last digits.

    Returns:
        One row a test clip, in the dataset's order; columns as `_score_fold` gives them. Scores of different folds come
        from different models: tables.on_one_scale makes them comparable.

    Raises:
        DataError: the protocol's folds cannot be made; a fold has nothing to learn from.
        OptionError, WorkspaceError, WorkerError: of a cluster, as call_on_cluster has them.
    """
    clips = dataset_folder.read_clips()
    splits = make_folds(clips, protocol, folds, config.seed if split_seed is None else split_seed)
    parts = score_folds(
        dataset_folder, splits, config, device, workers, progress, baselines=baselines, permuted=permuted,
        checkpoints=checkpoints, cluster=cluster,
    )  # fmt: skip
    return pd.concat(parts).sort_index().reset_index(drop=True)


def score_folds(
    dataset_folder: DatasetFolder,
    folds: Sequence[Fold],
    config: VdvConfig,
    device: torch.device,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    baselines: bool = False,
    permuted: bool = False,
    checkpoints: str | None = None,
    cluster: Cluster | None = None,
) -> list[pd.DataFrame]:
    """A frame of each fold's test clips, in the order of the folds, indexed by row of the dataset.

    Arguments and columns are those of `cross_validate`.
    """
    options = LabelOptions(**dataset_folder.read_statistics()["label"]["options"])
    # Sums depend on how many threads share them, and folds side by side, each of many threads, wait for one another.
    threads = 1 if device.type == "cpu" else torch.get_num_threads()
    devices = assign_devices(device, len(folds), torch.cuda.device_count())
    tasks = [
        _FoldTask(dataset_folder, config, at, options, fold, number, baselines, permuted, threads, checkpoints)
        for number, (fold, at) in enumerate(zip(folds, devices, strict=True))
    ]
    parts: dict[int, pd.DataFrame] = {}
    if progress:
        progress(0, len(tasks))
    for part in _run_on_cluster(tasks, cluster) if cluster else _run_all(tasks, workers):
        parts[int(part["fold"].iloc[0])] = part
        if progress:
            progress(len(parts), len(tasks))
    return [parts[number] for number in range(len(tasks))]


def assign_devices(device: torch.device, folds: int, gpus: int) -> list[torch.device]:
    """The device of each fold: of `cuda` without a number, fold i's is GPU i modulo `gpus`; else it is `device`.

    gpus: how many the machine has.
    """
    if device.type != "cuda" or device.index is not None or gpus < 2:
        return [device] * folds
    return [torch.device("cuda", fold % gpus) for fold in range(folds)]


def _run_all(tasks: Sequence[_FoldTask], workers: int) -> Iterator[pd.DataFrame]:
    """The frame of each fold, as they end."""
    by_device: dict[torch.device, list[_FoldTask]] = {}
    for task in tasks:
        by_device.setdefault(task.device, []).append(task)
    if len(tasks) == 1 or (workers == 1 and len(by_device) == 1):
        yield from map(_run, tasks)
        return
    with ExitStack() as stack:
        futures = []
        # A pool a device: none has more folds at a time than `workers`, however long those of others take.
        for of_device in by_device.values():
            pool = stack.enter_context(spawned_pool(min(workers, len(of_device))))
            futures += [pool.submit(_run, task) for task in of_device]
        for done in as_completed(futures):
            yield done.result()


def _run_on_cluster(tasks: Sequence[_FoldTask], cluster: Cluster) -> Iterator[pd.DataFrame]:
    """The frame of each fold, as they end."""
    place = tasks[0].dataset_folder
    folder = replace(place, workspace=absolute(place.workspace))
    tasks = [
        replace(task, dataset_folder=folder, checkpoints=task.checkpoints and absolute(task.checkpoints))
        for task in tasks
    ]
    return call_on_cluster(cluster, _run_there, tasks, folder.workspace, folder.file(STATISTICS))


def _run_there(task: _FoldTask, device: str) -> pd.DataFrame:
    return _run(replace(task, device=torch.device(device)))


def permute_engagement(clips: pd.DataFrame, seed: int, context: bool = False) -> pd.DataFrame:
    """The clips with engagement permuted among a challenge's labelled clips, and what a label is adjusted for with it.

    context: the model reads what a label would be adjusted for, which therefore stays where it is.
    """
    columns = [*ENGAGEMENT] if context else [*ENGAGEMENT, *REACH, "uploaded_at"]
    rng = np.random.default_rng(seed)
    source = np.arange(len(clips))
    labelled = clips["label"].notna().to_numpy(bool)
    for name in clips["challenge"].unique():
        rows = np.flatnonzero(labelled & (clips["challenge"] == name).to_numpy(bool))
        source[rows] = rng.permutation(rows)
    permuted = clips[columns].iloc[source].set_axis(clips.index)
    return clips.assign(**{name: permuted[name] for name in columns})


def _run(task: _FoldTask) -> pd.DataFrame:
    """The fold's test clips, indexed by row; read from its checkpoint where there is one."""
    clips = task.dataset_folder.read_clips()
    threads = torch.get_num_threads()
    torch.set_num_threads(task.threads)
    try:
        if task.checkpoints is None:
            return _score_fold(task, clips)
        path = storage.join(task.checkpoints, f"fold-{task.number}.{_cache_key(task, clips)}.parquet")
        with forget_damaged(path):
            if storage.exists(path):
                return read_table(path)
        scores = _score_fold(task, clips)
        write_parquet(path, pa.Table.from_pandas(scores))
        return scores
    finally:
        torch.set_num_threads(threads)  # this may be the caller's process


def _cache_key(task: _FoldTask, clips: pd.DataFrame) -> str:
    return cache_key(
        __name__,
        task.device,
        dataset=task.dataset_folder.place,
        clips=clips,
        train=task.fold.train,
        test=task.fold.test,
        config=asdict(task.config),
        options=asdict(task.options),
        baselines=task.baselines,
        permuted=task.permuted,
    )


def _score_fold(task: _FoldTask, clips: pd.DataFrame) -> pd.DataFrame:
    """Scores of the fold's test clips by everything that its training clips trained, indexed by row.

    Columns: clip_id, challenge, group (int64, the same for a creator's clips and copies of a file), fold, label (as
    fitted without the fold), percentile (of the label among the fold's training clips, 0..1), score, abstained,
    score_<modality> and attention_<modality> (see scores.score_clips).

    With `baselines`: baseline_<name> (baseline_scores), fusion_<name> (other_fusion_scores, concatenation_scores),
    label_permuted, permuted_ridge and, with `permuted`, permuted_fused. For these controls engagement, what is known of
    the creator and upload time are permuted within a challenge before anything else; compared with label_permuted they
    must be at chance.
    """
    groups = clip_groups(clips)
    train, test = task.fold.train, task.fold.test
    scores, dataset = _train_and_score(task, clips, task.baselines)
    parts = [scores]
    if task.baselines:
        inputs = baseline_inputs(task.dataset_folder.workspace, dataset, task.config, [*train, *test], train)
        percentile = dataset.clips["percentile"].to_numpy(float)
        challenge = dataset.clips["challenge"].to_numpy(str)
        by_baseline = baseline_scores(inputs, percentile, groups, challenge, train, test, task.config.seed)
        parts.append(by_baseline.add_prefix(BASELINE))
        parts.append(_controls(task, permute_engagement(clips, task.config.seed, task.config.context), inputs, groups))
    frame = pd.concat(parts, axis=1)
    frame.insert(2, "group", groups[test])
    frame.insert(3, "fold", task.number)
    return frame


def _train_and_score(task: _FoldTask, clips: pd.DataFrame, fusions: bool) -> tuple[pd.DataFrame, ClipDataset]:
    """Test clips with labels and scores by the model and, with `fusions`, by others; the dataset with these labels."""
    labels = fold_labels(clips, task.options, task.fold)
    clips = clips.assign(label=labels.label, percentile=labels.percentile, split=labels.split)
    dataset = ClipDataset(task.dataset_folder, task.config, training=True, clips=clips)
    fitted = fit(dataset, task.config, task.device, checkpoints=task.checkpoints)
    # make_folds asserts the same; here of the rows that training has really used.
    assert_apart(clips, clip_groups(clips), fitted.clips.row, task.fold.test)
    rows = task.fold.test.tolist()
    model = fitted.model.to(task.device)
    scores = score_rows(model, dataset.view(*model.modalities, training=False), rows, task.device)
    parts = [clips.loc[rows, ["clip_id", "challenge", "label", "percentile"]], scores]
    if fusions:
        others = other_fusion_scores(fitted, read_evidence(model, dataset, rows, task.device), rows)
        others["concatenation"] = concatenation_scores(
            dataset, fitted.clips.row.tolist(), rows, task.config, task.device
        )
        parts.append(others.add_prefix(FUSION))
    return pd.concat(parts, axis=1), dataset


def _controls(task: _FoldTask, clips: pd.DataFrame, inputs: BaselineInputs, groups: np.ndarray) -> pd.DataFrame:
    """Scores by what was fitted on permuted labels. clips: of permute_engagement."""
    labels = fold_labels(clips, task.options, task.fold)
    challenge, test = clips["challenge"].to_numpy(str), task.fold.test
    columns = {"label_permuted": labels.label[test]}
    ridge = fit_and_predict(Ridge(), inputs.means, labels.percentile, groups, challenge, task.fold.train, test)
    if ridge is not None:
        columns[f"{PERMUTED}ridge"] = ridge
    if task.permuted:
        scores, _ = _train_and_score(task, clips, fusions=False)
        columns[f"{PERMUTED}fused"] = scores["score"].to_numpy(float, na_value=np.nan)
    return pd.DataFrame(columns, index=test)
