"""What sound costs an extraction: with and without the modality audio in turn, and each of its steps."""

import os
import tempfile
from statistics import median
from time import process_time
from typing import Any

import torch

from benchmarks.common import interleaved, median_ratio
from models.device import resolve_device
from models.extractors.audio.extractor import AudioExtractor
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.pool import DecodeJob, DecodePool, Sound
from pipeline.extraction.extract import extract_shards
from pipeline.features.plan import feature_spec, plan_shards
from pipeline.ingest.clip_table import IngestedBatch, read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.registry import build_extractor, extracted_names, load_profile, modality_identity
from pipeline.music.beats import find_rhythm
from pipeline.music.fingerprint import fingerprint


def measure_cost(manifest: str, profile_name: str, runs: int) -> dict[str, Any]:
    """Seconds of an extraction of a manifest's clips on a CPU with and without audio, networks built before.

    Steps are in milliseconds of a processor, a clip.
    """
    profile, device = load_profile(profile_name), resolve_device("cpu")
    cores = len(os.sched_getaffinity(0))
    sampling = SamplingOptions(**profile.sampling)
    (batch,) = read_manifests(manifest)
    extractors = {name: build_extractor(name, profile, device) for name in extracted_names()}
    specs = [
        feature_spec(name, sampling, profile.entry(name).stride, modality_identity(name, profile))
        for name in extracted_names()
    ]
    with tempfile.TemporaryDirectory() as folder:
        ingest = read_ingest(run_ingest(folder, batch, cores, DecodeLimits()))

        def extracted(audio: bool) -> None:
            start = _processor_s()
            with tempfile.TemporaryDirectory() as workspace:
                chosen = [spec for spec in specs if audio or spec.modality != "audio"]
                plans = plan_shards(workspace, batch.name, ingest, chosen, sampling).shards
                extract_shards(
                    workspace, batch.name, plans, extractors.__getitem__, sampling, DecodeLimits(), workers=cores,
                    device=device, profile=profile_name,
                )  # fmt: skip
            processor[audio].append(_processor_s() - start)

        processor: dict[bool, list[float]] = {False: [], True: []}
        extracted(True)  # compiles what is compiled at its first batch
        processor[True].clear()
        seconds = interleaved(runs, without=lambda: extracted(False), with_audio=lambda: extracted(True))
        steps = _steps(ingest, extractors["audio"], sampling)
    return {
        "profile": profile_name,
        "clips": len(ingest.clips),
        "seconds": seconds,
        "ratio": median_ratio(seconds["with_audio"], seconds["without"]),
        "processor_seconds": {"without": processor[False], "with_audio": processor[True]},
        "processor_ratio": median_ratio(processor[True], processor[False]),
        "steps_ms": steps,
    }


def _processor_s() -> float:
    """Of this process and of its children that have ended: unlike the wall's, not stretched by other processes."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _steps(ingest: IngestedBatch, extractor: Any, sampling: SamplingOptions) -> dict[str, float]:
    """Median milliseconds of a processor a clip, of each step behind the decoder."""
    assert isinstance(extractor, AudioExtractor)
    times: dict[str, list[float]] = {"spectra": [], "network": [], "rhythm": [], "fingerprint": []}

    def timed(name: str, start: float) -> float:
        now = process_time()
        times[name].append(now - start)
        return now

    jobs = [DecodeJob(clip.clip_id, clip.uri, (), sound=True) for clip in ingest.clips if clip.shard]
    with DecodePool(sampling, DecodeLimits(), 1) as pool:
        for event in pool.run(jobs):
            if not isinstance(event, Sound) or event.code:
                continue
            samples = torch.from_numpy(event.samples.copy()).float() / 32768
            event.release()
            now = process_time()
            prepared = extractor.prepare(samples)
            now = timed("spectra", now)
            for first in range(0, len(prepared.inputs), extractor.batch_size):
                part = slice(first, first + extractor.batch_size)
                extractor.infer(prepared.inputs[part], prepared.extras[part])
            now = timed("network", now)
            log_mel = prepared.extras[0].numpy()
            find_rhythm(log_mel, event.heard)
            now = timed("rhythm", now)
            fingerprint(log_mel, event.heard)
            timed("fingerprint", now)
    return {name: 1e3 * median(values) for name, values in times.items()}
