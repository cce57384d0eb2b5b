"""Python on the pages for users runs as it stands there, on a small workspace, and gives what the page says."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.core.options import MODALITIES
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.runs.runs import LATEST, latest
from pipeline.scoring.embeddings import read_embeddings
from pipeline.scoring.recommendation import write_recommendation
from pipeline.scoring.recommendation_options import RecommendOptions
from tests.docs.pages import PAGES, ROOT, find
from tests.support.learnable_world import make_batch, speed_decides
from tests.support.small_run import RUN, make_run


@dataclass(frozen=True)
class Example:
    place: str  # of its first line: docs/parquet.md:75
    code: str

    def run(self, names: dict) -> None:
        """Lines are counted as on the page, and named by it when the example fails."""
        page, line = self.place.rsplit(":", 1)
        exec(compile("\n" * (int(line) - 1) + self.code, str(ROOT / page), "exec"), names)


def examples(page: Path) -> list[Example]:
    return [Example(place, match[1]) for place, match in find(r"(?<=^```python\n)((?:.*\n)*?)```$", page)]


WITH_EXAMPLES = {page.name: examples(page) for page in PAGES if examples(page)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the pages' examples are given: a finished run and its workspace, and one shard of each modality."""
    folder = tmp_path_factory.mktemp("examples")
    workspace, path = make_run(folder / "run"), folder / "shards"
    evaluate_run(str(workspace), "datasets/one", RUN)
    embeddings = read_embeddings(str(workspace), "datasets/one", RUN, torch.device("cpu"))
    write_recommendation(str(workspace), RUN, embeddings, RecommendOptions(top=3), "june")
    (workspace / LATEST).write_text(json.dumps(latest("datasets/one", RUN)))
    files = make_batch(folder / "all", speed_decides(4))
    path.mkdir()
    for modality in MODALITIES:
        (shard,) = Path(files.features[modality]).glob("*.parquet")
        shutil.copy(shard, path / f"{modality}.parquet")
    return {"workspace": str(workspace), "run": RUN, "name": "june", "path": str(path)}


@pytest.fixture
def run_page(made, tmp_path, monkeypatch):
    """Runs a page's examples from top to bottom, as a reader would in one session; gives the names they leave."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def run(page: str) -> dict:
        names = dict(made)
        for example in WITH_EXAMPLES[page]:
            example.run(names)
        return names

    return run


def test_no_example_is_overlooked():
    pages = {page.name: page.read_text() for page in PAGES}
    shown = {name: text.count("```python") + text.count("```py\n") + text.count(">>> ") for name, text in pages.items()}
    assert {name: count for name, count in shown.items() if count} == {
        name: len(found) for name, found in WITH_EXAMPLES.items()
    }
    assert len(WITH_EXAMPLES["parquet.md"]) >= 6


@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_a_page_s_examples_run_one_after_the_other(page, run_page):
    run_page(page)


def test_an_example_that_fails_is_named_by_its_line(tmp_path):
    first = WITH_EXAMPLES["running.md"][0]
    lines = first.code.count("\n")
    with pytest.raises(ZeroDivisionError) as failure:
        Example(first.place, "\n" * lines + "1 / 0").run({})
    last = failure.traceback[-1]
    assert last.path == ROOT / "docs/running.md"
    assert last.lineno + 1 == int(first.place.split(":")[1]) + lines


def test_the_best_clips_are_those_of_the_scores(run_page, made):
    best = run_page("running.md")["best"]
    scores = pd.read_parquet(f"{made['workspace']}/{RUN}/scores.parquet").dropna(subset="score")
    assert set(best["clip_id"]) <= set(scores["clip_id"])
    assert len({"twin0", "twin1"} & set(best["clip_id"])) <= 1  # one film
    for challenge, clips in scores[scores["clip_id"] != "twin1"].groupby("challenge"):
        expected = clips.nlargest(5, "score")["clip_id"].tolist()
        assert best.loc[best["challenge"] == challenge, "clip_id"].tolist() == expected


def test_the_figure_from_the_folds_is_the_one_in_metrics_json(run_page, made):
    spearman = run_page("evaluation.md")["spearman"]
    table = json.loads(Path(made["workspace"], RUN, "metrics.json").read_text())["folds"]["table"]
    (row,) = [row for row in table if row["name"] == "score"]
    assert spearman.mean() == pytest.approx(row["spearman"][0])


def test_the_clips_recommended_are_read_in_their_order(run_page, made, capsys):
    run_page("recommend.md")
    written = json.loads(Path(made["workspace"], RUN, "recommendations/june.json").read_text())["challenges"]
    expected = [[about["name"], *(clip["clip_id"] for clip in about["recommended"])] for about in written]
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == expected
