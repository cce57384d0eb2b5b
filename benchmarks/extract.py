"""ExtractBatch against the bare forward passes of the same networks, and against what decoding alone allows.

    python -m benchmarks.extract --clips MANIFEST [--profile untrained] [--device auto] [--runs 3] [--max-seconds S]

    ours     decode, resize, four extractors, tracks, crops, Parquet on disk: pipeline.extract.extract_shards
    bare     the same networks on the same inputs, decoded, resized and in memory; what they give is thrown away.
             MTCNN's three networks run on what the ones before found, so its cascade counts as the network.
    decode   the same clips through the decode workers, frames thrown away: the most that this machine's cores allow

Networks are built before the clock starts. Sides run in turn; the figure is the median of the turns' ratios.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable

import torch

from benchmarks.common import interleaved, median_ratio, save, table
from models.build import build_extractor, modality_identity
from models.device import resolve_device
from models.extractor import Extractor, pad_batch
from models.face import FaceExtractor
from models.pose import PoseExtractor
from models.profiles import load_profile
from pipeline.decode import Chunk, DecodeJob, DecodePool
from pipeline.extract import extract_shards
from pipeline.ingest import Ingest, read_ingest, run_ingest
from pipeline.manifest import read_manifests
from pipeline.options import MODALITIES, DecodeLimits, SamplingOptions
from pipeline.workspace import Recipe, plan_shards, recipe


def network_of(extractor: Extractor) -> Callable[[torch.Tensor], object]:
    """The extractor's network alone: a padded batch of prepared inputs in, tensors out."""
    if isinstance(extractor, PoseExtractor):
        model = extractor.model
        return lambda batch: model.head.forward(
            model.extract_feat(model.data_preprocessor({"inputs": batch, "data_samples": []}, False)["inputs"])
        )
    if isinstance(extractor, FaceExtractor):
        return lambda batch: extractor._network((batch.float() - 127.5) / 128)
    return extractor._network  # type: ignore[attr-defined]


def prepared_passes(
    extractors: dict[str, Extractor],
    recipes: list[Recipe],
    ingest: Ingest,
    sampling: SamplingOptions,
    cores: int,
    device: torch.device,
) -> tuple[list[Callable[[], object]], int]:
    """Everything that the bare side runs, as calls on tensors in memory, and how many frames were sampled."""
    calls: list[Callable[[], object]] = []
    inputs: dict[str, list[torch.Tensor]] = {modality: [] for modality in extractors}
    sampled = 0
    jobs = [DecodeJob(clip.clip_id, clip.uri, (1,)) for clip in ingest.clips if clip.shard]
    with DecodePool(sampling, DecodeLimits(), cores) as pool:
        for event in pool.run(jobs):
            if not isinstance(event, Chunk):
                continue
            sampled += len(event.position)
            for item in recipes:
                extractor = extractors[item.modality]
                frames = torch.from_numpy(event.frames[event.position % item.stride == 0].copy())
                if not len(frames):
                    continue
                frames = frames.to(device)
                inputs[item.modality].append(extractor.prepare(frames).inputs)
                if isinstance(extractor, FaceExtractor):
                    calls.append(lambda cascade=extractor._cascade, frames=frames: cascade(frames))
            event.release()
    for modality, parts in inputs.items():
        extractor, whole = extractors[modality], torch.cat(parts)
        network, size = network_of(extractor), extractor.batch_size
        for start in range(0, len(whole), size):
            batch = pad_batch(whole[start : start + size], size)
            calls.append(lambda network=network, batch=batch: network(batch))
    return calls, sampled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, help="a manifest file")
    parser.add_argument("--profile", default="untrained")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-seconds", type=float, help="of each clip; default: the profile's")
    parser.add_argument("--workers", type=int, default=0, help="decode processes; 0: one a core")
    options = parser.parse_args()

    device = resolve_device(options.device)
    profile = load_profile(options.profile)
    cores = options.workers or len(os.sched_getaffinity(0))
    given = profile.sampling
    max_seconds = options.max_seconds or given["max_seconds"]
    sampling = SamplingOptions(given["sample_fps"], max_seconds, int(given["max_side"]))
    (batch,) = read_manifests(options.clips)
    extractors = {modality: build_extractor(modality, profile, device) for modality in MODALITIES}
    recipes = [recipe(m, sampling, profile.entry(m).stride, modality_identity(m, profile)) for m in MODALITIES]

    with tempfile.TemporaryDirectory() as folder:
        ingest = read_ingest(run_ingest(folder, batch, cores, DecodeLimits()))
        calls, sampled = prepared_passes(extractors, recipes, ingest, sampling, cores, device)
        turn = iter(range(1000))

        def wait() -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()

        def ours() -> None:
            workspace = f"{folder}/{next(turn)}"
            plans = plan_shards(workspace, batch.name, ingest, recipes, sampling)
            extract_shards(
                workspace, batch.name, plans, extractors.__getitem__, sampling, DecodeLimits(),
                workers=cores, device=device, profile=profile.name,
            )  # fmt: skip
            wait()

        @torch.inference_mode()
        def bare() -> None:
            for call in calls:
                call()
            wait()

        def decode() -> None:
            jobs = [DecodeJob(clip.clip_id, clip.uri, (1,)) for clip in ingest.clips if clip.shard]
            with DecodePool(sampling, DecodeLimits(), cores) as pool:
                for event in pool.run(jobs):
                    if isinstance(event, Chunk):
                        event.release()

        seconds = interleaved(options.runs, ours=ours, bare=bare, decode=decode)

    clips = sum(clip.shard is not None for clip in ingest.clips)
    ratio = median_ratio(seconds["ours"], seconds["bare"])
    share = median_ratio(seconds["decode"], seconds["ours"])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [[name, value, clips / value, sampled / value] for name, value in medians.items()]
    print(table(rows, ["side", "wall s", "clips/s", "sampled frames/s"]))
    print(f"ours / bare forward passes: {ratio:.3f} (limit 1.15 on a CPU); share of the decode limit: {share:.3f}")
    results = {
        "profile": profile.name,
        "max_seconds": max_seconds,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "workers": cores,
        "clips": clips,
        "sampled_frames": sampled,
        "seconds": seconds,
        "ours_over_bare": ratio,
        "decode_share": share,
    }
    save(f"extract-{device.type}", results)


if __name__ == "__main__":
    main()
