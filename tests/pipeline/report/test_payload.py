"""The page's data: every clip with its numbers, whatever a clip, a run or a workspace lacks."""

import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.files.folder import read_table
from pipeline.modalities.registry import modality_names
from pipeline.report.payload import spearman_interval
from pipeline.report.values import plain
from pipeline.runs.run import Run
from tests.support.learnable_world import Clip
from tests.support.made_reports import DATASET, HTML, RUN, SMALL, built, make
from tests.support.whole_files import write_table

COLUMNS = (
    "id", "challenge", "creator", "status", "code", "split", "copies", "likes", "followers", "uploaded_at", "new",
    "actual", "score", "rank", "percentile", "expected", "low", "high", "unseen",
    "content", "context", "better", "media", "same_sound", "without_sound",
)  # fmt: skip


def rows(payload: dict) -> dict[str, dict[str, Any]]:
    """The clips' columns as a row a clip, by id."""
    clips = payload["clips"]
    return {clip_id: {name: clips[name][at] for name in COLUMNS} for at, clip_id in enumerate(clips["id"])}


def test_every_clip_has_a_place_in_every_column(page_data: tuple[dict, list]) -> None:
    payload, _ = page_data
    clips = payload["clips"]
    assert len(clips["id"]) == 28
    for name in COLUMNS:
        assert len(clips[name]) == 28, name
    for name in ("modality_percentile", "attention"):
        assert set(clips[name]) == set(modality_names())
        assert {len(values) for values in clips[name].values()} == {28}
    assert [one["clips"] for one in payload["challenges"]] == [15, 13]


def test_ranks_and_percentiles_are_those_of_the_scores_within_a_challenge(
    page_data: tuple[dict, list], workspace: str
) -> None:
    payload, _ = page_data
    scores = read_table(f"{workspace}/{RUN}/scores.parquet").set_index("clip_id")
    for clip_id, row in rows(payload).items():
        score = scores.loc[clip_id]
        others = scores[(scores["challenge"] == score["challenge"]) & scores["score"].notna()]["score"]
        if pd.isna(score["score"]):
            assert (row["score"], row["rank"], row["percentile"]) == (None, None, None)
        else:
            assert row["score"] == pytest.approx(score["score"], rel=1e-3)
            assert row["rank"] == 1 + (others > score["score"]).sum()
            assert row["percentile"] == pytest.approx(score["percentile"], rel=1e-3)


def test_what_is_not_known_is_null_and_a_clip_without_likes_has_no_actual_place(page_data: tuple[dict, list]) -> None:
    clips = rows(page_data[0])
    assert clips["later"]["actual"] is None
    assert clips["later"]["likes"] is None
    assert clips["later"]["score"] is not None
    assert clips["broken"]["score"] is None
    assert clips["broken"]["code"] == "corrupt"
    assert clips["later"]["code"] is None
    assert clips["broken"]["better"] == -1
    assert clips["nobody"]["score"] is not None
    assert not clips["broken"]["media"]
    (nobody,) = (block[str(at)] for at, name in enumerate(clips) if name == "nobody" for block in page_data[1])
    assert not nobody["joints"]
    actual = [clips[f"clip{place:03d}"]["actual"] for place in range(0, 24, 2)]
    likes = [clips[f"clip{place:03d}"]["likes"] for place in range(0, 24, 2)]
    assert spearmanr(actual, likes).statistic == pytest.approx(1)


def test_the_unseen_place_is_that_of_the_folds_and_not_of_the_score(
    page_data: tuple[dict, list], workspace: str
) -> None:
    clips = rows(page_data[0])
    folds = read_table(f"{workspace}/{RUN}/folds.parquet")
    shuffle = folds[folds["challenge"] == "shuffle"].dropna(subset=["score"])
    best = shuffle.loc[shuffle["score"].idxmax(), "clip_id"]
    assert clips[best]["unseen"] == max(clips[name]["unseen"] for name in shuffle["clip_id"])
    assert clips["later"]["unseen"] is None


def test_codes_say_what_they_mean_and_name_their_clips(page_data: tuple[dict, list]) -> None:
    data = page_data[0]["data"]
    assert data["endings"] == {"ok": 26, "partial": 0, "failed": 2}
    codes = {one["code"]: one for one in data["codes"]}
    assert codes["corrupt"]["clips"] == ["broken"]
    assert codes["corrupt"]["reasons"] == ["made to fail"]
    assert codes["not_a_video"]["meaning"].startswith("no decoder recognises the file")
    usable = {one["modality"]: one for one in data["usable"]}
    assert (usable["pose"]["searched"], usable["pose"]["clips"]) == (26, 25), "nobody is in one of them"
    assert usable["scene"]["clips"] == 26


def test_the_order_without_what_shows_looks_is_that_of_the_folds(page_data: tuple[dict, list], workspace: str) -> None:
    left_out = page_data[0]["quality"]["left_out"]
    assert (left_out["read"], left_out["not_read"]) == (["appearance", "face", "scene"], [])
    rows = {tuple(row["left_out"]): row for row in left_out["rows"]}
    assert list(rows) == [("appearance",), ("face",), ("scene",), ("appearance", "face", "scene")]
    folds = read_table(f"{workspace}/{RUN}/folds.parquet")
    table = json.loads(Path(workspace, RUN, "metrics.json").read_text())["folds"]["table"]
    of_each = {row["name"]: row for row in table}
    column = "fusion_only_pose+appearance+scene+audio+synchrony"
    alike = [spearmanr(one["score"], one[column]).statistic for _, one in folds.groupby("challenge")]
    face = rows[("face",)]
    assert face["agreement"] == pytest.approx(np.mean(alike), abs=1e-3)
    assert face["clips"] == len(folds)
    skill = face["spearman"]
    assert skill["with"] == pytest.approx(of_each["score"]["spearman"], rel=1e-3)
    assert skill["without"] == pytest.approx(of_each[column]["spearman"], rel=1e-3)
    assert skill["better_by"] == pytest.approx(of_each[column]["model_better_by"]["spearman"], rel=1e-3)


def test_a_run_without_faces_or_without_folds_says_that_it_cannot_tell(tmp_path: Path) -> None:
    clips = [Clip(f"clip{place}", creator=f"creator{place % 4}", likes=place, speed=place / 8) for place in range(8)]
    make(tmp_path / "few", clips, modalities=("pose", "scene"))
    left_out = built(str(tmp_path / "few"))[0]["quality"]["left_out"]
    assert (left_out["read"], left_out["not_read"]) == (["scene"], ["appearance", "face"])
    assert [row["left_out"] for row in left_out["rows"]] == [["scene"]]
    make(tmp_path / "unjudged", clips, modalities=("face",), folds=0)
    left_out = built(str(tmp_path / "unjudged"))[0]["quality"]["left_out"]
    assert left_out == {"read": ["face"], "not_read": ["appearance", "scene"], "rows": []}


def test_numbers_are_as_short_as_what_can_be_seen() -> None:
    assert plain([1 / 3, -0.0, float("nan"), np.float32(12345.678), np.int64(7), pd.NA, True]) == [
        0.3333, 0.0, None, 12350.0, 7, None, True,
    ]  # fmt: skip
    assert str(plain(-1e-300)) == "-1e-300"
    assert str(plain(-0.0)) == "0.0"
    with pytest.raises(TypeError, match="object"):
        plain(object())


def test_a_challenge_says_how_its_own_clips_were_ordered(page_data: tuple[dict, list], workspace: str) -> None:
    folds = read_table(f"{workspace}/{RUN}/folds.parquet").dropna(subset=["score"])
    for one in page_data[0]["challenges"]:
        judged = folds[folds["challenge"] == one["name"]]
        expected = spearmanr(judged["score"], judged["label"]).statistic
        assert one["spearman"] == pytest.approx(expected, abs=1e-3)
        assert one["low"] < one["spearman"] < one["high"]


def test_the_interval_of_a_correlation_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    true = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman of two normals that correlate 0.5
    held = 0
    for _ in range(400):
        one = rng.normal(size=30)
        other = 0.5 * one + np.sqrt(1 - 0.5**2) * rng.normal(size=30)
        low, high = spearman_interval(float(spearmanr(one, other).statistic), 30)
        held += low <= true <= high
    assert 0.92 < held / 400 < 0.98
    assert spearman_interval(0.5, 4) == (None, None)


def test_a_manifests_html_stays_text_in_the_data(tmp_path: Path) -> None:
    clips = [Clip(f"c{place}", challenge=HTML, creator=HTML + str(place), likes=place) for place in range(4)]
    payload, _ = built(make(tmp_path / "ws", clips, modalities=("scene",)))
    assert payload["challenges"][0]["name"] == HTML
    assert payload["clips"]["creator"][2] == HTML + "2"


@pytest.mark.parametrize("modalities", [("pose",), ("scene",), ("appearance", "face")])
def test_any_choice_of_modalities_gives_a_page(tmp_path: Path, modalities: tuple) -> None:
    payload, media = built(make(tmp_path / "ws", modalities=modalities))
    assert payload["about"]["modalities"] == list(modalities)
    assert [one["modality"] for one in payload["data"]["usable"]] == list(modalities)
    assert any(media) == ("pose" in modalities)
    assert len(payload["checks"]) == 24


def test_a_run_without_folds_gives_a_page(tmp_path: Path) -> None:
    payload, _ = built(make(tmp_path / "ws", modalities=("pose", "scene"), folds=0))
    assert payload["quality"]["folds"] is None
    assert payload["quality"]["table"] == []
    assert set(payload["clips"]["unseen"]) == {None}
    assert payload["quality"]["splits"]


@pytest.mark.parametrize("clip", [Clip("only", creator="ann", likes=3), Clip("only", nobody=True)])
def test_a_single_clip_gives_a_page(tmp_path: Path, clip: Clip) -> None:
    payload, media = built(make(tmp_path / "ws", [clip], modalities=("pose", "scene")))
    assert payload["data"]["clips"] == len(payload["clips"]["id"]) == 1
    assert payload["clips"]["percentile"] == [0.5]
    assert payload["embedding"]["size"] <= 16
    assert len(media) == 1


def test_no_clip_at_all_gives_a_page(tmp_path: Path) -> None:
    """As when all clips of a manifest were taken down."""
    workspace = make(tmp_path / "ws", [Clip("only", creator="ann", likes=3)], modalities=("pose", "scene"), folds=0)
    for path in (f"{DATASET}/clips.parquet", f"{DATASET}/faces.parquet", f"{RUN}/held_out.parquet"):
        write_table(f"{workspace}/{path}", read_table(f"{workspace}/{path}").head(0))
    scores = f"{workspace}/{RUN}/scores.parquet"
    write_table(scores, read_table(scores).head(0))
    evaluate_run(DatasetFolder(workspace, DATASET), Run(workspace, RUN))
    payload, media = built(workspace)
    assert payload["data"]["clips"] == 0
    assert payload["clips"]["id"] == payload["challenges"] == payload["checks"] == media == []
    assert payload["embedding"]["values"] == ""


def test_a_page_of_an_object_stores_workspace_is_that_of_a_local_one(
    memory: str, copied: Path, page_data: tuple[dict, list]
) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.put(str(copied), memory.removeprefix("memory://"), recursive=True)
    payload, media = built(memory)
    local_payload, local_media = page_data
    for one in (payload, local_payload):
        one["about"] = {**one["about"], "made_at": ""}
    assert payload == local_payload
    assert media == local_media


def test_ablations_are_in_the_page_where_they_were_made(few_clips: Path, page_data: tuple[dict, list]) -> None:
    assert page_data[0]["quality"]["ablations"] is None
    row: dict[str, Any] = {
        "variant": "default", "what": "the model", "predictor": "fused", "seeds": 1, "clips": 24, "value": 0.5,
        "low": 0.1, "high": 0.7, "difference": np.nan, "difference_low": np.nan, "difference_high": np.nan,
        "p_holm": np.nan,
    }  # fmt: skip
    other = {**row, "variant": "no_ridge", "what": "no line", "difference": -0.1, "difference_low": -0.2}
    table = pd.DataFrame([{**one, "metric": metric} for one in (row, other) for metric in ("spearman", "ndcg_10")])
    write_table(few_clips / RUN / "ablations.parquet", table)
    first, second = built(str(few_clips))[0]["quality"]["ablations"]
    assert first["difference"] is None
    assert first["spearman"] == [0.5, 0.1, 0.7]
    assert second["difference"] == [-0.1, -0.2, None]


def test_the_run_says_what_it_is(page_data: tuple[dict, list], workspace: str) -> None:
    about = page_data[0]["about"]
    run = json.loads(Path(workspace, RUN, "run.json").read_text())
    assert about["run"] == RUN.removeprefix("runs/")
    assert (about["seed"], about["interval_level"]) == (0, 0.8)
    assert about["trained_on"] == run["trained_on"]
    assert run["config"]["frames"] == SMALL["frames"]
