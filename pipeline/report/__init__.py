"""The run's one-file HTML page: what was read, how good the scores are, and who ranks where."""

import json
from collections.abc import Sequence

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline import storage
from pipeline.dataset import read_clips, read_statistics, read_table
from pipeline.errors import CLIP_CODES

REPORT = "report.html"
TOP = 100  # clips a challenge that the page lists; scores.parquet has all
SECTIONS_SHOWN = 4  # of the table of predictors: the model, its cues, what needs no network, other fusions
# What the model is given of a modality. A clip may show five faces and none that lies on the lead dancer's head.
SUBJECTS = {
    "pose": "the lead dancer",
    "face": "the lead dancer's face",
    "scene": "any frame",
    "appearance": "any frame",
}


def render(workspace: str, dataset_dir: str, run_dir: str) -> None:
    """Writes report.html from the dataset and the run's run.json, scores.parquet and metrics.json.

    The page refers to nothing outside itself, and what comes from the manifest is text in it, never markup.
    """
    folder = storage.join(workspace, run_dir)
    run = json.loads(storage.read_bytes(storage.join(folder, "run.json")))
    metrics = json.loads(storage.read_bytes(storage.join(folder, "metrics.json")))
    scores = read_table(storage.join(folder, "scores.parquet"))
    cues = [name.removeprefix("score_") for name in scores if name.startswith("score_")]
    statistics = read_statistics(workspace, dataset_dir)
    clips = read_clips(workspace, dataset_dir)
    page = _environment().get_template("template.html")
    text = page.render(
        run=run,
        statistics=statistics,
        usable={modality: int((clips[f"quality_{modality}"] > 0).sum()) for modality in statistics["modalities"]},
        subjects=SUBJECTS,
        metrics=metrics,
        sections=_sections(metrics.get("folds", {}).get("table", [])),
        sections_shown=SECTIONS_SHOWN,
        codes={code: known.meaning for code, known in CLIP_CODES.items()},
        troubled=_records(_troubled(clips)),
        cues=cues,
        rankings={str(name): _ranking(group) for name, group in scores.groupby("challenge")},
        top=TOP,
    )
    storage.write_bytes(storage.join(folder, REPORT), text.encode())


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["estimate"] = _estimate
    return environment


def _number(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.3f}"


def _estimate(found: Sequence[float | None]) -> str:
    """A figure and the ends of its interval, as tables.numbers gives them."""
    value, low, high = found
    return _number(value) if low is None else f"{_number(value)} ({_number(low)} to {_number(high)})"


def _sections(table: Sequence[dict]) -> dict[str, list[dict]]:
    """The rows of metrics.json's table by section, as they come."""
    sections: dict[str, list[dict]] = {}
    for row in table:
        sections.setdefault(row["section"], []).append(row)
    return sections


def _troubled(clips: pd.DataFrame) -> pd.DataFrame:
    return clips.loc[clips["status"] != "ok", ["clip_id", "status", "code", "reason"]].head(TOP)


def _ranking(scores: pd.DataFrame) -> list[dict]:
    ordered = scores.sort_values(["score", "clip_id"], ascending=[False, True], na_position="last")
    return _records(ordered.head(TOP).assign(rank=range(1, min(len(ordered), TOP) + 1)))


def _records(table: pd.DataFrame) -> list[dict]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]
