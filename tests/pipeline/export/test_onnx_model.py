"""The scoring model as ONNX: any number of clips and frames; kept only where onnxruntime scores as torch does.

The pose network takes 20 s to export; that of a whole run is opened by the examples of docs/export.md.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.virality.graph import ScoringGraph
from models.virality.vdv import Vdv
from pipeline.core.errors import DataError
from pipeline.dataset.folder import DatasetFolder
from pipeline.export import onnx_model
from pipeline.export.onnx_model import CHECKED_CLIPS, TOLERANCE, check_graph, export_model, graph_inputs
from pipeline.runs.run import Run
from pipeline.runs.train import load_run, train_fusion
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.exports import clips_of


@pytest.fixture(scope="module")
def run(workspace: Path) -> Run:
    """Of scenes and the context; the time that an export takes goes by the layers."""
    run = Run(str(workspace), "runs/scenes")
    config = replace(ONE_EPOCH, modalities=("scene",), context=True, dilations=(1, 2), relations_after=(2,))
    train_fusion(DatasetFolder(str(workspace), "datasets/one"), run, config, CPU)
    return run


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "out"
    assert export_model(run, out).difference <= TOLERANCE
    return out


def model_of(run: Run) -> Vdv:
    return load_run(run, torch.device("cpu"))[0]


def test_any_number_of_clips_and_frames_is_scored(exported: Path, run: Run) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    (one,) = graph_inputs(model_of(run), run, [0])
    longer = {name: np.repeat(values, 3, 0) for name, values in one.items()}
    for name in ("scene_values", "scene_mask"):
        more = np.zeros_like(longer[name])
        longer[name] = np.concatenate([longer[name], more], 1)
    (alone,) = session.run(["score"], one)
    (together,) = session.run(["score"], longer)
    np.testing.assert_allclose(together, np.repeat(alone, 3), rtol=1e-5)


def test_inputs_are_described_as_the_file_has_them(exported: Path, run: Run) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    about = json.loads((exported / "inputs.json").read_text())
    kinds = {"float32": "tensor(float)", "bool": "tensor(bool)"}
    for described, found in ((about["inputs"], session.get_inputs()), (about["outputs"], session.get_outputs())):
        assert [(entry["name"], kinds[entry["dtype"]], entry["shape"]) for entry in described] == [
            (node.name, node.type, node.shape) for node in found
        ]
    (inputs,) = graph_inputs(model_of(run), run, [0])
    assert list(inputs) == [entry["name"] for entry in about["inputs"]]
    assert all(entry["name"] in (exported / "README.md").read_text() for entry in about["inputs"])


def test_it_is_checked_on_clips_that_lack_a_modality_too(workspace: Path, run: Run) -> None:
    batches = list(graph_inputs(model_of(run), run))
    assert sum(len(batch["scene_mask"]) for batch in batches) == min(len(clips_of(workspace)), CHECKED_CLIPS)
    assert len({len(batch["scene_mask"]) for batch in batches}) == 2
    assert any(not mask.any() for batch in batches for mask in batch["scene_mask"])


def test_a_model_that_scores_otherwise_is_not_kept(
    run: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = model_of(run)
    other.part("scene").coefficients += 0.01
    with pytest.raises(DataError, match=r"is not kept.* differ from torch's by 0\.\d+, more than 0.0001"):
        check_graph(ScoringGraph(other), exported / "model.onnx", run)

    def write_other(_: ScoringGraph, path: Path) -> None:
        path.write_bytes((exported / "model.onnx").read_bytes())

    monkeypatch.setattr(onnx_model, "write_graph", write_other)
    monkeypatch.setattr(onnx_model, "load_run", lambda *_: (other, run.about))
    with pytest.raises(DataError, match="is not kept"):
        export_model(run, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_readme_s_example_is_the_one_of_the_docs(exported: Path) -> None:
    docs = (Path(__file__).parents[3] / "docs/export.md").read_text()
    (example,) = re.findall(r"```python\nfolder = .*?\n(.*?)\n```", (exported / "README.md").read_text(), re.DOTALL)
    assert example in docs
