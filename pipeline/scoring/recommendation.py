"""Clips to show: the best of each challenge by any weighting of the modalities, spread over creators and looks.

runs/<id>/recommendations/<name>.parquet    a row a clip that is recommended, or would be by relevance alone
runs/<id>/recommendations/<name>.json       the same for programs, with what was asked

Percentiles within the challenge, weighed, are a clip's relevance; clips are then taken one by one, the next being the
one of highest (1 - diversity) * relevance - diversity * similarity to the most similar one taken (maximal marginal
relevance, Carbonell and Goldstein, SIGIR 1998; diversity is 1 - lambda). What is a percentile of, what a missing
modality counts, and similarity are ours.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.dataset.assemble import read_clips, read_table
from pipeline.dataset.labels import ENGAGEMENT, TRAIN
from pipeline.metrics.ranking import percentile_within
from pipeline.runs.files import SCORES
from pipeline.runs.runs import read_run
from pipeline.scoring.intervals import read_judged
from pipeline.scoring.recommendation_options import FUSED, RecommendOptions, eligible

FOLDER = "recommendations"
MIDDLE = (
    0.5  # the percentile that a missing modality counts as, as the fusion is drawn to the middle by what is missing
)

CREATOR, COPY, ALIKE = "creator", "copy", "alike"  # why a clip of high relevance is passed over


@dataclass(frozen=True)
class Standing:
    """Clips to choose from, in the order of their clips.parquet, and where each stands in its challenge.

    known: the run was trained on the challenge. unseen: the clip stands by scores of a model that did not see it.
    """

    clips: pd.DataFrame  # clip_id, challenge, creator_id, copies, uploaded_at, engagement; known, unseen (bool)
    percentile: pd.DataFrame  # of each modality and of the fused score, 0..1; NaN: the clip lacks it


@dataclass(frozen=True)
class Picked:
    """One clip taken; rows are places in what `pick` was given."""

    row: int
    value: float  # what it was taken for
    similarity: float  # to the most similar of those above it, 0..1
    nearest: int | None  # which that is; None: nothing above it is similar at all


def read_standing(workspace: str, run_dir: str, options: RecommendOptions) -> Standing:
    """Of all clips that `options` choose from, the run's own or uploads that it scored, whatever else they ask for.

    Percentiles are among all clips of the challenge that have the score. The score of a clip that was trained on
    flatters it: its likes were seen. Where the run was judged by folds of creators, such a clip stands by what the
    fold's model, which saw nothing of its creator, said of it (`unseen`).
    """
    run = read_run(workspace, run_dir)
    folder = options.folder(run)
    clips = read_clips(workspace, folder)
    scores = read_table(storage.join(workspace, folder if options.uploads else run_dir, SCORES)).set_index("clip_id")
    modalities = {name: name.removeprefix("score_") for name in scores if name.startswith("score_")}
    said = scores[["score", *modalities]].astype("float64")
    seen = pd.Series(False, said.index) if options.uploads else scores["split"] == TRAIN
    judged, source = read_judged(workspace, run_dir)
    if seen.any() and source == "folds":
        held = judged.set_index("clip_id")[list(said)].astype("float64")
        held = held[held.index.isin(seen.index[seen])]
        said.loc[held.index] = held
        seen[held.index] = False
    ordered = said.rename(columns={"score": FUSED} | modalities).reindex(clips["clip_id"]).reset_index(drop=True)
    percentile = percentile_within(ordered, clips["challenge"])
    kept = clips[["clip_id", "challenge", "creator_id", "copies", "uploaded_at", *ENGAGEMENT]]
    known = clips["challenge"].isin(run["data"]["challenges"])
    return Standing(kept.assign(known=known, unseen=~seen.reindex(clips["clip_id"]).to_numpy(bool)), percentile)


def relevance(percentile: pd.DataFrame, weights: Mapping[str, float]) -> np.ndarray:
    """float64 [N], 0..1: the weighted mean of percentiles.

    A modality that a clip lacks counts as the middle of its challenge, MIDDLE: it speaks neither for nor against the
    clip. A clip that lacks all that is asked for is NaN, and never recommended.
    """
    asked = percentile[list(weights)].to_numpy(float)
    weight = np.array(list(weights.values()), float)
    counted = np.isfinite(asked) & (weight > 0)
    mean = np.where(np.isfinite(asked), asked, MIDDLE) @ weight / weight.sum()
    return np.where(counted.any(1), mean, np.nan)


def likeness(embeddings: Mapping[str, np.ndarray], row: int) -> np.ndarray:
    """float64 [N], -1..1: the cosine of each clip's embedding with that of `row`, averaged over the modalities that
    both have; 0 where they share none. embeddings: as embeddings.read_embeddings gives them."""
    cosines = np.stack([values @ values[row] for values in embeddings.values()]).astype(float)
    both = np.isfinite(cosines)
    return np.where(both, cosines, 0.0).sum(0) / np.maximum(both.sum(0), 1)


def intra_list_diversity(embeddings: Mapping[str, np.ndarray], rows: list[int]) -> float:
    """1 - the mean `likeness` of the pairs among `rows`, 0..2; NaN of fewer than two."""
    if len(rows) < 2:
        return math.nan
    alike = np.stack([likeness(embeddings, row)[rows] for row in rows])
    return float(1 - alike[np.triu_indices(len(rows), 1)].mean())


def pick(
    wanted: np.ndarray,
    embeddings: Mapping[str, np.ndarray],
    creator: np.ndarray,
    copies: np.ndarray,
    top: int,
    diversity: float,
    per_creator: int = 0,
) -> list[Picked]:
    """Up to `top` of N clips by maximal marginal relevance, best first; ties go to the higher relevance, then row.

    Similarity is `likeness`, but 0 where that is below: being the opposite of a clip is no more than being different.

    Args:
        wanted: float64 [N] relevance, 0..1; NaN: not to be taken.
        embeddings: by modality, [N, E].
        creator: object [N], None: unknown, which no limit holds for.
        copies: object [N], one value for clips that are copies of one another, of which one is taken; None: no copy.
        diversity: 0, the most relevant ones, to 1, the most different ones from the most relevant.
        per_creator: most clips of one creator; 0: no limit.
    """
    order = np.argsort(-wanted, kind="stable")  # NaN last
    free = np.isfinite(wanted)
    similarity, nearest = np.zeros(len(wanted)), np.full(len(wanted), -1)
    picked: list[Picked] = []
    while len(picked) < top and free.any():
        value = (1 - diversity) * wanted - diversity * similarity
        row = int(order[np.argmax(np.where(free, value, -np.inf)[order])])
        others = None if nearest[row] < 0 else int(nearest[row])
        picked.append(Picked(row, float(value[row]), float(similarity[row]), others))
        free[row] = False
        if copies[row] is not None:
            free &= copies != copies[row]
        taken = [one.row for one in picked]
        if per_creator and creator[row] is not None and (creator[taken] == creator[row]).sum() >= per_creator:
            free &= creator != creator[row]
        alike = likeness(embeddings, row)
        closer = alike > similarity
        similarity, nearest = np.where(closer, alike, similarity), np.where(closer, row, nearest)
    return picked


def recommend(standing: Standing, embeddings: Mapping[str, np.ndarray], options: RecommendOptions) -> pd.DataFrame:
    """A row a clip that is recommended and, behind those of its challenge, one a clip that is among the challenge's
    first `top` by relevance alone and was passed over.

    Columns: challenge; place (from 1; null: passed over); clip_id, creator_id; relevance; relevance_place (by relevance
    alone, among the clips to choose from); value (what it was taken for; NaN: passed over); similarity, most_similar
    (to which of those above it, of a clip passed over to which of all recommended; null: to none); passed_over
    (CREATOR, COPY or ALIKE; null: recommended), instead (the clip that took its place by that); missing (modalities
    asked for that the clip lacks); unseen (it stands by scores of a model that did not see it); percentile_<modality>,
    percentile_fused.
    """
    clips, percentile = standing.clips, standing.percentile
    wanted = relevance(percentile, dict(options.weights))
    wanted[~eligible(clips, options)] = np.nan
    rows: list[dict] = []
    for _, group in clips.sort_values("clip_id").groupby("challenge"):
        at = group.index.to_numpy()
        here = {modality: values[at] for modality, values in embeddings.items()}
        for place, row, about in _of_challenge(group, wanted[at], here, options):
            missing = [
                modality
                for modality, weight in options.weights
                if weight and not percentile[modality].notna().iat[at[row]]
            ]
            clip = group.iloc[row]
            named = {f"percentile_{modality}": value for modality, value in percentile.iloc[at[row]].items()}
            rows.append(
                {"challenge": clip["challenge"], "place": place, "clip_id": clip["clip_id"],
                 "creator_id": clip["creator_id"], "relevance": wanted[at[row]], **about,
                 "missing": ",".join(missing) or None, "unseen": clip["unseen"], **named}
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
    clips: pd.DataFrame, wanted: np.ndarray, embeddings: Mapping[str, np.ndarray], options: RecommendOptions
) -> Iterator[tuple[int | None, int, dict]]:
    """(place, row, what `recommend` says beside) of one challenge's clips, those passed over last, place None."""
    creator, copies = _names(clips["creator_id"]), _names(clips["copies"])
    ids = clips["clip_id"].to_list()
    picked = pick(wanted, embeddings, creator, copies, options.top, options.diversity, options.per_creator)
    order = np.argsort(-wanted, kind="stable")[: np.isfinite(wanted).sum()].tolist()
    by_relevance = {row: place for place, row in enumerate(order, start=1)}
    for place, one in enumerate(picked, start=1):
        nearest = None if one.nearest is None else ids[one.nearest]
        yield place, one.row, {"relevance_place": by_relevance[one.row], "value": one.value,
                               "similarity": one.similarity, "most_similar": nearest}  # fmt: skip
    taken = [one.row for one in picked]
    for row in order[: options.top]:
        if row in taken:
            continue
        alike = likeness(embeddings, row)[taken]
        closest = int(alike.argmax())
        nearest = ids[taken[closest]] if alike[closest] > 0 else None
        same = [other for other in taken if copies[row] is not None and copies[other] == copies[row]]
        fellows = [other for other in taken if creator[row] is not None and creator[other] == creator[row]]
        full = options.per_creator and len(fellows) >= options.per_creator
        why, instead = (COPY, ids[same[0]]) if same else (CREATOR, ids[fellows[0]]) if full else (ALIKE, nearest)
        yield None, row, {"relevance_place": by_relevance[row], "similarity": max(float(alike[closest]), 0.0),
                          "most_similar": nearest, "passed_over": why, "instead": instead}  # fmt: skip


def _names(column: pd.Series) -> np.ndarray:
    """object [N], None where there is none."""
    return column.astype(object).where(column.notna(), None).to_numpy(object)


def summary(
    standing: Standing, embeddings: Mapping[str, np.ndarray], options: RecommendOptions, table: pd.DataFrame
) -> list[dict]:
    """What spreading cost and gave in each challenge: the clips recommended beside the first by relevance alone.

    name; known (the run was trained on it); clips; to_choose_from; relevance and diversity (means of the list,
    `intra_list_diversity`), each with `_undiversified`: of as many clips by relevance alone.
    """
    place = pd.Series(np.arange(len(standing.clips)), standing.clips["clip_id"])
    wanted = relevance(standing.percentile, dict(options.weights))
    free = eligible(standing.clips, options) & np.isfinite(wanted)
    found = []
    for name, group in standing.clips.groupby("challenge"):
        if options.challenge not in ("", name):
            continue
        here = table[table["challenge"] == name]
        taken = place[here.loc[here["place"].notna(), "clip_id"]].tolist()
        alone = place[here.sort_values("relevance_place")["clip_id"]].tolist()[: len(taken)]
        about: dict = {"name": str(name), "known": bool(group["known"].all()), "clips": len(group)}
        about["to_choose_from"] = int(free[group.index].sum())
        for ending, rows in (("", taken), ("_undiversified", alone)):
            about[f"relevance{ending}"] = float(wanted[rows].mean()) if rows else math.nan
            about[f"diversity{ending}"] = intra_list_diversity(embeddings, rows)
        found.append(about)
    return found


@dataclass(frozen=True)
class Recommended:
    """What was recommended, and where it is written."""

    table: pd.DataFrame  # as `recommend` gives it
    challenges: list[dict]  # as `summary` gives it
    parquet: str
    json: str


def write_recommendation(
    workspace: str, run_dir: str, embeddings: Mapping[str, np.ndarray], options: RecommendOptions, name: str = ""
) -> Recommended:
    """Recommends from a finished run and writes both files, the JSON last. name: of the files; "": options.name()."""
    standing = read_standing(workspace, run_dir, options)
    table = recommend(standing, embeddings, options)
    challenges = summary(standing, embeddings, options, table)
    path = storage.join(workspace, run_dir, FOLDER, name or options.name())
    with storage.staged(f"{path}.parquet") as local:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), local, compression="zstd")
    rows = table.astype(object).where(table.notna(), None)
    said = {
        "run": run_dir.rsplit("/", 1)[-1],
        "asked": asdict(options) | {"weights": dict(options.weights)},
        "challenges": [
            {key: None if value != value else value for key, value in about.items()}
            | {"recommended": _records(rows, about["name"], True), "passed_over": _records(rows, about["name"], False)}
            for about in challenges
        ],
    }
    storage.write_bytes(f"{path}.json", (json.dumps(said, indent=1) + "\n").encode())
    return Recommended(table, challenges, f"{path}.parquet", f"{path}.json")


def _records(rows: pd.DataFrame, challenge: str, taken: bool) -> list[dict]:
    here = rows[(rows["challenge"] == challenge) & (rows["place"].notna() == taken)]
    return here.drop(columns="challenge").to_dict("records")
