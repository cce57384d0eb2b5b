"""Weights by name: where they come from, and their identity in fingerprints. Imports no torch.

A profile names weights in one of five ways:

* a name in models/weights/catalogue.toml: a published file, fetched into a cache folder and verified;
* `bundled:<name>`: a file of models/weights/bundled/, trained by this project and part of the package;
* `untrained:<seed>`: random weights, the same for the same seed;
* `package:facenet-pytorch`: MTCNN's three files inside that package;
* the path of a file (a slash in it, or ending in .pth, .pt, .tar or .safetensors).
"""

import difflib
import functools
import hashlib
import importlib.util
import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from models.errors import WeightsError
from models.task_command import task_command

CACHE_VARIABLE = "VDV_WEIGHTS"
_CATALOGUE = Path(__file__).with_name("catalogue.toml")
BUNDLED_FOLDER = Path(__file__).with_name("bundled")
_BUNDLED = "bundled:"
BUNDLED = tuple(_BUNDLED + path.stem for path in sorted(BUNDLED_FOLDER.glob("*.safetensors")))
_SUFFIXES = (".pth", ".pt", ".tar", ".safetensors")
_PACKAGE = "package:facenet-pytorch"
_MTCNN_FILES = ("pnet.pt", "rnet.pt", "onet.pt")
_UNTRAINED = re.compile(r"untrained:(\d{1,9})")


@dataclass(frozen=True)
class Published:
    """A weight file of the catalogue. Of `sha256` and `sha256_prefix` exactly one is given."""

    name: str
    modality: str
    architecture: str
    url: str
    licence: str
    publisher: str
    sha256: str | None = None
    sha256_prefix: str | None = None  # what the publisher puts in the file name; 8 hex digits
    size: int | None = None  # bytes, where known

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    @property
    def identity(self) -> str:
        """For fingerprints; does not need the file, so it is the same before and after fetching."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"sha256-prefix:{self.sha256_prefix}:{self.file_name}"

    def accepts(self, sha256: str) -> bool:
        """Whether a file with this sha256 (hex digest) is the published one."""
        return sha256 == self.sha256 if self.sha256 else sha256.startswith(self.sha256_prefix or "?")


@dataclass(frozen=True)
class Weights:
    """Weights that can be loaded."""

    name: str  # as in the profile
    identity: str  # for fingerprints: "sha256:...", "untrained:0", ...
    path: Path | None  # None: untrained; of a package: the folder with its files
    trained: bool
    licence: str
    url: str  # "" where there is none

    @property
    def seed(self) -> int:
        """The seed of untrained weights; 0 for trained ones, which need none."""
        match = _UNTRAINED.fullmatch(self.name)
        return int(match[1]) if match else 0


@functools.cache
def load_catalogue(path: Path = _CATALOGUE) -> dict[str, Published]:
    """The catalogue's entries by name. Raises WeightsError: an entry without exactly one of its two hashes."""
    with path.open("rb") as file:
        tables = tomllib.load(file)
    entries = {name: Published(name=name, **table) for name, table in tables.items()}
    for entry in entries.values():
        if (entry.sha256 is None) == (entry.sha256_prefix is None):
            raise WeightsError(f"{path}, [{entry.name}]: give either sha256 or sha256_prefix")
    return entries


def cache_folder(cache: str | Path | None = None) -> Path:
    """`cache`, else $VDV_WEIGHTS, else the platform's cache folder for vdv."""
    chosen = cache or os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import pooch  # imported here: it costs a tenth of a second, and all planning imports this module

    return Path(pooch.os_cache("vdv"))


def is_path(weights: str) -> bool:
    """Whether `weights` names a file rather than one of the catalogue."""
    return not weights.startswith(("untrained:", "package:", _BUNDLED)) and (
        "/" in weights or weights.endswith(_SUFFIXES)
    )


def is_trained(weights: str) -> bool:
    return not weights.startswith("untrained:")


def bundled_path(weights: str) -> Path | None:
    """The file of one of BUNDLED, whether it exists or not; None for weights of another kind."""
    return BUNDLED_FOLDER / f"{weights.removeprefix(_BUNDLED)}.safetensors" if weights in BUNDLED else None


def published(weights: str) -> Published | None:
    """The catalogue's entry, or None for weights of the other four kinds.

    Raises:
        WeightsError: the weights are of none of the five kinds.
    """
    if is_path(weights) or weights == _PACKAGE or _UNTRAINED.fullmatch(weights) or weights in BUNDLED:
        return None
    catalogue = load_catalogue()
    if weights in catalogue:
        return catalogue[weights]
    matches = difflib.get_close_matches(weights, catalogue, n=1)
    hint = f" (did you mean {matches[0]}?)" if matches else ""
    raise WeightsError(
        f"there are no weights {weights!r}{hint}; use one of {', '.join((*catalogue, *BUNDLED))}, "
        f"untrained:<seed>, or the path of a file ending in {', '.join(_SUFFIXES)}"
    )


def identity(weights: str) -> str:
    """Identity of the weights in a fingerprint; needs no network and fetches nothing.

    It depends on the content, not the name: a file under two paths, or in the cache, has one identity. A file is read
    once a process.

    Raises:
        WeightsError: unknown weights, or a path without a file.
    """
    entry = published(weights)
    if entry:
        return entry.identity
    if weights == _PACKAGE:
        digests = [_sha256(_package_folder() / name) for name in _MTCNN_FILES]
        return f"sha256:{hashlib.sha256(''.join(digests).encode()).hexdigest()}"
    path = _local_file(weights)
    return f"sha256:{_sha256(path)}" if path else weights


def resolve(weights: str, cache: str | Path | None = None, *, profile: str = "<name>") -> Weights:
    """The weights, verified and ready to load.

    Args:
        cache: see `cache_folder`.
        profile: its name in the command that the error proposes.

    Raises:
        WeightsError: a published file is not in the cache (says URL, size, where to put it, and the command that
            fetches it) or differs from the published one; or what `identity` raises.
    """
    described = Weights(weights, "", None, is_trained(weights), licence="", url="")
    entry = published(weights)
    if entry is None:
        licence = (
            "MIT (facenet-pytorch)" if weights == _PACKAGE else "Apache-2.0 (vdv)" if bundled_path(weights) else ""
        )
        path = _package_folder() if weights == _PACKAGE else _local_file(weights)
        return replace(described, identity=identity(weights), path=path, licence=licence)
    path = cache_folder(cache) / entry.file_name
    if not path.is_file():
        raise WeightsError(
            f"the weights {weights} are not here. Fetch them with\n"
            f"    {task_command('FetchWeights', '--profile', profile)}\n" + placing_hint(entry, path)
        )
    verify(entry, path)
    return replace(described, identity=entry.identity, path=path, licence=entry.licence, url=entry.url)


def is_available(weights: str, cache: str | Path | None = None) -> bool:
    """Whether `resolve` would succeed. Raises WeightsError where the file differs from the published one."""
    entry = published(weights)
    if entry is None:
        return True
    path = cache_folder(cache) / entry.file_name
    if not path.is_file():
        return False
    verify(entry, path)
    return True


def verify(entry: Published, path: Path) -> None:
    """Raise WeightsError where the file at `path` is not the published one."""
    digest = _sha256(path)
    if not entry.accepts(digest):
        raise WeightsError(
            f"{path} is not the file that {entry.url} is known to give: its sha256 is {digest}, and should "
            f"{digest_rule(entry)}. Delete it and fetch it again; to use it all the same, give its path as the "
            "profile's weights"
        )


def digest_rule(entry: Published) -> str:
    return f"be {entry.sha256}" if entry.sha256 else f"begin with {entry.sha256_prefix}"


def placing_hint(entry: Published, path: Path) -> str:
    """Instructions for placing the file by hand, where there is no network."""
    size = f"{entry.size / 1e6:.0f} MB" if entry.size else "size not known"
    return (
        f"or, without a network on this machine, put the file of\n    {entry.url} ({size})\nat\n    {path}\n"
        f"(its sha256 must {digest_rule(entry)}; licence: {entry.licence})"
    )


def _local_file(weights: str) -> Path | None:
    """The file of weights named by a path or bundled with vdv."""
    return Path(weights).expanduser() if is_path(weights) else bundled_path(weights)


def _package_folder() -> Path:
    spec = importlib.util.find_spec("facenet_pytorch")  # does not import it, and torch with it
    if spec is None or spec.origin is None:
        raise WeightsError(
            "facenet-pytorch, which holds MTCNN's weights, is not installed: pip install facenet-pytorch"
        )
    return Path(spec.origin).parent / "data"


def _sha256(path: Path) -> str:
    try:
        status = path.stat()
        return _sha256_of(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"the weight file {path} cannot be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, size: int, mtime_ns: int) -> str:
    """sha256 of a file. size and mtime_ns are part of the cache's key: a file that was replaced is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
