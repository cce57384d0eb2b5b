"""A run's scoring model as ONNX, checked by onnxruntime against torch on the run's own clips before it is kept.

model.onnx     the graph and its weights
inputs.json    inputs and outputs: names, types, shapes, what they hold
README.md      the same for people, with an example
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.virality.config import CONTEXT_NUMBERS, VdvConfig
from models.virality.graph import ScoringGraph
from models.virality.inputs import InputSpec, ModalityInput
from models.virality.vdv import Vdv
from pipeline.core.environment import require_packages
from pipeline.core.errors import DataError
from pipeline.dataset.context import ContextUnits, context_numbers
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ClipDataset
from pipeline.export.folder import ABOUT, whole_folder
from pipeline.modalities.record import evenly
from pipeline.runs.run import Run
from pipeline.runs.train import load_run
from pipeline.training.lightning_loop import quiet

MODEL, INPUTS = "model.onnx", "inputs.json"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
TOLERANCE = 1e-4  # of a score, whose spread over clips is about 1; measured: 1e-6
CHECKED_CLIPS = 256  # at most
_TOGETHER = 16  # of these in a batch; the last batch is of others, so that two sizes are tried


@dataclass(frozen=True)
class ExportedModel:
    """A model that was written and checked."""

    clips: int  # that it was checked on
    difference: float  # the largest of a score or part
    tolerance: float


def export_model(run_folder: Run, out: Path) -> ExportedModel:
    """Write the run's model to `out`, which appears whole or not at all.

    Raises:
        OptionError: a package that this needs is not installed.
        DataError: the model is of a kind that is not exported; or what was exported scores otherwise than the run.
    """
    require_packages("onnx", *PACKAGES)
    model, run = load_run(run_folder, torch.device("cpu"))
    try:
        graph = ScoringGraph(model)
    except ValueError as error:
        raise DataError(f"run {run_folder.id} cannot be exported: {error}") from error
    with whole_folder(out) as folder:
        write_graph(graph, folder / MODEL)
        exported = check_graph(graph, folder / MODEL, run_folder)
        about = describe(graph, run_folder.id)
        (folder / INPUTS).write_text(json.dumps(about, indent=1) + "\n")
        (folder / "README.md").write_text(_readme(about, exported))
        made_of = {"schema": 1, "format": "onnx", "run": run_folder.id, "dataset": run["dataset"], **vars(exported)}
        (folder / ABOUT).write_text(json.dumps(made_of, indent=1) + "\n")
    return exported


def write_graph(graph: ScoringGraph, path: Path) -> None:
    """Export the graph, for any number of clips and of frames of each sequence."""
    clips = torch.export.Dim("clips", min=1)
    shapes: list[dict[int, Any]] = []
    for name in graph.model.modalities:
        along = {0: clips}
        if not graph.model.inputs[name].is_skeleton:
            along = {0: clips, 1: torch.export.Dim(f"{name}_frames", min=1)}
        shapes += [along, along, {0: clips}]
    if graph.model.context is not None:
        shapes.append({0: clips})
    with torch.no_grad(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions of its own formats, and names of axes used twice
        # Not optimised: runtimes do that as they load it, and here it takes as long as tracing.
        program = torch.onnx.export(
            graph.eval(), tuple(_example(graph.model)), dynamo=True, dynamic_shapes=(tuple(shapes),),
            input_names=graph.input_names, output_names=graph.output_names, opset_version=OPSET,
            optimize=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(str(path), include_initializers=True)


def _example(model: Vdv) -> Iterator[Tensor]:
    """Inputs by which the graph is traced; what is in them does not matter."""
    for name in model.modalities:
        spec, config = model.inputs[name], model.config
        shape = (3, config.samplings, config.frames, 17) if spec.is_skeleton else (3, 5)
        yield torch.rand(*shape[:2], spec.width, *shape[2:]) if spec.is_skeleton else torch.rand(*shape, spec.width)
        yield torch.ones(*shape, dtype=torch.bool)
        yield torch.rand(3)
    if model.context is not None:
        yield torch.rand(3, 2 * len(CONTEXT_NUMBERS))


def check_graph(graph: ScoringGraph, path: Path, run_folder: Run) -> ExportedModel:
    """Hold what onnxruntime makes of the file against what torch makes of the run's model, on clips of the run.

    Raises:
        DataError: they differ by more than TOLERANCE, or there is no clip to try it on.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst, clips = 0.0, 0
    for inputs in graph_inputs(graph.model, run_folder):
        found = dict(zip(graph.output_names, session.run(graph.output_names, inputs), strict=True))
        expected = _expected(graph.model, inputs)
        if not np.array_equal(found["present"], expected["present"]):
            raise DataError(f"{_WRONG}: it finds other modalities in them")
        worst = max([worst, *(float(np.abs(found[name] - value).max()) for name, value in expected.items()
                              if name != "present")])  # fmt: skip
        clips += len(found["score"])
    if not clips:
        raise DataError(f"the dataset of run {run_folder.id} has no clips to check the exported model on")
    if not worst <= TOLERANCE:  # `not`, for NaN
        raise DataError(f"{_WRONG} by {worst:g}, more than {TOLERANCE:g}")
    return ExportedModel(clips, worst, TOLERANCE)


_WRONG = "the exported model is not kept, for onnxruntime's scores of the run's clips differ from torch's"


def graph_inputs(model: Vdv, run_folder: Run, rows: list[int] | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Batches of the run's clips as the graph's inputs, by name, as numpy arrays.

    rows: of the run's dataset; None: CHECKED_CLIPS of them, evenly.
    """
    folder = DatasetFolder.of(run_folder.workspace, run_folder.about["dataset"])
    dataset = ClipDataset(folder, model.config, training=False)
    dataset.inputs = model.inputs
    chosen = evenly(len(dataset.clips), CHECKED_CLIPS).tolist() if rows is None else rows
    for batch in dataset.in_batches(chosen, _TOGETHER):
        inputs = {
            f"{name}_{part}": tensor.numpy()
            for name in model.modalities
            for part, tensor in batch.inputs[name]._asdict().items()
        }
        if model.context is not None:
            units = ContextUnits(float(model.context.last_upload_s), float(model.context.usual_likes))
            numbers = context_numbers(dataset.clips.iloc[batch.row.tolist()], units)
            inputs["context"] = numbers.astype(np.float32)
        yield inputs


@torch.inference_mode()
def _expected(model: Vdv, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the run's model, not the graph made of it, says of the inputs."""
    batch = {
        name: ModalityInput(*(torch.from_numpy(inputs[f"{name}_{part}"]) for part in ModalityInput._fields))
        for name in model.modalities
    }
    output = model(batch)
    expected = {"score": output.score, "parts": output.parts, "present": output.present}
    if model.context is not None:
        part = model.context(model.context.read_numbers(torch.from_numpy(inputs["context"])))
        expected["context_part"] = torch.where(output.abstained, 0.0, part)
        expected["score"] = output.score + expected["context_part"]
    return {name: value.numpy() for name, value in expected.items()}


def describe(graph: ScoringGraph, run_id: str) -> dict[str, Any]:
    """Content of inputs.json."""
    model = graph.model
    inputs = [entry for name in model.modalities for entry in _describe(name, model.inputs[name], model.config)]
    if model.context is not None:
        names = [*CONTEXT_NUMBERS, *(f"no_{name}" for name in CONTEXT_NUMBERS)]
        inputs.append(_entry("context", "float32", ["clips", len(names)],
                             f"{', '.join(names)}: pipeline/dataset/context.py; NaN where not known"))  # fmt: skip
    parts = ", ".join(model.modalities)
    outputs = [
        _entry("score", "float32", ["clips"], "higher: more popular within the challenge; 0 where nothing is present"),
        _entry("parts", "float32", ["clips", len(model.modalities)], f"of the score, by {parts}"),
        _entry("present", "bool", ["clips", len(model.modalities)], f"whether the clip has {parts}; none: no score"),
    ]
    if model.context is not None:
        outputs.append(_entry("context_part", "float32", ["clips"], "of the score, by the context"))
    return {"run": run_id, "opset": OPSET, "modalities": list(model.modalities), "inputs": inputs, "outputs": outputs}


def _describe(name: str, spec: InputSpec, config: VdvConfig) -> list[dict[str, Any]]:
    if spec.is_skeleton:
        shape: list[str | int] = ["clips", config.samplings, config.frames, 17]
        text = "lead dancer's joints, bones, their motions (x, y each, in trunk lengths) and confidence"
        values = _entry(f"{name}_values", "float32", [*shape[:2], spec.width, *shape[2:]], text)
        mask = _entry(f"{name}_mask", "bool", shape, "the joint is seen in the frame")
    else:
        shape = ["clips", f"{name}_frames"]
        values = _entry(f"{name}_values", "float32", [*shape, spec.width], "features of the frames, padded with zeros")
        mask = _entry(f"{name}_mask", "bool", shape, "the frame is there, and no padding")
    return [values, mask, _entry(f"{name}_quality", "float32", ["clips"], "how well it is seen or heard, 0 to 1")]


def _entry(name: str, dtype: str, shape: list[Any], text: str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape, "holds": text}


EXAMPLE = """import json

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
clip = np.load(f"{folder}/clip.npz")  # arrays by the names of inputs.json
score, parts, present = session.run(["score", "parts", "present"], dict(clip))
for modality, part, there in zip(json.load(open(f"{folder}/inputs.json"))["modalities"], parts[0], present[0]):
    print(modality, f"{part:+.3f}" if there else "missing")
print("score", f"{score[0]:+.3f}" if present[0].any() else "none")"""


def _readme(about: Mapping[str, Any], exported: ExportedModel) -> str:
    rows = [
        f"| `{entry['name']}` | {entry['dtype']} [{', '.join(map(str, entry['shape']))}] | {entry['holds']} |"
        for entry in [*about["inputs"], *about["outputs"]]
    ]
    return "\n".join([
        f"# The scoring model of run {about['run']}", "",
        f"`model.onnx`, opset {about['opset']}. onnxruntime scored {exported.clips} clips of the run with it; scores"
        f" and parts differ from torch's by {exported.difference:.1g} at most.", "",
        "| | | |", "|---|---|---|", *rows, "",
        "What is masked, False, has no influence. Any number of clips goes at a time, and sequences may be of any"
        " length from 1. vdv's docs/export.md says how inputs are made of a clip: `clip.npz`, here in this folder.", "",
        "```python", 'folder = "."', EXAMPLE, "```", "",
    ])  # fmt: skip
