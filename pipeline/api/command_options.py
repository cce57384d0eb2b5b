"""Options of the commands that a workspace runs, by the names that they have in Python, and as words of a command line.

tests/pipeline/api/test_command_options.py compares them with those of the tasks.
"""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from pipeline.core.errors import OptionError

FileName = str | os.PathLike[str]
_REPEATED = {"allow_uri", "logger"}  # given once for each text; other texts in one option have commas in between


class ExtractionOptions(TypedDict, total=False):
    """Options of all commands that extract clips."""

    shard_clips: int
    decode_workers: int
    deadline_s: float
    memory_limit_mb: int
    fetch_limit_mb: int
    fetch_cache_mb: int
    allow_uri: str | Sequence[str]
    progress_s: float
    profile: FileName
    device: str
    owners: int
    engine: str
    ray_address: str
    weights_cache: FileName
    retry_failed: bool
    max_failed: float


class BuildOptions(ExtractionOptions, total=False):
    """Options of BuildVDV (docs/running.md)."""

    modalities: str | Sequence[str]
    label: str
    max_followers: int
    with_context: bool
    seed: int
    epochs: int
    protocol: str
    folds: int
    permuted: bool
    ablations: bool
    ablation_seeds: int
    ablation_variants: str | Sequence[str]
    report_faces: str
    report_films: int
    run_name: str
    logger: str | Sequence[str]


class ScoreOptions(ExtractionOptions, total=False):
    """Options of ScoreUploads (docs/running.md)."""

    level: float


def refuse_unknown(options: Mapping[str, Any], known: type, of: str) -> None:
    """Raise OptionError for an option that is none of `known`, a TypedDict; the message names the nearest."""
    names = list(known.__annotations__)
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; it takes {', '.join(sorted(names))}"
            raise OptionError(f"{of} takes no option {name!r}{hint}")


def words(options: Mapping[str, Any]) -> Iterator[str]:
    """What stands on the command line. None and False leave an option as it is without it.

    Raises:
        OptionError: a manifest is no path; an empty list is named, which the command takes for all; a text that no
            command line can hold.
    """
    for name, value in options.items():
        if name == "manifest" and value is not None:
            _check_path(name, value)
        if isinstance(value, Sequence) and not isinstance(value, str) and not value and name not in _REPEATED:
            raise OptionError(f"{name} is empty: {value!r}; name something, or leave it away")
        if "\0" in str(value):
            raise OptionError(f"{name} holds a byte 0: {value!r}")
        option = "--" + name.replace("_", "-")
        if value is True:
            yield option
        elif isinstance(value, str | os.PathLike):
            yield f"{option}={os.fspath(value)}"
        elif isinstance(value, Sequence) and name in _REPEATED:
            yield from (f"{option}={text}" for text in value)
        elif isinstance(value, Sequence):
            yield f"{option}={','.join(map(str, value))}"
        elif value is not None and value is not False:
            yield f"{option}={value}"


def _check_path(name: str, value: object) -> None:
    if not isinstance(value, str | os.PathLike):
        raise OptionError(f"{name} is a {type(value).__name__}; it takes the path of a file or folder, or a glob")
    if not os.fspath(value):  # the command would build the demo world
        raise OptionError(f"{name} is empty: {value!r}; name something, or leave it away")
