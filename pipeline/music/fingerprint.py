"""Fingerprints of sound, by which clips with the same track are known, whatever is spoken over it.

A word of 32 bits, 20 a second: whether the difference of two neighbouring bands of pitch rises or falls (Haitsma and
Kalker, "A highly robust audio fingerprinting system", ISMIR 2002), here of decibels, so that no filter changes it, and
over 0.2 s. Two clips' words are compared at every shift, and at every speed that uploads are changed to; what they
agree in beyond chance counts the more the longer they overlap.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipeline.music.onsets import audible, is_silent
from pipeline.music.tempo import SPECTRA_HZ

WORDS_HZ = 20.0
BITS = 32
SAME = 0.2  # similarity from which on two clips have the same sound; `same_sounds` has what it costs
MIN_SHARED_S = 3.0  # of overlap in which it can be told

_SMOOTH_S, _RISE_S = 0.075, 0.2  # deviation of a Gaussian; over which levels rise
_FIRST_BAND, _LAST_BAND = 2.0, 58.0  # mel bands: phones have no bass, and low bit rates no treble
_SPEEDS = np.arange(-0.04, 0.0401, 0.005)  # of one clip against the other: each is changed by 2 % at most
_USUAL_S = 10.0  # of overlap: similarity is the agreement itself there

# A first look at all pairs: words averaged by fours, fewer speeds.
_COARSE = 4
_COARSE_SPEEDS = np.arange(-0.04, 0.0401, 0.02)
_LOOKED_AT = 0.13  # similarity there from which on a pair is compared closely
_BLOCK = 256  # clips looked at at a time


def fingerprint(log_mel: np.ndarray, heard: tuple[float, float]) -> np.ndarray:
    """Words int32 [F] of float [S, 64] decibels, from where sound is heard on; none of silence."""
    start, end = (round(edge * SPECTRA_HZ) for edge in heard)
    spectra = log_mel[start:end]
    rise = round(_RISE_S * SPECTRA_HZ)
    if len(spectra) <= rise or is_silent(spectra):
        return np.zeros(0, np.int32)
    levels = gaussian_filter1d(audible(spectra), _SMOOTH_S * SPECTRA_HZ, axis=0) @ _bands()
    slopes = np.diff(levels, axis=1)
    rising = (slopes[rise:] - slopes[:-rise])[:: round(SPECTRA_HZ / WORDS_HZ)] > 0
    return np.packbits(rising, axis=1, bitorder="little").view("<i4")[:, 0].astype(np.int32)


def _bands() -> np.ndarray:
    """float32 [64, 33]: overlapping triangles over mel bands."""
    centres = np.linspace(_FIRST_BAND, _LAST_BAND, BITS + 3)[1:-1]
    weights = np.maximum(0, 1 - np.abs(np.arange(64)[:, None] - centres) / (1.2 * (centres[1] - centres[0])))
    return (weights / weights.sum(0)).astype(np.float32)


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Agreement of two fingerprints, int32 [F] and [G], where they agree most: about 0 by chance, 1 of 10 s alike.

    0 where they cannot overlap by MIN_SHARED_S.
    """
    one, other = _signs(first), _signs(second)
    return float(max(_best(_stretched(one, 1 + speed)[None], other[None], WORDS_HZ)[0] for speed in _SPEEDS))


def same_sounds(fingerprints: Sequence[np.ndarray], tempi: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of clips with the same sound: no more than join all clips of each sound.

    Clips that hang together by others are not compared, so the work grows with clips times different sounds.

    Args:
        fingerprints: int32 [F] of each clip; an empty one is in no pair.
        tempi: beats a minute, 0: not known. Clips whose tempi differ by more than their speeds may, by octaves apart,
            are not compared.
    """
    from scipy.cluster.hierarchy import DisjointSet  # here, for it takes a quarter of a second

    known = [place for place, words in enumerate(fingerprints) if len(words) >= MIN_SHARED_S * WORDS_HZ]
    known.sort(key=lambda place: (len(fingerprints[place]), place))  # of about one length together: less is padded
    coarse = [_thinned(_signs(fingerprints[place])) for place in known]
    joined = DisjointSet(range(len(known)))
    pairs = []
    for row, place in enumerate(known):
        agree = [at for at in range(row + 1, len(known)) if _tempi_agree(tempi[place], tempi[known[at]])]
        later = [at for at in agree if not joined.connected(row, at)]
        stretched = [_stretched(coarse[row], 1 + speed) for speed in _COARSE_SPEEDS]
        for begin in range(0, len(later), _BLOCK):
            block = later[begin : begin + _BLOCK]
            others = _padded([coarse[at] for at in block])
            lengths = np.array([len(coarse[at]) for at in block])
            looked = np.max([_best(one[None], others, WORDS_HZ / _COARSE, lengths) for one in stretched], axis=0)
            for at in (block[found] for found in np.argsort(-looked, kind="stable") if looked[found] >= _LOOKED_AT):
                other = known[at]
                if not joined.connected(row, at) and similarity(fingerprints[place], fingerprints[other]) >= SAME:
                    joined.merge(row, at)
                    pairs.append((min(place, other), max(place, other)))
    return sorted(pairs)


def _tempi_agree(one: float, other: float) -> bool:
    if not (one > 0 and other > 0):
        return True
    octaves = np.log2(one / other)
    return bool(abs(octaves - round(octaves)) <= np.log2(1.05))


def _signs(words: np.ndarray) -> np.ndarray:
    """float32 [F, 32] of +1 and -1; of 0 where nothing rises, as in silence or a tone, which sounds do not share."""
    bits = np.unpackbits(words.astype("<i4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    return np.where(words[:, None] == 0, 0, bits.astype(np.float32) * 2 - 1).astype(np.float32)


def _thinned(signs: np.ndarray) -> np.ndarray:
    whole = len(signs) // _COARSE * _COARSE
    return signs[:whole].reshape(-1, _COARSE, BITS).mean(1)


def _stretched(signs: np.ndarray, speed: float) -> np.ndarray:
    places = np.round(np.arange(0, (len(signs) - 1) / speed) * speed).astype(int)
    return signs[places[places < len(signs)]]


def _padded(many: Sequence[np.ndarray]) -> np.ndarray:
    padded = np.zeros((len(many), max(map(len, many)), BITS), np.float32)
    for place, signs in enumerate(many):
        padded[place, : len(signs)] = signs
    return padded


def _best(one: np.ndarray, others: np.ndarray, rate: float, lengths: np.ndarray | None = None) -> np.ndarray:
    """Similarity of [1, F, 32] with each of [J, G, 32] at the best shift, float [J]; rate: words a second.

    lengths: int [J] of the others; None: G.
    """
    count, most = one.shape[1], others.shape[1]
    size = 1 << int(np.ceil(np.log2(count + most)))
    spectrum = np.conj(np.fft.rfft(one, size, axis=1)) * np.fft.rfft(others, size, axis=1)
    agreement = np.fft.irfft(spectrum.sum(2), size, axis=1) / BITS
    shift = np.arange(size)
    shift = np.where(shift >= most, shift - size, shift)
    ends = np.full(len(others), most) if lengths is None else lengths
    shared = np.minimum(count, ends[:, None] - shift) - np.maximum(0, -shift)
    value = agreement / np.sqrt(np.maximum(shared, 1) * _USUAL_S * rate)
    return np.where(shared >= MIN_SHARED_S * rate, value, 0.0).max(1)
