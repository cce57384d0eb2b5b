"""Sound: the embedding of each window of a few seconds, by a network trained to tell sounds apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.device import autocast, halve_weights
from models.errors import ProfileError
from models.extractors.audio.networks import HOP, SAMPLE_HZ, SILENCE_DB, LogMel, audio_network, embedding_size
from models.extractors.compiled import compiled
from models.extractors.extractor import Prepared, SoundExtractor, pad_batch


@dataclass(frozen=True)
class AudioWindow:
    """One window of a clip's sound."""

    feature: np.ndarray  # float16 [D]
    log_mel: np.ndarray | None  # float16 [S, 64] of the whole clip, in decibels: with its first window


class AudioExtractor(SoundExtractor):
    """Embeddings of the windows of a clip's sound, and its log-mel spectrogram."""

    modality = "audio"

    def __init__(
        self,
        state: Mapping[str, Tensor] | None,
        *,
        device: torch.device,
        batch_size: int,
        architecture: str = "cnn14-16k",
        window_s: float = 2.0,
        hop_s: float = 1.0,
        seed: int = 0,
    ) -> None:
        """
        Args:
            state: weights; None: random from `seed`.
            window_s: what the network hears at a time.
            hop_s: from one window to the next.

        Raises:
            ProfileError: unknown architecture, or impossible sizes.
            WeightsError: `state` does not fit.
        """
        if batch_size < 1 or not 0 < hop_s <= window_s:
            raise ProfileError(f"audio: batch_size {batch_size}, window_s {window_s}, hop_s {hop_s}: impossible sizes")
        self.batch_size = batch_size
        self.device = device
        self.feature_size = embedding_size(architecture)
        self._window, self._hop = (round(seconds * SAMPLE_HZ / HOP) for seconds in (window_s, hop_s))
        self._log_mel = LogMel().to(device)
        network = audio_network(architecture, state, seed).to(device).to(memory_format=torch.channels_last)
        network.eval().requires_grad_(False)
        halve_weights(network, device)
        self._network = network
        self._run = compiled(network, device, embeds=True)

    def grid(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Number int32 [T] and centre float32 [T], seconds, of each window of so many samples."""
        starts = self._starts(samples // HOP + 1)
        centres = (starts + self._window / 2) * (HOP / SAMPLE_HZ)
        return np.arange(len(starts), dtype=np.int32), centres.astype(np.float32)

    def _starts(self, spectra: int) -> np.ndarray:
        """First spectrum of each window, int64 [T]; the last window ends with the sound, if much were left out else."""
        last = max(0, spectra - self._window)
        starts = np.arange(0, last + 1, self._hop)
        return np.append(starts, last) if last - starts[-1] >= self._hop / 2 else starts

    @torch.inference_mode()
    def prepare(self, sound: Tensor) -> Prepared:
        """float32 [N] of one clip -> inputs float32 [T, 1, W, 64] of its windows, in decibels."""
        log_mel = self._log_mel(sound)
        starts = self._starts(len(sound) // HOP + 1).tolist()
        padded = functional.pad(log_mel, (0, 0, 0, max(0, self._window - len(log_mel))), value=SILENCE_DB)
        windows = torch.stack([padded[start : start + self._window] for start in starts])[:, None]
        rest = [None] * (len(starts) - 1)
        return Prepared(windows, list(range(len(starts))), [log_mel[: len(sound) // HOP + 1].half(), *rest])

    @torch.inference_mode()
    def launch(self, inputs: Tensor, extras: list[Any]) -> Tensor:
        """Embeddings float16 [M, D]. inputs: float32 [M, 1, W, 64], M <= batch_size; extras are ignored."""
        batch = pad_batch(inputs, self.batch_size).to(self.device)
        with autocast(self.device):
            feature = self._run(batch)
        return feature[: len(inputs)].half()

    def collect(self, outputs: Tensor, extras: list[Any]) -> list[AudioWindow]:
        """M windows."""
        spectra = (None if log_mel is None else log_mel.cpu().numpy() for log_mel in extras)
        return [AudioWindow(*window) for window in zip(outputs.cpu().numpy(), spectra, strict=True)]
