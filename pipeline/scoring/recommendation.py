"""Recommended clips: the best of each challenge by any weighting of the modalities, spread over creators and looks.

runs/<id>/recommendations/<name>.parquet    a row a clip that is recommended, or would be by relevance alone
runs/<id>/recommendations/<name>.json       the same for programs, with the options

A clip's relevance is the weighted mean of its percentiles within the challenge. Clips are selected one by one, the next
being the one of highest (1 - diversity) * relevance - diversity * similarity to the most similar one selected (maximal
marginal relevance, Carbonell and Goldstein, SIGIR 1998; diversity is 1 - lambda). The percentiles, the value of a
missing modality and the similarity are ours.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.core import storage
from pipeline.dataset.labels import ENGAGEMENT, TRAIN
from pipeline.files.checksums import json_bytes, write_parquet
from pipeline.metrics.ranking import percentile_within
from pipeline.runs.purged import purged_text
from pipeline.runs.run import SCORES, Run, content_score, scored_modalities
from pipeline.scoring.intervals import read_unseen
from pipeline.scoring.recommendation_options import FUSED, RecommendOptions, eligible

FOLDER = "recommendations"
MISSING_PERCENTILE = 0.5  # of a missing modality, which adds nothing to the model's score, too

CREATOR, COPY, ALIKE = "creator", "copy", "alike"  # reasons to pass over a clip of high relevance


@dataclass(frozen=True)
class Candidates:
    """Clips to choose from, in the order of their clips.parquet, with their percentiles in the challenge.

    known: the run was trained on the challenge. unseen: the percentiles are from scores of a model that did not see the
    clip.
    """

    clips: pd.DataFrame  # clip_id, challenge, creator_id, copies, uploaded_at, engagement; known, unseen (bool)
    percentile: pd.DataFrame  # of each modality and of the fused score, 0..1; NaN: the clip lacks it


@dataclass(frozen=True)
class Selected:
    """One clip selected by `select`; rows are those of its arguments."""

    row: int
    value: float  # marginal relevance
    similarity: float  # to the most similar of those above it, 0..1
    nearest: int | None  # row of that one; None: nothing above it is similar at all


def read_candidates(run_folder: Run, options: RecommendOptions) -> Candidates:
    """All clips of the run, or of the uploads that `options` name; their other options are not looked at.

    Percentiles are among all clips of the challenge that have the score. The score of a training clip is too good, for
    its likes were seen: where there are folds by creator, the score of the fold's model replaces it, which saw nothing
    of the creator (`unseen`). What a run has learned of the context is left out: it is not of the content.
    """
    run = run_folder.about
    folder = options.folder(run_folder.workspace, run)
    clips = folder.read_clips()
    scores = (folder if options.uploads else run_folder).read_table(SCORES).set_index("clip_id")
    by_predictor = _by_predictor(scores)
    seen = pd.Series(False, by_predictor.index) if options.uploads else scores["split"] == TRAIN
    unseen, source = read_unseen(run_folder)
    if seen.any() and source == "folds":
        of_folds = _by_predictor(unseen.set_index("clip_id"))
        of_folds = of_folds[of_folds.index.isin(seen.index[seen])]
        by_predictor.loc[of_folds.index] = of_folds
        seen[of_folds.index] = False
    ordered = by_predictor.reindex(clips["clip_id"]).reset_index(drop=True)
    percentile = percentile_within(ordered, clips["challenge"])
    kept = clips[["clip_id", "challenge", "creator_id", "copies", "uploaded_at", *ENGAGEMENT]]
    known = clips["challenge"].isin(run["data"]["challenges"])
    return Candidates(kept.assign(known=known, unseen=~seen.reindex(clips["clip_id"]).to_numpy(bool)), percentile)


def _by_predictor(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of the content, float64: the fused one, without the context's part, and each modality's."""
    parts = {name: scores[f"score_{name}"].astype("float64") for name in scored_modalities(scores)}
    return pd.DataFrame({FUSED: content_score(scores), **parts})


def weighted_relevance(percentile: pd.DataFrame, weights: Mapping[str, float]) -> np.ndarray:
    """Weighted means of percentiles, float64 [N], 0..1.

    A modality that a clip lacks counts as MISSING_PERCENTILE, neither for nor against the clip. A clip that lacks all
    weighted modalities is NaN, and never recommended.
    """
    values = percentile[list(weights)].to_numpy(float)
    weight = np.array(list(weights.values()), float)
    counted = np.isfinite(values) & (weight > 0)
    mean = np.where(np.isfinite(values), values, MISSING_PERCENTILE) @ weight / weight.sum()
    return np.where(counted.any(1), mean, np.nan)


def similarity_to(embeddings: Mapping[str, np.ndarray], row: int) -> np.ndarray:
    """Cosine of each clip's embedding with that of `row`, mean over the modalities that both have, float64 [N], -1..1.

    0 where they share no modality. embeddings: as embeddings.read_embeddings gives them.
    """
    cosines = np.stack([values @ values[row] for values in embeddings.values()]).astype(float)
    both = np.isfinite(cosines)
    return np.where(both, cosines, 0.0).sum(0) / np.maximum(both.sum(0), 1)


def intra_list_diversity(embeddings: Mapping[str, np.ndarray], rows: list[int]) -> float:
    """1 - the mean similarity of the pairs among `rows`, 0..2; NaN of fewer than two."""
    if len(rows) < 2:
        return math.nan
    similarity = np.stack([similarity_to(embeddings, row)[rows] for row in rows])
    return float(1 - similarity[np.triu_indices(len(rows), 1)].mean())


def select(
    relevance: np.ndarray,
    embeddings: Mapping[str, np.ndarray],
    creator: np.ndarray,
    copies: np.ndarray,
    top: int,
    diversity: float,
    per_creator: int = 0,
) -> list[Selected]:
    """Up to `top` of N clips by maximal marginal relevance, best first; ties go to the higher relevance, then row.

    Similarity is that of `similarity_to`, at least 0: an opposite clip is no better than a different one.

    Args:
        relevance: float64 [N], 0..1; NaN: not to be selected.
        embeddings: by modality, [N, E].
        creator: object [N], None: unknown, without a limit.
        copies: object [N], the same for copies of one another, of which one is selected; None: no copy.
        diversity: 0, the most relevant ones, to 1, the most different ones from the most relevant.
        per_creator: most clips of one creator; 0: no limit.
    """
    order = np.argsort(-relevance, kind="stable")  # NaN last
    free = np.isfinite(relevance)
    similarity, nearest = np.zeros(len(relevance)), np.full(len(relevance), -1)
    selected: list[Selected] = []
    while len(selected) < top and free.any():
        value = (1 - diversity) * relevance - diversity * similarity
        row = int(order[np.argmax(np.where(free, value, -np.inf)[order])])
        others = None if nearest[row] < 0 else int(nearest[row])
        selected.append(Selected(row, float(value[row]), float(similarity[row]), others))
        free[row] = False
        if copies[row] is not None:
            free &= copies != copies[row]
        rows = [one.row for one in selected]
        if per_creator and creator[row] is not None and (creator[rows] == creator[row]).sum() >= per_creator:
            free &= creator != creator[row]
        to_row = similarity_to(embeddings, row)
        closer = to_row > similarity
        similarity, nearest = np.where(closer, to_row, similarity), np.where(closer, row, nearest)
    return selected


def recommend(candidates: Candidates, embeddings: Mapping[str, np.ndarray], options: RecommendOptions) -> pd.DataFrame:
    """The recommended clips of each challenge and, behind them, clips among its first `top` by relevance passed over.

    Columns: challenge; place (from 1; null: passed over); clip_id, creator_id; relevance; relevance_place (by relevance
    alone, among the clips to choose from); value (marginal relevance; NaN: passed over); similarity, most_similar (to
    which of those above it, of a clip passed over to which of all recommended; null: to none); passed_over (CREATOR,
    COPY or ALIKE; null: recommended), instead (the clip recommended in its place); missing (weighted modalities that
    the clip lacks); unseen (see Candidates); percentile_<modality>, percentile_fused.
    """
    clips, percentile = candidates.clips, candidates.percentile
    relevance = weighted_relevance(percentile, dict(options.weights))
    relevance[~eligible(clips, options)] = np.nan
    rows: list[dict] = []
    for _, group in clips.sort_values("clip_id").groupby("challenge"):
        at = group.index.to_numpy()
        of_group = {modality: values[at] for modality, values in embeddings.items()}
        for place, row, others in _of_challenge(group, relevance[at], of_group, options):
            missing = [
                modality
                for modality, weight in options.weights
                if weight and not percentile[modality].notna().iat[at[row]]
            ]
            clip = group.iloc[row]
            percentiles = {f"percentile_{modality}": value for modality, value in percentile.iloc[at[row]].items()}
            rows.append(
                {"challenge": clip["challenge"], "place": place, "clip_id": clip["clip_id"],
                 "creator_id": clip["creator_id"], "relevance": relevance[at[row]], **others,
                 "missing": ",".join(missing) or None, "unseen": clip["unseen"], **percentiles}
            )  # fmt: skip
    columns = [*_COLUMNS, *(f"percentile_{modality}" for modality in percentile)]
    return pd.DataFrame(rows, columns=columns).astype(_TYPES)


_TYPES = {
    "challenge": "string", "place": "Int32", "clip_id": "string", "creator_id": "string", "relevance": "float64",
    "relevance_place": "Int32", "value": "float64", "similarity": "float64", "most_similar": "string",
    "passed_over": "string", "instead": "string", "missing": "string", "unseen": "bool",
}  # fmt: skip
_COLUMNS = tuple(_TYPES)


def _of_challenge(
    clips: pd.DataFrame, relevance: np.ndarray, embeddings: Mapping[str, np.ndarray], options: RecommendOptions
) -> Iterator[tuple[int | None, int, dict]]:
    """(place, row, other columns of `recommend`) of one challenge's clips; those passed over last, place None."""
    creator, copies = _or_none(clips["creator_id"]), _or_none(clips["copies"])
    ids = clips["clip_id"].to_list()
    selected = select(relevance, embeddings, creator, copies, options.top, options.diversity, options.per_creator)
    order = np.argsort(-relevance, kind="stable")[: np.isfinite(relevance).sum()].tolist()
    by_relevance = {row: place for place, row in enumerate(order, start=1)}
    for place, one in enumerate(selected, start=1):
        nearest = None if one.nearest is None else ids[one.nearest]
        yield place, one.row, {"relevance_place": by_relevance[one.row], "value": one.value,
                               "similarity": one.similarity, "most_similar": nearest}  # fmt: skip
    taken = [one.row for one in selected]
    for row in order[: options.top]:
        if row in taken:
            continue
        similarity = similarity_to(embeddings, row)[taken]
        closest = int(similarity.argmax())
        nearest = ids[taken[closest]] if similarity[closest] > 0 else None
        same = [other for other in taken if copies[row] is not None and copies[other] == copies[row]]
        of_creator = [other for other in taken if creator[row] is not None and creator[other] == creator[row]]
        full = options.per_creator and len(of_creator) >= options.per_creator
        reason, instead = (COPY, ids[same[0]]) if same else (CREATOR, ids[of_creator[0]]) if full else (ALIKE, nearest)
        yield None, row, {"relevance_place": by_relevance[row], "similarity": max(float(similarity[closest]), 0.0),
                          "most_similar": nearest, "passed_over": reason, "instead": instead}  # fmt: skip


def _or_none(column: pd.Series) -> np.ndarray:
    """The column as object [N], None where missing."""
    return column.astype(object).where(column.notna(), None).to_numpy(object)


def summary(
    candidates: Candidates, embeddings: Mapping[str, np.ndarray], options: RecommendOptions, table: pd.DataFrame
) -> list[dict]:
    """Relevance and diversity of each challenge's recommended clips, beside those of its first by relevance alone.

    name; known (the run was trained on it); clips; to_choose_from; relevance and diversity (means of the list,
    `intra_list_diversity`), each with `_undiversified`: of as many clips by relevance alone.
    """
    row_of = pd.Series(np.arange(len(candidates.clips)), candidates.clips["clip_id"])
    relevance = weighted_relevance(candidates.percentile, dict(options.weights))
    free = eligible(candidates.clips, options) & np.isfinite(relevance)
    summaries = []
    for name, group in candidates.clips.groupby("challenge"):
        if options.challenge not in ("", name):
            continue
        of_challenge = table[table["challenge"] == name]
        recommended = row_of[of_challenge.loc[of_challenge["place"].notna(), "clip_id"]].tolist()
        undiversified = row_of[of_challenge.sort_values("relevance_place")["clip_id"]].tolist()[: len(recommended)]
        about: dict = {"name": str(name), "known": bool(group["known"].all()), "clips": len(group)}
        about["to_choose_from"] = int(free[group.index].sum())
        for ending, rows in (("", recommended), ("_undiversified", undiversified)):
            about[f"relevance{ending}"] = float(relevance[rows].mean()) if rows else math.nan
            about[f"diversity{ending}"] = intra_list_diversity(embeddings, rows)
        summaries.append(about)
    return summaries


@dataclass(frozen=True)
class Recommendation:
    """Recommended clips, and the files that hold them."""

    table: pd.DataFrame  # as `recommend` gives it
    challenges: list[dict]  # as `summary` gives it
    parquet: str
    json: str


def write_recommendation(
    run_folder: Run, embeddings: Mapping[str, np.ndarray], options: RecommendOptions, name: str = ""
) -> Recommendation:
    """Recommends from a finished run and writes both files, the JSON last. name: of the files; "": options.name()."""
    candidates = read_candidates(run_folder, options)
    table = recommend(candidates, embeddings, options)
    challenges = summary(candidates, embeddings, options, table)
    path = run_folder.file(FOLDER, name or options.name())
    write_parquet(f"{path}.parquet", pa.Table.from_pandas(table, preserve_index=False))
    rows = table.astype(object).where(table.notna(), None)
    content = {
        "run": run_folder.id,
        "purged": purged_text(run_folder),
        "asked": asdict(options) | {"weights": dict(options.weights)},
        "challenges": [
            {key: None if value != value else value for key, value in about.items()}
            | {"recommended": _records(rows, about["name"], True), "passed_over": _records(rows, about["name"], False)}
            for about in challenges
        ],
    }
    storage.write_bytes(f"{path}.json", json_bytes(f"{path}.json", content))
    return Recommendation(table, challenges, f"{path}.parquet", f"{path}.json")


def _records(rows: pd.DataFrame, challenge: str, taken: bool) -> list[dict]:
    chosen = rows[(rows["challenge"] == challenge) & (rows["place"].notna() == taken)]
    return chosen.drop(columns="challenge").to_dict("records")
