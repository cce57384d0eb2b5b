"""Exports on the command line: what is asked, what is refused, what is said."""

import json
from pathlib import Path

import pytest
from luigi.cmdline_parser import CmdlineParser

from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.runs.runs import LATEST, latest, name_run
from tasks.finished.export import ExportDataset, ExportModel
from tests.support.made_once import Workspaces
from tests.support.small_run import RUN, make_run
from tests.support.whole_files import read_json, write_json


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    workspace = workspaces.copy(make_run)
    name_run(str(workspace), RUN.removeprefix("runs/"), "june")
    return workspace


def task(workspace: Path, place: Path, **options: object) -> ExportDataset:
    given = {"run_id": "june", "workspace": str(workspace), "out": str(place), "to": "csv"} | options
    return ExportDataset(**given)


def test_every_option_can_be_given_as_the_docs_write_it() -> None:
    words = ["ExportDataset", "--run", "june", "--to", "huggingface", "--out", "june-hf", "--modalities", "pose",
             "--with-films", "--with-biometrics", "--allow-uri", "http://films/*"]  # fmt: skip
    with CmdlineParser.global_instance(["--module", "tasks", *words]) as parser:
        given = parser.get_task_obj()
    assert isinstance(given, ExportDataset)
    assert (given.run_id, given.to, given.with_films, given.with_biometrics) == ("june", "huggingface", True, True)
    assert given.allow_uri == ("http://films/*",)


def test_an_export_says_what_it_holds_and_what_it_is_made_of(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = task(workspace, tmp_path / "out", to="huggingface", modalities="scene", with_films=True)
    assert not asked.complete()
    asked.run()
    said = capsys.readouterr().err
    assert "exported 40 clips as huggingface: train 32, test 5, unlabelled 3" in said
    assert "without their film" not in said
    about = json.loads((tmp_path / "out/vdv-export.json").read_text())
    assert (about["run"], about["modalities"], about["films"], about["biometrics"]) == (
        RUN.removeprefix("runs/"), ["scene"], True, False,
    )  # fmt: skip
    (summary,) = workspace.glob("commands/*-ExportDataset-*.json")
    assert read_json(summary)["results"]["splits"] == {"train": 32, "test": 5, "unlabelled": 3}


def test_films_that_are_gone_are_told_by_why(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = made_film(workspace)
    content = film.read_bytes()
    film.write_text("another film")
    try:
        task(workspace, tmp_path / "out", to="webdataset", with_films=True).run()
    finally:
        film.write_bytes(content)
    assert "without their film: changed 1" in capsys.readouterr().err


def made_film(workspace: Path) -> Path:
    """The film of the first clip, where the manifest says that it lies."""
    from pipeline.export.films import find_films
    from tests.support.exports import clips_of

    clips = clips_of(workspace)
    return Path(find_films(str(workspace), clips)[clips["clip_id"][0]].uri)


def test_without_a_run_the_newest_is_exported(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"has no latest.json.* name one with --run"):
        task(workspace, tmp_path / "out", run_id="").complete()
    write_json(workspace / LATEST, latest("datasets/one", RUN))
    assert task(workspace, tmp_path / "out", run_id="").run_folder().place == RUN


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"with_films": True}, "--with-films: a CSV file has no place for films"),
        ({"with_biometrics": True}, "--with-biometrics: csv takes no embeddings"),
        ({"to": "fiftyone", "with_biometrics": True}, "--with-biometrics: fiftyone takes no embeddings"),
        ({"run_id": "july"}, "has no run of the name or id 'july'"),
        ({"out": "s3://bucket/out"}, "an export is written to a folder of this machine"),
    ],
)
def test_a_wrong_option_is_an_error_before_anything_is_written(
    workspace: Path, tmp_path: Path, options: dict, why: str
) -> None:
    with pytest.raises(OptionError, match=why):
        task(workspace, tmp_path / "out", **options).complete()
    assert not list(tmp_path.iterdir())


def test_a_modality_that_the_run_lacks_is_named_with_those_that_it_has(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--modalities face: the dataset of the run has pose, scene"):
        task(workspace, tmp_path / "out", modalities="pose, face").run()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("gone", [f"{RUN}/scores.parquet", "datasets/one/clips.parquet"])
def test_what_a_run_lacks_is_named_with_the_command_that_makes_it(workspace: Path, tmp_path: Path, gone: str) -> None:
    (workspace / gone).rename(tmp_path / "aside")
    try:
        with pytest.raises(WorkspaceError, match=rf"{gone} is not there; .*BuildVDV"):
            task(workspace, tmp_path / "out").run()
    finally:
        (tmp_path / "aside").rename(workspace / gone)
    assert not list(tmp_path.iterdir())


def test_a_model_is_exported_as_onnx_alone(workspace: Path, tmp_path: Path) -> None:
    words = [
        "ExportModel",
        "--run",
        "june",
        "--to",
        "onnx",
        "--out",
        str(tmp_path / "out"),
        "--workspace",
        str(workspace),
    ]
    with CmdlineParser.global_instance(["--module", "tasks", *words]) as parser:
        given = parser.get_task_obj()
    assert isinstance(given, ExportModel)
    assert not given.complete()
