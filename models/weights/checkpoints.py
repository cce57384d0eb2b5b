"""State dicts of published checkpoint files, loaded without running code from them.

Formats: safetensors; torch's zip files and its older stream format (also as Python 2 wrote it), holding a plain state
dict, or one under `state_dict` as the 2017 Places365 files (`.pth.tar`, which are no tar files) and mmengine's have it,
or under `model` as those of PANNs, beside the state of its sampler.
"""

import re
import struct
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from models.errors import WeightsError


class _Ignored:
    """Stand-in for an object in a checkpoint that is no weight; takes anything and does nothing."""

    def __new__(cls, *args: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _ignored_dict(*args: Any) -> dict:
    """Stand-in for a defaultdict in a checkpoint; a plain dict, since torch fills no other."""
    return {}


# Objects that mmengine (and training scripts of 2017) keep beside the weights: numpy scalars and arrays, log buffers,
# dates. torch refuses these names unless they are allowed. Allowing the real ones would let a file call them (every
# HistoryBuffer has `getattr` in it, which reaches anything), so each is read as a stand-in that does nothing.
_IGNORED_NAMES = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.config.config.ConfigDict",
    "builtins.getattr",
    "builtins.dict",  # this and the next three: default factories of a defaultdict
    "builtins.list",
    "builtins.int",
    "builtins.float",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
    "datetime.datetime",
    "datetime.date",
    "datetime.timedelta",
    "pathlib.PosixPath",
)
_STAND_INS = [*((_Ignored, name) for name in _IGNORED_NAMES), (_ignored_dict, "collections.defaultdict")]


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file, on the CPU, without the `module.` of nn.DataParallel.

    Raises:
        WeightsError: the file cannot be read, is damaged, would run code when loaded (it is not run), or holds
            anything but weights; the message says which.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
        content = safetensors.torch.load_file(path) if _is_safetensors(path, start) else _load_torch(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is a damaged safetensors file: {error}") from error
    return _tensors(_state_dict(content, path), path)


def _is_safetensors(path: Path, start: bytes) -> bool:
    """Whether the file starts like safetensors: 8 bytes with the length of a JSON object, then that object."""
    if len(start) < 9 or start[8:9] != b"{":
        return False
    return struct.unpack("<Q", start[:8])[0] <= path.stat().st_size - 8


def _load_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_STAND_INS):  # type: ignore[arg-type]
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except UnicodeDecodeError:
                # Python 2 wrote raw byte strings; latin1 decodes any byte, and weights' names are ASCII.
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="pickle_load_args only works")  # it does work here
                    return torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged or hostile stream can make torch raise anything
        message = str(error)
        named = re.search(r"GLOBAL (\S+)", message)
        if named:
            raise WeightsError(
                f"{path} is refused and was not run: beside weights it holds {named[1]}, which is code. Get the file "
                "from its publisher; if you trust it, load it where that may do no harm and save its state dict alone"
            ) from error
        first = next((line for line in reversed(message.splitlines()) if line.strip()), type(error).__name__)
        raise WeightsError(f"{path} is damaged, or no torch checkpoint: {first.strip()}") from error


def _state_dict(content: Any, path: Path) -> Mapping:
    if isinstance(content, Mapping):
        inner = content.get("state_dict", content.get("model", content))
        if isinstance(inner, Mapping) and inner:
            return inner
    kind = f"a mapping with the keys {sorted(map(str, content))[:8]}" if isinstance(content, Mapping) else type(content)
    raise WeightsError(f"{path} holds no state dict, but {kind}; save a network's state_dict() alone")


def _tensors(state: Mapping, path: Path) -> dict[str, Tensor]:
    others = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise WeightsError(f"{path}: {', '.join(others[:5])} in its state dict are no tensors; is it a state dict?")
    tensors = OrderedDict((str(key), value.detach()) for key, value in state.items())
    if all(key.startswith("module.") for key in tensors):
        tensors = OrderedDict((key.removeprefix("module."), value) for key, value in tensors.items())
    return dict(tensors)
