"""Profiles: which networks, weights and options a run uses, read from TOML. Imports no torch: planning needs only this.

A profile says everything, so that nothing hides in defaults; a new one starts as a copy of
models/weights/profile_files/*.toml.
"""

import tomllib
import types
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from models.errors import ProfileError, WeightsError
from models.extractors.mmpose_compat import OWN_CONFIGS
from models.extractors.places365 import CATEGORY_SETS
from models.weights import catalogue as weights_module
from models.weights.catalogue import load_catalogue

MODALITIES = ("pose", "appearance", "face", "scene")
_FOLDER = Path(__file__).with_name("profile_files")
_RESNETS = ("resnet10-w32", "resnet18", "resnet34", "resnet50")
_FACE_NETWORKS = ("inception-resnet-v1", "resnet10-w32")
# RTMO's head looks at cells of 32 px at its coarsest; other sides would be padded inside the network.
_RTMO_CELL = 32

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """What a key may be, beside its type."""

    low: float | None = None
    high: float | None = None
    choices: Callable[[], tuple[str, ...]] | tuple[str, ...] = ()
    multiple_of: int = 0
    identity: bool = True  # another value gives other features, so it belongs in a fingerprint


def _pose_architectures() -> tuple[str, ...]:
    published = (entry.architecture for entry in load_catalogue().values() if entry.modality == "pose")
    return (*published, *sorted(path.stem for path in OWN_CONFIGS.glob("*.py")))


@dataclass(frozen=True)
class BatchSize:
    """Inputs a forward pass; a matter of speed and memory."""

    cpu: Annotated[int, Rule(low=1)]
    cuda: Annotated[int, Rule(low=1)]


@dataclass(frozen=True)
class Entry:
    """What every modality's table has. stride: every how many frames of the sampling grid it looks at."""

    architecture: str
    weights: str  # see models.weights.catalogue
    stride: Annotated[int, Rule(low=1)]
    # Every batch is padded to its full size, so this moves results by float rounding at most: no reason to redo work.
    batch_size: Annotated[BatchSize, Rule(identity=False)]

    def identity(self) -> dict[str, Any]:
        """The options that change results, by name. Weights are not in it: their content is, see `build`."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if _typed(item)[1].identity}
        return {name: value for name, value in own.items() if name not in ("weights", "detector_weights")}


@dataclass(frozen=True)
class PoseEntry(Entry):
    architecture: Annotated[str, Rule(choices=_pose_architectures)]  # name of a config inside mmpose or pose_configs/
    # px of the network's input: side of a square, or width and height
    input_size: Annotated[int | tuple[int, int], Rule(low=_RTMO_CELL, multiple_of=_RTMO_CELL)]
    score_threshold: Annotated[float, Rule(low=0, high=0.99)]  # persons at or below are dropped
    nms_threshold: Annotated[
        float, Rule(low=0.01, high=0.99)
    ]  # intersection over union above which the less sure person goes
    max_persons: Annotated[int, Rule(low=1, high=300)]  # kept a frame; models.extractors.pose looks at no more


@dataclass(frozen=True)
class FaceEntry(Entry):
    architecture: Annotated[str, Rule(choices=_FACE_NETWORKS)]
    detector_weights: Annotated[str, Rule(choices=("package:facenet-pytorch",))]
    min_face_size: Annotated[int, Rule(low=12)]  # px; MTCNN's window is 12 px
    thresholds: Annotated[tuple[float, float, float], Rule(low=0.01, high=0.99)]  # of P-Net, R-Net, O-Net
    max_faces: Annotated[int, Rule(low=1)]  # kept a frame


@dataclass(frozen=True)
class SceneEntry(Entry):
    architecture: Annotated[str, Rule(choices=_RESNETS)]
    categories: Annotated[str, Rule(choices=tuple(CATEGORY_SETS))]
    resize: Annotated[int, Rule(low=1)]  # px, both sides of the picture that the input is cut from
    input_size: Annotated[int, Rule(low=32)]  # px, side of the network's input


@dataclass(frozen=True)
class AppearanceEntry(Entry):
    architecture: Annotated[str, Rule(choices=_RESNETS)]
    resize: Annotated[int, Rule(low=1)]  # px, shorter side of the picture that the input is cut from
    input_size: Annotated[int, Rule(low=32)]


@dataclass(frozen=True)
class _Sampling:
    """The fields of pipeline.core.options.SamplingOptions, which this package may not import; a test compares them."""

    sample_fps: Annotated[float, Rule(low=0.1, high=240)]
    max_seconds: Annotated[float, Rule(low=0.1)]
    max_side: Annotated[int, Rule(low=32)]


@dataclass(frozen=True)
class Profile:
    """One profile file, checked."""

    name: str  # the file's name without .toml
    sampling: Mapping[str, float]  # keyword arguments of pipeline.core.options.SamplingOptions
    pose: PoseEntry
    face: FaceEntry
    scene: SceneEntry
    appearance: AppearanceEntry

    def entry(self, modality: str) -> Entry:
        """Raises ProfileError: there is no such modality."""
        if modality not in MODALITIES:
            raise ProfileError(f"modality {modality!r} does not exist; use one of {', '.join(MODALITIES)}")
        return getattr(self, modality)


def bundled_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with vdv."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """The profile of that name, or of that TOML file (anything with a slash or ending in .toml is a file).

    A relative path of a weight file counts from the profile's folder.

    Raises:
        ProfileError: no such profile; or unknown keys, missing keys, wrong types and values, all of them at once, each
            with its table, its key and what is allowed.
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
    tables: dict[str, type] = {"sampling": _Sampling} | _ENTRIES
    problems += [f"[{key}]: unknown; the tables are {', '.join(tables)}" for key in document if key not in tables]
    found: dict[str, Any] = {}
    for name, kind in tables.items():
        if name not in document:
            problems.append(f"[{name}]: missing")
        else:
            found[name] = _read_table(kind, document[name], name, problems)
    for name, entry in found.items():
        if isinstance(entry, Entry):
            problems += _check_entry(name, entry)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ProfileError("\n  ".join([f"profile {path} has {count}:", *problems]))

    entries: dict[str, Any] = {name: _place_weights(found[name], path.parent) for name in _ENTRIES}
    return Profile(name=path.stem, sampling=asdict(found["sampling"]), **entries)


_ENTRIES: dict[str, type] = {
    "pose": PoseEntry,
    "appearance": AppearanceEntry,
    "face": FaceEntry,
    "scene": SceneEntry,
}


def _read_table(kind: type[T], table: object, where: str, problems: list[str]) -> T | None:
    """`kind` from a TOML table, or None with what is wrong added to `problems`."""
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
    """`value` as `kind`, or None where it is of another type or out of bounds. 10 is as good as 10.0, True is not 1."""
    if isinstance(kind, types.UnionType):
        readings = (_convert(value, either, rule) for either in get_args(kind))
        return next((reading for reading in readings if reading is not None), None)
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
    """What a key may be, for a person."""
    if isinstance(kind, types.UnionType):
        return ", or ".join(_allowed(either, rule) for either in get_args(kind))
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


def _check_entry(where: str, entry: Entry) -> list[str]:
    """Values that are fine alone and wrong together."""
    problems = []
    try:
        published = weights_module.published(entry.weights)
    except WeightsError as error:
        return [f"[{where}] weights: {error}"]
    if published and (published.modality, published.architecture) != (where, entry.architecture):
        problems.append(
            f"[{where}] weights: {entry.weights!r} are for the {published.modality} architecture "
            f"{published.architecture}, not for {where} {entry.architecture}"
        )
    if isinstance(entry, SceneEntry | AppearanceEntry) and entry.input_size > entry.resize:
        problems.append(f"[{where}] input_size: {entry.input_size} px cannot be cut from {entry.resize} px (resize)")
    return problems


def _place_weights(entry: Entry, folder: Path) -> Entry:
    """The entry with a relative path of weights made absolute."""
    if not weights_module.is_path(entry.weights):
        return entry
    values = {item.name: getattr(entry, item.name) for item in fields(entry)}
    return type(entry)(**{**values, "weights": str((folder / Path(entry.weights).expanduser()).resolve())})
