"""Titles are labels: with all of them changed, a run gets the same warnings, sentences, charts and page."""

from html import unescape
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.made_payloads import make_payload
from pipeline.evaluation.figures import spearman_figure
from pipeline.evaluation.predictors import CONTROL, SECTIONS
from pipeline.evaluation.tables import as_json, comparison_table
from pipeline.report.page_file import make_page
from pipeline.report.run_contents import RunContents
from pipeline.report.sentences import headlines
from pipeline.report.warnings import find_warnings
from tests.pipeline.evaluation.test_tables import predictions


@pytest.fixture(scope="module")
def table() -> list[dict]:
    """A predictor of every section, two of them better than the model, and a control that finds something."""
    clips = predictions().assign(fusion_mean=lambda table: table["label"], score_face=lambda table: table["label"])
    clips["permuted_ridge"] = clips["label_permuted"]
    return as_json(comparison_table(clips, resamples=50, permutations=50))


def renamed(table: list[dict]) -> tuple[list[dict], dict[str, str]]:
    """The table with other titles, and the title that stood in place of each."""
    titles: dict[str, str] = {}
    rows = []
    for place, row in enumerate(table):
        names = {"title": f"⟦predictor {place}⟧", "section": f"⟦section {row['section_id']}⟧"}
        titles |= {new: row[field] for field, new in names.items()}
        rows.append(row | names)
    return rows, titles


def with_titles(text: str, titles: dict[str, str]) -> str:
    for new, old in titles.items():
        text = text.replace(new, old)
    return text


def test_the_table_has_every_section(table: list[dict]) -> None:
    assert {row["section_id"] for row in table} == set(SECTIONS)
    assert len({row["predictor_id"] for row in table}) == len(table)


def test_the_same_warnings_appear(table: list[dict]) -> None:
    def warnings(rows: list[dict]) -> list[tuple[str, str, str]]:
        metrics: dict[str, Any] = {"folds": {"protocol": "kfold", "clips": 400, "table": rows}}
        clips = pd.DataFrame({name: [] for name in ("challenge", "status", "creator_id", "label", "score")})
        statistics = {"untrained": [], "label": {"kind": "adjusted", "why": "known"}}
        contents = RunContents("id", {}, statistics, metrics, clips, None, clips, None)
        return [(one.id, one.kind, one.text) for one in find_warnings(contents, "blur", {}, no_heads=False)]

    rows, titles = renamed(table)
    shown = warnings(table)
    assert {id for id, _, _ in shown} >= {"better_predictors", "controls"}
    assert [(id, kind, with_titles(text, titles)) for id, kind, text in warnings(rows)] == shown


def test_the_same_page_is_made_of_them(table: list[dict]) -> None:
    payload, media = make_payload(256)

    def page(rows: list[dict]) -> tuple[list[dict], str]:
        filled = payload | {"quality": payload["quality"] | {"table": rows}}
        return headlines(filled), make_page(filled, media)

    rows, titles = renamed(table)
    (sentences, text), (other_sentences, other_text) = page(table), page(rows)
    assert "against the strongest of 6 rivals" in sentences[1]["text"]
    assert [one | {"text": with_titles(one["text"], titles)} for one in other_sentences] == sentences
    assert with_titles(unescape(other_text), titles) == unescape(text)


def test_the_same_figure_is_drawn(table: list[dict]) -> None:
    def points(rows: list[dict]) -> list[tuple[str, Any, float]]:
        figure = spearman_figure({"folds": {"table": rows}})
        assert figure is not None
        (axes,) = figure.axes
        drawn = [line for line in axes.lines if line.get_marker() == "o"]
        labels = [label.get_text() for label in axes.get_yticklabels()]
        spearman = [np.asarray(line.get_xdata())[0] for line in drawn]
        return list(zip(labels, (line.get_color() for line in drawn), spearman, strict=True))

    rows, titles = renamed(table)
    assert [(with_titles(label, titles), *rest) for label, *rest in points(rows)] == points(table)
    assert len(points(table)) == sum(row["section_id"] not in ("subset", "missing") for row in table)
    assert CONTROL in {row["section_id"] for row in table}
