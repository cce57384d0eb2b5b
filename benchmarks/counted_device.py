"""A make-believe device: tensors that say they are on a GPU and are in memory, and a count of what a GPU would do.

So the code that runs beside a GPU runs, and is tested and measured, where there is none: every branch on the device's
type is taken as for CUDA, but for streams, pinned memory and half precision; what is recorded is done again when it is
played back. Built on torch's hook for devices that are written in Python.

Its operators are computed by the thread that asks for them, between whose steps they leave cold caches and memory to
give back. To time that thread, what it asks for is kept on a Tape, and asked for again: then nothing is computed.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from threading import get_ident
from time import thread_time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from models.extractors import recorded

NAME = "counted"

# Operators whose result has a shape that only the device knows: the processor waits for it.
_WAITING = (
    "nonzero", "nonzero_numpy", "masked_select", "unique", "_unique2", "unique_consecutive", "unique_dim", "nms",
    "item", "_local_scalar_dense", "equal", "is_nonzero", "repeat_interleave",
)  # fmt: skip
_AS_COPY = ("_to_copy", "to", "cpu")


@dataclass(frozen=True)
class _Step:
    """One operator that a thread gave the device."""

    func: Any
    result: Any  # tensors of the device without values; the host's values
    waits: int
    uploads: int


class TapeError(RuntimeError):
    """The thread asks for another operator than it did when the tape was recorded."""


class Tape:
    """The operators of the thread of `counted_device`, in order, with what the host gets to see of their results."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.position: int | None = None  # of the next step that is played; None while recording
        self._results: list[Any] = []  # of the steps

    def rewind(self) -> None:
        """Play from the first step."""
        self.position = 0
        # Anew each time: torch writes on a tensor what it is a view of.
        self._results = [tree_map(_fresh, step.result) for step in self.steps]

    def record(self, func: Any, args: Any, kwargs: dict[str, Any], result: Any, waits: int, uploads: int) -> None:
        if func._schema.name == "aten::copy_" and not isinstance(args[0], CountedTensor):
            kept = args[0].clone()  # the host's values, which were written in place
        else:
            kept = tree_map(lambda value: _kept(value, args, kwargs), result)
        self.steps.append(_Step(func, kept, waits, uploads))

    def play(self, func: Any, args: Any, kwargs: dict[str, Any], counts: "Counts") -> Any:
        """The recorded result of the next operator."""
        assert self.position is not None
        step = self.steps[self.position] if self.position < len(self.steps) else None
        if step is None or step.func is not func:
            recorded = step.func if step else "none"
            raise TapeError(f"operator {self.position} is {func}, and was {recorded} when the tape was recorded")
        result = self._results[self.position]
        self.position += 1
        counts.operators += 1
        counts.waits += step.waits
        counts.uploads += step.uploads
        if type(result) is CountedTensor:
            self._results[self.position - 1] = None  # so that it lives as long as the caller has it
            return result
        if isinstance(result, Tensor):
            return args[0].copy_(result) if func._schema.name == "aten::copy_" else result.clone()
        if result is _GIVEN:
            return args[0] if args and isinstance(args[0], CountedTensor) else kwargs["out"]
        return result


_GIVEN = object()  # in place of a result that is the tensor given


def _kept(value: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What a tape keeps of one result."""
    if not isinstance(value, CountedTensor):
        return value.clone() if isinstance(value, Tensor) else value
    if (args and value is args[0]) or value is kwargs.get("out"):
        return _GIVEN
    value.kept = CountedTensor(value, _Held(None, value.held.counts))
    return value.kept


def _fresh(value: Any) -> Any:
    return CountedTensor(value, value.held) if isinstance(value, CountedTensor) else value


@dataclass
class Counts:
    """What the device was asked for."""

    operators: int = 0  # about as many kernels as a GPU would be given
    waits: int = 0  # times that the processor would wait for the device: a copy to the host, or a shape of data
    uploads: int = 0  # copies from memory of the processor
    host_operators: int = 0  # of a tape that is played: those on tensors of the host, which pass by here, too
    seconds: float = 0.0  # processor time of this thread spent in the operators, which a GPU would do
    tape: Tape | None = None  # where they are recorded, or played from
    thread: int = field(default_factory=get_ident)
    computing: bool = False

    @contextmanager
    def computed(self) -> Iterator[None]:
        """Count the block's processor time as the device's; that of other threads, or inside of another block, not."""
        if self.computing or get_ident() != self.thread:
            yield
            return
        self.computing, start = True, thread_time()
        try:
            yield
        finally:
            self.computing = False
            self.seconds += thread_time() - start

    def capture(self, work: Callable[[], Any], device: torch.device) -> tuple[Any, Callable[[], None]]:
        """models.extractors.recorded.capture: what was recorded is one operator.

        Raises RuntimeError for what CUDA does not record: a wait, or a copy from the host.
        """
        work()  # constants are made
        before = self.waits, self.uploads
        outputs = work()
        if (self.waits, self.uploads) != before:
            raise RuntimeError("what waits for the device, or is given numbers by the host, cannot be recorded")

        @torch.inference_mode()
        def replay() -> None:
            tape = self.tape
            if tape is not None and tape.position is not None:
                tape.play(_REPLAY, (), {}, self)
                return
            with self.computed():
                before, self.tape = replace(self), None
                for kept, value in zip(tree_leaves(outputs), tree_leaves(work()), strict=True):
                    if isinstance(kept, Tensor):
                        kept.copy_(value)
                self.operators, self.waits, self.uploads = before.operators + 1, before.waits, before.uploads
                self.tape = tape
            if tape is not None:
                tape.record(_REPLAY, (), {}, None, 0, 0)

        return outputs, replay


class _Replay:
    """Stands on a tape for an operator."""

    _schema = SimpleNamespace(name="replay")


_REPLAY = _Replay()


class _Held:
    """A tensor in memory, whose release is no time of the processor's: a GPU's memory comes from a pool."""

    def __init__(self, values: Tensor | None, counts: Counts) -> None:
        self.values: Any = values  # a tensor, or None
        self.counts = counts

    def __del__(self, at_exit: Callable[[], bool] = sys.is_finalizing) -> None:
        if not at_exit():
            with self.counts.computed():
                self.values = None


class CountedTensor(Tensor):
    """A tensor on the make-believe device; `held` has its values."""

    held: _Held
    kept: "CountedTensor | None" = None  # what a tape keeps of it
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor, held: _Held) -> "CountedTensor":
        with torch.inference_mode(False):  # a view of an ordinary tensor must not be one of inference
            return torch.Tensor._make_wrapper_subclass(
                cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
                device=torch.device(NAME, 0),
            )  # fmt: skip

    def __init__(self, inner: Tensor, held: _Held) -> None:
        """
        Args:
            inner: has its shape and type.
            held: has its values.
        """
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        # Another thread than that of counted_device(): what it waits for holds nobody up.
        for value in tree_flatten((args, kwargs))[0]:
            if isinstance(value, CountedTensor) and value.kept is not None:
                value.kept.held = value.held  # for the values to be there when the tape is played
        return _run(func, args, kwargs or {}, Counts())

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, *, dtype: Any = None, **_: Any) -> Tensor:  # type: ignore[override]
        return torch.as_tensor(data, dtype=dtype or self.dtype).to(self.device)


class _Counting(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tape = self.counts.tape
        if tape is None or tape.position is None:
            return _run(func, args, kwargs or {}, self.counts)
        if types or (kwargs and any(map(_is_counted, kwargs.values()))):
            return tape.play(func, args, kwargs or {}, self.counts)
        self.counts.host_operators += 1
        return func(*args, **(kwargs or {}))


def _run(func: Any, args: Any, kwargs: dict[str, Any], counts: Counts) -> Any:
    values, _ = tree_flatten((args, kwargs))
    if any(isinstance(value, CountedTensor) or _is_counted(value) for value in values):
        with counts.computed():
            before = counts.waits, counts.uploads
            result = _computed(func, args, kwargs, counts)
            if counts.tape is not None:
                counts.tape.record(func, args, kwargs, result, counts.waits - before[0], counts.uploads - before[1])
            return result
    return func(*args, **kwargs)


def _is_counted(value: Any) -> bool:
    return isinstance(value, torch.device) and value.type == NAME


def _computed(func: Any, args: Any, kwargs: dict[str, Any], counts: Counts) -> Any:
    given: list[CountedTensor] = []
    targets: list[torch.device] = []

    def bare(value: Any) -> Any:
        if isinstance(value, CountedTensor):
            given.append(value)
            return value.held.values
        if isinstance(value, torch.device):
            targets.append(value)
            return torch.device("cpu")
        return value

    inner_args, inner_kwargs = tree_map(bare, (args, kwargs))
    inner_kwargs.pop("non_blocking", None)
    name = func._schema.name.rpartition("::")[2]
    to_device = any(target.type == NAME for target in targets)
    to_host = name == "cpu" or (bool(targets) and not to_device)
    to_host |= name == "copy_" and not isinstance(args[0], CountedTensor)
    _count(counts, name, to_host, to_device and not given, args)
    if to_host and name in _AS_COPY:
        return func(*inner_args, **inner_kwargs).clone()  # memory of its own, as a copy from a GPU is
    result = func(*inner_args, **inner_kwargs)
    if to_host:
        return result
    owner = {id(tensor.held.values): tensor for tensor in given}  # of what is changed in place

    def wrapped(value: Any) -> Any:
        if id(value) in owner:
            return owner[id(value)]
        return CountedTensor(value, _Held(value, counts)) if isinstance(value, Tensor) else value

    return tree_map(wrapped, result)


def _count(counts: Counts, name: str, to_host: bool, upload: bool, args: Any) -> None:
    counts.operators += 1
    masked = name in ("index", "index_put", "index_put_") and any(
        index is not None and index.dtype == torch.bool for index in args[1]
    )
    counts.waits += to_host or masked or name in _WAITING
    counts.uploads += upload and name in _AS_COPY


@cache
def _register() -> None:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)


def _by_copy(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.tensor, which fills memory of its device by itself, as a tensor in memory that is then copied there."""

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = make(data, **options)
        return made if device is None else made.to(device)

    return tensor


@contextmanager
def counted_device() -> Iterator[tuple[torch.device, Counts]]:
    """The device, and the counts of all that is asked of it inside the block, in this thread."""
    _register()
    counts, make = Counts(), torch.tensor
    torch.tensor = _by_copy(make)
    try:
        with _Counting(counts), patch.object(recorded, "capture", counts.capture):
            yield torch.device(NAME, 0), counts
    finally:
        torch.tensor = make
