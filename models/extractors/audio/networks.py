"""Log-mel spectrograms and the convolutional networks of PANNs that embed them.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", TASLP 2020,
arXiv 1912.10211. The front end is that of its networks for 16 kHz; keys are those of its published checkpoints.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ProfileError, WeightsError
from models.weights.state_dicts import load_into

SAMPLE_HZ = 16_000
FFT_SIZE = 512  # samples of a Hann window
HOP = 160  # samples from one spectrum to the next: 100 spectra a second
MEL_BANDS = 64
LOWEST_HZ, HIGHEST_HZ = 50.0, 8000.0
SILENCE_DB = -100.0  # of a band without any energy

_SMALLEST_POWER = 10 ** (SILENCE_DB / 10)
# Slaney's mel scale, librosa's default: linear below 1 kHz, logarithmic above.
_LINEAR_HZ = 200 / 3  # Hz a mel
_BREAK_HZ = 1000.0
_LOG_STEP = math.log(6.4) / 27

# Channels of each block of two convolutions, then the width of the embedding.
_WIDTHS = {"cnn14-16k": ((64, 128, 256, 512, 1024, 2048), 2048), "cnn8-w16": ((16, 32, 48, 64), 64)}
ARCHITECTURES = tuple(_WIDTHS)

# Of published checkpoints: the front end, which is computed here, and the classifier of AudioSet's 527 classes.
_FILTERS = "logmel_extractor.melW"
_NOT_LOADED = ("spectrogram_extractor.", "logmel_extractor.", "fc_audioset.")


def mel_filters() -> Tensor:
    """float32 [FFT_SIZE / 2 + 1, MEL_BANDS]: weights of the spectrum's bins, each band of area 1 (Slaney's norm)."""
    edges = _mel_to_hz(np.linspace(_hz_to_mel(LOWEST_HZ), _hz_to_mel(HIGHEST_HZ), MEL_BANDS + 2))
    bins = np.linspace(0, SAMPLE_HZ / 2, FFT_SIZE // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))
    return torch.from_numpy(weights.astype(np.float32))


def _hz_to_mel(hz: float) -> float:
    linear = hz / _LINEAR_HZ
    return linear if hz < _BREAK_HZ else _BREAK_HZ / _LINEAR_HZ + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    above = mel - _BREAK_HZ / _LINEAR_HZ
    return np.where(above < 0, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * above))


class LogMel(nn.Module):
    """Log-mel spectrograms as PANNs' networks were trained on."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FFT_SIZE))
        self.register_buffer("filters", mel_filters())

    def forward(self, sound: Tensor) -> Tensor:
        """float32 [N] at SAMPLE_HZ, -1..1 -> decibels, float32 [N // HOP + 1, MEL_BANDS].

        Spectrum k is of the samples around k * HOP; beyond the ends the sound is mirrored.
        """
        if len(sound) <= FFT_SIZE // 2:  # too short to be mirrored
            sound = functional.pad(sound, (0, FFT_SIZE // 2 + 1 - len(sound)))
        spectra = torch.stft(sound, FFT_SIZE, HOP, window=self.window, pad_mode="reflect", return_complex=True)
        power = spectra.real.square() + spectra.imag.square()  # [257, S]
        return 10 * torch.log10((power.T @ self.filters).clamp(min=_SMALLEST_POWER))


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, values: Tensor) -> Tensor:
        values = self.bn1(self.conv1(values)).relu()
        return self.bn2(self.conv2(values)).relu()


class PannsCnn(nn.Module):
    """A convolutional network of PANNs up to its embedding: blocks of two convolutions, each halved in time and
    frequency but for the last, then mean over frequencies and mean plus maximum over time.

    cnn14-16k is theirs, with the keys of `Cnn14_16k_mAP=0.438.pth`; cnn8-w16 is ours, for the demo world.
    """

    def __init__(self, architecture: str):
        super().__init__()
        widths, embedding = _WIDTHS[architecture]
        self.bn0 = nn.BatchNorm2d(MEL_BANDS)
        self.blocks = len(widths)
        for number, (channels_in, channels) in enumerate(zip((1, *widths), widths, strict=False), 1):
            self.add_module(f"conv_block{number}", _Block(channels_in, channels))
        self.fc1 = nn.Linear(widths[-1], embedding)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # theirs

    def forward(self, log_mel: Tensor) -> Tensor:
        """float [B, 1, T, MEL_BANDS], decibels -> [B, D]."""
        values = self.bn0(log_mel.transpose(1, 3)).transpose(1, 3)
        for number in range(1, self.blocks + 1):
            values = self.get_submodule(f"conv_block{number}")(values)
            if number < self.blocks:
                values = functional.avg_pool2d(values, 2)
        values = values.mean(3)  # [B, C, T / 2 ** (blocks - 1)]
        return self.fc1(values.amax(2) + values.mean(2)).relu()


def embedding_size(architecture: str) -> int:
    """D of an architecture's embedding."""
    return _WIDTHS[architecture][1]


def new_network(architecture: str, seed: int) -> PannsCnn:
    """A network with random weights.

    Raises:
        ProfileError: an architecture that is not one of ARCHITECTURES.
    """
    if architecture not in _WIDTHS:
        raise ProfileError(f"audio: unknown architecture {architecture!r}; use one of {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PannsCnn(architecture)


def audio_network(architecture: str, state: Mapping[str, Tensor] | None, seed: int) -> PannsCnn:
    """The network, on the CPU. state: its weights; None: random ones, from `seed`.

    Raises:
        ProfileError: an architecture that is not one of ARCHITECTURES.
        WeightsError: `state` does not fit, or is of a network for other spectrograms.
    """
    network = new_network(architecture, seed)
    if state is None:
        return network
    theirs, ours = state.get(_FILTERS), mel_filters()
    if theirs is not None and (theirs.shape != ours.shape or (theirs.float() - ours).abs().max() > 1e-4 * ours.max()):
        raise WeightsError(
            f"these weights do not fit the audio network ({architecture}): they are for other mel bands than"
            f" {MEL_BANDS} from {LOWEST_HZ:.0f} to {HIGHEST_HZ:.0f} Hz of sound at {SAMPLE_HZ} Hz; of PANNs take those"
            " whose name has 16k"
        )
    load_into(network, state, f"audio network ({architecture})", ignore=_NOT_LOADED)
    return network
