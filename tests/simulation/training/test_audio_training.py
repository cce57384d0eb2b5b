"""What the network of sound is trained to tell, and that it learns it."""

import numpy as np
import pytest
import torch

from simulation.music.instruments import KITS
from simulation.music.styles import GROOVES, MODES
from simulation.training.audio_training import SoundBatch, Sounds, SoundTask, sound_loss, targets_of
from simulation.training.made_sounds import make_sound

CPU = torch.device("cpu")
SEEDS = range(1_109_900, 1_109_912)


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return Sounds(SEEDS, 200, seed=0)


def test_what_is_told_of_a_sound_is_what_it_was_made_of() -> None:
    sound = make_sound(SEEDS[0], "voice_over", seconds=4.0)
    classes, numbers = targets_of(sound)
    assert sound.track is not None
    told = [names[number] for names, number in zip((tuple(GROOVES), tuple(KITS), MODES), classes, strict=True)]
    assert told == [sound.track.style, sound.track.kit, sound.track.mode]
    assert numbers.tolist() == pytest.approx([sound.track.energy, 1, 1])
    classes, numbers = targets_of(make_sound(SEEDS[0], "voice", seconds=4.0))
    assert (classes.tolist(), numbers.tolist()) == ([-100] * 3, [0, 0, 1])
    assert targets_of(make_sound(SEEDS[0], "street", seconds=4.0))[1].tolist() == [0, 0, 0]


def test_a_sample_is_a_window_in_which_something_is_hidden(sounds: Sounds) -> None:
    window, classes, numbers = sounds.sample(np.random.default_rng(1))
    assert (window.shape, window.dtype) == ((1, 200, 64), np.float32)
    assert (len(classes), len(numbers)) == (3, 3)
    again = sounds.sample(np.random.default_rng(1))[0]
    assert window.tobytes() == again.tobytes() != sounds.sample(np.random.default_rng(2))[0].tobytes()
    windows = [sounds.sample(np.random.default_rng(seed))[0][0] for seed in range(10)]
    assert sum(bool((np.ptp(window, 0) == 0).any() or (np.ptp(window, 1) == 0).any()) for window in windows) >= 8


def test_no_music_is_no_reason_to_fail(sounds: Sounds) -> None:
    batch = SoundBatch(torch.zeros(2, 1, 200, 64), torch.full((2, 3), -100), torch.zeros(2, 3))
    assert sound_loss(SoundTask("cnn8-w16", seed=0), batch, CPU).isfinite()


def test_the_loss_of_a_batch_falls_as_it_is_learned(sounds: Sounds) -> None:
    task = SoundTask("cnn8-w16", seed=0).train()
    batch = next(sounds.batches(6, workers=0))
    optimiser = torch.optim.Adam(task.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = sound_loss(task, batch, CPU)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
