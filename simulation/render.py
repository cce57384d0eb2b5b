"""Files of a world: `world.toml` (its options), a manifest, the rendered clips, and the truth beside them.

An interrupted rendering is resumed: every clip's file and truth appear whole or not at all.
"""

import csv
import dataclasses
import json
import logging
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import storage
from pipeline.core.child_processes import called_in_processes
from pipeline.core.errors import DataError
from pipeline.core.fingerprint import fingerprint
from simulation.filming.film import film, frame_times
from simulation.filming.recording import record
from simulation.filming.visibility import PersonLabels
from simulation.music.clip_sound import clip_sound
from simulation.truth import PEOPLE, people_path, write_clips, write_people
from simulation.world import WORLD_VERSION, LikesOptions, Upload, WorldOptions, make_world

OPTIONS = "world.toml"
log = logging.getLogger(__name__)

_STATE = "truth/world.json"  # fingerprint of the world that the rendered files belong to

Progress = Callable[[int, int, str], None]  # clips done, clips in all, detail


def manifest_path(folder: Path) -> Path:
    """Path of the manifest, named after the folder, since a batch is named after its manifest."""
    return folder / f"{folder.resolve().name}.csv"


def read_options(folder: Path) -> WorldOptions:
    """Options of the world in a folder. Raises DataError: there is no world.toml, or no such world is possible."""
    path = folder / OPTIONS
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not TOML: {error}") from error
    likes = _parsed(LikesOptions, values.pop("likes", {}), f"{path} [likes]")
    if isinstance(values.get("seconds"), list):
        values["seconds"] = tuple(values["seconds"])
    return dataclasses.replace(_parsed(WorldOptions, values, str(path)), likes=likes)


def _parsed(kind: type, values: Any, where: str) -> Any:
    """A dataclass of `kind` from a table of TOML."""
    names = [item.name for item in dataclasses.fields(kind)]
    unknown = set(values) - set(names) if isinstance(values, dict) else {repr(values)}
    if unknown:
        raise DataError(f"{where}: {', '.join(sorted(unknown))}: unknown; the keys are {', '.join(names)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise DataError(f"{where}: a value is of the wrong type: {error}") from error


def write_options(folder: Path, options: WorldOptions) -> None:
    """Write world.toml."""
    lines = [f"# The demo world: docs/demo-world.md says what each option means. World version {WORLD_VERSION}."]
    lines += [f"{name} = {_toml(value)}" for name, value in asdict(options).items() if name != "likes"]
    lines += ["", "[likes]", *(f"{name} = {value!r}" for name, value in asdict(options.likes).items())]
    storage.write_bytes(str(folder / OPTIONS), ("\n".join(lines) + "\n").encode())


def _toml(value: Any) -> str:
    return f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else repr(value)


def write_manifest(folder: Path, uploads: tuple[Upload, ...]) -> None:
    """Write the manifest, a row an upload."""
    with storage.staged(str(manifest_path(folder))) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip_id", "uri", "challenge", "creator_id", "uploaded_at", "likes", "followers"])
        for upload in uploads:
            writer.writerow(
                [upload.script.clip_id, upload.uri, upload.script.dance, upload.creator_id]
                + [upload.uploaded_at.strftime("%Y-%m-%dT%H:%M:%SZ"), upload.likes, upload.followers]
            )


def is_rendered(folder: Path) -> bool:
    """Whether every clip of the world in world.toml is present, with its truth."""
    options = read_options(folder)
    return _state(folder) == _identity(options) and not _missing(folder, make_world(options))


def render_world(folder: Path, workers: int, progress: Progress | None = None) -> None:
    """Render the clips that are missing; an existing manifest is kept, so its likes may be edited.

    Args:
        folder: holds world.toml (write_options).
        workers: number of processes; 1: this one.
        progress: called after every clip.
    """
    options = read_options(folder)
    uploads = make_world(options)
    for name in ("clips", PEOPLE):
        (folder / name).mkdir(parents=True, exist_ok=True)
        storage.remove_stale(str(folder / name))
    if _state(folder) != _identity(options):  # files of another world
        for upload in uploads:
            (folder / upload.uri).unlink(missing_ok=True)
            people_path(folder, upload.script.clip_id).unlink(missing_ok=True)
        write_clips(folder, uploads)
        storage.write_bytes(str(folder / _STATE), json.dumps({"world": _identity(options)}).encode())
    if not manifest_path(folder).exists():
        write_manifest(folder, uploads)
    missing = _missing(folder, uploads)
    done = len(uploads) - len(missing)
    for _ in called_in_processes(workers, render_clip, [(folder, upload) for upload in missing]):
        done += 1
        if progress:
            progress(done, len(uploads), "")


def render_clip(folder: Path, upload: Upload) -> None:
    """Render one clip's file and its truth."""
    seconds = frame_times(upload.script)
    labels: list[list[PersonLabels]] = []

    def pictures() -> Iterator[np.ndarray]:
        for picture, people in film(upload.script, seconds):
            labels.append(people)
            yield picture

    damage = upload.script.phone.damage
    with _one_thread():  # clips are rendered side by side
        record(folder / upload.uri, pictures(), seconds, upload.script.phone, clip_sound(upload.script))
    # A damaged file shows nothing, or an unknown part.
    write_people(folder, upload, seconds[: len(labels)] if not damage else seconds[:0], labels if not damage else [])


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV computes in one thread."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _missing(folder: Path, uploads: tuple[Upload, ...]) -> list[Upload]:
    clips, people = (storage.listing(str(folder / name), recursive=False) for name in ("clips", PEOPLE))
    return [
        upload
        for upload in uploads
        if Path(upload.uri).name not in clips or people_path(folder, upload.script.clip_id).name not in people
    ]


def _identity(options: WorldOptions) -> str:
    return fingerprint({"version": WORLD_VERSION, "options": asdict(options)})


def _state(folder: Path) -> str:
    """Fingerprint of the world whose files are there; "" where none is, or where it cannot be read any more."""
    path = folder / _STATE
    if not path.exists():
        return ""
    try:
        return str(json.loads(path.read_bytes())["world"])
    except (ValueError, TypeError, KeyError) as error:
        log.warning(f"{path} is damaged ({error}); the world is rendered again")
        return ""
