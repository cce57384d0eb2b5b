"""ExtractBatch against the bare forward passes of the same networks, and against what decoding alone allows.

    python -m benchmarks.extract --clips MANIFEST [--profile untrained] [--device auto] [--runs 3] [--max-seconds S]

    ours     decode, resize, four extractors, tracks, crops, Parquet on disk: pipeline.extraction.extract.extract_shards
    bare     the same networks on the same inputs, decoded, resized and in memory; what they give is thrown away.
             MTCNN's three networks run on what the ones before found, so its cascade counts as the network.
    kept     bare, with glibc keeping freed blocks as ours has it (pipeline.core.memory.keep_blocks)
    decode   the same clips through the decode workers, frames thrown away: the most that this machine's cores allow

Networks are built before the clock starts. Sides run in turn, bare and kept each in a process of its own, for what
glibc keeps cannot be undone; the figure is the median of the turns' ratios. Untrained pose weights call each of 845
places a person, so they are stirred (benchmarks/stirred.py) until they see as many as trained ones do.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import torch

from benchmarks.common import SEEN, interleaved, median_ratio, save, table
from benchmarks.stirred import some_frames, stir, to_stir
from models.device import autocast, resolve_device
from models.extractors.extractor import Extractor, pad_batch
from models.extractors.face import FaceExtractor
from models.extractors.pose import PoseExtractor
from models.weights.profiles import Profile
from pipeline.core.child_processes import spawned_pool
from pipeline.core.memory import keep_blocks
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool
from pipeline.extraction.extract import extract_shards
from pipeline.features.plan import FeatureSpec, feature_spec, plan_shards
from pipeline.ingest.clip_table import IngestedBatch, read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.registry import build_extractor, load_profile, modality_identity


def network_of(extractor: Extractor) -> Callable[[torch.Tensor], object]:
    """The extractor's network alone: a padded batch of prepared inputs in, tensors out."""
    if isinstance(extractor, PoseExtractor):
        preprocess = extractor.model.data_preprocessor
        return lambda batch: extractor._outputs(
            preprocess({"inputs": batch, "data_samples": []}, False)["inputs"], len(batch)
        )
    if isinstance(extractor, FaceExtractor):
        return partial(_embedded, extractor)
    return extractor._network  # type: ignore[attr-defined]


def _embedded(extractor: FaceExtractor, batch: torch.Tensor) -> torch.Tensor:
    with autocast(extractor.device):
        return extractor._embed((batch.float() - 127.5) / 128)


@dataclass(frozen=True)
class Work:
    """What all sides work on, built before the clock starts."""

    profile: Profile
    device: torch.device
    cores: int
    sampling: SamplingOptions
    batch: str
    ingest: IngestedBatch
    extractors: dict[str, Extractor]
    specs: list[FeatureSpec]


def set_up(options: argparse.Namespace, folder: str) -> Work:
    device = resolve_device(options.device)
    stirred, profile = to_stir(load_profile(options.profile))
    cores = options.workers or len(os.sched_getaffinity(0))
    sampling = SamplingOptions(**profile.sampling)
    sampling = replace(sampling, max_seconds=options.max_seconds or sampling.max_seconds)
    (batch,) = read_manifests(options.clips)
    extractors = {modality: build_extractor(modality, profile, device) for modality in SEEN}
    specs = [feature_spec(m, sampling, profile.entry(m).stride, modality_identity(m, profile)) for m in SEEN]
    ingest = read_ingest(run_ingest(folder, batch, cores, DecodeLimits()))
    if stirred:
        frames = some_frames([clip for clip in ingest.clips if clip.shard], sampling, 3)
        stir(extractors["pose"], [torch.from_numpy(pictures).to(device) for pictures in frames.values()])
    return Work(profile, device, cores, sampling, batch.name, ingest, extractors, specs)


def prepared_passes(work: Work) -> list[Callable[[], object]]:
    """Everything that the bare side runs, as calls on tensors in memory."""
    calls: list[Callable[[], object]] = []
    inputs: dict[str, list[torch.Tensor]] = {modality: [] for modality in work.extractors}
    jobs = [DecodeJob(clip.clip_id, clip.uri, (1,)) for clip in work.ingest.clips if clip.shard]
    with DecodePool(work.sampling, DecodeLimits(), work.cores) as pool:
        for event in pool.run(jobs):
            if not isinstance(event, Chunk):
                continue
            for item in work.specs:
                extractor = work.extractors[item.modality]
                frames = torch.from_numpy(event.frames[event.position % item.stride == 0].copy())
                if not len(frames):
                    continue
                frames = frames.to(work.device)
                inputs[item.modality].append(extractor.prepare(frames).inputs)
                if isinstance(extractor, FaceExtractor):
                    calls.append(partial(extractor._cascade, frames))
            event.release()
    for modality, parts in inputs.items():
        extractor, whole = work.extractors[modality], torch.cat(parts)
        network, size = network_of(extractor), extractor.batch_size
        for start in range(0, len(whole), size):
            batch = pad_batch(whole[start : start + size], size)
            calls.append(partial(network, batch))
    return calls


_calls: list[Callable[[], object]] = []  # in a process of the bare side: its passes
_device = torch.device("cpu")


def set_up_bare(options: argparse.Namespace, threads: int, keep: bool) -> None:
    """In a process of the bare side, once."""
    global _calls, _device
    torch.set_num_threads(threads)
    if keep:
        keep_blocks()
    with tempfile.TemporaryDirectory() as folder:
        work = set_up(options, folder)
        _device = work.device
        _calls = prepared_passes(work)


def bare_seconds() -> float:
    start = perf_counter()
    with torch.inference_mode():
        for call in _calls:
            call()
    wait(_device)
    return perf_counter() - start


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def decode(work: Work) -> int:
    """All clips through the decode workers; returns how many frames were sampled."""
    jobs = [DecodeJob(clip.clip_id, clip.uri, (1,)) for clip in work.ingest.clips if clip.shard]
    sampled = 0
    with DecodePool(work.sampling, DecodeLimits(), work.cores) as pool:
        for event in pool.run(jobs):
            if isinstance(event, Chunk):
                sampled += len(event.position)
                event.release()
    return sampled


def extract(work: Work, workspace: str) -> None:
    plans = plan_shards(workspace, work.batch, work.ingest, work.specs, work.sampling).shards
    extract_shards(
        workspace, work.batch, plans, work.extractors.__getitem__, work.sampling, DecodeLimits(),
        workers=work.cores, device=work.device, profile=work.profile.name,
    )  # fmt: skip
    wait(work.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, help="a manifest file")
    parser.add_argument("--profile", default="untrained")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-seconds", type=float, help="of each clip; default: the profile's")
    parser.add_argument("--workers", type=int, default=0, help="decode processes; 0: one a core")
    options = parser.parse_args()

    threads, turn = torch.get_num_threads(), iter(range(1000))
    with (
        tempfile.TemporaryDirectory() as folder,
        spawned_pool(1, set_up_bare, (options, threads, False)) as bare,
        spawned_pool(1, set_up_bare, (options, threads, True)) as kept,
    ):
        work = set_up(options, folder)
        sampled = decode(work)
        for pool in (bare, kept):
            pool.submit(bare_seconds).result()  # set up and warm
        seconds = interleaved(
            options.runs,
            ours=lambda: extract(work, f"{folder}/{next(turn)}"),
            bare=lambda: bare.submit(bare_seconds).result(),
            kept=lambda: kept.submit(bare_seconds).result(),
            decode=lambda: decode(work),
        )

    clips = sum(clip.shard is not None for clip in work.ingest.clips)
    ratios = {side: median_ratio(seconds["ours"], seconds[side]) for side in ("bare", "kept")}
    share = median_ratio(seconds["decode"], seconds["ours"])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [[name, value, clips / value, sampled / value] for name, value in medians.items()]
    print(table(rows, ["side", "wall s", "clips/s", "sampled frames/s"]))
    print(f"ours / bare forward passes: {ratios['bare']:.3f} (limit 1.15 on a CPU); ours / kept: {ratios['kept']:.3f}")
    print(f"share of the decode limit: {share:.3f}")
    results = {
        "profile": work.profile.name,
        "max_seconds": work.sampling.max_seconds,
        "device": work.device.type,
        "threads": threads,
        "workers": work.cores,
        "clips": clips,
        "sampled_frames": sampled,
        "seconds": seconds,
        "ours_over_bare": ratios["bare"],
        "ours_over_kept": ratios["kept"],
        "decode_share": share,
    }
    save(f"extract-{work.device.type}", results)


if __name__ == "__main__":
    main()
