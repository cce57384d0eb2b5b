"""Clips in a folder, by a glob or in a bucket, and the records that belong to them."""

import glob
import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.core import storage
from pipeline.core.errors import ManifestError
from pipeline.core.text import quoted, stripped, visible
from pipeline.ingest.exports.records import Record

ENDINGS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".flv", ".3gp", ".mpg", ".mpeg", ".ts", ".wmv")
INFO = ".info.json"  # yt-dlp --write-info-json

# yt-dlp's own names end in the id in brackets; other programs' hold an id of 15 digits or more, which is no chance.
_IN_BRACKETS = re.compile(r"\[([^\[\]]+)\]$")
_LONG_NUMBER = re.compile(r"(?<![0-9])[0-9]{15,}(?![0-9])")


@dataclass(frozen=True)
class ClipFile:
    """A clip's file. info: the info.json beside it, None without one. Both as the user names them."""

    path: str
    info: str | None

    @property
    def name(self) -> str:
        """The file's name without its ending, in NFC."""
        return _nfc(self.path.rsplit("/", 1)[-1].rsplit(".", 1)[0])


@dataclass(frozen=True)
class ClipFiles:
    """What lies where the clips are."""

    files: tuple[ClipFile, ...]  # by path
    lone_infos: tuple[str, ...]  # info.json without a clip


def find_clips(spec: str) -> ClipFiles:
    """The clips of a folder (with those below it) or a glob, here or at a URL; a file's ending says that it is one.

    Raises:
        ManifestError: nothing is there, or no clip.
        WorkspaceError: the place does not answer.
    """
    is_glob = glob.has_magic(spec) and not (storage.is_local(spec) and storage.exists(spec))
    if is_glob:
        paths = sorted(_matches(spec))
        beside = [path for folder in {posixpath.dirname(path) for path in paths} for path in _files_in(folder)]
    else:
        if storage.is_local(spec) and not storage.local_path(spec).is_dir():
            raise ManifestError(
                f"--clips {visible(spec)}: no such folder; check the path (it starts at {os.getcwd()}), or give a glob"
                " in quotes"
            )
        paths = beside = sorted(storage.join(spec, name) for name in storage.listing(spec))
    infos = {_nfc(path.removesuffix(INFO)): path for path in beside if path.endswith(INFO)}
    clips = [path for path in paths if path.lower().endswith(ENDINGS) and not PurePosixPath(path).name.startswith(".")]
    if not clips:
        raise ManifestError(
            f"--clips {visible(spec)}: no clip is there (a name that ends in {', '.join(ENDINGS)}); give a folder or a"
            " glob"
        )
    files = tuple(ClipFile(path, infos.get(_nfc(path.rsplit(".", 1)[0]))) for path in clips)
    taken = {file.info for file in files}
    lone = () if is_glob else tuple(path for path in infos.values() if path not in taken)
    return ClipFiles(files, lone)


def find_files(spec: str) -> list[str]:
    """A file, or those of a glob. Raises ManifestError where there is none."""
    if storage.is_local(spec) and storage.exists(spec):
        if not storage.local_path(spec).is_file():
            raise ManifestError(f"--about {visible(spec)}: is no file; give a file, or a glob of files")
        return [spec]
    if not glob.has_magic(spec):
        return [spec]  # a remote one is looked for by whoever reads it
    if not (paths := sorted(_matches(spec))):
        raise ManifestError(f"--about {visible(spec)}: matches no file; check the pattern")
    return paths


def uri_of(path: str, manifest: str) -> str:
    """A clip's uri in a manifest: relative to the manifest's folder where the clip lies below it."""
    if storage.is_local(path) and storage.is_local(manifest):
        path, folder = (os.path.abspath(storage.local_path(one)) for one in (path, posixpath.dirname(manifest) or "."))
    else:
        path = os.path.abspath(storage.local_path(path)) if storage.is_local(path) else path
        folder = posixpath.dirname(manifest)
    below = f"{folder.rstrip('/')}/"
    if not path.startswith(below):
        return path
    uri = path.removeprefix(below)
    return uri if uri == stripped(uri) else f"./{uri}"  # a manifest's cells have no blanks around them


def by_name(
    files: Iterable[ClipFile], records: Sequence[Record], field: str, problems: list[str]
) -> dict[str, list[Record]]:
    """Path -> the records whose field names the file: its name, or the end of its path.

    A record that may name several files is added to `problems`.
    """
    named = defaultdict(list)
    for file in files:
        named[_nfc(file.path.rsplit("/", 1)[-1])].append(file.path)
    found = defaultdict(list)
    for record in records:
        wanted = _nfc(record.fields.get(field, "")).replace("\\", "/").removeprefix("./").lstrip("/")
        paths = [path for path in named[wanted.rsplit("/", 1)[-1]] if f"/{_nfc(path)}".endswith(f"/{wanted}")]
        if len(paths) > 1:
            each = " or ".join(map(visible, paths))
            problems.append(
                f"{record.place}: field {quoted(field)}: {quoted(wanted)} may be {each}; write the folder, too"
            )
        elif paths:
            found[paths[0]].append(record)
    return found


def by_id(
    files: Iterable[ClipFile], records: Mapping[str, list[Record]], problems: list[str]
) -> dict[str, list[Record]]:
    """Path -> the records of the id that the file's name is, has in brackets at its end, or holds as a long number.

    records: by id. A file whose name holds two of them is added to `problems`.
    """
    found = {}
    for file in files:
        tries = ([file.name], _IN_BRACKETS.findall(file.name), _LONG_NUMBER.findall(file.name))
        ids = next((hits for ids in tries if (hits := [one for one in dict.fromkeys(ids) if one in records])), [])
        if len(ids) > 1:
            problems.append(f"{visible(file.path)}: its name holds the ids of {' and '.join(ids)}; rename the file")
        elif ids:
            found[file.path] = records[ids[0]]
    return found


def _matches(spec: str) -> list[str]:
    if storage.is_local(spec):
        return [path for path in glob.glob(str(storage.local_path(spec)), recursive=True) if os.path.isfile(path)]
    filesystem, inner = storage.remote(spec)
    return [filesystem.unstrip_protocol(path) for path in filesystem.glob(inner)]


def _files_in(folder: str) -> list[str]:
    names = storage.listing(folder or ".", recursive=False)
    return [storage.join(folder, name) for name in names] if folder else [*names]


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
