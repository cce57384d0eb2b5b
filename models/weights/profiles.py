"""Profiles: the networks, weights and options of a run, read from TOML. Imports no torch, since planning reads them.

A profile is complete, so that nothing hides in defaults; a new one starts as a copy of
models/weights/profile_files/*.toml.
"""

import tomllib
import types
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from models.errors import ProfileError, WeightsError
from models.weights import catalogue

RESNETS = ("resnet10-w32", "resnet18", "resnet34", "resnet50")
_FOLDER = Path(__file__).with_name("profile_files")

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """The values allowed for a key, beside its type."""

    low: float | None = None
    high: float | None = None
    choices: Callable[[], tuple[str, ...]] | tuple[str, ...] = ()
    multiple_of: int = 0
    identity: bool = True  # changes the features, so it belongs in a fingerprint


@dataclass(frozen=True)
class BatchSize:
    """Inputs a forward pass; affects speed and memory only."""

    cpu: Annotated[int, Rule(low=1)]
    cuda: Annotated[int, Rule(low=1)]


@dataclass(frozen=True)
class Entry:
    """The keys of every modality's table. stride: the modality takes every stride-th frame of the sampling grid."""

    architecture: str
    weights: str  # see models.weights.catalogue
    stride: Annotated[int, Rule(low=1)]
    # Every batch is padded to its full size, so this changes results by float rounding at most: no reason to redo work.
    batch_size: Annotated[BatchSize, Rule(identity=False)]

    def identity(self) -> dict[str, Any]:
        """The options that change results, by name, without the weights, which count by content."""
        options = {item.name: getattr(self, item.name) for item in fields(self) if _typed(item)[1].identity}
        return {name: value for name, value in options.items() if not name.endswith("weights")}

    def all_weights(self) -> dict[str, str]:
        """The options that name weights."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name.endswith("weights")}

    def problems(self) -> list[str]:
        """Conflicts between options, each as `option: what is wrong`."""
        return []


@dataclass(frozen=True)
class _Sampling:
    """The fields of pipeline.core.options.SamplingOptions, which this package may not import; a test compares them."""

    sample_fps: Annotated[float, Rule(low=0.1, high=240)]
    max_seconds: Annotated[float, Rule(low=0.1)]
    max_side: Annotated[int, Rule(low=32)]
    decoder: Annotated[str, Rule(choices=("auto", "decord", "pyav"))]


@dataclass(frozen=True)
class Profile:
    """One profile file, checked."""

    name: str  # the file's name without .toml
    sampling: Mapping[str, Any]  # keyword arguments of pipeline.core.options.SamplingOptions
    entries: Mapping[str, Any]  # Entry by modality

    def entry(self, modality: str) -> Any:
        """The modality's Entry, of its subclass.

        Raises:
            ProfileError: there is no such modality.
        """
        if modality not in self.entries:
            raise ProfileError(f"modality {modality!r} does not exist; use one of {', '.join(self.entries)}")
        return self.entries[modality]

    def with_options(self, modality: str, **options: Any) -> "Profile":
        """The profile with other options of one modality."""
        return replace(self, entries={**self.entries, modality: replace(self.entry(modality), **options)})


def bundled_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with vdv."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def read_profile(name_or_path: str | Path, entries: Mapping[str, type[Entry]]) -> Profile:
    """The profile with that name, or of that TOML file (anything with a slash or ending in .toml is a file).

    A relative path of a weight file is relative to the profile's folder. entries: the table of each modality.

    Raises:
        ProfileError: no such profile; or unknown or missing keys, wrong types or values: all of them at once, each with
            its table, its key and the values allowed.
    """
    text = str(name_or_path)
    is_file = text.endswith(".toml") or "/" in text or isinstance(name_or_path, Path)
    path = Path(text) if is_file else _FOLDER / f"{text}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProfileError(
            f"there is no profile {text!r}; use one of {', '.join(bundled_profiles())}, or the path of a .toml file"
        ) from None
    except OSError as error:
        raise ProfileError(f"profile {path} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"profile {path} is not TOML: {error}") from error

    problems: list[str] = []
    tables: dict[str, type] = {"sampling": _Sampling, **entries}
    problems += [f"[{key}]: unknown; the tables are {', '.join(tables)}" for key in document if key not in tables]
    checked: dict[str, Any] = {}
    for name, kind in tables.items():
        if name not in document:
            problems.append(f"[{name}]: missing")
        else:
            checked[name] = _read_table(kind, document[name], name, problems)
    for name, entry in checked.items():
        if isinstance(entry, Entry):
            problems += _check_entry(name, entry)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ProfileError("\n  ".join([f"profile {path} has {count}:", *problems]))

    absolute = {name: _absolute_weights(checked[name], path.parent) for name in entries}
    return Profile(name=path.stem, sampling=asdict(checked["sampling"]), entries=absolute)


def _read_table(kind: type[T], table: object, where: str, problems: list[str]) -> T | None:
    """`kind` from a TOML table, or None with the errors added to `problems`."""
    if not isinstance(table, dict):
        problems.append(f"[{where}]: {table!r} is not a table")
        return None
    options = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    before = len(problems)
    problems += [f"[{where}] {key}: unknown; the keys are {', '.join(options)}" for key in table if key not in options]
    values = {}
    for name, item in options.items():
        label = f"[{where}] {name}"
        wanted, rule = _typed(item)
        if name not in table:
            problems.append(f"{label}: missing; give {_allowed(wanted, rule)}")
        elif isinstance(wanted, type) and is_dataclass(wanted):
            values[name] = _read_table(wanted, table[name], f"{where}.{name}", problems)
        else:
            values[name] = _convert(table[name], wanted, rule)
            if values[name] is None:
                problems.append(f"{label}: {table[name]!r} is not {_allowed(wanted, rule)}")
    return kind(**values) if len(problems) == before else None


def _typed(item: Field) -> tuple[Any, Rule]:
    """A field's type and rule."""
    if get_origin(item.type) is Annotated:
        kind, rule = get_args(item.type)
        return kind, rule
    return item.type, Rule()


def _convert(value: Any, kind: Any, rule: Rule) -> Any:
    """`value` as `kind`, or None where it has another type or is out of bounds. 10 passes for 10.0, True not for 1."""
    if isinstance(kind, types.UnionType):
        converted = (_convert(value, option, rule) for option in get_args(kind))
        return next((item for item in converted if item is not None), None)
    if get_origin(kind) is tuple:
        if not isinstance(value, list) or len(value) != len(get_args(kind)):
            return None
        items = tuple(_convert(item, wanted, rule) for item, wanted in zip(value, get_args(kind), strict=True))
        return None if None in items else items
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        return None
    if kind is str:
        allowed = _choices(rule)
        return value if value and (not allowed or value in allowed) else None
    # nan is in no bounds
    in_bounds = (rule.low is None or value >= rule.low) and (rule.high is None or value <= rule.high)
    return value if in_bounds and (not rule.multiple_of or value % rule.multiple_of == 0) else None


def _allowed(kind: Any, rule: Rule) -> str:
    """Description of the values allowed for a key, for error messages."""
    if isinstance(kind, types.UnionType):
        return ", or ".join(_allowed(option, rule) for option in get_args(kind))
    if is_dataclass(kind):
        return "a table of " + ", ".join(item.name for item in fields(kind))
    if get_origin(kind) is tuple:
        return f"{len(get_args(kind))} values, each {_allowed(get_args(kind)[0], rule)}"
    if kind is str:
        allowed = _choices(rule)
        return "one of " + ", ".join(allowed) if allowed else "a text"
    name = "an integer" if kind is int else "a number"
    bounds = f" from {rule.low} to {rule.high}" if rule.high is not None else f" of {rule.low} or more"
    return name + bounds + (f", a multiple of {rule.multiple_of}" if rule.multiple_of else "")


def _choices(rule: Rule) -> tuple[str, ...]:
    return rule.choices() if callable(rule.choices) else rule.choices


def _check_entry(modality: str, entry: Entry) -> list[str]:
    """Conflicts between options, and weights that do not exist or are of another network."""
    problems = []
    try:
        published = catalogue.published(entry.weights)
    except WeightsError as error:
        return [f"[{modality}] weights: {error}"]
    if published and (published.modality, published.architecture) != (modality, entry.architecture):
        problems.append(
            f"[{modality}] weights: {entry.weights!r} are for the {published.modality} architecture "
            f"{published.architecture}, not for {modality} {entry.architecture}"
        )
    return problems + [f"[{modality}] {problem}" for problem in entry.problems()]


def cut_from_resized(input_size: int, resize: int) -> list[str]:
    """The problem of a network's input larger than the picture that it is cut from; empty where it is not."""
    return [f"input_size: {input_size} px cannot be cut from {resize} px (resize)"] if input_size > resize else []


def _absolute_weights(entry: Entry, folder: Path) -> Entry:
    """The entry with a relative path of weights made absolute."""
    if not catalogue.is_path(entry.weights):
        return entry
    return replace(entry, weights=str((folder / Path(entry.weights).expanduser()).resolve()))
