"""Each warning is there when the run's numbers call for it, and is not there when they do not."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.report.run_contents import RunContents
from pipeline.report.warnings import find_warnings
from tests.support.made_reports import built
from tests.support.whole_files import write_json


def row(name: str = "fused", section: str = "model", spearman: Any = (0.4, 0.2, 0.6), better: Any = None) -> dict:
    by = {"spearman": list(better)} if better else None
    ids = {"section_id": section, "predictor_id": name}
    return {**ids, "title": name, "spearman": list(spearman), "model_better_by": by}


def metrics(*rows: dict, **folds: Any) -> dict:
    """Of a run about which there is nothing to say, but for what is given."""
    coverage = {"level": 0.8, "share": 0.81, "share_95": [0.75, 0.86], "mean_width": 0.5}
    about = {"protocol": "kfold", "folds": 3, "clips": 400, "table": [row(), *rows], **folds}
    return {"folds": about, "coverage": coverage, "splits": {}, "note": ""}


def clips(**columns: Any) -> pd.DataFrame:
    count = 60
    table = {
        "clip_id": [f"c{place}" for place in range(count)], "challenge": ["a", "b"] * (count // 2), "status": "ok",
        "creator_id": [f"creator{place}" for place in range(count)], "label": np.arange(count, dtype=float),
        "score": np.arange(count, dtype=float), "score_pose": 0.0, "score_scene": 0.0, "attention_pose": 0.5,
        "attention_scene": 0.5, "quality_pose": 0.9, "quality_scene": 0.9,
    }  # fmt: skip
    return pd.DataFrame({**table, **columns})


def some(share: float, one: Any, other: Any, count: int = 60) -> list:
    """The first share of `count` values is the one, the rest the other."""
    return [one if place < share * count else other for place in range(count)]


def run(measured: dict | None = None, table: pd.DataFrame | None = None, **statistics: Any) -> RunContents:
    known = {"untrained": [], "label": {"kind": "adjusted", "why": "known"}, **statistics}
    none, measured = pd.DataFrame(), measured or metrics()
    # As in a run, the folds deal in all labelled clips; one of them was not readable.
    scores = (
        pd.DataFrame({"score": [np.nan, *[0.5] * (measured["folds"]["clips"] - 1)]}) if "folds" in measured else None
    )
    return RunContents("id", {}, known, measured, clips() if table is None else table, scores, none, None)


def warnings(
    contents: RunContents, faces: str = "blur", film_failures: dict | None = None, no_heads: bool = False
) -> list[tuple[str, str, str]]:
    return [(one.id, one.kind, one.text) for one in find_warnings(contents, faces, film_failures or {}, no_heads)]


def test_a_run_with_nothing_wrong_with_it_has_no_warning() -> None:
    assert warnings(run()) == []


@pytest.mark.parametrize(
    ("contents", "id", "kind", "says"),
    [
        (run(untrained=["pose", "face"]), "untrained", "warning", "Untrained weights: the pose and face features"),
        (run({"coverage": metrics()["coverage"], "splits": {}}), "no_folds", "note", "--folds 0"),
        (
            run(metrics(clips=0, reason="one creator", table=[])),
            "folds_impossible",
            "warning",
            "could not be judged by folds: one creator",
        ),
        (run(metrics(clips=100)), "few_clips", "warning", "Only 99 clips were judged"),
        (run(metrics(protocol="leave-challenge-out")), "unknown_challenges", "note", "challenges that it did not know"),
        (
            run(metrics(table=[row(spearman=(0.1, -0.05, 0.3))])),
            "chance",
            "warning",
            "no better than chance: .* -0.05 to 0.30",
        ),
        (
            run(metrics(row("trees", "no_network", better=(-0.2, -0.3, -0.1)))),
            "better_predictors",
            "warning",
            r"Better than the model, by more than chance explains: trees \(\+0.20\)",
        ),
        (
            run(metrics(row("mean", "other_fusion", better=(-0.02, -0.1, 0.1)))),
            "perhaps_better_predictors",
            "note",
            r"by no more than chance may explain: mean \(\+0.02\)",
        ),
        (
            run(metrics(row("permuted", "control", (0.2, 0.1, 0.3)))),
            "controls",
            "warning",
            "found what is not there .permuted",
        ),
        (
            run(metrics() | {"coverage": {"level": 0.8, "share": 0.6, "share_95": [0.5, 0.7], "mean_width": 0.5}}),
            "intervals_too_narrow",
            "warning",
            "too narrow: .* 80% of the clips and held 60%",
        ),
        (
            run(metrics() | {"coverage": {"level": 0.8, "share": 0.95, "share_95": [0.9, 0.98], "mean_width": 0.5}}),
            "intervals_too_wide",
            "note",
            "wider than need be",
        ),
        (
            run(metrics() | {"coverage": {"level": 0.8, "share": 0.8, "share_95": [0.7, 0.9], "mean_width": 0.7}}),
            "wide_intervals",
            "note",
            "spans 70% of its challenge",
        ),
        (
            run(metrics() | {"coverage": {"share": None}}),
            "coverage_unknown",
            "note",
            "Nothing is known of how often the intervals hold",
        ),
        (
            run(table=clips(quality_pose=some(0.4, 0.0, 0.9))),
            "missing_modalities",
            "warning",
            "decoded clips lack: pose in 40%",
        ),
        (
            run(table=clips(creator_id=some(0.1, None, "x"))),
            "unknown_creators",
            "warning",
            "creator of 10% of the labelled clips",
        ),
        (
            run(table=clips(creator_id=[f"c{at % 5}" for at in range(60)])),
            "few_creators",
            "warning",
            "are of 5 creators",
        ),
        (run(label={"kind": "likes", "why": "asked for"}), "label", "note", "The label is likes, .* Why: asked for"),
        (
            run(table=clips(score_context=0.0), label={"kind": "likes", "why": "asked for"}),
            "context",
            "warning",
            "no judgement of the content: the context is a part of it",
        ),
        (run(table=clips(status=some(0.1, "failed", "ok"))), "failed_clips", "note", "6 of 60 clips failed"),
        (run(table=clips(challenge=some(0.1, "tiny", "b"))), "small_challenges", "note", "worth little: tiny"),
        (
            run(table=clips(attention_scene=0.9, attention_pose=0.1)),
            "one_modality",
            "note",
            "nearly that of scene alone.* 90%",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_else(contents: RunContents, id: str, kind: str, says: str) -> None:
    ((found_id, found_kind, text),) = warnings(contents)
    assert (found_id, found_kind) == (id, kind)
    assert re.search(says, text), text


@pytest.mark.parametrize(
    "contents",
    [
        run(metrics(clips=101)),
        run(metrics(row("trees", "no_network", better=(0.01, -0.3, 0.4)))),
        run(metrics(row("pose + scene", "subset", better=(-0.2, -0.3, -0.1)))),
        run(metrics(row("chance", "control", (0.0, None, None)), row("permuted", "control", (0.2, -0.1, 0.5)))),
        run(table=clips(quality_pose=some(0.3, 0.0, 0.9))),
        # Clips that failed lack everything, and are told of by themselves.
        run(table=clips(status=some(0.01, "failed", "ok"), quality_pose=some(0.3, 0.0, 0.9))),
        # The creator of a clip without likes does not matter.
        run(table=clips(creator_id=[None, *(f"c{at}" for at in range(59))], label=[np.nan, *range(59)])),
        run(table=clips(attention_scene=0.8, attention_pose=0.2)),
    ],
)
def test_what_is_just_well_enough_is_not_spoken_of(contents: RunContents) -> None:
    assert warnings(contents) == []


def test_many_rivals_are_counted_and_the_best_named_first() -> None:
    rivals = [row(f"r{place}", "no_network", better=(-0.1 - place / 100, -1, 1)) for place in range(6)]
    ((_, _, text),) = warnings(run(metrics(*rivals)))
    assert text.endswith("r5 (+0.15), r4 (+0.14), r3 (+0.13) and 3 more.")


def test_warnings_come_first() -> None:
    contents = run(metrics(clips=50) | {"coverage": {"share": None}}, untrained=["pose"])
    assert [kind for _, kind, _ in warnings(contents)] == ["warning", "warning", "note"]


def test_pictures_that_are_missing_or_show_faces_are_told_of() -> None:
    assert warnings(run(), faces="none") == []
    ((id, kind, text),) = warnings(run(), faces="show")
    assert (id, kind) == ("faces_shown", "warning")
    assert "shows faces" in text
    ((id, _, text),) = warnings(run(), film_failures={"missing": 2, "deadline": 1})
    assert id == "films_missing"
    assert text.startswith("3 of the clips have no film")
    assert "1 deadline, 2 missing" in text
    ((id, _, text),) = warnings(run(), no_heads=True)
    assert id == "no_pictures"
    assert text.startswith("No pictures")


def test_untrained_networks_find_no_heads_so_that_nothing_is_shown_blurred(copied: Path) -> None:
    path = copied / "datasets/one/statistics.json"
    statistics = json.loads(path.read_text()) | {"untrained": ["pose", "face"]}
    write_json(path, statistics)
    payload, media = built(str(copied))
    texts = {one["id"]: one["text"] for one in payload["quality"]["warnings"]}
    assert texts["untrained"].startswith("Untrained weights")
    assert texts["no_pictures"].startswith("No pictures")
    assert "data:image" not in json.dumps([payload, media])
