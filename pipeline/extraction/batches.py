"""Batches of network inputs across clips: filled and launched by the owner of a device, collected by another thread.

What the owner adds to a clip's results (frames, inputs) and what the collecting thread adds (the results) are different
fields, and completeness is asked for only once the clip's last frame is in: so neither waits for the other.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch

from models.extractors.extractor import Extractor
from pipeline.decode.clips import Ending
from pipeline.features.plan import FeatureSpec, ShardPlan
from pipeline.modalities.registry import find_extracted


@dataclass
class Partial:
    """Results so far of one modality on one clip."""

    frame_index: list[int] = field(default_factory=list)
    timestamp: list[float] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)  # [M] position in the grid of each input
    results: list[Any] = field(default_factory=list)  # [M] None until they are collected
    collected: int = 0  # of the M results


@dataclass
class ClipInFlight:
    """A clip between its first frame and its rows."""

    clip_id: str
    attempt: int = 1
    scale: float = 1.0  # frame pixels a source pixel
    heard: tuple[float, float] = (0.0, 0.0)  # s, from where to where there is sound
    without: dict[str, str] = field(default_factory=dict)  # modalities that the clip has no rows in, and why
    partials: dict[str, Partial] = field(default_factory=dict)  # by modality
    ending: Ending | None = None  # set when no frame is to come

    def restart(self, attempt: int) -> None:
        """Begin a new decoding attempt; the results of earlier ones are dropped."""
        self.attempt, self.without = attempt, {}
        self.partials = {modality: Partial() for modality in self.partials}

    def done(self) -> bool:
        return self.ending is not None and all(
            partial.collected == len(partial.results) for partial in self.partials.values()
        )


@dataclass(frozen=True)
class Launched:
    """A batch that a device computes, or has computed."""

    extractor: Extractor
    outputs: Any  # of `extractor.launch`
    targets: list[tuple[ClipInFlight, Partial, int, Any]]  # of each input: clip, its partial, place in results, extra

    def collect(self) -> list[ClipInFlight]:
        """Wait for the results and give them to their clips; the clips that are done by that."""
        modality = self.extractor.modality
        with _name_clips(modality, (clip for clip, *_ in self.targets)):
            results = self.extractor.collect(self.outputs, [extra for *_, extra in self.targets])
        finished = []
        for (clip, partial, place, _), result in zip(self.targets, results, strict=True):
            partial.results[place] = result
            partial.collected += 1
            # Results of an earlier decoding attempt are dropped.
            whole = partial.collected == len(partial.results) and clip.partials.get(modality) is partial
            if whole and clip.done():
                finished.append(clip)
        return finished


class Batcher:
    """Collects one modality's prepared inputs over clips and launches the network whenever a batch is full."""

    def __init__(self, extractor: Extractor):
        self.extractor = extractor
        self.seconds = 0.0  # in preparing inputs and launching the network
        self._inputs: list[torch.Tensor] = []
        self._targets: list[tuple[ClipInFlight, Partial, int, Any]] = []

    def add(
        self, clip: ClipInFlight, frames: torch.Tensor, frame_index: np.ndarray, timestamp: np.ndarray
    ) -> list[Launched]:
        """Prepare frames of one clip, uint8 [N, H, W, 3], or all of its sound, float32 [N], and launch the batches that
        they fill.

        frame_index, timestamp: of the frames, or of the windows that the sound is cut into; they go on the clip's grid.
        """
        partial = clip.partials[self.extractor.modality]
        first = len(partial.frame_index)
        partial.frame_index += frame_index.tolist()
        partial.timestamp += timestamp.tolist()
        start = perf_counter()
        with _name_clips(self.extractor.modality, [clip]):
            prepared = self.extractor.prepare(frames)
        self.seconds += perf_counter() - start
        for frame, extra in zip(prepared.frame, prepared.extras, strict=True):
            self._targets.append((clip, partial, len(partial.results), extra))
            partial.frame.append(first + frame)
            partial.results.append(None)
        if len(prepared.frame):
            self._inputs.append(prepared.inputs)
        launched = []
        while len(self._targets) >= self.extractor.batch_size:
            launched.append(self._launch(self.extractor.batch_size))
        return launched

    def flush(self) -> list[Launched]:
        """Launch what is left, in a batch that is not full."""
        return [self._launch(len(self._targets))] if self._targets else []

    def _launch(self, size: int) -> Launched:
        inputs = torch.cat(self._inputs) if len(self._inputs) > 1 else self._inputs[0]
        targets, self._targets = self._targets[:size], self._targets[size:]
        self._inputs = [inputs[size:]] if self._targets else []
        start = perf_counter()
        with _name_clips(self.extractor.modality, (clip for clip, *_ in targets)):
            outputs = self.extractor.launch(inputs[:size], [extra for *_, extra in targets])
        self.seconds += perf_counter() - start
        return Launched(self.extractor, outputs, targets)


@contextmanager
def _name_clips(modality: str, clips: Iterable[ClipInFlight]) -> Iterator[None]:
    """Add the clips' names to an error raised in an extractor."""
    try:
        yield
    except Exception as error:
        names = ", ".join(dict.fromkeys(clip.clip_id for clip in clips))
        error.add_note(f"while extracting the modality {modality} of {names}")
        raise


def by_reading(plan: ShardPlan, what: str) -> list[FeatureSpec]:
    """Those of a plan's missing modalities that read `what`: frames or sound."""
    return [spec for spec in plan.missing if find_extracted(spec.modality).reads == what]


def picked(frames: torch.Tensor, keep: np.ndarray) -> torch.Tensor:
    """The frames at the indices [K], ascending, of which no copy to the device is made."""
    steps = np.diff(keep)
    if len(keep) < 2 or (steps == steps[0]).all():
        return frames[keep[0] : keep[-1] + 1 : int(steps[0]) if len(steps) else 1]
    return torch.stack([frames[index] for index in keep.tolist()])
