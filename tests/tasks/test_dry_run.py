"""--dry-run: what it says, and that it changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands.command import Command
from pipeline.commands.summary import end
from pipeline.core.errors import OptionError
from tasks.build import BuildVDV
from tasks.features import AssembleDataset, ExtractBatch, IngestBatch
from tasks.model import RunAblations
from tasks.options import WorkspaceTask
from tests.end_to_end.workspaces import TINY_PROFILE, contents
from tests.support.ingest_world import Probing, World
from tests.support.whole_files import flip

# The tiny profile looks at 4 of the 9.5 s of a clip.
MODALITIES = ("pose", "appearance", "face", "scene", "audio")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.put(*"abcd")
    world.batch(*"abcd")
    return world


@pytest.fixture
def says(world: World, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """What a dry run says, a line each; raises AssertionError where it changed a file."""

    def says(kind: type[WorkspaceTask], **options: Any) -> list[str]:
        if kind is not IngestBatch:
            options = {"profile": str(TINY_PROFILE), "device": "cpu", **options}
        task = kind(manifest=str(world.folder / "june.csv"), workspace=world.workspace, dry_run=True, **options)
        before = contents(world.folder)
        assert not task.complete(), "else Luigi would say that there is nothing to do"
        assert task.requires() == []
        assert task.run() is None
        task.trigger_event("event.core.success", task)
        assert contents(world.folder) == before
        heading, *lines = capsys.readouterr().err.splitlines()
        assert heading.startswith(f"dry run of {kind.__name__}: nothing is done")
        return lines

    return says


def measured(world: World, **stages: dict[str, Any]) -> None:
    """A summary of an earlier command, with stages that took 8 s each."""
    command = Command.begin(world.workspace, "BuildVDV")
    for name, fields in stages.items():
        command.note("stage_ended", stage=name, of="june", took_s=8.0, outcome="done", error=None, **fields)
    end(command, {})


def test_of_clips_that_are_not_probed_it_says_what_cannot_be_known_and_invents_no_time(says: Callable) -> None:
    batch, probe, modalities, whole = says(ExtractBatch)
    assert batch == "june: 4 clips"
    assert probe == "  to probe: 4 clips, 48 bytes to read; time not measured on this workspace yet"
    assert modalities.startswith(f"  {', '.join(MODALITIES)}: of the 4 clips to probe, those that can be decoded; how")
    assert whole == "in all: not known: IngestBatch, not measured yet; and the features of the 4 clips to probe"


def test_of_probed_clips_it_says_clips_shards_video_and_bytes_of_each_modality(world: World, says: Callable) -> None:
    world.ingest(*"abcd", shard_clips=2, probe=Probing({"b": "empty"}))
    batch, *modalities, whole = says(ExtractBatch, shard_clips=2)
    assert batch == "june: 4 clips"
    wanted = "3 clips in 2 shards, 12 s of video, 36 bytes to read; time not measured on this workspace yet"
    assert [line.split(maxsplit=1) for line in modalities[:-1]] == [[name, wanted] for name in MODALITIES]
    assert modalities[-1].split("  ")[-1].endswith(wanted)
    assert whole == f"in all: not known: {', '.join(MODALITIES)}, decoding, not measured yet"


def test_times_are_by_the_rates_that_earlier_commands_of_the_workspace_had(world: World, says: Callable) -> None:
    world.ingest(*"abcd", shard_clips=2)
    network = {"took_s": 1.0, "video_s": 10.0}
    networks = {"scene": network, "face": network}
    measured(
        world,
        ExtractBatch={"profile": "tiny", "device": "cpu", "video_s": 10.0, "modalities": networks},
        AssembleDataset={"amount": 2, "unit": "clip", "device": "cpu"},
    )  # fmt: skip
    lines = says(AssembleDataset, shard_clips=2, modalities="face,scene")
    _, face, scene, decoding, assemble, whole = [line.rsplit("; ", 1)[-1] for line in lines]
    assert [face, scene, decoding] == ["about 2 s", "about 2 s", "about 10 s"]
    assert assemble == "AssembleDataset: about 16 s"
    assert whole == "in all: about 29 s by the rates measured on this workspace"
    pose = next(line for line in says(ExtractBatch, shard_clips=2) if line.startswith("  pose"))
    assert pose.endswith("time not measured on this workspace yet")


def test_an_ingest_alone_speaks_of_probing_alone(world: World, says: Callable) -> None:
    measured(world, IngestBatch={"clips": 16})
    assert says(IngestBatch) == [
        "june: 4 clips",
        "  to probe: 4 clips, 48 bytes to read; about 2 s",
        "in all: about 2 s by the rates measured on this workspace",
    ]
    world.ingest(*"abcd", shard_clips=64)
    assert says(IngestBatch) == ["june: 4 clips, up to date", "nothing to do: everything is up to date"]


def test_a_build_names_the_stages_that_follow(says: Callable) -> None:
    *_, assemble, train, folds, score, evaluate, report, build, _ = says(BuildVDV)
    unknown = "time not measured on this workspace yet"
    stages = ["AssembleDataset", "TrainFusion", "CrossValidate", "ScoreClips", "EvaluateRun", "RenderReport"]
    assert [assemble, train, folds, score, evaluate, report] == [f"{name}: {unknown}" for name in stages]
    assert build == "BuildVDV: at once"
    assert not any(line.startswith("CrossValidate") for line in says(BuildVDV, folds=0))


@pytest.mark.parametrize("retry", [False, True])
def test_a_damaged_file_is_named_and_left_where_it_is(
    world: World, says: Callable, caplog: pytest.LogCaptureFixture, retry: bool
) -> None:
    world.ingest(*"abcd", shard_clips=64)
    (table,) = Path(world.workspace, "clips/june").glob("*.parquet")
    flip(table, table.stat().st_size // 2)
    lines = says(ExtractBatch, retry_failed=retry)
    assert lines[1].startswith("  to probe: 4 clips"), "it is to be made again"
    assert f"{table} is damaged" in caplog.text
    assert "it would be removed, to be made again" in caplog.text


def test_a_wrong_option_is_an_error_before_anything_is_said(world: World, says: Callable) -> None:
    with pytest.raises(OptionError, match="--folds"):
        says(RunAblations, folds=0)


def test_a_world_that_is_not_rendered_is_not_rendered_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    task = BuildVDV(dry_run=True)
    assert not task.complete()
    assert task.requires() == []
    task.run()
    assert "RenderWorld: data_manifest/demo" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
