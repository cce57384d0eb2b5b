"""A run's clips written in the format asked for, with a description beside them."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.options import DecodeLimits
from pipeline.export.cards import huggingface_card, plain_card
from pipeline.export.contents import Contents
from pipeline.export.fiftyone import write_fiftyone
from pipeline.export.films import FilmReader, film_counts, find_films
from pipeline.export.folder import ABOUT, whole_folder
from pipeline.export.huggingface import write_huggingface
from pipeline.export.spreadsheet import write_csv
from pipeline.export.webdataset import write_webdataset

SCHEMA = 1  # of vdv-export.json
HUGGINGFACE, WEBDATASET, FIFTYONE, CSV = "huggingface", "webdataset", "fiftyone", "csv"
FORMATS = (HUGGINGFACE, WEBDATASET, FIFTYONE, CSV)


@dataclass(frozen=True)
class Exported:
    """What an export holds."""

    clips: int
    splits: dict[str, int]  # clips by split
    without_film: dict[str, int]  # clips whose film was asked for and is not there, by code


def export_dataset(
    contents: Contents,
    kind: str,
    out: Path,
    films: DecodeLimits | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Exported:
    """Write the clips to `out`, which appears whole or not at all.

    Args:
        kind: one of FORMATS.
        out: as folder.check_out gives it.
        films: limits on copying the clips' films; None: they stay where they are.

    Raises:
        WorkspaceError: a file of the workspace is damaged, or `out` cannot be written.
    """
    needs_places = films is not None or kind == FIFTYONE
    places = find_films(contents.run_folder.workspace, contents.clips) if needs_places else {}
    with whole_folder(out) as folder, ExitStack() as stack:
        reader = stack.enter_context(FilmReader(places, films)) if films is not None else None
        splits = {split: len(contents.rows_of(split)) for split in contents.splits}
        if kind == HUGGINGFACE:
            files, features = write_huggingface(contents, folder, reader, progress)
            card = huggingface_card(contents, files, features, reader is not None)
        else:
            if kind == WEBDATASET:
                write_webdataset(contents, folder, reader, progress)
            elif kind == FIFTYONE:
                write_fiftyone(contents, folder, reader, places, progress)
            else:
                write_csv(contents, folder, progress)
            card = plain_card(contents, kind, reader is not None)
        (folder / "README.md").write_text(card, encoding="utf-8")
        exported = Exported(len(contents.clips), splits, film_counts(reader.missing.values()) if reader else {})
        _describe(contents, kind, folder, reader is not None, exported)
    return exported


def _describe(contents: Contents, kind: str, folder: Path, films: bool, exported: Exported) -> None:
    about: Mapping[str, Any] = {
        "schema": SCHEMA, "format": kind, "run": contents.run_folder.id, "dataset": contents.run["dataset"],
        "modalities": contents.modalities, "biometrics": contents.biometrics, "films": films, **vars(exported),
    }  # fmt: skip
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
