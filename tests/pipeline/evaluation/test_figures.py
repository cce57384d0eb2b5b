"""Pictures of a run: drawn of what its files say, in both kinds, and the same for the same numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pipeline.evaluation.figures import ablations_figure, draw_figures, read_losses, spearman_figure, training_figure
from pipeline.runs.run import Run
from tests.support.made_once import Workspaces
from tests.support.made_reports import RUN, make

LOG = "epoch,loss/scene,step\n0,0.9,0\n0,0.7,1\n1,0.6,2\n"


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    workspace = workspaces.copy(make)
    log(workspace, "scene", LOG)
    return workspace


def log(workspace: Path, place: str, text: str) -> None:
    folder = workspace / RUN / "logs/csv" / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text(text)


def test_a_run_gives_its_figures_as_png_and_svg_and_again_the_same(workspace: Path) -> None:
    names = draw_figures(Run(str(workspace), RUN))
    assert names == ["training", "spearman", "calibration"]
    folder = workspace / RUN / "figures"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for name in names:
        with Image.open(folder / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20, "something is drawn"
        assert (pixels[[0, -1]] == 255).all(), "and nothing is cut off at the top or bottom"
        assert (pixels[:, -1] == 255).all(), "or at the right"
    draw_figures(Run(str(workspace), RUN))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_encoder_that_went_on_after_a_kill_is_one_curve(tmp_path: Path) -> None:
    log(tmp_path, "scene", LOG + "2,0.5,4\n")
    log(tmp_path, "scene-from-2", "epoch,held_out/scene,loss/scene,step\n2,,0.45,4\n2,0.55,,5\n3,,0.4,6\n")
    rows = read_losses(str(tmp_path / RUN))["scene"]
    assert rows["epoch"].tolist() == [0, 0, 1, 2, 2, 3]
    assert rows["loss"].dropna().tolist() == [0.9, 0.7, 0.6, 0.45, 0.4]
    axes = axes_of(training_figure({"scene": rows}))
    mean = next(line for line in axes.lines if line.get_label() == "mean of the epoch")
    np.testing.assert_allclose(np.asarray(mean.get_xydata()), [(1, 0.8), (2, 0.6), (3, 0.45), (4, 0.4)])
    held_out = next(line for line in axes.lines if line.get_label() == "clips held out")
    np.testing.assert_allclose(np.asarray(held_out.get_xydata()), [(3, 0.55)])


def test_a_run_that_trained_no_network_has_no_curve() -> None:
    assert training_figure({}) is None
    assert training_figure({"scene": pd.DataFrame(columns=["epoch", "loss", "held_out"])}) is None


def axes_of(figure: Figure | None) -> Axes:
    assert figure is not None
    (axes,) = figure.axes
    return axes


def names_and_values(figure: Figure | None) -> dict[str, float]:
    axes = axes_of(figure)
    points = [line for line in axes.lines if line.get_marker() == "o"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(names, (float(np.asarray(line.get_xdata())[0]) for line in points), strict=True))


def row(predictor: str, title: str, section: str, spearman: list) -> dict:
    titles = {"section": f"section {section}", "title": title}
    return {"predictor_id": predictor, "section_id": section, "spearman": spearman, **titles}


def test_every_predictor_stands_beside_its_spearman_with_its_interval() -> None:
    table = [
        row("fused", "VDV", "model", [0.4, 0.2, 0.6]),
        row("scene", "scene", "modality", [0.1, -0.1, 0.3]),
        row("baseline_duration", "said nothing", "no_network", [None, None, None]),
        row("fusion_only_face+scene", "scene + face", "subset", [0.2, 0.0, 0.4]),
        row("chance", "chance (expectation)", "control", [0.0, None, None]),
    ]
    figure = spearman_figure({"folds": {"table": table}})
    assert names_and_values(figure) == {"VDV": 0.4, "scene": 0.1, "chance (expectation)": 0.0}
    spans = [
        np.asarray(line.get_xdata())
        for line in axes_of(figure).lines
        if line.get_marker() != "o" and line.get_linewidth() > 2
    ]
    np.testing.assert_allclose(spans, [[0.2, 0.6], [-0.1, 0.3]])


def test_without_folds_the_clips_held_out_speak_and_without_those_nothing() -> None:
    def judged(value: float | None) -> dict:
        of_each = {name: {"mean": {"spearman": found}} for name, found in (("fused", value), ("chance", 0.0))}
        return {"splits": {"test": {"predictors": of_each}}}

    assert names_and_values(spearman_figure(judged(0.3))) == {"fused": 0.3, "chance": 0.0}
    assert spearman_figure(judged(None)) is None


def test_an_ablation_is_shown_as_its_difference_to_the_model() -> None:
    assert ablations_figure(None) is None
    table = pd.DataFrame(
        {
            "metric": ["spearman", "spearman", "ndcg_10", "spearman"],
            "predictor": ["fused", "fused", "fused", "scene"],
            "what": ["the model", "no line", "no line", "no line"],
            "difference": [np.nan, -0.1, -0.5, -0.7],
            "difference_low": [np.nan, -0.2, -0.6, -0.8],
            "difference_high": [np.nan, -0.05, -0.4, -0.6],
        }
    )
    assert names_and_values(ablations_figure(table)) == {"no line": -0.1}
    assert ablations_figure(table.head(1)) is None
