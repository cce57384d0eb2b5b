"""The extractors' networks as OpenVINO runs them on a CPU, against torch's own passes.

    python -m benchmarks.compiled [--profile untrained] [--runs 5] [--clips MANIFEST]

Each network gets one batch of random pictures of the size that the profile gives it, of as many as a CPU's batches
hold; MTCNN's, what the search gives them (P-Net: a level of 432 x 768 px). torch's side is as it was before:
channels last, batch norms unfolded; normalisation layers get random statistics, for those that they begin with change
nothing. Prints the processor time of one thread a batch, the median of the runs' ratios, and the largest difference of
an output over the largest output, in float32 and in bfloat16, where the processor has it; and the processor time of a
process's first batch, with the network compiled for it and with one that was kept on disk.

With --clips, what bfloat16 does to embeddings of the bundled, trained networks (profile demo): 1 - cosine against
float32, and the distance over the median distance between two pictures, of a few frames of each clip.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from time import process_time
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from facenet_pytorch import MTCNN
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from benchmarks.common import save, table
from benchmarks.peers import run_extractor
from benchmarks.stirred import some_frames
from models.extractors.compiled import CompiledNetwork, computes_bfloat16
from models.extractors.face_embedding import embedding_network
from models.extractors.pose import PoseExtractor
from models.extractors.resnet import new_trunk
from models.weights.compiled_files import FOLDER_VARIABLE
from models.weights.profiles import Profile
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.ingest.clip_table import read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.registry import build_extractor, load_profile

CPU = torch.device("cpu")
FRAMES = 3  # a clip
LEVEL = (432, 768)  # px: the first of a picture of 720 x 1280, faces of 20 px


class Case(NamedTuple):
    network: nn.Module
    inputs: Tensor
    sides_vary: bool = False
    embeds: bool = False


def networks(profile: Profile) -> dict[str, Case]:
    pose = build_extractor("pose", profile, CPU)
    assert isinstance(pose, PoseExtractor)
    size = pose._resize.input_size
    entries = {name: profile.entry(name) for name in ("appearance", "scene", "face", "pose")}
    made = {
        f"pose: {entries['pose'].architecture}": Case(
            _Maps(pose.model), 255 * torch.rand(pose.batch_size, 3, size[1], size[0])
        ),
        f"face: {entries['face'].architecture}": Case(
            embedding_network(entries["face"].architecture, None, 0), _pictures(entries["face"].batch_size.cpu, 160),
            embeds=True,
        ),
        f"appearance: {entries['appearance'].architecture}": Case(
            new_trunk(entries["appearance"].architecture, 10, 0),
            _pictures(entries["appearance"].batch_size.cpu, entries["appearance"].input_size), embeds=True,
        ),
    }  # fmt: skip
    search = MTCNN(device=CPU)
    made["face search: P-Net"] = Case(search.pnet, 2 * torch.rand(1, 3, *LEVEL) - 1, sides_vary=True)
    made["face search: R-Net"] = Case(search.rnet, _pictures(64, 24))
    made["face search: O-Net"] = Case(search.onet, _pictures(16, 48))
    return made


def _pictures(count: int, side: int) -> Tensor:
    return 2 * torch.rand(count, 3, side, side) - 1


class _Maps(nn.Module):
    """What an mmpose estimator's head gives for inputs."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Any:
        return self.model.head.forward(self.model.extract_feat(inputs))


def stirred(network: nn.Module) -> nn.Module:
    """The network with statistics in its normalisation layers that change something."""
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network.eval().requires_grad_(False)


def compare(case: Case, runs: int) -> dict[str, dict[str, float]]:
    """Times and differences of OpenVINO by precision, each in turns with torch."""
    network, inputs = stirred(case.network).to(memory_format=torch.channels_last), case.inputs
    found = {}
    for precision in ("float32", "bfloat16") if computes_bfloat16() else ("float32",):
        with patch("models.extractors.compiled.computes_bfloat16", lambda rounds=precision == "bfloat16": rounds):
            compiled = CompiledNetwork(network, case.sides_vary, embeds=True)
            again = CompiledNetwork(network, case.sides_vary, embeds=True)
        first = {}
        for name, run in (("compiling_s", compiled), ("kept_s", again)):
            start = process_time()
            run(inputs)
            first[name] = process_time() - start
        found[precision] = {**first, **in_turns(network, compiled, inputs, runs)}
    return found


def in_turns(network: nn.Module, compiled: CompiledNetwork, inputs: Tensor, runs: int) -> dict[str, float]:
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {"torch": [], "openvino": []}
    with torch.inference_mode():
        network(inputs)
        for _ in range(runs):
            for side, run in (("torch", network), ("openvino", compiled)):
                start = process_time()
                found = run(inputs)
                seconds[side].append(process_time() - start)
                if side == "torch":
                    wanted = found
    pairs = zip(*([t for t in tree_flatten(side)[0] if t is not None] for side in (found, wanted)), strict=True)
    return {
        **{f"{side}_s": statistics.median(taken) for side, taken in seconds.items()},
        "ratio": statistics.median(a / b for a, b in zip(seconds["torch"], seconds["openvino"], strict=True)),
        "largest_difference": max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs),
    }


def rounding(clips: str) -> dict[str, dict[str, float]]:
    """Largest differences between embeddings in bfloat16 and in float32, by modality."""
    profile = load_profile("demo")
    sampling = SamplingOptions(**profile.sampling)
    (batch,) = read_manifests(clips)
    with tempfile.TemporaryDirectory() as folder:
        ingest = read_ingest(run_ingest(folder, batch, 1, DecodeLimits()))
        frames = some_frames([clip for clip in ingest.clips if clip.shard], sampling, FRAMES)
    return {name: apart(name, profile, list(frames.values())) for name in ("appearance", "scene", "face")}


def apart(modality: str, profile: Profile, clips: Sequence[np.ndarray]) -> dict[str, float]:
    sides = []
    for rounds in (False, True):
        with patch("models.extractors.compiled.computes_bfloat16", lambda rounds=rounds: rounds):
            extractor = build_extractor(modality, profile, CPU)
        sides.append([one for clip in clips for one in run_extractor(extractor, torch.from_numpy(clip))[1]])
    field = "embedding" if modality == "face" else "feature"
    exact, rounded = (
        torch.from_numpy(np.stack([getattr(one, field, one) for one in side]).astype(np.float64)) for side in sides
    )
    off = 1 - torch.cosine_similarity(exact, rounded)
    found = {
        "pictures": len(exact), "1 - cosine": off.max().item(), "1 - cosine, median": off.median().item(),
        "error": ((exact - rounded).norm(dim=1).max() / torch.pdist(exact).median()).item(),
    }  # fmt: skip
    if modality == "scene":
        same = sum(int(a.top_category[0] == b.top_category[0]) for a, b in zip(*sides, strict=True))
        found["same category"] = same / len(exact)
        found["indoor"] = max(float(abs(a.indoor - b.indoor)) for a, b in zip(*sides, strict=True))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="untrained")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--clips", help="a manifest file of local clips")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {}
    rows = []
    for name, case in networks(load_profile(options.profile)).items():
        with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {FOLDER_VARIABLE: folder}):
            found = compare(case, options.runs)
        results[name] = {"inputs": list(case.inputs.shape), "bfloat16_is_used": case.embeds, **found}
        for precision, of in found.items():
            rows.append([name, "x".join(map(str, case.inputs.shape)), precision, of["torch_s"], of["openvino_s"],
                         of["ratio"], f"{of['largest_difference']:.0e}", of["compiling_s"], of["kept_s"]])  # fmt: skip
    header = ["network", "inputs", "in", "torch, s", "OpenVINO, s", "ratio", "apart", "compiling, s", "kept, s"]
    print(table(rows, header))
    save("compiled", {options.profile: results}, keep_others=True)
    if options.clips and computes_bfloat16():
        rounded = rounding(options.clips)
        print(json.dumps(rounded, indent=1))
        save("compiled", {"rounding": rounded}, keep_others=True)


if __name__ == "__main__":
    main()
