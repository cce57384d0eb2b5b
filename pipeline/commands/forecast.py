"""Forecast of a command: what it would do, and how long that will take by what was measured before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.commands.rates import BatchTimes, Rates, batch_times
from pipeline.commands.work import BatchWork


@dataclass(frozen=True)
class StageWork:
    """A stage after the extraction."""

    stage: str  # name of its task
    made: bool  # whether what it makes is there
    amount: float | None = None  # of the work, in `unit`; None: nothing that time could be reckoned by
    unit: str = ""
    device: str = ""  # its type: cpu or cuda


@dataclass(frozen=True)
class Forecast:
    """What a command would do."""

    profile: str  # "": no features are made
    device: str  # of the extraction, its type
    batches: tuple[tuple[BatchWork, BatchTimes], ...]
    stages: Mapping[StageWork, float | None]  # those that are to be made, with the seconds they will take

    @property
    def nothing(self) -> bool:
        """Whether everything is up to date."""
        return not self.stages and all(work.nothing for work, _ in self.batches)

    @property
    def known_s(self) -> float:
        """Seconds that all will take of which that is known."""
        known = [time for _, times in self.batches for time in times.parts] + [*self.stages.values()]
        return sum(time for time in known if time is not None)

    @property
    def unmeasured(self) -> list[str]:
        """The work of which nothing was measured before."""
        batches = [times for _, times in self.batches]
        ingest = ["IngestBatch"] * any(times.ingest is None for times in batches)
        modalities = [name for times in batches for name, time in times.modalities.items() if time is None]
        decoding = ["decoding"] * any(times.decoding is None for times in batches)
        stages = [work.stage for work, time in self.stages.items() if time is None]
        return list(dict.fromkeys([*ingest, *modalities, *decoding, *stages]))

    @property
    def unprobed(self) -> int:
        """Clips of which nothing but their files' sizes is known."""
        return sum(work.unprobed for work, _ in self.batches)


def forecast(
    rates: Rates, batches: Sequence[BatchWork], stages: Sequence[StageWork], profile: str, device: str
) -> Forecast:
    """What is to be done of batches and in the stages after them. profile, device: of the extraction."""
    times = tuple((work, batch_times(rates, work, profile, device)) for work in batches)
    return Forecast(
        profile,
        device,
        times,
        {work: rates.stage_s(work.stage, work.amount, work.unit, work.device) for work in stages if not work.made},
    )
