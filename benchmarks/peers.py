"""ExtractBatch against what a user would chain today: the same clips, frames and weights, one tool after the other.

    python -m benchmarks.peers --clips MANIFEST [--profile untrained] [--device auto] [--runs 3] [--max-seconds S]

    ours    pipeline.extraction.extract.extract_shards, all modalities, and reading all of it back from the Parquet
            shards; then each modality alone, to see where the time goes
    chain   each tool decodes the clip for itself with cv2.VideoCapture and keeps the same source frames as ours:
            pose                mmpose's MMPoseInferencer, a frame a call: it knows no batches
            face                facenet-pytorch: MTCNN.detect, extract_face, InceptionResnetV1, frame by frame
            scene, appearance   a torchvision ResNet as video_features runs it: frame to PIL, torchvision's transforms,
                                stacked to our batch size, forward, an .npy a clip

Networks are built before the clock starts, and a first check has warmed them up. Sides run in turns.

The same on both sides: weights, sizes of the networks' inputs, thresholds, sampled frames, their size (OpenCV scales
the chain's to the profile's max_side; --full-size leaves them as they are, as a plain chain would), batch sizes of the
ResNets, most faces embedded a frame. Where there is a choice the chain gets the faster one: it skips the conversion of
frames that it does not need, stops after the last that it needs, draws nothing and keeps poses in memory.

Not the same: mmpose has its own non-maximum suppression back, no bound on candidates (ours: the best 300), and decodes
all people (ours: `max_persons`). On CUDA ours runs in float16, the tools in their float32. Only ours has decode workers
beside the networks, links people into tracks, stores face crops and Parquet, and survives hostile clips.

Random pose weights score all of a frame's 845 places alike, and at the profile's threshold of 0 each is a person: the
chain would spend ten times its time on nobody. So untrained pose weights are stirred: normalisation takes its
statistics from the clips' frames, the head's last layers are scaled, and at mmpose's own threshold of 0.1 one place in
120 is a candidate, as of a trained network that sees a person or two. Both sides get these weights.

Before the clock both sides get the same pictures, of our decoder; on a CPU the script stops unless people, keypoints,
faces and features are equal within LIMITS. How far the timed runs agree is printed and judged by nobody: OpenCV's
pictures equal ours bit for bit where they are not scaled, and differ by a quarter of a grey level on average (edges by
more) where they are, which is enough to turn what random pose weights say.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision

from benchmarks.common import SEEN, median_ratio, save, table
from benchmarks.peer_chain import Chain, opencv_frames
from benchmarks.stirred import some_frames, stir, to_stir
from models.device import resolve_device
from models.extractors.extractor import Extractor
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.sampling import scaled_size
from pipeline.extraction.extract import extract_shards
from pipeline.features.plan import feature_spec, features_folder, plan_shards, shard_path
from pipeline.features.reader import FeatureStore
from pipeline.ingest.clip_table import IngestedClip, read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.appearance import AppearanceRows
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.registry import build_extractor, load_profile, modality_identity
from pipeline.modalities.scene import SceneRows

CHECKED = 3  # frames a clip that are compared before the clock starts
TIE = 1e-4  # people whose scores are nearer than this come in any order: such frames are left out of the check

# Largest differences on the same pictures. Keypoints and boxes in pixels; `lost`: people or faces that one side has
# more; a feature's error is its distance, over the median distance between those of different pictures: random networks
# give all pictures much the same feature, and a cosine alone would say little. The random face network gives all faces
# the same to three digits, so its error has no limit.
LIMITS = {
    "pose lost": 0, "pose keypoint px": 0.5, "face lost": 0, "face box px": 1.0, "face embedding 1 - cosine": 1e-4,
    "scene 1 - cosine": 1e-4, "scene error": 0.05, "appearance 1 - cosine": 1e-4, "appearance error": 0.05,
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float  # user and system, of this process and its ended children


def run_extractor(extractor: Extractor, frames: torch.Tensor) -> tuple[list[int], list[Any]]:
    prepared = extractor.prepare(frames)
    results: list[Any] = []
    for start in range(0, len(prepared.frame), extractor.batch_size):
        part = slice(start, start + extractor.batch_size)
        results += extractor.infer(prepared.inputs[part], prepared.extras[part])
    return prepared.frame, results


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of vectors [..., D], in float64: 1 - 1e-8 must not be 1."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


class Differences:
    """Largest differences, by kind, of two sides given the same pictures; keys as in LIMITS, and some counts."""

    def __init__(self) -> None:
        self.largest: dict[str, float] = defaultdict(float)
        self.features: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)

    def note(self, name: str, value: float) -> None:
        if not value <= self.largest[name]:  # also where it is nan
            self.largest[name] = float(value)

    def note_poses(self, ours: list[Any], theirs: Sequence[Any], most: int) -> None:
        for mine, other in zip(ours, theirs, strict=True):
            if (np.abs(np.diff(other.score[: most + 1])) < TIE).any():
                self.largest["pose frames with a tie"] += 1
                continue
            kept = other.place[:most]
            self.note("pose lost", abs(len(kept) - len(mine)))
            self.largest["people compared"] += min(len(kept), len(mine))
            if len(kept) == len(mine) > 0:
                self.note("pose keypoint px", np.abs(kept - mine.keypoints[..., :2]).max())

    def note_faces(self, frames: list[int], ours: list[Any], theirs: Sequence[Any]) -> None:
        for index, other in enumerate(theirs):
            mine = [face for frame, face in zip(frames, ours, strict=True) if frame == index]
            self.note("face lost", abs(len(other.score) - len(mine)))
            self.largest["faces compared"] += min(len(other.score), len(mine))
            for face in mine if len(other.score) else ():
                off = np.abs(other.place - face.box.reshape(2, 2)).max(axis=(1, 2))
                self.note("face box px", off.min())
                self.features["face embedding"].append((face.embedding[None], other.embedding[None, off.argmin()]))

    def note_features(self) -> None:
        for name, pairs in self.features.items():
            mine, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
            apart = [float(np.linalg.norm(other[a] - other[b])) for a in range(len(other)) for b in range(a)]
            self.note(f"{name} 1 - cosine", (1 - cosine(mine, other)).max())
            if apart:
                self.note(f"{name} error", np.linalg.norm(mine - other, axis=1).max() / statistics.median(apart))


def differences(extractors: dict[str, Extractor], chain: Chain, frames: dict[str, np.ndarray]) -> dict[str, float]:
    noted = Differences()
    for clip_id, pictures in frames.items():
        bgr = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
        for modality, extractor in extractors.items():
            at, ours = run_extractor(extractor, torch.from_numpy(pictures).to(chain.device))
            theirs = chain.run(modality, clip_id, bgr)
            if modality == "pose":
                noted.note_poses(ours, theirs, chain.profile.entry("pose").max_persons)
            elif modality == "face":
                noted.note_faces(at, ours, theirs)
            else:
                mine = np.array([getattr(result, "feature", result) for result in ours], np.float32)
                noted.features[modality].append((mine, theirs[0]))
                if modality == "scene":
                    noted.note("scene probability", np.abs([s.top_probability for s in ours] - theirs[1]).max())
    noted.note_features()
    return dict(noted.largest)


def agreement(
    clips: Sequence[IngestedClip],
    ours: FeatureStore,
    chain: dict[str, dict[str, Any]],
    sampled_side: int,  # px, max_side of ours
    max_side: int,  # of the chain's; 0: not scaled
) -> dict[str, float]:
    """How far the timed runs' results agree although two decoders made the pictures; clips that both scaled apart."""
    values: dict[str, list[float]] = defaultdict(list)
    for clip in clips:
        size = (clip.probe.width, clip.probe.height)
        scale = scaled_size(*size, max_side or max(size))[0] / size[0]
        kind = "scaled" if scale < 1 or max(size) > sampled_side else "not scaled"
        rows = ours.read("pose", clip.clip_id)
        assert isinstance(rows, PoseRows)
        for index, found in enumerate(chain["pose"][clip.clip_id]):
            for track in rows.tracks:
                if track.valid[index] and len(found.score):
                    off = np.linalg.norm(found.place / scale - track.keypoints[index, :, :2], axis=2).mean(axis=1)
                    values[f"{kind}: share of people whom the chain has within 1 px"].append(off.min() < 1)
        faces = ours.read("face", clip.clip_id, crops=False)
        assert isinstance(faces, FaceRows)
        for index, found in enumerate(chain["face"][clip.clip_id]):
            mine = faces.box[faces.frame == index].reshape(-1, 2, 2)
            values[f"{kind}: share of frames with the same number of faces"].append(len(mine) == len(found.score))
            for box in mine if len(found.score) else ():
                off = np.abs(found.place / scale - box).max(axis=(1, 2)).min()
                values[f"{kind}: largest distance of a face's sides, px"].append(off)
        for modality in ("scene", "appearance"):
            pictures = ours.read(modality, clip.clip_id)
            assert isinstance(pictures, SceneRows | AppearanceRows)
            near = cosine(pictures.feature, chain[modality][clip.clip_id][0])
            values[f"{kind}: 1 - cosine of {modality} features"] += (1 - near).tolist()
    return {name: float((np.mean if "share" in name else np.median)(of)) for name, of in sorted(values.items())}


def timed(work: Callable[[], Any]) -> tuple[Any, Cost]:
    def cpu_s() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    cpu, wall = cpu_s(), time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, Cost(time.perf_counter() - wall, cpu_s() - cpu)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, help="a manifest file of local clips")
    parser.add_argument("--profile", default="untrained")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-seconds", type=float, help="of each clip; the profile's, where not given")
    parser.add_argument("--workers", type=int, default=0, help="our decode processes; 0: one a core")
    parser.add_argument("--full-size", action="store_true", help="leave the chain's frames as large as they are")
    return parser.parse_args()


def main() -> None:
    options = parse()
    device = resolve_device(options.device)
    stirred, profile = to_stir(load_profile(options.profile))
    cores = options.workers or len(os.sched_getaffinity(0))
    sampling = SamplingOptions(**profile.sampling)
    sampling = replace(sampling, max_seconds=min(sampling.max_seconds, options.max_seconds or sampling.max_seconds))
    max_side = 0 if options.full_size else sampling.max_side
    (batch,) = read_manifests(options.clips)
    extractors = {modality: build_extractor(modality, profile, device) for modality in SEEN}
    specs = {m: feature_spec(m, sampling, profile.entry(m).stride, modality_identity(m, profile)) for m in SEEN}

    with tempfile.TemporaryDirectory() as folder:
        ingest = read_ingest(run_ingest(folder, batch, cores, DecodeLimits()))
        clips = [clip for clip in ingest.clips if clip.shard]
        frames = some_frames(clips, sampling, CHECKED)
        if stirred:
            stir(extractors["pose"], [torch.from_numpy(pictures).to(device) for pictures in frames.values()])
        chain = Chain(extractors, profile, device, folder)
        found = differences(extractors, chain, frames)
        print(f"the same {CHECKED} pictures a clip through both sides, largest differences")
        rows = [[name, f"{value:.2g}", LIMITS.get(name, "")] for name, value in sorted(found.items())]
        print(table(rows, ["", "found", "limit"]), flush=True)
        beyond = [name for name, limit in LIMITS.items() if not found.get(name, 0) <= limit]
        beyond += [f"no {what}" for what in ("people", "faces") if not found.get(f"{what} compared")]
        if beyond and device.type == "cpu":  # elsewhere ours runs in another precision than the chain
            raise SystemExit(f"the two sides do not compute the same: {', '.join(beyond)}")

        def ours(modalities: Sequence[str], place: str) -> FeatureStore:
            wanted = [specs[modality] for modality in modalities]
            plans = plan_shards(place, batch.name, ingest, wanted, sampling).shards
            extract_shards(
                place, batch.name, plans, extractors.__getitem__, sampling, DecodeLimits(),
                workers=cores, device=device, profile=profile.name,
            )  # fmt: skip
            store = FeatureStore(
                {
                    item.modality: [shard_path(features_folder(place, batch.name, item), plan.shard) for plan in plans]
                    for item in wanted
                }
            )
            for modality in modalities:
                for clip_id in store.clip_ids(modality):
                    store.read(modality, clip_id)
            return store

        costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
        counts: dict[str, int] = {}
        for turn in range(options.runs):
            place = f"{folder}/{turn}"
            store, cost = timed(partial(ours, SEEN, f"{place}/all"))
            costs["ours", "all at once"].append(cost)
            results: dict[str, dict[str, Any]] = {}
            for stage in SEEN:
                index = {c.clip_id: store.read(stage, c.clip_id, crops=False).grid.frame_index for c in clips}
                counts[stage] = sum(map(len, index.values()))

                def run_tool(stage: str = stage, index: dict[str, np.ndarray] = index) -> dict[str, Any]:
                    return {
                        clip.clip_id: chain.run(
                            stage, clip.clip_id, opencv_frames(clip.uri, index[clip.clip_id], max_side)
                        )
                        for clip in clips
                    }

                results[stage], cost = timed(run_tool)
                costs["chain", stage].append(cost)
                _, cost = timed(partial(ours, [stage], f"{place}/{stage}"))
                costs["ours", f"{stage} alone"].append(cost)
            parts = [costs["chain", stage][turn] for stage in SEEN]
            costs["chain", "all in turn"].append(Cost(sum(p.wall_s for p in parts), sum(p.cpu_s for p in parts)))
            print(f"turn {turn + 1} of {options.runs} done", flush=True)
        agreed = agreement(clips, store, results, sampling.max_side, max_side)

    report(options, device, sampling, len(clips), counts, costs, found, agreed, stirred)


def report(
    options: argparse.Namespace, device: torch.device, sampling: SamplingOptions, clips: int, counts: dict[str, int],
    costs: dict[tuple[str, str], list[Cost]], found: dict[str, float], agreed: dict[str, float], stirred: bool,
) -> None:  # fmt: skip
    """Prints the table and writes the JSON."""

    def wall(side: str, stage: str) -> list[float]:
        return [cost.wall_s for cost in costs[side, stage]]

    lines = [(stage, stage, f"{stage} alone") for stage in SEEN] + [("all", "all in turn", "all at once")]
    speedups, rows = {}, []
    for name, theirs, mine in lines:
        speedups[name] = median_ratio(wall("chain", theirs), wall("ours", mine))
        frames = counts[name] if name in counts else max(counts.values())
        for side, stage in (("chain", theirs), ("ours", mine)):
            seconds = statistics.median(wall(side, stage))
            cpu = statistics.median(cost.cpu_s for cost in costs[side, stage])
            speed = speedups[name] if side == "ours" else ""
            rows.append([side, stage, seconds, cpu, frames / seconds, clips / seconds, speed])
    print(table(rows, ["side", "stage", "wall s", "CPU s", "frames/s", "clips/s", "speed-up"]))
    all_cpu = [[cost.cpu_s for cost in costs[side]] for side in (("chain", "all in turn"), ("ours", "all at once"))]
    speedups["all, CPU time"] = median_ratio(*all_cpu)
    print(
        f"chain / ours, all four modalities: {speedups['all']:.2f} in wall time, "
        f"{speedups['all, CPU time']:.2f} in CPU time; medians of {options.runs} turns"
    )
    print("the last turn's agreement, OpenCV's pictures against ours; medians where it does not say share")
    print(table([[name, f"{value:.2g}"] for name, value in agreed.items()], ["", "found"]))
    versions = {name: version(name) for name in ("mmpose", "facenet-pytorch")}
    versions |= {"torch": torch.__version__, "torchvision": torchvision.__version__, "opencv": cv2.__version__}
    save(
        f"peers-{device.type}",
        {
            "profile": Path(options.profile).stem, "pose_weights_stirred": stirred, "device": device.type,
            "threads": torch.get_num_threads(), "max_seconds": sampling.max_seconds, "full_size": options.full_size,
            "clips": clips, "frames": counts, "speed_up": speedups,
            "costs": {f"{side}: {stage}": [vars(cost) for cost in each] for (side, stage), each in costs.items()},
            "same_pictures_largest_difference": found, "limits": LIMITS, "timed_agreement": agreed,
            "versions": versions,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
