"""The films of exported clips, copied from where the manifest says they lie, and checked to be those described."""

import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.access.remote_files import RemoteFiles
from pipeline.core import storage
from pipeline.core.clip_source import Source
from pipeline.core.errors import ClipError, WorkspaceError
from pipeline.core.options import DecodeLimits
from pipeline.decode.container import fetch, fetched
from pipeline.ingest.clip_table import newest_file, read_ingest
from pipeline.ingest.exports.clip_files import ENDINGS

_SUFFIX = re.compile(r"\.[a-z0-9]{2,4}$")
USUAL_SUFFIX = ".mp4"


@dataclass(frozen=True)
class Film:
    """Where a clip's film lies."""

    clip_id: str
    uri: str
    content_hash: str  # of the file that the features are of

    @property
    def suffix(self) -> str:
        """Ending of the film's name, with its dot, in lower case; the usual one where it is none that films have.

        A film called a.json would have the name of another file of its clip in a WebDataset.
        """
        found = _SUFFIX.search(self.uri.split("?")[0].split("#")[0].lower())
        return found[0] if found and found[0] in ENDINGS else USUAL_SUFFIX


def find_films(workspace: str, clips: pd.DataFrame) -> dict[str, Film]:
    """The films of a dataset's clips, by clip_id. clips: clips.parquet.

    Raises:
        WorkspaceError: the table of a batch is gone.
    """
    hashes = dict(zip(clips["clip_id"], clips["content_hash"], strict=True))
    films: dict[str, Film] = {}
    for batch in sorted(set(clips["batch"])):
        newest = newest_file(workspace, batch)
        if newest is None:
            raise WorkspaceError(f"{workspace} has no table of the clips of {batch}; run BuildVDV again")
        found = [clip for clip in read_ingest(newest.path).clips if clip.clip_id in hashes]
        films |= {clip.clip_id: Film(clip.clip_id, clip.uri, str(hashes[clip.clip_id])) for clip in found}
    return films


@dataclass
class FilmReader:
    """Films opened one at a time; those elsewhere are fetched by a process that can be killed.

    missing: why clips have no film, by clip_id: a code of CLIP_CODES.
    """

    films: dict[str, Film]
    limits: DecodeLimits
    missing: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> "FilmReader":
        self._scratch = tempfile.TemporaryFile()
        self._remote = RemoteFiles(self.limits, self._scratch.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        self._remote.close()
        self._scratch.close()

    def copy(self, clip_id: str, target: Path) -> bool:
        """Copy a clip's film. False: it is gone, changed or cannot be had; `missing` then says why.

        Raises:
            OSError: the target cannot be written.
        """
        film = self.films.get(clip_id)
        try:
            if film is None:
                raise ClipError("missing", f"no manifest names clip {clip_id} any more")
            source = self._open(film)
            with source.unchanged(film.content_hash), source.open() as file, target.open("wb") as copied:
                shutil.copyfileobj(file, copied, 1 << 20)
        except ClipError as error:
            target.unlink(missing_ok=True)
            self.missing[clip_id] = error.code
            return False
        return True

    def _open(self, film: Film) -> Source:
        if storage.is_local(film.uri):
            return fetch(film.uri, self.limits.allow_uri)
        answer = self._remote.fetch(film.uri, self.limits.deadline_s)
        assert answer is not None, "nothing stops it"
        if answer.code:
            raise ClipError(answer.code, answer.reason)
        return fetched(film.uri, f"/proc/self/fd/{self._scratch.fileno()}")


def film_counts(codes: Iterable[str]) -> dict[str, int]:
    """How many clips have no film, by code."""
    counted = pd.Series(list(codes), dtype=str).value_counts()
    return {str(code): int(count) for code, count in counted.sort_index().items()}
