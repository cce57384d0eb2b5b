"""Windows of sound, their times, and embeddings that do not depend on what shares a batch."""

import numpy as np
import pytest
import torch

from models.errors import ProfileError
from models.extractors.audio.extractor import AudioExtractor, AudioWindow
from models.extractors.audio.networks import SAMPLE_HZ, LogMel

CPU = torch.device("cpu")


def extractor(batch_size: int = 4) -> AudioExtractor:
    return AudioExtractor(None, device=CPU, batch_size=batch_size, architecture="cnn8-w16", seed=1)


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(seed).normal(size=round(seconds * SAMPLE_HZ))).float()


def windows_of(network: AudioExtractor, sound: torch.Tensor) -> list[AudioWindow]:
    prepared = network.prepare(sound)
    size = network.batch_size
    return [
        window
        for start in range(0, len(prepared.inputs), size)
        for window in network.infer(prepared.inputs[start : start + size], prepared.extras[start : start + size])
    ]


@pytest.mark.parametrize(
    ("seconds", "centres"),
    [(0.01, [1.0]), (1.9, [1.0]), (2.0, [1.0]), (2.4, [1.0]), (2.5, [1.0, 1.5]), (3.0, [1.0, 2.0]),
     (5.7, [1.0, 2.0, 3.0, 4.0, 4.7])],
)  # fmt: skip
def test_windows_begin_a_second_apart_and_leave_no_half_second_out(seconds: float, centres: list[float]) -> None:
    network = extractor()
    number, centre = network.grid(round(seconds * SAMPLE_HZ))
    assert number.tolist() == list(range(len(centres)))
    np.testing.assert_allclose(centre, centres, atol=0.011)  # a spectrum
    assert (number.dtype, centre.dtype) == (np.int32, np.float32)
    prepared = network.prepare(noise(seconds))
    assert prepared.inputs.shape == (len(centres), 1, 200, 64)
    assert prepared.frame == list(range(len(centres)))


def test_a_window_is_the_spectra_around_its_centre() -> None:
    network, sound = extractor(), noise(5)
    spectra = LogMel()(sound)
    prepared = network.prepare(sound)
    assert torch.equal(prepared.inputs[2, 0], spectra[200:400])
    log_mel = windows_of(network, sound)[0].log_mel
    assert log_mel is not None
    np.testing.assert_array_equal(log_mel, spectra.half().numpy())
    assert len(log_mel) == 501


def test_spectra_come_with_the_first_window_of_a_clip_alone() -> None:
    first, *others = windows_of(extractor(), noise(6))
    assert first.log_mel is not None
    assert [window.log_mel for window in others] == [None] * 4


def test_the_same_window_gives_the_same_bits_whatever_shares_its_batch() -> None:
    network, one, other = extractor(), noise(4.0), noise(3.0, seed=9)
    alone = [window.feature for window in windows_of(network, one)]
    prepared, neighbour = network.prepare(one), network.prepare(other)
    mixed = torch.cat([neighbour.inputs[:1], prepared.inputs])
    together = network.infer(mixed, [None] * len(mixed))[1:]
    assert len(alone) == 3
    for window, feature in zip(together, alone, strict=True):
        assert window.feature.tobytes() == feature.tobytes()
    assert alone[0].tobytes() != alone[1].tobytes()


def test_a_compiled_network_embeds_as_torch_does() -> None:
    network = extractor()
    prepared = network.prepare(noise(3.0))
    compiled = network.launch(prepared.inputs, prepared.extras).float()
    with torch.inference_mode():
        plain = network._network(prepared.inputs)
    assert plain.std() > 0.01
    torch.testing.assert_close(compiled, plain, rtol=2e-3, atol=2e-3)


def test_impossible_sizes_are_refused() -> None:
    for options in ({"batch_size": 0}, {"hop_s": 3.0}, {"hop_s": 0.0}):
        with pytest.raises(ProfileError, match="impossible sizes"):
            AudioExtractor(None, **{"device": CPU, "batch_size": 4, "architecture": "cnn8-w16", **options})  # type: ignore[arg-type]
