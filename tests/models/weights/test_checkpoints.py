"""Checkpoints: files written here in exactly the formats of the publishers, and files that are none or are hostile."""

import datetime
import os
import pickle
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from models.errors import WeightsError
from models.extractors.pose import PoseExtractor
from models.weights import profiles
from models.weights.checkpoints import load_state_dict
from models.weights.profiles import BatchSize, Profile
from pipeline.modalities.registry import build_extractor, load_profile


def _network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 6))


def _same(loaded: dict[str, Tensor], state: dict[str, Tensor]) -> bool:
    return list(loaded) == list(state) and all(torch.equal(loaded[key], state[key]) for key in state)


# -- Python 2's way of writing ----------------------------------------------------------------------------------------


class _Python2Pickler(pickle._Pickler):
    """Protocol 2 as Python 2's cPickle wrote it: `str` as byte strings (SHORT_BINSTRING), torch's storages by id."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)
    write: Callable[[bytes], object]  # of pickle._Pickler, as is memoize
    memoize: Callable[[object], None]

    def __init__(self, file: IO[bytes], storages: dict[str, Tensor] | None = None):
        super().__init__(file, protocol=2)
        self.storages = {} if storages is None else storages

    def save_str(self, text: str) -> None:
        raw = text.encode("latin1")
        assert len(raw) < 256
        self.write(b"U" + bytes([len(raw)]) + raw)
        self.memoize(text)

    dispatch[str] = save_str

    def reducer_override(self, thing: object) -> Any:
        if not isinstance(thing, Tensor):
            return NotImplemented
        # torch 0.2: no requires_grad, no backward hooks
        return torch._utils._rebuild_tensor, (_Storage(thing), 0, tuple(thing.shape), thing.stride())

    def persistent_id(self, thing: object) -> tuple | None:
        if not isinstance(thing, _Storage):
            return None
        key = str(94_000_000_000_000 + len(self.storages))
        self.storages[key] = thing.tensor
        kind = {torch.float32: torch.FloatStorage, torch.int64: torch.LongStorage}[thing.tensor.dtype]
        return ("storage", kind, key, "cuda:0", thing.tensor.numel(), None)


class _Storage:
    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def _write_as_torch_0_2(path: Path, content: object) -> None:
    """torch.save of 2017 under Python 2: five pickles and then the storages, each its length and its bytes."""
    with path.open("wb") as file:
        for header in (
            0x1950A86A20F9469CFC6C,
            1001,
            {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 8}},
        ):
            _Python2Pickler(file).dump(header)
        storages: dict[str, Tensor] = {}
        _Python2Pickler(file, storages).dump(content)
        _Python2Pickler(file).dump(sorted(storages))
        for key in sorted(storages):
            values = storages[key].contiguous().numpy()
            file.write(struct.pack("<q", values.size) + values.tobytes())


def _places365(state: dict[str, Tensor]) -> dict:
    """What CSAILVision's training script saved: nn.DataParallel's state, no num_batches_tracked in 2017."""
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    inner = OrderedDict((f"module.{key}", value) for key, value in kept.items())
    return {"epoch": 90, "arch": "resnet18", "state_dict": inner, "best_prec1": 54.6523}


def test_the_2017_places365_format_loads_without_its_module_prefix(tmp_path: Path) -> None:
    state = _network().state_dict()
    path = tmp_path / "resnet18_places365.pth.tar"
    _write_as_torch_0_2(path, _places365(state))
    assert b"U\x18module.0.weight"[2:] in path.read_bytes()
    state.pop("1.num_batches_tracked")
    assert _same(load_state_dict(path), state)


def test_python_2_byte_strings_that_are_no_utf8_do_not_matter(tmp_path: Path) -> None:
    state = _network().state_dict()
    content = _places365(state) | {"author": "Andr\xe9", "best_prec1": np.float64(54.6)}
    path = tmp_path / "old.pth.tar"
    _write_as_torch_0_2(path, content)
    state.pop("1.num_batches_tracked")
    assert _same(load_state_dict(path), state)


# -- mmengine ----------------------------------------------------------------------------------------------------------


def _mmengine(state: dict[str, Tensor]) -> dict:
    return {
        "meta": {
            "epoch": 600,
            "iter": 1_000_000,
            "cfg": "model = dict(type='BottomupPoseEstimator')\n" * 20,
            "seed": np.int64(21),
            "time": datetime.datetime(2023, 12, 11),
            "mmengine_version": "0.8.2",
            "dataset_meta": {
                "dataset_name": "coco",
                "num_keypoints": 17,
                "sigmas": np.array([0.026] * 17, dtype=np.float32),
                "flip_pairs": [(1, 2), (3, 4)],
                "keypoint_colors": np.zeros((17, 3), dtype=np.uint8),
            },
        },
        "state_dict": OrderedDict(state),
    }


@pytest.mark.parametrize("zipped", [False, True])
def test_a_published_mmengine_checkpoint_loads(tmp_path: Path, zipped: bool) -> None:
    state = _network().state_dict()
    path = tmp_path / "rtmo.pth"
    torch.save(_mmengine(state), path, _use_new_zipfile_serialization=zipped)  # publish_model.py: False
    assert _same(load_state_dict(path), state)


def test_a_training_mmengine_checkpoint_loads_and_its_objects_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mmengine = pytest.importorskip("mmengine.logging.history_buffer")
    state = _network().state_dict()
    buffer = mmengine.HistoryBuffer([1.0, 2.0], [1, 1])
    steps = defaultdict(dict, {0: {"step": 3}})
    content = _mmengine(state) | {
        "message_hub": {"log_scalars": OrderedDict(loss=buffer), "runtime_info": OrderedDict(iter=3)},
        "optimizer": {"state": steps, "param_groups": [{"lr": np.float64(0.1), "params": [0]}]},
    }
    path = tmp_path / "epoch_1.pth"
    torch.save(content, path)

    def never(*args: Any) -> Any:
        raise AssertionError("an object of the checkpoint was made")

    monkeypatch.setattr(mmengine.HistoryBuffer, "__setstate__", never)
    assert _same(load_state_dict(path), state)


# -- plain -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
def test_plain_state_dicts_of_torchvision_and_facenet_load(tmp_path: Path, zipped: bool) -> None:
    state = _network().state_dict() | {"logits.weight": torch.ones(2, 3), "logits.bias": torch.zeros(2)}
    path = tmp_path / "net.pt"
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=zipped)
    assert _same(load_state_dict(path), state)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_safetensors_load_whatever_their_name(tmp_path: Path, name: str) -> None:
    state = _network().state_dict()
    safetensors.torch.save_file(state, tmp_path / name)
    loaded = load_state_dict(tmp_path / name)
    assert sorted(loaded) == sorted(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)


# -- what is refused ---------------------------------------------------------------------------------------------------


class _Runs:
    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.how = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.how


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("function", [os.system, eval, exec])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, zipped: bool, function: Callable[..., Any]
) -> None:
    proof = tmp_path / "ran"
    command = f"touch {proof}" if function is os.system else f"open({str(proof)!r}, 'w')"
    state = _network().state_dict()
    path = tmp_path / "evil.pth"
    content = {"meta": {"time": _Runs(function, command)}, "state_dict": state}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"refused and was not run.*(system|eval|exec)"):
        load_state_dict(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # shows that the file is as evil as it says
    assert proof.exists()


def test_getattr_in_a_file_reaches_nothing(tmp_path: Path) -> None:
    """`getattr` is in every mmengine training checkpoint; read as itself it would lead to any function."""
    proof = tmp_path / "ran"

    class Sneaky:
        def __reduce__(self) -> tuple:
            return (getattr, (np.ndarray, "tofile"))

    path = tmp_path / "sneaky.pth"
    torch.save({"state_dict": {"a": Sneaky()}}, path)
    with pytest.raises(WeightsError, match="are no tensors"):
        load_state_dict(path)
    code = b"\x80\x02c__builtin__\ngetattr\n(cdatetime\ndatetime\nU\x03nowtR(U\x01xtR."
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + code)
    with pytest.raises(WeightsError, match="damaged, or no torch checkpoint"):
        load_state_dict(path)
    assert not proof.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(_network(), tmp_path / "whole.pth")
    with pytest.raises(WeightsError, match=r"refused and was not run.*torch\.nn"):
        load_state_dict(tmp_path / "whole.pth")


def test_damaged_and_foreign_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    good = tmp_path / "good.pth"
    torch.save(_network().state_dict(), good)
    old = tmp_path / "old.pth"
    _write_as_torch_0_2(old, _places365(_network().state_dict()))
    tensors = tmp_path / "t.safetensors"
    safetensors.torch.save_file(_network().state_dict(), tensors)
    files = {
        "empty.pth": b"",
        "page.pth": b"<!DOCTYPE html><html>Not found</html>",
        "cut.pth": good.read_bytes()[:-900],
        "cutold.pth": old.read_bytes()[:-30],
        "cutin.pth": old.read_bytes()[:400],
        "cut.safetensors": tensors.read_bytes()[:-4],
        "noise.pth": bytes(range(256)) * 40,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=r"is damaged|is a damaged"):
            load_state_dict(tmp_path / name)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_state_dict(tmp_path / "gone.pth")


@pytest.mark.parametrize("content", [[torch.ones(1)], {}, {"state_dict": {}}, {"epoch": 3, "model": {"a": 1}}, 3])
def test_a_checkpoint_without_weights_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"no state dict|are no tensors"):
        load_state_dict(tmp_path / "none.pth")


# -- from a file to an extractor ---------------------------------------------------------------------------------------


def _profile_with(tmp_path: Path, table: str, weights: Path) -> Profile:
    source = Path(profiles.__file__).with_name("profile_files") / "untrained.toml"
    before, after = source.read_text().split(f"[{table}]")
    path = tmp_path / "mine.toml"
    path.write_text(f"{before}[{table}]" + after.replace('"untrained:0"', f'"{weights}"', 1))
    return load_profile(path)


def test_a_places365_file_becomes_the_scene_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import resnet50

    monkeypatch.setattr("models.extractors.compiled.computes_bfloat16", lambda: False)
    torch.manual_seed(5)
    network = resnet50(num_classes=365).eval()
    path = tmp_path / "resnet50_places365.pth.tar"
    _write_as_torch_0_2(path, _places365(network.state_dict()))
    profile = _profile_with(tmp_path, "scene", path).with_options("scene", batch_size=BatchSize(2, 2))
    extractor = build_extractor("scene", profile, torch.device("cpu"))
    frames = torch.randint(0, 256, (2, 240, 320, 3), dtype=torch.uint8)
    prepared = extractor.prepare(frames)
    scenes = extractor.infer(prepared.inputs, prepared.extras)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pictures = (prepared.inputs / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.inference_mode():
        expected = network(pictures).softmax(1).max(1)
    assert [scene.top_category[0] for scene in scenes] == expected.indices.tolist()
    np.testing.assert_allclose([scene.top_probability[0] for scene in scenes], expected.values, rtol=1e-3)


def test_an_mmengine_file_becomes_the_pose_extractor(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    source = build_extractor("pose", load_profile("untrained"), cpu)
    assert isinstance(source, PoseExtractor)
    path = tmp_path / "rtmo-t.pth"
    torch.save(_mmengine(source.model.state_dict()), path, _use_new_zipfile_serialization=False)
    profile = _profile_with(tmp_path, "pose", path)
    extractor = build_extractor("pose", profile, cpu)
    assert isinstance(extractor, PoseExtractor)
    assert _same(dict(extractor.model.state_dict()), dict(source.model.state_dict()))


def test_weights_of_another_architecture_do_not_fit(tmp_path: Path) -> None:
    torch.save(_network().state_dict(), tmp_path / "small.pth")
    for table in ("pose", "face", "scene", "appearance"):
        with pytest.raises(WeightsError, match="not fit"):
            build_extractor(table, _profile_with(tmp_path, table, tmp_path / "small.pth"), torch.device("cpu"))
