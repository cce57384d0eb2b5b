"""Figures of a run: runs/<id>/figures/*.png and *.svg, beside metrics.json.

training       loss of the first network of each modality over epochs
spearman       Spearman of each predictor, with intervals
calibration    expected against actual percentiles
ablations      the model without one idea at a time, where there are ablations
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.core import storage
from pipeline.evaluation.calibration import calibration
from pipeline.evaluation.predictors import CHANCE, CONTROL, FUSED, MODALITY, MODEL, NO_NETWORK, OTHER_FUSION, REDUCED
from pipeline.evaluation.tables import TITLES
from pipeline.metrics.significance import PRIMARY
from pipeline.modalities.registry import modality_names, title_of
from pipeline.runs.run import ABLATIONS, METRICS, RUN, Run
from pipeline.scoring.intervals import read_unseen

FIGURES = "figures"
KINDS = ("png", "svg")
_LOGS = "logs/csv"  # a folder an encoder, as Lightning's CSVLogger writes it
_RESUMED = "-from-"  # <modality>-from-<epoch>: of an encoder whose training was killed and resumed
# Okabe and Ito's colours, which differ for every kind of colour vision and in grey.
BLUE, ORANGE, GREEN, RED, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#666666"
_STYLE: Any = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#DDDDDD",
    "axes.axisbelow": True, "figure.constrained_layout.use": True, "svg.hashsalt": "vdv",
}  # fmt: skip
_BAR = 0.27  # inches a row of a chart with names at its side
_COLOURS = {
    MODEL: BLUE,
    MODALITY: GREEN,
    NO_NETWORK: ORANGE,
    OTHER_FUSION: RED,
    REDUCED: SKY,
    CONTROL: GREY,
}  # by section


def draw_figures(run_folder: Run) -> list[str]:
    """Draws the figures for which the run has data; returns their names."""
    folder = run_folder.path
    with matplotlib.rc_context(_STYLE):
        figures = {
            "training": training_figure(read_losses(folder)),
            "spearman": spearman_figure(run_folder.read_json(METRICS)),
            "calibration": calibration_figure(_calibration(run_folder)),
            "ablations": ablations_figure(run_folder.read_table_if_there(f"{ABLATIONS}.parquet")),
        }
        drawn = {name: figure for name, figure in figures.items() if figure is not None}
        for name, figure in drawn.items():
            for kind in KINDS:
                # Without a date a figure of the same data is the same file.
                metadata = {"Date": None} if kind == "svg" else {}
                with storage.staged(storage.join(folder, FIGURES, f"{name}.{kind}")) as path:
                    figure.savefig(path, format=kind, dpi=150, metadata=metadata)
    return list(drawn)


def read_losses(folder: str) -> dict[str, pd.DataFrame]:
    """Losses by modality, a row a step or epoch: epoch, loss (of a batch), held_out (of clips held out); NaN: none."""
    parts: dict[str, list[tuple[int, pd.DataFrame]]] = {}
    for path in sorted(storage.listing(storage.join(folder, _LOGS))):
        place, _, name = path.rpartition("/")
        if name == "metrics.csv":
            modality, _, first = place.partition(_RESUMED)
            text = storage.read_bytes(storage.join(folder, _LOGS, path)).decode()
            parts.setdefault(modality, []).append((int(first or 0), _losses(text, modality)))
    losses = {}
    for modality, logs in parts.items():
        ordered = sorted(logs, key=lambda log: log[0])
        ends = [*(first for first, _ in ordered[1:]), math.inf]
        # The epoch in which a training was killed was repeated.
        whole = [rows[rows["epoch"] < end] for (_, rows), end in zip(ordered, ends, strict=True)]
        losses[modality] = pd.concat(whole, ignore_index=True)
    return losses


def _losses(text: str, modality: str) -> pd.DataFrame:
    rows = [
        {
            "epoch": int(row["epoch"]),
            "loss": float(row.get(f"loss/{modality}") or "nan"),
            "held_out": float(row.get(f"held_out/{modality}") or "nan"),
        }
        for row in csv.DictReader(io.StringIO(text))
        if row.get("epoch")
    ]
    return pd.DataFrame(rows, columns=["epoch", "loss", "held_out"])


def training_figure(losses: Mapping[str, pd.DataFrame]) -> Figure | None:
    """A panel a modality; None: no network was trained."""
    known = {
        modality: losses[modality]
        for modality in modality_names()
        if modality in losses and losses[modality]["loss"].notna().any()
    }
    if not known:
        return None
    figure = Figure(figsize=(3.1 * len(known) + 0.4, 3.0))
    panels = figure.subplots(1, len(known), squeeze=False)[0]
    for axes, (modality, rows) in zip(panels, known.items(), strict=True):
        trained = rows.dropna(subset=["loss"])
        axes.scatter(trained["epoch"] + 1, trained["loss"], s=9, color=GREY, alpha=0.6, label="a batch")
        mean = trained.groupby("epoch")["loss"].mean()
        axes.plot(mean.index + 1, mean, color=BLUE, linewidth=2, marker="o", markersize=3, label="mean of the epoch")
        held_out = rows.dropna(subset=["held_out"])
        if len(held_out):
            axes.plot(held_out["epoch"] + 1, held_out["held_out"], color=ORANGE, linestyle="--", label="clips held out")
        axes.set_title(title_of(modality))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set_ylabel("loss")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def spearman_figure(metrics: Mapping) -> Figure | None:
    """Every predictor of the folds with its 95 % interval; without folds, of the clips held out, without intervals."""
    table = metrics.get("folds", {}).get("table") or []
    shown = [row for row in table if row["section_id"] in _COLOURS and row[PRIMARY][0] is not None]
    predictors = [row["predictor_id"] for row in shown]
    rows = [(row["title"], row[PRIMARY], _COLOURS[row["section_id"]]) for row in shown]
    text = "each clip judged by a training without its creator; lines: 95 % intervals"
    if not rows:
        means = {name: predictor["mean"] for name, predictor in metrics["splits"]["test"]["predictors"].items()}
        predictors = [name for name, mean in means.items() if mean[PRIMARY] is not None]
        rows = [(name, (means[name][PRIMARY], None, None), BLUE if name == FUSED else GREY) for name in predictors]
        text = "clips held out"
    if set(predictors) <= {CHANCE}:
        return None
    figure, axes = _interval_chart(rows)
    axes.set_xlabel(f"{TITLES[PRIMARY]} within a challenge")
    figure.supxlabel(text, fontsize=8)
    if table:
        titles = {row["section_id"]: row["section"] for row in shown}
        marks = [
            Line2D([], [], color=colour, marker="o", linewidth=0, label=titles[section])
            for section, colour in _COLOURS.items()
            if section in titles
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def calibration_figure(bins: Sequence[Mapping]) -> Figure | None:
    if not bins:
        return None
    figure = Figure(figsize=(4.2, 4.2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect")
    expected, actual = ([one[name] for one in bins] for name in ("expected", "actual"))
    axes.plot(
        expected, actual, color=BLUE, marker="o", linewidth=1.5, label=f"means of about {bins[0]['n']} clips each"
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="expected percentile", ylabel="actual percentile")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def ablations_figure(table: pd.DataFrame | None) -> Figure | None:
    """Each variant's Spearman less the model's, of the fused score."""
    if table is None:
        return None
    chosen = table[(table["metric"] == PRIMARY) & (table["predictor"] == FUSED) & table["difference"].notna()]
    if chosen.empty:
        return None
    rows = [
        (row.what, (row.difference, row.difference_low, row.difference_high),
         RED if row.difference_high < 0 else GREEN if row.difference_low > 0 else GREY)
        for row in chosen.itertuples(index=False)
    ]  # fmt: skip
    figure, axes = _interval_chart(rows)
    axes.set_xlabel(f"{TITLES[PRIMARY]} less the model's")
    figure.supxlabel("left of 0: worse than the model; lines: 95 % intervals", fontsize=8)
    return figure


def _interval_chart(rows: Sequence[tuple[str, Sequence[Any], str]]) -> tuple[Figure, Axes]:
    """Chart of values with intervals, the first row on top. rows: name, [value, low, high], colour."""
    figure = Figure(figsize=(7.0, 1.0 + _BAR * len(rows)))
    axes = figure.subplots()
    for place, (_, (value, low, high), colour) in enumerate(rows):
        if low is not None and high is not None and np.isfinite([low, high]).all():
            axes.plot([low, high], [place, place], color=colour, linewidth=2.5, alpha=0.5, solid_capstyle="butt")
        axes.plot([value], [place], marker="o", color=colour, markersize=6)
        above: Any = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 7}
        axes.annotate(f"{value:+.2f}", (value, place), **above)
    axes.axvline(0, color="black", linewidth=1)
    axes.locator_params(axis="x", nbins=7)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.9)
    axes.grid(False, axis="y")
    return figure, axes


def _calibration(run_folder: Run) -> list[dict]:
    unseen, _ = read_unseen(run_folder)
    run = run_folder.read_json(RUN)
    return calibration(unseen, run["interval_level"])
