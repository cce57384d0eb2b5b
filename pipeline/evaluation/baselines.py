"""Baselines without a network, all of scikit-learn and fitted on training clips alone: the model must beat them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri
from sklearn.base import RegressorMixin
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from threadpoolctl import threadpool_limits

from models.virality.config import CONTEXT_NUMBERS, VdvConfig
from models.virality.pose_statistics import pose_statistics
from pipeline.core import storage
from pipeline.dataset.context import ContextUnits, context_numbers
from pipeline.dataset.loading import ClipDataset
from pipeline.features.reader import ShardReader
from pipeline.modalities.pose import PoseRows, read_lead

_PENALTIES = 10.0 ** np.arange(-3, 4)  # candidates for ridge, per feature: from hardly any to hardly any slope
_INNER_FOLDS = 5  # by creator, that choose the penalty
_TREES = 500


@dataclass(frozen=True)
class BaselineInputs:
    """Inputs of N clips, none of them derived from their labels; NaN where a clip lacks them. One row a clip."""

    followers: np.ndarray  # float64 [N, 1] log(followers + 1)
    duration: np.ndarray  # float64 [N, 1] log(seconds + 1)
    context: np.ndarray  # float64 [N, C] these two, and all else that is known before the clip is seen: context_numbers
    means: np.ndarray  # float32 [N, D] features of every modality, mean over time
    pose: np.ndarray  # float32 [N, S] pose_statistics of the lead dancer; S = 0 without the modality pose


def baseline_scores(
    inputs: BaselineInputs,
    percentile: np.ndarray,
    groups: np.ndarray,
    challenge: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of the test clips by each baseline, fitted on the training clips.

    The target is the percentile's normal score. Inputs are standardised within the challenge (`within_challenge`), so
    that a baseline knows the challenges, as a network that ranks within them does.

    Args:
        percentile: float64 [N], NaN for clips without a label.
        groups: int64 [N], creators, over which ridge's penalty is cross-validated.
        challenge: str [N]
        train, test: rows, int64.
        seed: of the trees.

    Returns:
        float64 columns by baseline, indexed by row. A baseline whose inputs are all unknown in training is missing.
    """
    both = np.concatenate([inputs.means, inputs.pose], 1)
    regressors: tuple[tuple[str, np.ndarray, RegressorMixin], ...] = (
        ("duration", inputs.duration, LinearRegression()),
        ("context", inputs.context, Ridge()),
        ("ridge_means", inputs.means, Ridge()),
        ("boosting_means", inputs.means, _boosting(seed)),
        ("trees_pose", inputs.pose, _trees(seed)),
        *((("ridge_all", both, Ridge()), ("trees_all", both, _trees(seed))) if inputs.pose.shape[1] else ()),
    )
    scores = {}
    if np.isfinite(inputs.followers[train]).any():
        scores["followers"] = inputs.followers[test, 0]
    for name, columns, regressor in regressors:
        predicted = fit_and_predict(regressor, columns, percentile, groups, challenge, train, test)
        if predicted is not None:
            scores[name] = predicted
    return pd.DataFrame(scores, index=test, dtype=float)


def fit_and_predict(
    regressor: RegressorMixin,
    columns: np.ndarray,
    percentile: np.ndarray,
    groups: np.ndarray,
    challenge: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> np.ndarray | None:
    """Scores of the test clips by one regressor on columns [N, D], float64 [test clips]; None: no column varies.

    Arguments as of `baseline_scores`. Of Ridge, the penalty is chosen here.
    """
    train = train[np.isfinite(percentile[train])]
    design = within_challenge(columns, challenge, train)
    if not design.shape[1]:
        return None
    target = ndtri(np.clip(percentile[train], 0.01, 0.99))
    if isinstance(regressor, Ridge):
        regressor = _tuned_ridge(design[train], target, groups[train])
    # Sums depend on how many threads share them, and processes that each take all cores are slower together.
    with threadpool_limits(1):
        return regressor.fit(design[train], target).predict(design[test])


def _tuned_ridge(design: np.ndarray, target: np.ndarray, groups: np.ndarray) -> Ridge:
    """Ridge with the penalty that predicts held-out creators best."""
    penalties = _PENALTIES * design.shape[1]
    folds = min(_INNER_FOLDS, len(np.unique(groups)))
    if folds < 2:
        return Ridge(alpha=design.shape[1])
    search = GridSearchCV(Ridge(), {"alpha": penalties}, cv=GroupKFold(folds), scoring="neg_mean_squared_error")
    with threadpool_limits(1):
        return Ridge(alpha=search.fit(design, target, groups=groups).best_params_["alpha"])


def _boosting(seed: int) -> HistGradientBoostingRegressor:
    """Small trees and steps, for a few hundred to a few thousand clips."""
    return HistGradientBoostingRegressor(
        learning_rate=0.05, max_iter=150, max_leaf_nodes=8, min_samples_leaf=10, l2_regularization=1.0,
        max_features=0.3, early_stopping=False, random_state=seed,
    )  # fmt: skip


def _trees(seed: int) -> ExtraTreesRegressor:
    return ExtraTreesRegressor(_TREES, min_samples_leaf=2, max_features=1 / 3, random_state=seed)


def within_challenge(columns: np.ndarray, challenge: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Columns standardised within the challenge by its training clips, float64 [N, known]; missing values are 0.

    The mean is that of the challenge's training clips (without any: of all), the spread that of all training clips.
    Columns that do not vary over the training clips are left out.
    """
    values = columns.astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about columns that nobody in a challenge has
        overall = np.nanmean(values[train], 0)
        mean = np.tile(overall, (len(values), 1))
        for name in np.unique(challenge[train]):
            within = np.nanmean(values[train[challenge[train] == name]], 0)
            mean[challenge == name] = np.where(np.isfinite(within), within, overall)
        spread = np.nanstd((values - mean)[train], 0)
    kept = np.isfinite(spread) & (spread > 1e-9)
    return np.nan_to_num((values - mean)[:, kept] / spread[kept])


def baseline_inputs(
    workspace: str, dataset: ClipDataset, config: VdvConfig, rows: Sequence[int], train: np.ndarray
) -> BaselineInputs:
    """Inputs of these rows of the dataset; NaN in all other rows.

    train: rows, of which ages and records are counted as for the label `adjusted`.
    """
    clips = dataset.clips
    context = context_numbers(clips, ContextUnits.of(clips.iloc[train]))
    followers, duration = (context[:, [CONTEXT_NUMBERS.index(name)]] for name in ("followers", "duration"))
    means = _mean_features(dataset, rows)
    pose = np.zeros((len(clips), 0), np.float32)
    if "pose" in dataset.inputs:
        pose = _filled(len(clips), _pose_statistics(workspace, dataset, config, rows))
    return BaselineInputs(followers, duration, context, means, pose)


def _mean_features(dataset: ClipDataset, rows: Sequence[int]) -> np.ndarray:
    """Means over the valid frames, float32 [N, D]; of the motion streams of the pose, means of absolute values."""
    view = dataset.view(*dataset.inputs, training=False)
    means: dict[str, dict[int, np.ndarray]] = {modality: {} for modality in dataset.inputs}
    for row in rows:
        for modality, sequence in view[(0, row)].inputs.items():
            values, mask = sequence.values.numpy(), sequence.mask.numpy()
            if dataset.inputs[
                modality
            ].is_skeleton:  # [K, 9, T, V] and [K, T, V] -> [T, 9 V], NaN where a joint is not seen
                values = np.where(mask[:, None], np.concatenate([values[:, :4], np.abs(values[:, 4:])], 1), np.nan)
                values = values.transpose(0, 2, 1, 3).reshape(-1, values.shape[1] * values.shape[3])
            else:
                values = values[mask]
            if len(values) and mask.any():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # numpy's, about joints that are never seen
                    means[modality][row] = np.nanmean(values, 0)
    return np.concatenate([_filled(len(dataset.clips), of_modality) for of_modality in means.values()], 1)


def _pose_statistics(
    workspace: str, dataset: ClipDataset, config: VdvConfig, rows: Sequence[int]
) -> dict[int, np.ndarray]:
    """`pose_statistics` by row, of the clips in which the lead dancer is seen. Reads one shard after the other."""
    by_shard: dict[str, list[int]] = {}
    for row in rows:
        path = dataset.shard_path(row, "pose")
        if path is not None:
            by_shard.setdefault(path, []).append(row)
    statistics = {}
    for path, members in by_shard.items():
        reader = ShardReader(storage.join(workspace, path))
        try:
            for row in members:
                clip_id = str(dataset.clips["clip_id"].iat[row])
                if clip_id in reader.clip_ids:
                    pose = reader.read(clip_id)
                    assert isinstance(pose, PoseRows)
                    posture = read_lead(pose.tracks, pose.grid.timestamp, config).posture
                    if posture is not None:
                        statistics[row] = pose_statistics(posture)
        finally:
            reader.close()
    return statistics


def _filled(count: int, by_row: Mapping[int, np.ndarray]) -> np.ndarray:
    """The rows' values, float32 [count, width]; NaN in rows without any; width 0 where no row has any."""
    width = len(next(iter(by_row.values()))) if by_row else 0
    whole = np.full((count, width), np.nan, np.float32)
    for row, values in by_row.items():
        whole[row] = values
    return whole
