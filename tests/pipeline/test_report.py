"""The page shows what was found, says when it means nothing, and lets no manifest speak HTML."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.report import render

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    dataset, run = tmp_path / "datasets/one", tmp_path / "runs/one"
    dataset.mkdir(parents=True)
    run.mkdir(parents=True)
    ids = [EVIL, "good", "gone"]
    clips = {"clip_id": ids, "status": ["partial", "ok", "failed"], "code": ["corrupt", "", "missing"]}
    clips |= {"reason": [f"because {EVIL}", "", "no file"]}
    clips |= {"quality_pose": [0.25, 0.75, 0.0], "quality_face": [0.0, 0.5, 0.0]}
    pd.DataFrame(clips).to_parquet(dataset / "clips.parquet")
    statistics = {
        "clips": 3, "status": {"ok": 1, "partial": 1, "failed": 1}, "codes": {"corrupt": 1, "missing": 1},
        "challenges": {EVIL: {}}, "modalities": {"pose": 2, "face": 2}, "label": {"kind": "likes", "why": "asked for"},
        "untrained": [], "profiles": ["test"], "copies": {"of_a_file": 0, "near": 0},
    }  # fmt: skip
    (dataset / "statistics.json").write_text(json.dumps(statistics))
    scores = {
        "clip_id": ids, "challenge": EVIL, "split": ["test", "train", "train"], "label": [1.0, 2.0, 3.0],
        "score": [0.25, 0.5, None], "percentile": [0.25, 0.75, None], "abstained": [False, False, True],
        "score_skeleton": [0.25, 0.5, None], "attention_skeleton": [1.0, 1.0, 0.0],
    }  # fmt: skip
    pd.DataFrame(scores).to_parquet(run / "scores.parquet")
    (run / "run.json").write_text(json.dumps({"trained_on": 2, "seed": 7}))
    nothing = {
        "mean": {"n": 1, "spearman": None, "kendall_tau_b": None, "pairwise_accuracy": None, "reason": "too few"}
    }
    metrics = {"note": "n", "splits": {"test": {"clips": 1, "predictors": {"fused": nothing}}}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    return tmp_path


def page(workspace: Path) -> str:
    render(str(workspace), "datasets/one", "runs/one")
    return (workspace / "runs/one/report.html").read_text()


def test_html_in_a_manifest_is_shown_as_text(workspace):
    text = page(workspace)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4  # clip twice, its reason, its challenge


def test_counts_reasons_metrics_and_ranks_are_on_the_page(workspace):
    text = page(workspace)
    for wanted in ("no file at the clip&#39;s uri", "because", "too few", "nothing to judge", "0.500", "seed 7"):
        assert wanted in text
    assert text.index(">good<") < text.rindex("alert(1)") < text.rindex(">gone<"), "by score, the unscored last"


def test_clips_that_were_searched_for_a_face_are_not_called_clips_with_one(workspace):
    text = page(workspace)
    assert '<tr><td>pose</td><td>2</td><td class="text">the lead dancer</td><td>2</td></tr>' in text
    assert '<tr><td>face</td><td>2</td><td class="text">the lead dancer&#39;s face</td><td>1</td></tr>' in text
    assert "with face" not in text


def test_the_page_refers_to_nothing_outside_itself(workspace):
    text = page(workspace)
    assert "http" not in text
    assert str(workspace) not in text


def test_untrained_weights_are_on_top(workspace):
    assert "Untrained weights" not in page(workspace)
    path = workspace / "datasets/one/statistics.json"
    rewrite(path, untrained=["pose"])
    text = page(workspace)
    assert text.index("Untrained weights") < text.index("<h2>")


def rewrite(path: Path, **changed: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_whoever_is_better_than_the_model_is_on_the_page(workspace):
    def row(section: str, title: str, spearman: list, better: dict | None) -> dict:
        figures = {key: [0.5, None, None] for key in ("pairwise_accuracy", "kendall_tau_b")}
        return {"section": section, "title": title, "spearman": spearman, "model_better_by": better, **figures}

    table = [
        row("the model", "VDV", [0.4, 0.1, 0.6], None),
        row("no network", f"ridge {EVIL}", [0.5, 0.2, 0.7], {"spearman": [-0.1, -0.3, 0.1]}),
        *(row(f"section {number}", "", [0.0, None, None], None) for number in range(3)),
    ]
    folds = {"folds": 3, "clips": 96, "table": table}
    rewrite(workspace / "runs/one/metrics.json", folds=folds)
    text = page(workspace)
    assert "<script" not in text
    assert "0.500 (0.200 to 0.700)" in text
    assert "-0.100 (-0.300 to 0.100)" in text
    folded = text[text.index("fewer cues, and controls") :]
    assert "section 2" in folded
    assert "section 1" not in folded
    assert folded.index("section 2") < folded.index("</details>")


def test_copies_are_told_where_there_are_any(workspace):
    assert "more than once" not in page(workspace)
    rewrite(workspace / "datasets/one/statistics.json", copies={"of_a_file": 0, "near": 3})
    assert "3 show" in page(workspace)
