"""Clips to purge, as a person asks for them: by their ids, by their creators, or by a list in a file."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.core import storage
from pipeline.core.errors import OptionError
from pipeline.core.text import not_utf8, stripped
from pipeline.ingest.ids import canonical_id

CLIP_ID = "clip_id"  # the column of a list


@dataclass(frozen=True)
class Request:
    """Ids in their one spelling; of one of the two kinds."""

    clip_ids: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()

    @classmethod
    def of(cls, clips: Iterable[str], creators: Iterable[str], path: str) -> "Request":
        """path: of a list; "": none. Raises OptionError: not one of the three is given, or the list is wrong."""
        given = {"--clips": tuple(clips), "--creators": tuple(creators), "--list": (path,) if path else ()}
        named = [option for option, values in given.items() if values]
        if len(named) != 1:
            which = f"{' and '.join(named)} are given" if named else "none is given"
            raise OptionError(
                f"say which clips by one of --clips, --creators and --list; {which}. What is purged cannot be brought"
                " back, so nothing is guessed"
            )
        if creators := given["--creators"]:
            return cls(creators=_canonical(creators))
        return cls(clip_ids=_canonical(read_list(path) if path else given["--clips"]))


def _canonical(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(canonical_id(stripped(text)) for text in ids))


def read_list(path: str) -> list[str]:
    """The ids in a CSV file: of its column clip_id or, of a file of one cell a line, of all lines.

    Raises:
        OptionError: there is no such file, it is not UTF-8, or it has several columns and none of this name, or no id.
    """
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise OptionError(f"--list {path}: no such file; check the path") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"--list {path}: {not_utf8(error)}") from error
    try:
        read = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [row for row in ([stripped(cell) for cell in row] for row in read) if any(row)]
    except csv.Error as error:
        raise OptionError(f"--list {path}: {error}; check the quotes") from error
    header = rows[0] if rows else []
    if CLIP_ID in header:
        at = header.index(CLIP_ID)
        ids = [row[at] for row in rows[1:] if len(row) > at and row[at]]
    elif all(len(row) == 1 for row in rows):
        ids = [row[0] for row in rows]
    else:
        raise OptionError(
            f"--list {path}: has several columns, and none is called {CLIP_ID}; give one id a line, or name the column"
        )
    if not ids:
        raise OptionError(f"--list {path}: names no clip; give one id a line, or a column {CLIP_ID}")
    return ids
