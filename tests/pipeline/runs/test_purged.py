"""A run whose model learned from purged clips says so wherever it is listed or used."""

import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from models.task_command import task_command
from models.virality.config import VdvConfig
from pipeline.core.errors import OptionError
from pipeline.dataset.folder import DatasetFolder
from pipeline.modalities.registry import extracted_names
from pipeline.runs.purged import mark_purged, purged_text, warn_if_purged
from pipeline.runs.retraining import USUAL, retrain_command
from pipeline.runs.run import Run
from pipeline.runs.runs import find_run, name_run
from tasks import BuildVDV
from tests.pipeline.runs.test_runs import A, B, add_run
from tests.support.whole_files import flip, write_json

COMMAND = "luigi --module tasks BuildVDV --manifest june.csv"


@pytest.fixture
def workspace(tmp_path: Path) -> str:
    add_run(str(tmp_path), A)
    add_run(str(tmp_path), B)
    mark_purged(Run.of(str(tmp_path), A), 1, 3, COMMAND)
    return str(tmp_path)


def test_the_mark_says_how_many_and_what_to_run(workspace: str, caplog: pytest.LogCaptureFixture) -> None:
    text = purged_text(Run.of(workspace, A))
    assert text == (
        f"PURGED CLIPS: the model of run {A} was trained on 1 clip that was purged since. Train it again without:"
        f" {COMMAND}; then DeleteRun --run {A}"
    )
    assert purged_text(Run.of(workspace, B)) is None
    with caplog.at_level(logging.WARNING):
        warn_if_purged(Run.of(workspace, A))
        warn_if_purged(Run.of(workspace, B))
    assert [record.message for record in caplog.records] == [text]


def test_a_list_of_runs_says_which_are_marked(workspace: str) -> None:
    name_run(workspace, A, "june")
    with pytest.raises(OptionError, match=rf"there are {A} \(june, trained on purged clips\), {B}$"):
        find_run(workspace, "may")


def test_a_damaged_mark_is_no_clean_model(workspace: str) -> None:
    flip(Path(workspace, "runs", A, "purged.json"), -5)
    text = purged_text(Run.of(workspace, A))
    assert text is not None
    assert "is damaged; it says that the model was trained on clips purged since" in text
    assert Path(workspace, "runs", A, "purged.json").exists()


def about(**config: object) -> dict:
    made = asdict(VdvConfig(modalities=extracted_names())) | config
    label = {"options": {"kind": config.pop("label", "auto"), "max_followers": None}}
    return {"config": made, "label": label, "profiles": ["demo"]}


def test_the_command_leaves_out_what_a_build_takes_by_itself(workspace: str) -> None:
    run = Run.of(workspace, A)
    write_json(Path(run.path) / "folds.json", {"protocol": "kfold", "asked": 3})
    made = about(epochs=BuildVDV.epochs.task_value("BuildVDV", "epochs"))
    command = retrain_command(run, made, DatasetFolder.of(workspace, "none"))
    assert command == task_command("BuildVDV", "--manifest", "MANIFEST", "--workspace", workspace)


def test_the_command_names_what_the_run_was_made_with_otherwise(workspace: str) -> None:
    run = Run.of(workspace, A)
    made = about(epochs=4, seed=7, context=True, modalities=("pose", "scene"), label="likes") | {"profiles": ["full"]}
    command = retrain_command(run, made, DatasetFolder.of(workspace, "none"))
    assert command.endswith("--profile full --modalities pose,scene --seed 7 --epochs 4 --folds 0 --with-context")


def test_what_the_command_leaves_out_is_what_a_build_takes() -> None:
    parameters = dict(BuildVDV.get_params())
    for option, value in USUAL.items():
        name = option.replace("-", "_")
        assert value == parameters[name].task_value("BuildVDV", name), option
