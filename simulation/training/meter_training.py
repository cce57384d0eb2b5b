"""Fit what pipeline.music knows of music to synthesised tracks, and write pipeline/music/meter_pattern.py.

    python -m simulation.training.meter_training              # 8 minutes on one core

The mean pattern of a bar and the usual tempi are the weights of a conditional logit: of a sound's candidate tempi, each
with its 16 rotations, one is right. Confidences are logistic regressions on other sounds, with and without a rhythm.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import pipeline.music
from models.extractors.audio.networks import LogMel
from pipeline.music import meter_pattern
from pipeline.music.beats import Grid, beat_evidence, find_grid, tempo_evidence, tempo_odds
from pipeline.music.meter import SIXTEENTHS, WEIGHTS, find_choices
from pipeline.music.onsets import LATE_S, audible, onset_bands
from pipeline.music.tempo import SPECTRA_HZ
from simulation.training.made_sounds import TRAINING_TRACKS, MadeSound, make_sound, make_strokes

_SOUNDS = 800  # for the pattern, and as many others for the confidences
_A_SOUND_OF_STROKES = 8  # one to so many others, for the confidences
_CLOSE = 0.02  # share by which a tempo that is right may be off
_NEAR_S = 0.07  # by which a beat may
_RIDGE = 0.01
MODULE = Path(pipeline.music.__file__).with_name("meter_pattern.py")


@dataclass(frozen=True)
class Choices:
    """Meters that a sound may have, K tempi of 16 rotations each, and the right one."""

    features: np.ndarray  # float32 [K, 16, F]
    tempo: int
    rotation: int


def sounds(count: int, first: int) -> Iterable[tuple[MadeSound, np.ndarray]]:
    """Sounds of training with their log-mel spectra [S, 64] as they are stored."""
    yield from with_spectra(make_sound(seed) for seed in TRAINING_TRACKS[first : first + count])


def with_spectra(made: Iterable[MadeSound]) -> Iterable[tuple[MadeSound, np.ndarray]]:
    log_mel = LogMel()
    for sound in made:
        with torch.inference_mode():
            yield sound, log_mel(torch.from_numpy(sound.samples)).half().numpy()


def choices_of(sound: MadeSound, log_mel: np.ndarray) -> Choices | None:
    """None: the right tempo is not among the candidates, or the sound has no downbeat."""
    spectra = audible(log_mel)
    candidates, firsts, features = find_choices(onset_bands(spectra), spectra)
    right = [
        place for place, candidate in enumerate(candidates)
        if abs(60 * SPECTRA_HZ / candidate.period / sound.bpm - 1) < _CLOSE
    ]  # fmt: skip
    downbeats = sound.beats[sound.downbeat :: 4] * SPECTRA_HZ
    if not right or not len(downbeats):
        return None
    sixteenth = candidates[right[0]].period / 4
    steps = np.round((downbeats - firsts[right[0]]) / sixteenth).astype(int) % SIXTEENTHS
    return Choices(features, right[0], int(np.bincount(steps).argmax()))


def fit_choices(data: list[Choices]) -> np.ndarray:
    """Weights float [F] of the conditional logit."""
    most, width = max(len(one.features) for one in data), data[0].features.shape[2]
    features = torch.zeros(len(data), most, SIXTEENTHS, width)
    absent = torch.full((len(data), most, 1), -1e9)
    for place, one in enumerate(data):
        features[place, : len(one.features)] = torch.from_numpy(one.features)
        absent[place, : len(one.features)] = 0
    right = torch.tensor([one.tempo * SIXTEENTHS + one.rotation for one in data])
    ridge = torch.full((width,), _RIDGE)
    ridge[-3:] = 1e-4  # the tempo's

    def loss(weights: Tensor) -> Tensor:
        scores = (features @ weights + absent).flatten(1)
        return torch.nn.functional.cross_entropy(scores, right) + (ridge * weights**2).sum()

    return _minimised(loss, width)


def fit_odds(features: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Weights float [F] of a logistic regression. features: [N, F]; right: bool [N]."""
    given, wanted = torch.from_numpy(features).float(), torch.from_numpy(right).float()

    def loss(weights: Tensor) -> Tensor:
        odds = torch.nn.functional.binary_cross_entropy_with_logits(given @ weights, wanted)
        return odds + 1e-4 * (weights**2).sum()

    return _minimised(loss, features.shape[1])


def _minimised(loss: Callable[[Tensor], Tensor], width: int) -> np.ndarray:
    weights = torch.zeros(width, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(weights)
        value.backward()
        return value

    optimiser.step(closure)
    return weights.detach().numpy()


def evidence_of(
    sound: MadeSound, log_mel: np.ndarray, weights: np.ndarray = WEIGHTS
) -> tuple[Grid, bool, np.ndarray] | None:
    """The grid that is found, whether its tempo is right, and which beats are, bool [B]; None: no grid."""
    spectra = audible(log_mel)
    grid = find_grid(onset_bands(spectra), spectra, weights)
    if grid is None:
        return None
    if not len(sound.beats):
        return grid, False, np.zeros(len(grid.beats), bool)
    right = abs(60 * SPECTRA_HZ / grid.meter.period / sound.bpm - 1) < _CLOSE
    apart = np.abs((grid.beats / SPECTRA_HZ - LATE_S)[:, None] - sound.beats).min(1)
    return grid, right, apart < _NEAR_S


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=int, default=_SOUNDS, help="for the pattern; as many again for confidences")
    parser.add_argument("--output", type=Path, default=MODULE)
    parser.add_argument("--only-confidences", action="store_true", help="with the pattern that is there")
    options = parser.parse_args(arguments)
    pattern, tempo = meter_pattern.PATTERN, meter_pattern.TEMPO
    if not options.only_confidences:
        musical = ((sound, spectra) for sound, spectra in sounds(options.sounds, 0) if len(sound.beats))
        weights = fit_choices([one for pair in musical if (one := choices_of(*pair)) is not None])
        pattern, tempo = np.round(weights[:-3].reshape(pattern.shape), 2), np.round(weights[-3:], 2)
    strokes = with_spectra(map(make_strokes, TRAINING_TRACKS[: options.sounds // _A_SOUND_OF_STROKES]))
    heard = chain(sounds(options.sounds, options.sounds), strokes)
    fitted = np.concatenate([pattern.ravel(), tempo]).astype(np.float32)
    found = [given for pair in heard if (given := evidence_of(*pair, fitted)) is not None]
    of_tempo = fit_odds(np.stack([tempo_evidence(grid) for grid, *_ in found]), np.array([ok for _, ok, _ in found]))
    evidence = [beat_evidence(grid, tempo_odds(grid, of_tempo)) for grid, *_ in found]
    of_beats = fit_odds(np.concatenate(evidence), np.concatenate([right for *_, right in found]))
    options.output.write_text(_module(pattern, tempo, of_tempo, of_beats), encoding="utf-8")
    print(f"{options.output}: tempo right in {np.mean([ok for _, ok, _ in found]):.3f} of {len(found)} sounds")


def _module(pattern: np.ndarray, tempo: np.ndarray, of_tempo: np.ndarray, of_beats: np.ndarray) -> str:
    def numbers(values: np.ndarray) -> str:
        return "[" + ", ".join(f"{value:.2f}" for value in values) + "]"

    rows = "".join(f"        {numbers(row)},\n" for row in pattern)
    return f'''"""Mean pattern of a bar, usual tempi, and how far they are to be believed: weights of meter and beats.

Written by `python -m simulation.training.meter_training`, which fits them to synthesised tracks.
"""

import numpy as np

# A row a sixteenth of a bar, from its first beat: onset strength below 190, 440, 1,040 and 2,940 Hz and above, change
# of harmony, level of the bass.
PATTERN = np.array(
    [
{rows}    ],
    np.float32,
)
TEMPO = np.array({numbers(tempo)}, np.float32)  # strength, octaves above tempo.PREFERRED_BPM, their square
# Logistic regressions of beats.tempo_evidence and beats.beat_evidence.
TEMPO_ODDS = np.array({numbers(of_tempo)})
BEAT_ODDS = np.array({numbers(of_beats)})
'''


if __name__ == "__main__":
    main()
