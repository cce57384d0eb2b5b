"""Tempo, beats and fingerprints of made sounds against the truth, and what sound costs an extraction.

    python -m benchmarks.music [--seeds 1000,1001,1002,1003] [--clips 96] [--tracks 100] [--cost MANIFEST] [--librosa]

    world    clips of the simulated worlds of these seeds, their sound encoded as uploads are (AAC and Opus at several
             rates, rooms, voices, gaps), in files with a grey picture, decoded by the workers of an extraction
    tracks   excerpts of random tracks that no challenge dances to and nothing was fitted to
    none     sounds without a rhythm, and metronomes, of seeds that nothing was fitted to: what is told of them
    latency  of beats and of the onset curve, of strokes of noise over noise
    cost     an extraction of a manifest's clips with and without audio, in turn, on a CPU; and each step of audio's

A tempo is right within 2 %; an octave error is its half or double. F is mir_eval's, within 70 ms, of all of a clip's
beats. Worlds of seeds 500 to 599 were looked at while thresholds were chosen, and tracks of other seeds fitted to.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import mir_eval
import numpy as np
import torch

from benchmarks.common import save, table
from benchmarks.music_cost import measure_cost
from models.extractors.audio.networks import HOP, SAMPLE_HZ, LogMel
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.pool import DecodeJob, DecodePool, Sound
from pipeline.music.beats import Rhythm, find_rhythm
from pipeline.music.fingerprint import MIN_SHARED_S, fingerprint, same_sounds
from simulation.filming.recording import record
from simulation.music.clip_sound import clip_sound, resampled
from simulation.music.composition import BEATS
from simulation.music.instruments import RATE
from simulation.music.styles import draw_style
from simulation.music.timing import tempo_bpm, true_beats
from simulation.music.tracks import synthesise
from simulation.script import ClipScript
from simulation.training.made_sounds import make_sound, make_strokes
from simulation.world import WorldOptions, make_world

_RIGHT = 0.02
_TRACK_SECONDS = 9.0
_FIRST_TRACK = 3_000_000  # of the random ones; training's begin at 1,000,000
_METRONOMES_BPM = (40, 60, 75, 140, 160, 200, 240)  # edges of groups
_CERTAIN = 0.9
_GREY = 64  # px
_LOW_RATE = 48_000  # bits a second, up to which an encoding counts as low


@dataclass(frozen=True)
class Judged:
    """One sound: its truth, and what was found."""

    group: str
    bpm: float
    beats: np.ndarray
    rhythm: Rhythm
    words: np.ndarray  # its fingerprint
    log_mel: np.ndarray
    script: ClipScript | None = None

    @property
    def tempo_right(self) -> bool:
        return abs(self.rhythm.tempo / self.bpm - 1) < _RIGHT

    @property
    def octave_off(self) -> bool:
        return any(abs(self.rhythm.tempo / self.bpm / factor - 1) < _RIGHT for factor in (0.5, 2.0))

    @property
    def f_measure(self) -> float:
        return float(mir_eval.beat.f_measure(self.beats, self.rhythm.beats.astype(float)))

    @property
    def errors(self) -> np.ndarray:
        """Time of each found beat less that of the nearest true one, s, of those within 70 ms."""
        apart = self.rhythm.beats[:, None] - self.beats
        apart = apart[np.arange(len(apart)), np.abs(apart).argmin(1)] if apart.size else np.zeros(0)
        return apart[np.abs(apart) <= 0.07]


def decoded_sounds(scripts: Sequence[ClipScript], folder: Path) -> Iterator[tuple[ClipScript, Sound]]:
    """The sound of each clip as it comes out of its file; of those that have none, with its code."""
    jobs, by_id = [], {}
    for script in scripts:
        path = folder / f"{script.clip_id}.mp4"
        seconds = np.arange(0.0, script.duration_s, 0.1)
        phone = dataclasses.replace(script.phone, width=_GREY, height=_GREY, damage="", rotation=0, codec="h264")
        grey = np.full((_GREY, _GREY, 3), 128, np.uint8)
        record(path, (grey for _ in seconds), seconds, phone, clip_sound(script))
        jobs.append(DecodeJob(script.clip_id, str(path), (10,), sound=True))
        by_id[script.clip_id] = script
    with DecodePool(SamplingOptions(), DecodeLimits(), 1) as pool:
        for event in pool.run(jobs):
            if isinstance(event, Sound):
                yield by_id[event.clip_id], event
            if hasattr(event, "release"):
                event.release()


def judge(
    group: str, samples: np.ndarray, heard: tuple[float, float], bpm: float, beats: np.ndarray, **more: Any
) -> Judged:
    """samples: float32 [N] at SAMPLE_HZ."""
    with torch.inference_mode():
        log_mel = LogMel()(torch.from_numpy(samples)).half().numpy()
    return Judged(group, bpm, beats, find_rhythm(log_mel, heard), fingerprint(log_mel, heard), log_mel, **more)


def judged_world(seed: int, clips: int) -> tuple[list[Judged], dict[str, int]]:
    """Clips with usable sound, and how many have none, by code."""
    uploads = make_world(WorldOptions(seed=seed, clips=clips, creators=-(-clips * 3 // 8)))
    judged: list[Judged] = []
    without: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for script, sound in decoded_sounds([upload.script for upload in uploads], Path(folder)):
            if sound.code:
                without[sound.code] = without.get(sound.code, 0) + 1
                continue
            samples = sound.samples.astype(np.float32) / 32768
            bpm, beats = float(np.nan_to_num(tempo_bpm(script.sound))), true_beats(script)
            judged.append(judge(script.sound.kind, samples, sound.heard, bpm, beats, script=script))
    return judged, without


def judged_tracks(count: int) -> list[Judged]:
    judged = []
    for seed in range(_FIRST_TRACK, _FIRST_TRACK + count):
        rng = np.random.default_rng(seed)
        track = synthesise(draw_style(seed))
        start = rng.uniform(0, BEATS)
        first = round(start * track.samples_per_beat)
        part = track.loop[(first + np.arange(round(_TRACK_SECONDS * RATE))) % len(track.loop)]
        beat_s = track.samples_per_beat / RATE
        beats = (np.arange(np.ceil(start), start + _TRACK_SECONDS / beat_s) - start) * beat_s
        heard = resampled(part, RATE, SAMPLE_HZ)
        judged.append(judge(track.style.style, heard, (0.0, _TRACK_SECONDS), track.style.bpm, beats))
    return judged


def judged_without_rhythm(count: int) -> dict[str, dict[str, float]]:
    """Of each kind of sound: how many have a tempo, at _CERTAIN and more, and of those how many a wrong one."""
    of_kind: dict[str, list[tuple[float, Rhythm]]] = {}
    rng = np.random.default_rng(_FIRST_TRACK)
    for seed in range(_FIRST_TRACK, _FIRST_TRACK + count):
        made = {kind: make_sound(seed, kind) for kind in ("voice", "noise", "street")}
        made["strokes"] = make_strokes(seed, 0.0)
        for low, high in pairwise(_METRONOMES_BPM):
            made[f"metronome, {low} to {high}"] = make_strokes(seed, rng.uniform(low, high))
        for kind, sound in made.items():
            heard = (0.0, len(sound.samples) / SAMPLE_HZ)
            rhythm = judge(kind, sound.samples, heard, sound.bpm, sound.beats).rhythm
            of_kind.setdefault(kind, []).append((sound.bpm, rhythm))
    return {kind: _told(judged) for kind, judged in of_kind.items()}


def _told(judged: Sequence[tuple[float, Rhythm]]) -> dict[str, float]:
    bpm = np.array([bpm for bpm, _ in judged])
    tempo = np.array([rhythm.tempo for _, rhythm in judged])
    certain = np.array([rhythm.tempo_confidence for _, rhythm in judged]) >= _CERTAIN
    right = np.abs(tempo - bpm) < _RIGHT * bpm
    return {
        "sounds": len(judged), "told": float((tempo > 0).mean()), "right": float(right.mean()),
        "certain": float(certain.mean()), "certain_and_wrong": float((certain & ~right).mean()),
    }  # fmt: skip


def summary_of(judged: Sequence[Judged]) -> dict[str, float]:
    errors = np.concatenate([one.errors for one in judged])
    return {
        "sounds": len(judged),
        "tempo_within_2_percent": float(np.mean([one.tempo_right for one in judged])),
        "octave_errors": float(np.mean([one.octave_off for one in judged])),
        "no_tempo": float(np.mean([one.rhythm.tempo == 0 for one in judged])),
        "f_measure": float(np.mean([one.f_measure for one in judged])),
        "mean_error_ms": 1e3 * float(errors.mean()),
        "median_absolute_error_ms": 1e3 * float(np.median(np.abs(errors))),
        "beyond_20_ms": float(np.mean(np.abs(errors) > 0.02)),
    }


def calibration(judged: Sequence[Judged]) -> list[dict[str, float]]:
    """Share of beats within 70 ms of a true one, by their confidence."""
    confidence = np.concatenate([one.rhythm.beat_confidence for one in judged])
    right = np.concatenate([np.abs(one.rhythm.beats[:, None] - one.beats).min(1) <= 0.07 for one in judged])
    bins = []
    for low, high in ((0.0, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 0.97), (0.97, 1.001)):
        among = (confidence >= low) & (confidence < high)
        if among.any():
            stated = float(confidence[among].mean())
            bins.append({"from": low, "beats": int(among.sum()), "stated": stated, "right": float(right[among].mean())})
    return bins


def shared_s(one: ClipScript, other: ClipScript) -> float:
    """For how long two clips have the same part of one track, s; 0: other tracks, or none."""
    if not one.sound.track or one.sound.track != other.sound.track:
        return 0.0
    spans = []
    for script in (one, other):
        beats_a_second = tempo_bpm(script.sound) / 60
        start = (script.sound.start_beat + script.sound.lag_s * beats_a_second) % BEATS
        spans.append((start, start + script.duration_s * beats_a_second))
    overlaps = (
        min(spans[0][1], spans[1][1] + turn) - max(spans[0][0], spans[1][0] + turn) for turn in (-BEATS, 0, BEATS)
    )
    return max(0.0, max(overlaps)) / (tempo_bpm(one.sound) / 60)


def fingerprints(judged: Sequence[Judged]) -> dict[str, Any]:
    """Hits among pairs that share a part of a track, and false alarms among pairs of other tracks."""
    start = perf_counter()
    tempi = [one.rhythm.tempo if one.rhythm.tempo_confidence >= 0.8 else 0.0 for one in judged]
    same_sounds([one.words for one in judged], tempi)
    seconds = perf_counter() - start
    # Two by two: of many clips, those that hang together by others are not compared.
    found = {
        (i, j)
        for i, j in combinations(range(len(judged)), 2)
        if same_sounds([judged[i].words, judged[j].words], [tempi[i], tempi[j]])
    }
    hits: dict[str, list[bool]] = {}
    alarms, elsewhere = [], []
    for pair in combinations(range(len(judged)), 2):
        one, other = (judged[place].script for place in pair)
        assert one is not None
        assert other is not None
        if one.sound.track != other.sound.track or not one.sound.track:
            alarms.append(pair in found)
        elif (common := shared_s(one, other)) >= MIN_SHARED_S + 1:
            names = ["all", " and ".join(sorted((one.sound.kind, other.sound.kind)))]
            names += ["low bit rate"] * (min(one.sound.bitrate, other.sound.bitrate) <= _LOW_RATE)
            names += ["room"] * (max(one.sound.room, other.sound.room) > 0)
            for name in names:
                hits.setdefault(name, []).append(pair in found)
        elif common == 0:
            elsewhere.append(pair in found)
    return {
        "clips": len(judged), "seconds": seconds,
        "hits": {name: {"pairs": len(of), "found": float(np.mean(of))} for name, of in sorted(hits.items())},
        "other_tracks": {"pairs": len(alarms), "taken_for_one": sum(alarms)},
        "other_parts_of_a_track": {"pairs": len(elsewhere), "found": float(np.mean(elsewhere)) if elsewhere else 0.0},
    }  # fmt: skip


def latency(bpm: float = 97.3, seconds: float = 20.0) -> dict[str, float]:
    """Strokes of noise over noise 30 dB softer: by how much beats, and the centre of onset strength, are late, ms."""
    rng = np.random.default_rng(0)
    moments = np.arange(0.337, seconds - 0.5, 60 / bpm)
    sound = 0.01 * rng.normal(size=round(seconds * SAMPLE_HZ))
    burst = 0.3 * rng.normal(size=1600) * np.exp(-np.arange(1600) / 320)
    for at in np.round(moments * SAMPLE_HZ).astype(int):
        sound[at : at + len(burst)] += burst
    one = judge("strokes", sound.astype(np.float32), (0.0, seconds), bpm, moments)
    centres = []
    for moment in moments:
        first = round(100 * moment) - 10
        part = one.rhythm.onset[first : first + 21]
        centres.append((first + np.average(np.arange(len(part)), weights=part**2)) / 100 - moment)
    return {"beats_ms": 1e3 * float(one.errors.mean()), "onset_curve_ms": 1e3 * float(np.mean(centres))}


def by_librosa(judged: Sequence[Judged]) -> list[Judged]:
    """The same sounds with the beats that librosa's tracker finds in the same spectra."""
    import librosa

    others = []
    for one in judged:
        spectra = np.maximum(one.log_mel.astype(np.float32), one.log_mel.max() - 80.0)
        onset = librosa.onset.onset_strength(S=spectra.T, sr=SAMPLE_HZ, hop_length=HOP, center=False)
        tempo, beats = librosa.beat.beat_track(onset_envelope=onset, sr=SAMPLE_HZ, hop_length=HOP, units="time")
        rhythm = dataclasses.replace(
            one.rhythm,
            beats=np.asarray(beats, np.float32),
            tempo=float(np.atleast_1d(tempo)[0]),
            beat_confidence=np.ones(len(beats), np.float32),
        )
        others.append(dataclasses.replace(one, rhythm=rhythm))
    return others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1000,1001,1002,1003")
    parser.add_argument("--clips", type=int, default=96, help="of each world")
    parser.add_argument("--tracks", type=int, default=100, help="and sounds of each kind without a rhythm")
    parser.add_argument("--cost", help="manifest of clips with sound; default: no cost is measured")
    parser.add_argument("--profile", default="demo", help="of the cost")
    parser.add_argument("--runs", type=int, default=3, help="of each side of the cost")
    parser.add_argument("--librosa", action="store_true", help="beats by librosa's tracker, too")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    results: dict[str, Any] = {"seeds": seeds, "clips": options.clips}
    worlds, prints = [], []
    without: dict[str, int] = {}
    for seed in seeds:
        judged, codes = judged_world(seed, options.clips)
        prints.append(fingerprints(judged))
        worlds += judged
        without = {code: without.get(code, 0) + codes.get(code, 0) for code in {*without, *codes}}
    musical = [one for one in worlds if one.bpm]
    groups = {"world": musical, "tracks": judged_tracks(options.tracks)}
    groups |= {kind: [one for one in musical if one.group == kind] for kind in sorted({one.group for one in musical})}
    groups["room"] = [one for one in musical if one.script and one.script.sound.room]
    groups["low bit rate"] = [one for one in musical if one.script and one.script.sound.bitrate <= _LOW_RATE]
    if options.librosa:
        groups |= {f"{name} by librosa": by_librosa(groups[name]) for name in ("world", "tracks")}
    results["without_sound"] = without
    results["rhythm"] = {name: summary_of(group) for name, group in groups.items() if group}
    results["confidence"] = {name: calibration(groups[name]) for name in ("world", "tracks")}
    results["fingerprints"] = dict(zip(map(str, seeds), prints, strict=True))
    results["latency"] = latency()
    results["none"] = judged_without_rhythm(options.tracks)
    rows = [[name, *values.values()] for name, values in results["rhythm"].items()]
    print(table(rows, ["", *next(iter(results["rhythm"].values()))]))
    rows = [[name, *values.values()] for name, values in results["none"].items()]
    print(table(rows, ["", *next(iter(results["none"].values()))]))
    for part in ("without_sound", "confidence", "fingerprints", "latency"):
        print(f"{part}: {json.dumps(results[part])}")
    if options.cost:
        results["cost"] = measure_cost(options.cost, options.profile, options.runs)
        print(f"cost: {json.dumps(results['cost'])}")
    save("music", results, keep_others=True)


if __name__ == "__main__":
    main()
