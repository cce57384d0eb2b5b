"""The extractors' networks as OpenVINO runs them on a CPU, against torch's own passes.

    python -m benchmarks.compiled [--profile untrained] [--runs 5]

Each network gets one batch of random pictures of the size that the profile gives it, of as many as a CPU's batches
hold; MTCNN's, what the search gives them (P-Net: a level of 432 x 768 px). torch's side is as it was before:
channels last, batch norms unfolded; normalisation layers get random statistics, for those that they begin with change
nothing. Prints the processor time of one thread a batch, the median of the runs' ratios, and the largest difference of
an output over the largest output.
"""

import argparse
import statistics
from time import process_time
from typing import Any

import torch
from facenet_pytorch import MTCNN
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from benchmarks.common import save, table
from models.extractors.compiled import CompiledNetwork
from models.extractors.face_embedding import embedding_network
from models.extractors.pose import PoseExtractor
from models.extractors.resnet import new_trunk
from models.weights.profiles import Profile
from pipeline.modalities.registry import build_extractor, load_profile

CPU = torch.device("cpu")
LEVEL = (432, 768)  # px: the first of a picture of 720 x 1280, faces of 20 px


def networks(profile: Profile) -> dict[str, tuple[nn.Module, Tensor, bool]]:
    """Each network with a batch of its inputs, and whether their sides vary."""
    pose = build_extractor("pose", profile, CPU)
    assert isinstance(pose, PoseExtractor)
    size = pose._resize.input_size
    entries = {name: profile.entry(name) for name in ("appearance", "scene", "face", "pose")}
    made: dict[str, tuple[nn.Module, Tensor, bool]] = {
        f"pose: {entries['pose'].architecture}": (
            _Maps(pose.model), 255 * torch.rand(pose.batch_size, 3, size[1], size[0]), False
        ),
        f"face: {entries['face'].architecture}": (
            embedding_network(entries["face"].architecture, None, 0), _pictures(entries["face"].batch_size.cpu, 160),
            False,
        ),
        f"appearance: {entries['appearance'].architecture}": (
            new_trunk(entries["appearance"].architecture, 10, 0),
            _pictures(entries["appearance"].batch_size.cpu, entries["appearance"].input_size), False,
        ),
    }  # fmt: skip
    search = MTCNN(device=CPU)
    made["face search: P-Net"] = (search.pnet, 2 * torch.rand(1, 3, *LEVEL) - 1, True)
    made["face search: R-Net"] = (search.rnet, _pictures(64, 24), False)
    made["face search: O-Net"] = (search.onet, _pictures(16, 48), False)
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


def compare(network: nn.Module, inputs: Tensor, sides_vary: bool, runs: int) -> dict[str, float]:
    """Times and difference of both sides, in turns."""
    stirred(network)
    compiled = CompiledNetwork(network.to(memory_format=torch.channels_last), sides_vary)
    start = process_time()
    compiled(inputs)
    compiling = process_time() - start
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
    apart = max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)
    ratio = statistics.median(a / b for a, b in zip(seconds["torch"], seconds["openvino"], strict=True))
    return {
        **{f"{side}_s": statistics.median(taken) for side, taken in seconds.items()},
        "ratio": ratio, "compiling_s": compiling, "largest_difference": apart,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="untrained")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {}
    rows = []
    for name, (network, inputs, sides_vary) in networks(load_profile(options.profile)).items():
        found = compare(network, inputs, sides_vary, options.runs)
        results[name] = {"inputs": list(inputs.shape), **found}
        rows.append([name, "x".join(map(str, inputs.shape)), found["torch_s"], found["openvino_s"], found["ratio"],
                     f"{found['largest_difference']:.0e}", found["compiling_s"]])  # fmt: skip
    print(table(rows, ["network", "inputs", "torch, s", "OpenVINO, s", "ratio", "apart", "compiling, s"]))
    save("compiled", {options.profile: results}, keep_others=True)


if __name__ == "__main__":
    main()
