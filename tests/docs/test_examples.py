"""Python on the pages for users and in the notebook runs as it stands, on a small workspace, and gives what is said."""

import ast
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from pipeline.commands.command import Command
from pipeline.commands.summary import clip_counts, end
from pipeline.dataset.failures import Outcome
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.export.dataset import FORMATS
from pipeline.export.onnx_model import export_model
from pipeline.files.folder import Folder
from pipeline.modalities.registry import extracted_names
from pipeline.runs.run import Run
from pipeline.runs.runs import LATEST, latest, name_run
from pipeline.scoring.embeddings import read_embeddings
from pipeline.scoring.recommendation import write_recommendation
from pipeline.scoring.recommendation_options import RecommendOptions
from tests.docs.pages import PAGES, ROOT, Example, examples, find
from tests.support.exports import export
from tests.support.learnable_world import make_batch, speed_decides
from tests.support.made_once import Workspaces
from tests.support.small_run import RUN, make_run

NOTEBOOK = ROOT / "examples/explore_workspace.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


IN_A_NOTEBOOK = "python.md"  # its examples are run by test_python_page.py
EXPORTS = [
    (place, match.groups())
    for place, match in find(r"Export\w+ --run june --to (\w+) (--with-films )?--out (\S+)$", ROOT / "docs/export.md")
]
WITH_EXAMPLES = {page.name: examples(page) for page in PAGES if examples(page)}


@pytest.fixture(scope="module")
def made(workspaces: Workspaces) -> dict[str, Any]:
    """What the pages' examples are given: a finished run and its workspace, and one shard of each modality."""
    workspace = workspaces.copy(make_run)
    path = workspace.parent / "shards"
    evaluate_run(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), RUN))
    embeddings = read_embeddings(
        DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), RUN), torch.device("cpu")
    )
    write_recommendation(Run(str(workspace), RUN), embeddings, RecommendOptions(top=3), "june")
    end(Command.begin(str(workspace), "BuildVDV"), clip_counts({"failed": 1}, [Outcome("a", "failed", "empty", "")]))
    Folder(str(workspace)).write_json(LATEST, latest("datasets/one", RUN))
    files = make_batch(workspace.parent / "all", speed_decides(4))
    path.mkdir()
    for modality in extracted_names():
        (shard,) = Path(files.features[modality]).glob("*.parquet")
        shutil.copy(shard, path / f"{modality}.parquet")
    return {"workspace": str(workspace), "run": RUN, "name": "june", "path": str(path)}


@pytest.fixture(scope="module")
def exports(made: dict[str, Any]) -> dict[str, Path]:
    """What the commands of docs/export.md write, by the names that they give it; the run is `june`, as they have it."""
    workspace = Path(made["workspace"])
    name_run(str(workspace), RUN.removeprefix("runs/"), "june")
    written: dict[str, Path] = {}
    for _, (kind, films, name) in EXPORTS:
        written[name] = workspace.parent / "exports" / name
        if kind == "onnx":
            export_model(Run(str(workspace), RUN), written[name])
        else:
            export(workspace, kind, written[name], films=bool(films))
    return written


@pytest.fixture
def run_page(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[str], dict]:
    """Runs a page's examples from top to bottom, as a reader would in one session; gives the names they leave."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def run(page: str) -> dict:
        names = dict(made)
        if page == "export.md":
            (tmp_path / "workspace").symlink_to(made["workspace"])
            for name, folder in request.getfixturevalue("exports").items():
                (tmp_path / name).symlink_to(folder)
            names = {}
        for example in WITH_EXAMPLES[page]:
            example.run(names)
        return names

    return run


@pytest.fixture(scope="module")
def notebook(made: dict[str, Any]) -> Iterator[tuple[dict, list[pd.DataFrame]]]:
    """The names that the notebook leaves and the tables that it shows, run in a folder beside the workspace."""
    folder = Path(made["workspace"]).parent / "examples"
    folder.mkdir()
    plt.switch_backend("Agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names: dict = {}
        shown = [run_cell("".join(cell["source"]), names) for cell in CELLS]
    yield names, [value for value in shown if isinstance(value, pd.DataFrame)]
    plt.close("all")


def run_cell(source: str, names: dict) -> object:
    """Executes a cell as Jupyter does, without it: the value of its last expression, if it ends in one."""
    *statements, last = ast.parse(source).body
    exec(compile(ast.Module(statements, []), str(NOTEBOOK), "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
    exec(compile(ast.Module([last], []), str(NOTEBOOK), "exec"), names)
    return None


def test_no_example_is_overlooked() -> None:
    pages = {page.name: page.read_text() for page in PAGES}
    shown = {name: text.count("```python") + text.count("```py\n") + text.count(">>> ") for name, text in pages.items()}
    assert {name: count for name, count in shown.items() if count} == {
        name: len(found) for name, found in WITH_EXAMPLES.items()
    }
    assert len(WITH_EXAMPLES["parquet.md"]) >= 6


@pytest.mark.parametrize("page", sorted(WITH_EXAMPLES.keys() - {IN_A_NOTEBOOK}))
def test_a_page_s_examples_run_one_after_the_other(page: str, run_page: Callable[[str], dict]) -> None:
    run_page(page)


def test_an_example_that_fails_is_named_by_its_line(tmp_path: Path) -> None:
    first = WITH_EXAMPLES["running.md"][0]
    lines = first.code.count("\n")
    with pytest.raises(ZeroDivisionError) as failure:
        Example(first.place, "\n" * lines + "1 / 0").run({})
    last = failure.traceback[-1]
    assert last.path == ROOT / "docs/running.md"
    assert last.lineno + 1 == int(first.place.split(":")[1]) + lines


def test_the_best_clips_are_those_of_the_scores(run_page: Callable[[str], dict], made: dict[str, Any]) -> None:
    best = run_page("running.md")["best"]
    scores = pd.read_parquet(f"{made['workspace']}/{RUN}/scores.parquet").dropna(subset="score")
    assert set(best["clip_id"]) <= set(scores["clip_id"])
    assert len({"twin0", "twin1"} & set(best["clip_id"])) <= 1  # one film
    for challenge, clips in scores[scores["clip_id"] != "twin1"].groupby("challenge"):
        expected = clips.nlargest(5, "score")["clip_id"].tolist()
        assert best.loc[best["challenge"] == challenge, "clip_id"].tolist() == expected


def test_the_figure_from_the_folds_is_the_one_in_metrics_json(
    run_page: Callable[[str], dict], made: dict[str, Any]
) -> None:
    spearman = run_page("evaluation.md")["spearman"]
    table = json.loads(Path(made["workspace"], RUN, "metrics.json").read_text())["folds"]["table"]
    (row,) = [row for row in table if row["name"] == "score"]
    assert spearman.mean() == pytest.approx(row["spearman"][0])


def test_the_clips_recommended_are_read_in_their_order(
    run_page: Callable[[str], dict], made: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run_page("recommend.md")
    written = json.loads(Path(made["workspace"], RUN, "recommendations/june.json").read_text())["challenges"]
    expected = [[about["name"], *(clip["clip_id"] for clip in about["recommended"])] for about in written]
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == expected


def test_onnxruntime_scores_a_clip_as_the_run_does(
    run_page: Callable[[str], dict], made: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    names = run_page("export.md")
    scores = pd.read_parquet(f"{made['workspace']}/{RUN}/scores.parquet")
    assert names["score"][0] == pytest.approx(scores["score"][0], abs=1e-4)
    assert f"score {scores['score'][0]:+.3f}" in capsys.readouterr().out
    assert {len(table) for table in names["clips"].values()} == {len(names["table"].query(f"split == '{split}'"))
                                                                  for split in names["clips"]}  # fmt: skip


def test_the_page_exports_in_every_format() -> None:
    assert {kind for _, (kind, _, _) in EXPORTS} == {*FORMATS, "onnx"}


@pytest.mark.parametrize("name", [name for _, (kind, _, name) in EXPORTS if kind != "fiftyone"])
def test_a_readme_s_snippet_runs_in_the_folder_that_it_lies_in(
    name: str, exports: dict[str, Path], run_page: Callable[[str], dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "june-onnx":
        run_page("export.md")  # writes clip.npz
    monkeypatch.chdir(exports[name])
    (code,) = re.findall(r"```python\n(.*?)\n```", Path("README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert len(names["score"]) == 1 if name == "june-onnx" else next(iter(names["clips"])) is not None


def test_the_failures_of_the_newest_build_are_those_of_its_summary(
    run_page: Callable[[str], dict], capsys: pytest.CaptureFixture[str]
) -> None:
    run_page("progress.md")
    assert capsys.readouterr().out.split() == ["1", "failed", "empty"]


def test_the_notebook_is_committed_without_what_it_prints() -> None:
    assert len(CELLS) >= 6
    assert not [cell for cell in CELLS if cell["outputs"] or cell["execution_count"]]


def test_the_notebook_counts_how_every_clip_ended(notebook: tuple[dict, list[pd.DataFrame]]) -> None:
    names, (endings, _, _) = notebook
    assert endings["clips"].sum() == len(names["clips"]) == 40
    assert endings.loc[("june", "failed", "corrupt"), "clips"] == 1


def test_the_notebook_draws_the_lead_of_the_clip_scored_highest(notebook: tuple[dict, list[pd.DataFrame]]) -> None:
    names, _ = notebook
    scores = names["scores"].set_index("clip_id")
    assert scores["score"][names["best"]] == scores["score"][scores["attention_pose"] > 0].max()
    assert names["pose"].valid[names["pose"].lead, names["frame"]]
    assert names["joints"][:, 2].mean() > 0.5


def test_the_notebook_lists_the_best_of_each_challenge(notebook: tuple[dict, list[pd.DataFrame]]) -> None:
    names, (_, top, _) = notebook
    assert top.groupby("challenge").size().to_dict() == {"shuffle": 3, "wave": 3}
    for challenge, clips in names["once"].groupby("challenge"):
        assert set(top.loc[top["challenge"] == challenge, "clip_id"]) == set(clips.nlargest(3, "score")["clip_id"])


def test_the_notebook_counts_the_people_of_every_clip_that_shows_some(
    notebook: tuple[dict, list[pd.DataFrame]],
) -> None:
    names, (_, _, people) = notebook
    assert people["clips"][people.index > 0].sum() == names["scores"]["attention_pose"].gt(0).sum()
    assert people["clips"][0] == 1  # `nobody`, who is seen to be nobody
