"""The clips as one CSV file, for spreadsheets and for R: a row a clip, no features."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pipeline.export.contents import Contents, count_columns, exported_clips
from pipeline.files.spreadsheets import without_formula

NAME = "clips.csv"
COUNTED = ("pose", "face", "audio")  # whose features are read, to be counted
_TOGETHER = 1024  # rows held in memory


def write_csv(contents: Contents, folder: Path, progress: Callable[[int, int], None]) -> None:
    """Write clips.csv: UTF-8 with a byte order mark, without which Excel takes it for another encoding.

    What a spreadsheet could take for a formula begins with a '. Numbers have a point, whole ones no decimals; true and
    false are `true` and `false`; times are ISO 8601, UTC. Missing is empty, without quotes, which would make a column
    of numbers one of texts.
    """
    counted = [name for name in COUNTED if name in contents.modalities]
    total = len(contents.clips)
    held: list[dict] = []
    with (folder / NAME).open("w", encoding="utf-8-sig", newline="") as file:
        for done, clip in enumerate(exported_clips(contents, range(total), counted), start=1):
            held.append(clip.about)
            if len(held) == _TOGETHER or done == total:
                typed = _typed(pd.DataFrame(held), contents, counted)
                typed.to_csv(file, index=False, header=done <= _TOGETHER)
                held = []
                progress(done, total)


def _typed(table: pd.DataFrame, contents: Contents, counted: list[str]) -> pd.DataFrame:
    """Columns in the types that the dataset has, whatever a part of the rows lacks."""
    kinds = {name: contents.about[name].dtype for name in contents.about}
    typed = table.astype(kinds)
    for name in count_columns(counted):
        typed[name] = table[name].astype("Float64" if name.startswith("tempo") else "Int64")
    for name in typed:
        if pd.api.types.is_bool_dtype(typed[name]):
            typed[name] = typed[name].map({True: "true", False: "false"})
        elif pd.api.types.is_datetime64_any_dtype(typed[name]):
            typed[name] = typed[name].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        elif not pd.api.types.is_numeric_dtype(typed[name]):
            typed[name] = typed[name].map(without_formula, na_action="ignore")
    return typed
