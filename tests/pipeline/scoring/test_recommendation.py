"""Recommended clips: good by the weighted modalities, unlike one another, no creator and no film twice."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.dataset.folder import DatasetFolder
from pipeline.runs.run import Run
from pipeline.scoring.embeddings import read_embeddings, unit_rows
from pipeline.scoring.recommendation import (
    intra_list_diversity,
    read_candidates,
    recommend,
    select,
    similarity_to,
    summary,
    weighted_relevance,
    write_recommendation,
)
from pipeline.scoring.recommendation_options import (
    RecommendOptions,
    check_name,
    check_options,
    parse_weights,
    since_time,
)
from tests.pipeline.runs.test_train import CPU
from tests.support.made_once import Workspaces
from tests.support.small_run import RUN, make_run
from tests.support.whole_files import write_json

NAN = float("nan")


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    return workspaces.copy(make_run)


@pytest.fixture(scope="module")
def embeddings(workspace: Path) -> dict[str, np.ndarray]:
    return read_embeddings(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), RUN), CPU)


def recommended(workspace: Path, embeddings: dict[str, np.ndarray], **options: Any) -> pd.DataFrame:
    usual: dict[str, Any] = {"weights": (("fused", 1.0),), "top": 50, "per_creator": 0}
    asked = RecommendOptions(**(usual | options))
    return recommend(read_candidates(Run(str(workspace), RUN), asked), embeddings, asked).set_index("clip_id")


def looks(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    embeddings = {
        modality: unit_rows(rng.normal(size=(count, 4)).astype(np.float32), np.zeros(4))
        for modality in ("pose", "scene")
    }
    embeddings["scene"][1] = NAN
    return embeddings


def chosen(
    relevance: list[float], vectors: dict[str, np.ndarray], top: int, diversity: float, **more: Any
) -> list[int]:
    nobody = np.full(len(relevance), None, object)
    asked: dict[str, Any] = {"creator": nobody, "copies": nobody} | more
    return [one.row for one in select(np.array(relevance), vectors, top=top, diversity=diversity, **asked)]


# --- relevance


def test_relevance_is_the_weighted_mean_of_percentiles() -> None:
    percentile = pd.DataFrame({"pose": [0.9, 0.1], "scene": [0.3, 0.7], "face": [0.0, 1.0]})
    np.testing.assert_allclose(weighted_relevance(percentile, {"pose": 2.0, "scene": 1.0}), [0.7, 0.3])
    np.testing.assert_allclose(weighted_relevance(percentile, {"pose": 5.0, "face": 0.0}), [0.9, 0.1])


def test_a_missing_modality_counts_as_the_middle_and_a_clip_that_lacks_all_that_is_asked_for_is_out() -> None:
    percentile = pd.DataFrame({"pose": [NAN, 0.9, NAN], "scene": [0.8, NAN, NAN], "fused": [0.9, 0.9, 0.9]})
    np.testing.assert_allclose(weighted_relevance(percentile, {"pose": 1.0, "scene": 1.0}), [0.65, 0.7, NAN])
    np.testing.assert_allclose(weighted_relevance(percentile, {"pose": 1.0}), [NAN, 0.9, NAN])
    np.testing.assert_allclose(weighted_relevance(percentile, {"pose": 1.0, "scene": 0.0}), [NAN, 0.9, NAN])


# --- maximal marginal relevance


def test_without_diversity_the_most_relevant_are_taken_and_ties_go_to_the_first() -> None:
    assert chosen([0.2, 0.9, NAN, 0.9, 0.5], looks(5), top=3, diversity=0.0) == [1, 3, 4]


@pytest.mark.parametrize("diversity", [0.0, 0.3, 0.7, 1.0])
def test_each_clip_taken_is_the_one_of_highest_marginal_relevance(diversity: float) -> None:
    vectors, relevance = looks(30), np.random.default_rng(1).random(30)

    def alike(one: int, other: int) -> float:
        cosines = [float(np.dot(values[one], values[other])) for values in vectors.values()]
        return max(float(np.nanmean(cosines)), 0.0)

    expected: list[int] = [int(np.argmax(relevance))]
    while len(expected) < 12:
        left = [row for row in range(30) if row not in expected]
        value = {
            row: (1 - diversity) * relevance[row] - diversity * max(alike(row, taken) for taken in expected)
            for row in left
        }
        best = max(value.values())
        expected.append(max((row for row in left if value[row] > best - 1e-12), key=lambda row: relevance[row]))
    assert chosen(relevance.tolist(), vectors, top=12, diversity=diversity) == expected


def test_a_clip_like_one_above_it_gives_way_to_a_different_one_and_both_are_told() -> None:
    same = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    nobody = np.full(3, None, object)
    assert chosen([0.9, 0.8, 0.7], {"scene": same}, top=2, diversity=0.1) == [0, 2]
    first, second, third = select(np.array([0.9, 0.8, 0.7]), {"scene": same}, nobody, nobody, top=3, diversity=0.5)
    assert (first.nearest, first.similarity, first.value) == (None, 0.0, 0.45)
    assert (second.row, second.nearest, second.similarity) == (2, None, 0.0)
    assert (third.row, third.nearest, third.similarity) == (1, 0, 1.0)
    assert third.value == pytest.approx(0.5 * 0.8 - 0.5)


def test_the_opposite_of_a_clip_is_no_better_than_one_that_is_merely_different() -> None:
    around = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    assert chosen([0.9, 0.5, 0.4], {"scene": around}, top=3, diversity=1.0) == [0, 1, 2]


def test_clips_that_share_no_modality_are_not_alike() -> None:
    vectors = {"scene": np.array([[1, 0], [NAN, NAN]], np.float32), "face": np.array([[NAN, NAN], [0, 1]], np.float32)}
    assert similarity_to(vectors, 0).tolist() == [1.0, 0.0]
    assert intra_list_diversity(vectors, [0, 1]) == 1.0
    assert np.isnan(intra_list_diversity(vectors, [0]))


def test_diversity_of_a_list_is_one_less_the_mean_cosine_of_its_pairs() -> None:
    vectors = {"scene": np.array([[1, 0], [1, 0], [0, 1]], np.float32)}
    assert intra_list_diversity(vectors, [0, 1, 2]) == pytest.approx(1 - 1 / 3)
    assert intra_list_diversity(vectors, [0, 1]) == pytest.approx(0)


def test_no_creator_has_more_clips_than_asked_for_and_unknown_creators_are_not_one() -> None:
    creator = np.array(["ann", "ann", "ann", None, None, "bob"], object)
    relevance = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert chosen(relevance, looks(6), 6, 0.0, creator=creator, per_creator=1) == [0, 3, 4, 5]
    assert chosen(relevance, looks(6), 6, 0.0, creator=creator, per_creator=2) == [0, 1, 3, 4, 5]
    assert chosen(relevance, looks(6), 6, 0.0, creator=creator) == [0, 1, 2, 3, 4, 5]


def test_of_copies_one_is_taken_whoever_uploaded_them() -> None:
    copies = np.array(["a", None, "a", "a", None], object)
    creator = np.array(["ann", "bob", "cy", "di", "ed"], object)
    assert chosen([0.5, 0.6, 0.9, 0.8, 0.1], looks(5), 5, 0.0, creator=creator, copies=copies) == [2, 1, 4]


# --- of a run


def test_a_clip_that_was_trained_on_stands_by_what_a_fold_that_did_not_see_it_said(workspace: Path) -> None:
    candidates = read_candidates(Run(str(workspace), RUN), RecommendOptions())
    scores = pd.read_parquet(workspace / RUN / "scores.parquet").set_index("clip_id")
    folds = pd.read_parquet(workspace / RUN / "folds.parquet").set_index("clip_id")
    trained = scores["split"] == "train"
    assert trained.sum() > 20
    assert (~trained).sum() > 5
    names = ["score", "score_pose", "score_scene"]
    by_hand = scores[names].astype(float).copy()
    by_hand.loc[trained] = folds.loc[by_hand.index[trained], names].astype(float)
    for column, name in (("score", "fused"), ("score_pose", "pose"), ("score_scene", "scene")):
        for challenge, clips in candidates.clips.groupby("challenge"):
            values = by_hand.loc[clips["clip_id"], column]
            expected = (values.rank() - 0.5) / values.count()
            np.testing.assert_allclose(candidates.percentile.loc[clips.index, name], expected, err_msg=challenge)
    assert candidates.clips["unseen"].all()


def test_without_folds_it_stands_by_the_runs_own_score_and_that_is_told(workspace: Path) -> None:
    about = workspace / RUN / "folds.json"
    before = about.read_text()
    write_json(about, {"protocol": "kfold", "folds": 0, "clips": 0, "reason": "few"})
    try:
        candidates = read_candidates(Run(str(workspace), RUN), RecommendOptions())
    finally:
        about.write_text(before)
    scores = pd.read_parquet(workspace / RUN / "scores.parquet")
    np.testing.assert_allclose(candidates.percentile["fused"], scores["percentile"].astype(float))
    assert (candidates.clips["unseen"] == (scores["split"] != "train")).all()
    assert not candidates.clips["unseen"].all()


def test_only_clips_with_what_is_asked_for_are_recommended_and_copies_once(
    workspace: Path, embeddings: dict[str, np.ndarray]
) -> None:
    everything = recommended(workspace, embeddings, weights=parse_weights("pose=1,scene=1"))
    taken = everything[everything["place"].notna()]
    clips = pd.read_parquet(workspace / "datasets/one/clips.parquet")
    left_out = set(clips["clip_id"]) - set(taken.index)
    assert left_out == {"broken", *({"twin0", "twin1"} - set(taken.index))}
    assert len({"twin0", "twin1"} & set(taken.index)) == 1
    assert taken.loc["nobody", "missing"] == "pose"
    assert taken.loc["nobody", "relevance"] == pytest.approx((0.5 + taken.loc["nobody", "percentile_scene"]) / 2)
    assert taken["missing"].notna().sum() == 1
    assert "nobody" not in recommended(workspace, embeddings, weights=parse_weights("pose")).index


def test_places_count_from_one_in_each_challenge_and_follow_what_clips_were_taken_for(
    workspace: Path, embeddings: dict[str, np.ndarray]
) -> None:
    table = recommended(workspace, embeddings, top=5, diversity=0.0)
    for _, clips in table.groupby("challenge"):
        taken = clips[clips["place"].notna()]
        assert taken["place"].tolist() == [1, 2, 3, 4, 5]
        assert taken["relevance"].is_monotonic_decreasing
        assert taken["value"].is_monotonic_decreasing


def test_clips_passed_over_say_why_and_for_whom(workspace: Path, embeddings: dict[str, np.ndarray]) -> None:
    table = recommended(workspace, embeddings, top=12, per_creator=1, diversity=0.0)
    passed = table[table["place"].isna()]
    assert set(passed["passed_over"]) <= {"creator", "copy"}
    assert (passed["relevance_place"] <= 12).all()
    clips = pd.read_parquet(workspace / "datasets/one/clips.parquet").set_index("clip_id")
    by_creator = passed[passed["passed_over"] == "creator"]
    assert len(by_creator) > 3
    for clip_id, clip in by_creator.iterrows():
        assert clips.loc[clip["instead"], "creator_id"] == clips.loc[clip_id, "creator_id"]
        assert table.loc[clip["instead"], "place"] > 0
    copy = recommended(workspace, embeddings, diversity=0.0).loc[["twin0", "twin1"]].sort_values("relevance_place")
    assert copy["passed_over"].tolist()[1] == "copy"
    assert copy["instead"].tolist()[1] == copy.index[0]
    spread = recommended(workspace, embeddings, top=5, diversity=0.9)
    alike = spread[spread["passed_over"] == "alike"]
    assert len(alike)
    assert (alike["similarity"] > 0).all()
    assert (alike["instead"] == alike["most_similar"]).all()


def test_new_clips_are_those_without_engagement_and_since_counts_uploads(
    workspace: Path, embeddings: dict[str, np.ndarray]
) -> None:
    assert set(recommended(workspace, embeddings, new_only=True).index) == {"new0", "new1", "new2"}
    assert set(recommended(workspace, embeddings, since="2024-07-02").index) == {"new1", "new2"}
    assert set(recommended(workspace, embeddings, since="2024-07-02T13:00:00+01:00").index) == {"new1", "new2"}
    assert set(recommended(workspace, embeddings, since="2024-06-02", new_only=True).index) == {"new0", "new1", "new2"}
    assert set(recommended(workspace, embeddings, since="2024-06-02").index) == {"twin1", "new0", "new1", "new2"}
    one = recommended(workspace, embeddings, challenge="wave", new_only=True)
    assert one.index.tolist() == ["new2"]
    everybody = recommended(workspace, embeddings, diversity=0.0)
    assert one.loc["new2", "percentile_fused"] == everybody.loc["new2", "percentile_fused"], (
        "among all of the challenge"
    )


def test_the_summary_says_what_spreading_cost_and_gave(workspace: Path, embeddings: dict[str, np.ndarray]) -> None:
    candidates = read_candidates(Run(str(workspace), RUN), RecommendOptions())
    options = RecommendOptions(top=5, diversity=0.8, per_creator=0)
    table = recommend(candidates, embeddings, options)
    relevance = candidates.percentile["fused"]

    def diversity(clip_ids: pd.Series) -> float:
        rows = candidates.clips.index[candidates.clips["clip_id"].isin(clip_ids)].tolist()
        cosines = np.nanmean([(vectors @ vectors.T)[np.ix_(rows, rows)] for vectors in embeddings.values()], axis=0)
        return 1 - cosines[np.triu_indices(len(rows), 1)].mean()

    for about in summary(candidates, embeddings, options, table):
        here = table[(table["challenge"] == about["name"]) & table["place"].notna()]
        first = relevance[candidates.clips["challenge"] == about["name"]].nlargest(5)
        assert about["relevance"] == pytest.approx(here["relevance"].mean())
        assert about["relevance_undiversified"] == pytest.approx(first.mean())
        assert about["relevance"] < about["relevance_undiversified"]
        assert about["diversity"] == pytest.approx(diversity(here["clip_id"]))
        assert about["diversity"] > about["diversity_undiversified"]
        assert about["diversity_undiversified"] == pytest.approx(diversity(candidates.clips["clip_id"][first.index]))
    assert [about["clips"] for about in summary(candidates, embeddings, options, table)] == [20, 20]
    assert [about["to_choose_from"] for about in summary(candidates, embeddings, options, table)] == [20, 19]


def test_both_files_say_the_same_and_what_was_asked(workspace: Path, embeddings: dict[str, np.ndarray]) -> None:
    options = RecommendOptions(weights=(("scene", 2.0),), top=4)
    written = write_recommendation(Run(str(workspace), RUN), embeddings, options, "mine")
    assert written.parquet == f"{workspace}/{RUN}/recommendations/mine.parquet"
    table, content = pd.read_parquet(written.parquet), json.loads(Path(written.json).read_text())
    pd.testing.assert_frame_equal(table, written.table, check_dtype=False)
    assert content["asked"]["weights"] == {"scene": 2.0}
    for about in content["challenges"]:
        here = table[table["challenge"] == about["name"]]
        listed = [*about["recommended"], *about["passed_over"]]
        assert [clip["clip_id"] for clip in listed] == here["clip_id"].tolist()
        assert [clip["place"] for clip in listed] == [None if pd.isna(place) else place for place in here["place"]]
        assert len(about["recommended"]) == 4
    before = Path(written.parquet).read_bytes(), Path(written.json).read_bytes()
    write_recommendation(Run(str(workspace), RUN), embeddings, options, "mine")
    assert (Path(written.parquet).read_bytes(), Path(written.json).read_bytes()) == before
    unnamed = write_recommendation(Run(str(workspace), RUN), embeddings, options)
    other = write_recommendation(Run(str(workspace), RUN), embeddings, RecommendOptions())
    assert len({written.json, unnamed.json, other.json}) == 3


# --- what is refused


def test_weights_are_modalities_and_numbers() -> None:
    assert parse_weights(" pose=2, scene = 0.5 ,fused") == (("pose", 2.0), ("scene", 0.5), ("fused", 1.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dance=1", "names 'dance'; there are pose, .*, and fused"),
        ("skeleton=1", "names 'skeleton'"),
        ("pose=-1", "the weight '-1'; a weight is a number from 0 up"),
        ("pose=nan", "the weight 'nan'"),
        ("pose=inf", "the weight 'inf'"),
        ("pose=much", "the weight 'much'"),
        ("pose=", "the weight ''"),
        ("pose=0,scene=0", "leaves nothing to recommend by"),
        ("", "leaves nothing to recommend by"),
        ("face=1,face=2", "names face twice"),
    ],
)
def test_weights_that_make_no_sense_are_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=f"--weights .*{message}"):
        parse_weights(text)


def test_days_and_names_that_are_none_are_refused() -> None:
    for text in ("yesterday", "1712120512345", "2024-06-3018:00"):  # the second is 1712-12-05T23:45 to Python
        with pytest.raises(OptionError, match=f"--since is '{text}'; give a day"):
            since_time(text)
    with pytest.raises(OptionError, match=r"--name is '\.\./x'"):
        check_name("../x")
    check_name("june-picks")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weights": (("face", 1.0), ("scene", 1.0))},
            "names face, but the run was made without; it has pose, scene",
        ),
        ({"challenge": "polka"}, "--challenge 'polka' is none of those there: shuffle, wave"),
        ({"challenge": "wave\u200b"}, r"--challenge 'wave\\u200b' is none of those there: shuffle, wave"),
        ({"since": "2030-01-01"}, "no clip was uploaded then or later; the last is of 2024-07-03"),
        ({"since": "2024-07-03", "challenge": "shuffle"}, "no clip of shuffle was uploaded then or later"),
        ({"since": "soon"}, "--since is 'soon'"),
    ],
)
def test_what_the_run_does_not_have_is_refused_with_what_it_has(workspace: Path, options: dict, message: str) -> None:
    check_options(Run(str(workspace), RUN), RecommendOptions())
    with pytest.raises(OptionError, match=message):
        check_options(Run(str(workspace), RUN), RecommendOptions(**options))


def test_a_run_without_scores_is_refused_with_what_to_do(workspace: Path) -> None:
    path = workspace / RUN / "scores.parquet"
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(WorkspaceError, match=r"scores\.parquet is missing; run .*BuildVDV"):
            check_options(Run(str(workspace), RUN), RecommendOptions())
    finally:
        path.write_bytes(kept)
