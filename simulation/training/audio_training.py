"""Training and evaluation of the demo's network of sound, which tells what synthesised music is made of.

Style, drum kit and mode are classes, energy a number; whether there is music, and a voice, is told of all sounds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from tqdm import tqdm

from models.extractors.audio.extractor import AudioExtractor
from models.extractors.audio.networks import LogMel, PannsCnn, embedding_size, new_network
from simulation.music.instruments import KITS
from simulation.music.styles import GROOVES, MODES
from simulation.training.fitting import RandomSamples
from simulation.training.made_sounds import MadeSound, make_sound

# No other sound may have one of these seeds.
TRAINING_SOUNDS, HELD_OUT_SOUNDS = range(1_100_000, 1_110_000), range(2_100_000, 2_110_000)
SECONDS = 10.0  # of a sound
_CLASSES = {"style": tuple(GROOVES), "kit": tuple(KITS), "mode": MODES}
_ANSWERS = sum(map(len, _CLASSES.values())) + 3  # and energy, music, voice
_UNKNOWN = -100  # class of a sound without music
_GAIN_DB = 6.0
_MOST_MASKED = 24, 10  # spectra, mel bands that are hidden from the network at once


@dataclass(frozen=True)
class SoundBatch:
    """B windows of sounds with what is to be told of them."""

    windows: Tensor  # float32 [B, 1, W, 64] decibels
    classes: Tensor  # int64 [B, 3] of style, kit and mode
    numbers: Tensor  # float32 [B, 3] energy; 1 where there is music; 1 where there is a voice


class Sounds(RandomSamples):
    """Log-mel spectra of made sounds, of which any window is a sample: louder or softer, with parts hidden.

    Hiding is SpecAugment's (Park et al., INTERSPEECH 2019).
    """

    batch_type = SoundBatch

    def __init__(self, seeds: range, window: int, seed: int):
        super().__init__(seed)
        self.window = window
        log_mel = LogMel()
        self.spectra, self.classes, self.numbers = [], [], []
        for sound_seed in tqdm(seeds, "sounds", mininterval=2.0):
            sound = make_sound(sound_seed, seconds=SECONDS)
            with torch.inference_mode():
                self.spectra.append(log_mel(torch.from_numpy(sound.samples)).half().numpy())
            classes, numbers = targets_of(sound)
            self.classes.append(classes)
            self.numbers.append(numbers)

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:  # type: ignore[override]
        index = int(rng.integers(len(self.spectra)))
        spectra = self.spectra[index]
        start = int(rng.integers(len(spectra) - self.window + 1))
        window = spectra[start : start + self.window].astype(np.float32) + np.float32(rng.uniform(-_GAIN_DB, _GAIN_DB))
        mean = window.mean()
        for axis, most in enumerate(_MOST_MASKED):
            width = int(rng.integers(most + 1))
            first = int(rng.integers(window.shape[axis] - width + 1))
            np.moveaxis(window, axis, 0)[first : first + width] = mean
        return window[None], self.classes[index], self.numbers[index]


def targets_of(sound: MadeSound) -> tuple[np.ndarray, np.ndarray]:
    """Classes int64 [3] and numbers float32 [3] of a sound, as SoundBatch has them."""
    track = sound.track
    numbers = np.array([track.energy if track else 0.0, track is not None, sound.has_voice], np.float32)
    if track is None:
        return np.full(len(_CLASSES), _UNKNOWN), numbers
    return np.array([names.index(getattr(track, name)) for name, names in _CLASSES.items()]), numbers


class SoundTask(nn.Module):
    """The network with linear answers to what it is trained to tell."""

    def __init__(self, architecture: str, seed: int):
        super().__init__()
        self.embedding: PannsCnn = new_network(architecture, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.answers = nn.Linear(embedding_size(architecture), _ANSWERS)

    def forward(self, windows: Tensor) -> Tensor:
        """float [B, 1, W, 64] -> [B, _ANSWERS]."""
        return self.answers(self.embedding(windows))


def sound_loss(network: nn.Module, batch: SoundBatch, device: torch.device) -> Tensor:
    """Loss of a batch; a scalar."""
    answers = network(batch.windows.to(device)).float()
    classes, numbers = batch.classes.to(device), batch.numbers.to(device)
    parts = answers.split([*map(len, _CLASSES.values()), 1, 1, 1], 1)
    known = numbers[:, 1] > 0
    total = binary_cross_entropy_with_logits(torch.cat(parts[-2:], 1), numbers[:, 1:])
    if known.any():  # the mean over no sound is no number
        for place, part in enumerate(parts[: len(_CLASSES)]):
            total = total + cross_entropy(part, classes[:, place], ignore_index=_UNKNOWN)
        total = total + 4 * mse_loss(parts[-3][known, 0], numbers[known, 0])
    return total


def evaluate_sound(extractor: AudioExtractor, known: range, held_out: range) -> str:
    """What linear readings of the embeddings, fitted to windows of known sounds, tell of those held out.

    Neither may be sounds that the network was trained on, for of those it knows more.
    """
    features, classes, numbers = _embedded(extractor, known)
    others, true_classes, true_numbers = _embedded(extractor, held_out)
    scores = []

    def accuracy(train: np.ndarray, wanted: np.ndarray, judged: np.ndarray, true: np.ndarray) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        return float(model.fit(features[train], wanted[train]).score(others[judged], true[judged]))

    for place, name in enumerate(_CLASSES):
        parts = classes[:, place] >= 0, classes[:, place], true_classes[:, place] >= 0, true_classes[:, place]
        scores.append(f"{name} {_or_none(accuracy, *parts)}")
    for place, name in ((1, "music"), (2, "voice")):
        everything = np.ones(len(features), bool), numbers[:, place] > 0
        scores.append(
            f"{name} {_or_none(accuracy, *everything, np.ones(len(others), bool), true_numbers[:, place] > 0)}"
        )
    music, heard = numbers[:, 1] > 0, true_numbers[:, 1] > 0
    energy = make_pipeline(StandardScaler(), Ridge(10.0)).fit(features[music], numbers[music, 0])
    explained = energy.score(others[heard], true_numbers[heard, 0])
    return f"read linearly of windows, right: {', '.join(scores)}; energy R² {explained:.3f}"


def _or_none(accuracy: Callable[..., float], train: np.ndarray, wanted: np.ndarray, *held_out: np.ndarray) -> str:
    """An accuracy as text; of one class alone there is none."""
    return f"{accuracy(train, wanted, *held_out):.3f}" if len(np.unique(wanted[train])) > 1 else "-"


def _embedded(extractor: AudioExtractor, seeds: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings float32 [N, D], classes [N, 3] and numbers [N, 3] of all windows of the sounds of `seeds`."""
    features, classes, numbers = [], [], []
    for seed in tqdm(seeds, "judged", mininterval=2.0):
        sound = make_sound(seed, seconds=SECONDS)
        prepared = extractor.prepare(torch.from_numpy(sound.samples).to(extractor.device))
        for start in range(0, len(prepared.inputs), extractor.batch_size):
            part = slice(start, start + extractor.batch_size)
            for window in extractor.infer(prepared.inputs[part], prepared.extras[part]):
                features.append(window.feature.astype(np.float32))
                one = targets_of(sound)
                classes.append(one[0])
                numbers.append(one[1])
    return np.stack(features), np.stack(classes), np.stack(numbers)
