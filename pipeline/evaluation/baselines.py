"""Predictors that are no networks: what the model must beat. All of scikit-learn, fitted on training clips alone."""

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

from models.virality.config import VdvConfig
from pipeline.core import storage
from pipeline.dataset.loading import ClipDataset
from pipeline.evaluation.pose_statistics import TREES, pose_statistics
from pipeline.evaluation.protocol import Fold
from pipeline.features.reader import ShardReader
from pipeline.modalities.pose import PoseRows, read_lead

_PENALTIES = 10.0 ** np.arange(-3, 4)  # of ridge, to choose from, a feature: from hardly any to hardly any slope
_INNER_FOLDS = 5  # by creator, that choose the penalty


@dataclass(frozen=True)
class BaselineInputs:
    """Numbers of each of N clips that know nothing of its label; NaN where a clip lacks them. One row a clip."""

    followers: np.ndarray  # float64 [N, 1] log(followers + 1)
    followers_age: np.ndarray  # float64 [N, 2] and log(days before the last upload + 1)
    duration: np.ndarray  # float64 [N, 1] log(seconds + 1)
    means: np.ndarray  # float32 [N, D] every modality's features, mean over time
    pose: np.ndarray  # float32 [N, S] pose_statistics of the lead dancer; S = 0 without the skeleton


def predict(
    numbers: BaselineInputs,
    percentile: np.ndarray,
    groups: np.ndarray,
    challenge: np.ndarray,
    fold: Fold,
    seed: int = 0,
) -> pd.DataFrame:
    """Each baseline's scores of a fold's test clips, learned from its training clips.

    All are trained towards the percentile's normal score on numbers less the mean of the challenge's training clips (of
    a challenge without any: of all), in units of their spread: they are told what a challenge is, as a network that
    ranks within it is.

    Args:
        percentile: float64 [N], NaN for clips without a label.
        groups: int64 [N], creators: they choose ridge's penalty by cross-validation.
        challenge: str [N]
        seed: of the trees.

    Returns:
        float64 columns by baseline, indexed by row. A baseline none of whose numbers is known in training is missing.
    """
    both = np.concatenate([numbers.means, numbers.pose], 1)
    given: tuple[tuple[str, np.ndarray, RegressorMixin], ...] = (
        ("followers_age", numbers.followers_age, LinearRegression()),
        ("duration", numbers.duration, LinearRegression()),
        ("ridge_means", numbers.means, Ridge()),
        ("boosting_means", numbers.means, _boosting(seed)),
        ("trees_pose", numbers.pose, _trees(seed)),
        *((("ridge_all", both, Ridge()), ("trees_all", both, _trees(seed))) if numbers.pose.shape[1] else ()),
    )
    said = {}
    if np.isfinite(numbers.followers[fold.train]).any():
        said["followers"] = numbers.followers[fold.test, 0]
    for name, columns, regressor in given:
        found = fit_and_predict(regressor, columns, percentile, groups, challenge, fold)
        if found is not None:
            said[name] = found
    return pd.DataFrame(said, index=fold.test, dtype=float)


def fit_and_predict(
    regressor: RegressorMixin,
    columns: np.ndarray,
    percentile: np.ndarray,
    groups: np.ndarray,
    challenge: np.ndarray,
    fold: Fold,
) -> np.ndarray | None:
    """float64 [test clips], as `predict` has it, of one regressor on columns [N, D]; None: no column varies.

    Of Ridge, the penalty is chosen here.
    """
    train = fold.train[np.isfinite(percentile[fold.train])]
    design = within_challenge(columns, challenge, train)
    if not design.shape[1]:
        return None
    target = ndtri(np.clip(percentile[train], 0.01, 0.99))
    if isinstance(regressor, Ridge):
        regressor = _penalty_chosen(design[train], target, groups[train])
    # Sums depend on how many threads share them, and processes that each take all cores are slower together.
    with threadpool_limits(1):
        return regressor.fit(design[train], target).predict(design[fold.test])


def _penalty_chosen(design: np.ndarray, target: np.ndarray, groups: np.ndarray) -> Ridge:
    """Ridge with the penalty that predicts creators left out best."""
    penalties = _PENALTIES * design.shape[1]
    folds = min(_INNER_FOLDS, len(np.unique(groups)))
    if folds < 2:
        return Ridge(alpha=design.shape[1])
    search = GridSearchCV(Ridge(), {"alpha": penalties}, cv=GroupKFold(folds), scoring="neg_mean_squared_error")
    with threadpool_limits(1):
        return Ridge(alpha=search.fit(design, target, groups=groups).best_params_["alpha"])


def _boosting(seed: int) -> HistGradientBoostingRegressor:
    """Small trees in small steps, for a few hundred to a few thousand clips."""
    return HistGradientBoostingRegressor(
        learning_rate=0.05, max_iter=150, max_leaf_nodes=8, min_samples_leaf=10, l2_regularization=1.0,
        max_features=0.3, early_stopping=False, random_state=seed,
    )  # fmt: skip


def _trees(seed: int) -> ExtraTreesRegressor:
    return ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=1 / 3, random_state=seed)


def within_challenge(columns: np.ndarray, challenge: np.ndarray, train: np.ndarray) -> np.ndarray:
    """float64 [N, known]: standardised within the challenge by its training clips; what is missing is their mean, 0.

    Columns that do not vary over the training clips are left out.
    """
    values = columns.astype(float)
    seen = values[train]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about columns that nobody in a challenge has
        overall = np.nanmean(seen, 0)
        mean = np.tile(overall, (len(values), 1))
        for name in np.unique(challenge[train]):
            own = np.nanmean(values[train[challenge[train] == name]], 0)
            mean[challenge == name] = np.where(np.isfinite(own), own, overall)
        spread = np.nanstd((values - mean)[train], 0)
    kept = np.isfinite(spread) & (spread > 1e-9)
    return np.nan_to_num((values - mean)[:, kept] / spread[kept])


def baseline_inputs(
    workspace: str, dataset: ClipDataset, config: VdvConfig, rows: Sequence[int], train: np.ndarray
) -> BaselineInputs:
    """The numbers of these rows of the dataset, NaN for all other rows.

    train: rows whose last upload a clip's age is counted from, as the label `adjusted` does.
    """
    clips = dataset.clips
    followers = np.log1p(clips["followers"].to_numpy("float64", na_value=np.nan))[:, None]
    uploaded = pd.to_datetime(clips["uploaded_at"], utc=True)
    days = (uploaded.iloc[train].max() - uploaded).dt.total_seconds().to_numpy(float, na_value=np.nan) / 86400
    age = np.log1p(np.clip(days, 0, None))[:, None]
    duration = np.log1p(clips["duration_s"].to_numpy("float64", na_value=np.nan))[:, None]
    means = _mean_features(dataset, rows)
    pose = np.zeros((len(clips), 0), np.float32)
    if "pose" in dataset.inputs:
        pose = _filled(len(clips), _pose_statistics(workspace, dataset, config, rows))
    return BaselineInputs(followers, np.concatenate([followers, age], 1), duration, means, pose)


def _mean_features(dataset: ClipDataset, rows: Sequence[int]) -> np.ndarray:
    """float32 [N, D]: means over the frames that are there; of the skeleton's motion streams, of their size."""
    view = dataset.view(*dataset.inputs, training=False)
    found: dict[str, dict[int, np.ndarray]] = {modality: {} for modality in dataset.inputs}
    for row in rows:
        for modality, said in view[(0, row)].inputs.items():
            values, mask = said.values.numpy(), said.mask.numpy()
            if modality == "pose":  # [K, 9, T, V] and [K, T, V] -> [T, 9 V], NaN where a joint is not seen
                values = np.where(mask[:, None], np.concatenate([values[:, :4], np.abs(values[:, 4:])], 1), np.nan)
                values = values.transpose(0, 2, 1, 3).reshape(-1, values.shape[1] * values.shape[3])
            else:
                values = values[mask]
            if len(values) and mask.any():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # numpy's, about joints that are never seen
                    found[modality][row] = np.nanmean(values, 0)
    return np.concatenate([_filled(len(dataset.clips), of_modality) for of_modality in found.values()], 1)


def _pose_statistics(
    workspace: str, dataset: ClipDataset, config: VdvConfig, rows: Sequence[int]
) -> dict[int, np.ndarray]:
    """By row, of the clips in which the lead is seen. Reads the shards one after the other."""
    by_shard: dict[str, list[int]] = {}
    for row in rows:
        path = dataset.shard_path(row, "pose")
        if path is not None:
            by_shard.setdefault(path, []).append(row)
    found = {}
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
                        found[row] = pose_statistics(posture)
        finally:
            reader.close()
    return found


def _filled(count: int, by_row: Mapping[int, np.ndarray]) -> np.ndarray:
    """float32 [count, width of the values]; NaN in rows without one; width 0 where there is none at all."""
    width = len(next(iter(by_row.values()))) if by_row else 0
    whole = np.full((count, width), np.nan, np.float32)
    for row, values in by_row.items():
        whole[row] = values
    return whole
