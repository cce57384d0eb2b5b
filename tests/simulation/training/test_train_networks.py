"""Each network goes the whole way: rendered frames, training, judging as a run sees it, a weight file, the card."""

from pathlib import Path

import pytest
import torch

from models.weights.checkpoints import load_state_dict
from pipeline.modalities.registry import extracted_names, load_profile
from simulation.training import train_networks
from simulation.training.fitting import Budget
from simulation.training.train_networks import (
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    TrainingSetup,
    is_finished,
    main,
    read_notes,
    state_to_bundle,
    train,
    write_card,
    write_weights,
)
from tests.support.few_frames import few_frames


@pytest.mark.parametrize("name", extracted_names())
def test_a_network_is_trained_judged_and_written(name: str, tmp_path: Path) -> None:
    frames = few_frames()
    run = TrainingSetup(
        frames, frames, load_profile("demo"), torch.device("cpu"), tmp_path, workers=0, processes=1, sounds=8,
        sounds_judged=8,
    )  # fmt: skip
    train(name, run, Budget(steps=2, batch=4, learning_rate=1e-3))
    path = tmp_path / f"{name}.safetensors"
    assert is_finished(path)
    notes = read_notes(path)
    assert ("10 s of 8 made sounds" if name == "audio" else "12 frames") in notes["trained on"]
    assert notes["score"]
    assert path.stat().st_size < 6e6
    state = load_state_dict(path)
    assert {value.dtype for key, value in state.items() if value.ndim > 1} == {torch.float16}
    assert all(state[key].dtype == torch.float32 for key in state if key.endswith("running_var"))
    assert not list(tmp_path.glob("*.part"))


def test_what_is_finished_is_left_alone_and_what_is_not_is_no_result(tmp_path: Path) -> None:
    for name in extracted_names():
        write_weights(
            tmp_path / f"{name}.safetensors", {"a": torch.ones(2)}, {"finished": "yes", "score": f"{name} 0.9"}
        )
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    main(["--output", str(tmp_path), "--cache", str(tmp_path / "cache")])
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert not (tmp_path / "cache").exists()
    write_weights(tmp_path / "pose.safetensors", {"a": torch.ones(2)}, {"finished": "no"})
    assert not is_finished(tmp_path / "pose.safetensors")
    assert not is_finished(tmp_path / "nothing.safetensors")


def test_the_card_says_of_every_file_what_its_notes_say(tmp_path: Path) -> None:
    write_weights(tmp_path / "pose.safetensors", {"a": torch.ones(2)}, {"score": "PCK 0.5", "trained on": "9 frames"})
    write_card(tmp_path)
    card = (tmp_path / "README.md").read_text()
    (row,) = [line for line in card.splitlines() if "pose.safetensors" in line]
    assert "PCK 0.5" in row
    assert "9 frames" in row
    assert "face.safetensors" not in card


def test_kernels_are_halved_and_nothing_else_is() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    kinds = {key: value.dtype for key, value in state_to_bundle(network).items()}
    assert kinds.pop("0.weight") == torch.float16
    assert kinds.pop("1.num_batches_tracked") == torch.int64
    assert set(kinds.values()) == {torch.float32}


def test_no_world_is_both_learned_from_and_judged_on() -> None:
    assert not set(TRAINING_SEEDS) & set(HELD_OUT_SEEDS)
    assert set(train_networks._TRAINERS) == set(train_networks._BUDGETS) == set(extracted_names())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "pose,hands"], "the networks are pose, appearance, face, scene, audio"),
        (["--worlds", "0"], "give 1 to 100"),
    ],
)
def test_a_mistaken_command_says_what_may_be_said(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert says in capsys.readouterr().err
