"""Log-mel spectra as librosa 0.11 makes them, and networks that take the weights which PANNs published."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import ProfileError, WeightsError
from models.extractors.audio.networks import (
    HOP,
    MEL_BANDS,
    LogMel,
    audio_network,
    embedding_size,
    mel_filters,
    new_network,
)
from models.weights.checkpoints import load_state_dict


def sweep() -> np.ndarray:
    """A second of a rising tone over a low one, float32 at 16 kHz."""
    t = np.arange(16_000) / 16_000
    return (0.3 * np.sin(2 * np.pi * (200 * t + 1500 * t * t)) + 0.1 * np.sin(2 * np.pi * 90 * t)).astype(np.float32)


def test_mel_bands_are_those_of_librosa() -> None:
    # librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmin=50, fmax=8000) of version 0.11.0
    filters = mel_filters().numpy()
    places = [0, 1, 10, 20, 21, 30, 45, 63]
    assert filters.shape == (257, 64)
    sums = [0.03482176, 0.02881992, 0.03068705, 0.03126106, 0.0330686, 0.03176562, 0.03191747, 0.03195734]
    np.testing.assert_allclose(filters.sum(0)[places], sums, rtol=1e-5)
    assert filters.argmax(0)[places].tolist() == [3, 5, 18, 32, 34, 52, 105, 244]
    of_bins = [0.02100644, 0.02191226, 0.0170012, 0.00849975, 0.00339979]
    np.testing.assert_allclose(filters.sum(1)[[3, 17, 40, 80, 200]], of_bins, rtol=1e-5)


def test_log_mel_spectra_are_those_of_librosa() -> None:
    # power_to_db(mel @ |stft|^2, ref=1, amin=1e-10, top_db=None) of version 0.11.0, center and reflect as PANNs has it
    expected = [
        [6.429, 6.352, -10.605, -31.971, -52.261], [5.182, 0.261, -20.713, -42.176, -62.472],
        [5.954, -4.082, -81.363, -55.589, -100.0], [5.949, -4.067, -74.667, 3.149, -100.0],
        [5.503, -3.232, -48.905, -40.975, -48.137], [-0.215, -0.693, -39.584, -30.926, -38.085],
    ]  # fmt: skip
    spectra = LogMel()(torch.from_numpy(sweep())).numpy()
    assert spectra.shape == (16_000 // HOP + 1, MEL_BANDS)
    found = spectra[[0, 1, 37, 50, 99, 100]][:, [0, 1, 9, 30, 63]]
    np.testing.assert_allclose(found, expected, atol=0.3)  # what is 90 dB below the loudest is float32's noise
    loud = np.array(expected) > -55
    np.testing.assert_allclose(found[loud], np.array(expected)[loud], atol=0.002)


@pytest.mark.parametrize("samples", [1, 255, 257, 400])
def test_a_sound_shorter_than_a_window_has_spectra(samples: int) -> None:
    spectra = LogMel()(torch.full((samples,), 0.1))
    assert len(spectra) >= samples // HOP + 1
    assert spectra.isfinite().all()


@cache
def published_state() -> dict[str, torch.Tensor]:
    """What Cnn14_16k_mAP=0.438.pth holds under `model`: names and shapes of the paper's code, random numbers."""
    widths = [1, 64, 128, 256, 512, 1024, 2048]

    def norm(name: str, channels: int) -> dict[str, torch.Tensor]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.{key}": torch.rand(channels) for key in names} | {
            f"{name}.num_batches_tracked": torch.tensor(7)
        }

    state = {
        "spectrogram_extractor.stft.conv_real.weight": torch.rand(257, 1, 512),
        "spectrogram_extractor.stft.conv_imag.weight": torch.rand(257, 1, 512),
        "logmel_extractor.melW": mel_filters(),
        **norm("bn0", 64),
    }
    for number in range(1, 7):
        block, low, high = f"conv_block{number}", widths[number - 1], widths[number]
        state |= {f"{block}.conv1.weight": torch.rand(high, low, 3, 3) * 0.01}
        state |= {f"{block}.conv2.weight": torch.rand(high, high, 3, 3) * 0.01}
        state |= norm(f"{block}.bn1", high) | norm(f"{block}.bn2", high)
    state |= {"fc1.weight": torch.rand(2048, 2048), "fc1.bias": torch.rand(2048)}
    return state | {"fc_audioset.weight": torch.rand(527, 2048), "fc_audioset.bias": torch.rand(527)}


def test_the_published_file_loads_with_the_numpy_state_beside_its_weights(tmp_path: Path) -> None:
    state, path = published_state(), tmp_path / "Cnn14_16k_mAP=0.438.pth"
    sampler = {"indexes": np.arange(9), "pointer": 3, "random_state": np.random.RandomState(1234).get_state()}
    torch.save({"iteration": 600_000, "model": state, "sampler": sampler}, path)
    network = audio_network("cnn14-16k", load_state_dict(path), seed=0)
    loaded = network.state_dict()
    assert set(state) - set(loaded) == {
        "spectrogram_extractor.stft.conv_real.weight", "spectrogram_extractor.stft.conv_imag.weight",
        "logmel_extractor.melW", "fc_audioset.weight", "fc_audioset.bias",
    }  # fmt: skip
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)
    assert network.eval()(torch.zeros(1, 1, 64, MEL_BANDS)).shape == (1, 2048) == (1, embedding_size("cnn14-16k"))


def test_weights_for_other_spectra_are_refused() -> None:
    for filters in (mel_filters().flip(1), torch.rand(513, 64)):
        with pytest.raises(WeightsError, match=r"64 from 50 to 8000 Hz .* take those whose name has 16k"):
            audio_network("cnn14-16k", published_state() | {"logmel_extractor.melW": filters}, seed=0)


def test_an_unknown_architecture_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(ProfileError, match="'cnn10'; use one of cnn14-16k, cnn8-w16"):
        new_network("cnn10", seed=0)


def test_the_embedding_does_not_depend_on_a_seed_that_is_not_its_own() -> None:
    torch.manual_seed(1)
    first = new_network("cnn8-w16", seed=3).state_dict()
    torch.manual_seed(2)
    assert all(torch.equal(value, first[key]) for key, value in new_network("cnn8-w16", seed=3).state_dict().items())
