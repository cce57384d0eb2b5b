"""Rates of a workspace's earlier commands, and how long work that is left will take by them.

A rate is that of all the stages of a kind whose summaries are kept. Nothing is assumed where nothing was measured.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.commands.work import BatchWork, ClipWork

INGEST, EXTRACT = "IngestBatch", "ExtractBatch"  # stages, as they stand in summaries


@dataclass
class Rate:
    """Time that amounts of one kind of work took."""

    seconds: float = 0.0
    amount: float = 0.0

    def add(self, seconds: float, amount: float) -> None:
        self.seconds += seconds
        self.amount += amount

    def time_s(self, amount: float) -> float | None:
        """Seconds that an amount will take; None: nothing of the kind was measured."""
        if not amount:
            return 0.0
        return self.seconds / self.amount * amount if self.amount else None


@dataclass
class Rates:
    """What the summaries of a workspace say about the stages that were done."""

    ingest: Rate = field(default_factory=Rate)  # of clips
    # Networks' time, of seconds of video: by profile, device, modality. Then that of all else in the same stages.
    modalities: dict[tuple[str, str, str], Rate] = field(default_factory=dict)
    decoding: dict[tuple[str, str], Rate] = field(default_factory=dict)
    stages: dict[tuple[str, str, str], Rate] = field(default_factory=dict)  # of amounts: by stage, unit, device

    @classmethod
    def of(cls, abouts: Iterable[Mapping[str, Any]]) -> "Rates":
        """The rates that summaries give (summary.summaries)."""
        rates = cls()
        for stage in _done(abouts):
            rates._add(stage)
        return rates

    def stage_s(self, stage: str, amount: float | None, unit: str, device: str) -> float | None:
        """Seconds that a stage after the extraction will take; None: not known."""
        return None if amount is None else self.stages.get((stage, unit, device), Rate()).time_s(amount)

    def _add(self, stage: Mapping[str, Any]) -> None:
        name, took = stage["stage"], stage["took_s"]
        if name == INGEST and stage.get("clips"):
            self.ingest.add(took, stage["clips"])
        elif name == EXTRACT and stage.get("modalities"):
            made_with = stage["profile"], stage["device"]
            for modality, done in stage["modalities"].items():
                self.modalities.setdefault((*made_with, modality), Rate()).add(done["took_s"], done["video_s"])
            rest = took - sum(done["took_s"] for done in stage["modalities"].values())
            self.decoding.setdefault(made_with, Rate()).add(rest, stage["video_s"])
        elif stage.get("amount"):
            self.stages.setdefault((name, stage["unit"], stage["device"]), Rate()).add(took, stage["amount"])


@dataclass(frozen=True)
class BatchTimes:
    """Seconds that a batch's work will take; None: not known, for nothing of the kind was measured."""

    ingest: float | None
    modalities: Mapping[str, float | None]  # the networks' time
    decoding: float | None  # and all else that is no network's

    @property
    def parts(self) -> tuple[float | None, ...]:
        return self.ingest, *self.modalities.values(), self.decoding


def batch_times(rates: Rates, work: BatchWork, profile: str, device: str) -> BatchTimes:
    """How long the work on a batch will take, as far as clips are probed. device: its type: cpu or cuda."""
    return BatchTimes(
        rates.ingest.time_s(work.unprobed),
        {
            modality: _time_s(rates.modalities.get((profile, device, modality)), todo)
            for modality, todo in work.modalities.items()
        },
        _time_s(rates.decoding.get((profile, device)), work.decoded),
    )


def _time_s(rate: Rate | None, todo: ClipWork) -> float | None:
    if not todo.clips:
        return 0.0
    return rate.time_s(todo.video_s) if rate and todo.video_s else None


def _done(abouts: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for about in abouts:
        yield from (stage for stage in about["stages"] if stage["outcome"] == "done")
