"""What a spreadsheet opens holds no formula, whatever users called their clips and challenges."""

import csv
import io

import pandas as pd
import pytest

from pipeline.files.spreadsheets import spreadsheet_csv


def cells(table: pd.DataFrame) -> list[list[str]]:
    return list(csv.reader(io.StringIO(spreadsheet_csv(table))))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\n=1", "'\n'=1"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("x;=1", "x;'=1"),
        ("x,=1", "x,'=1"),
        ('x",=1', "x\",'=1"),
        ("x\ty\n@z", "x\ty\n'@z"),
        ("shuffle", "shuffle"),
        ("a-b=c", "a-b=c"),
        ("hip hop, 2-step", "hip hop, 2-step"),
        ("e\u0301t\u00e9", "e\u0301t\u00e9"),
    ],
)
@pytest.mark.parametrize("kind", ["object", "string", "category"])
def test_no_cell_begins_a_formula_and_ordinary_texts_stay(text: str, cell: str, kind: str) -> None:
    table = pd.DataFrame({"clip_id": pd.Series([text], dtype=kind), "score": [-1.5]})
    assert cells(table) == [["clip_id", "score"], [cell, "-1.5"]]


def test_numbers_truth_and_gaps_are_as_they_were() -> None:
    table = pd.DataFrame(
        {"id": ["a", None], "score": [-1.25, None], "rank": pd.array([-1, None], "Int64"), "new": [True, False]}
    )
    plain = list(csv.reader(io.StringIO(table.to_csv(index=False))))
    assert cells(table) == plain


def test_a_columns_name_is_a_text_too() -> None:
    assert cells(pd.DataFrame({"=x": [1]}))[0] == ["'=x"]
