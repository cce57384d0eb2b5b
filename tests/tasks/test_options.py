"""What the tasks' parameters mean: when they name other features, and when the same."""

import gc
import os
import pickle
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from luigi.cmdline_parser import CmdlineParser

from pipeline.core.errors import DataError, ManifestError, OptionError, ProfileError
from pipeline.core.options import DecodeLimits
from pipeline.modalities.registry import extracted_names
from tasks.build import BuildVDV
from tasks.features import AssembleDataset, ExtractBatch, IngestBatch
from tasks.finished.recommend import Recommend
from tasks.finished.runs import ActionFeedback
from tasks.snapshots import BatchSnapshot, take_snapshot
from tests.end_to_end.workspaces import TINY_PROFILE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two manifests of two clips each; that these hold no video is nothing that planning looks at."""
    (tmp_path / "clips").mkdir()
    for month in ("june", "july"):
        rows = ["clip_id,uri,challenge"]
        for place in range(2):
            (tmp_path / "clips" / f"{month}{place}").write_text(f"{month} {place}")
            rows.append(f"{month}{place},clips/{month}{place},dance")
        (tmp_path / f"{month}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def task(**options: Any) -> ExtractBatch:
    """One of those that have every option that is looked at here; nothing reads its manifest."""
    return ExtractBatch(manifest="none.csv", **options)


def fingerprints(profile: Path | str = TINY_PROFILE, **options: Any) -> dict[str, str]:
    specs = task(profile=str(profile), **options).choose_features().specs
    return {spec.modality: spec.fingerprint for spec in specs}


def edited(folder: Path, table: str, key: str, value: str) -> Path:
    """The tiny profile with another value in one place."""
    head, marker, rest = TINY_PROFILE.read_text().partition(f"[{table}]\n")
    assert marker
    text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", rest, count=1)
    assert count
    path = folder / f"{table}-{key}.toml"
    path.write_text(head + marker + text)
    return path


SEEN = set(extracted_names()) - {"audio"}  # modalities of pictures


@pytest.mark.parametrize(
    ("table", "key", "value", "changed"),
    [
        ("sampling", "sample_fps", "4.0", SEEN),
        ("sampling", "max_seconds", "3.0", set(extracted_names())),
        ("sampling", "max_side", "128", SEEN),
        ("sampling", "decoder", '"pyav"', set()),
        ("sampling", "decoder", '"decord"', SEEN),
        ("scene", "stride", "5", {"scene"}),
        ("scene", "weights", '"untrained:7"', {"scene"}),
        ("pose", "score_threshold", "0.2", {"pose"}),
        ("face", "thresholds", "[0.5, 0.7, 0.7]", {"face"}),
        ("appearance", "architecture", '"resnet34"', {"appearance"}),
        ("appearance", "input_size", "36", {"appearance"}),
        ("audio", "hop_s", "0.5", {"audio"}),
        ("face", "batch_size", "{ cpu = 7, cuda = 9 }", set()),
        ("pose", "batch_size", "{ cpu = 7, cuda = 9 }", set()),
    ],
)
def test_features_are_others_exactly_when_what_makes_them_is(
    tmp_path: Path, table: str, key: str, value: str, changed: set[str]
) -> None:
    before, after = fingerprints(), fingerprints(edited(tmp_path, table, key, value))
    assert {modality for modality in extracted_names() if before[modality] != after[modality]} == changed


@pytest.mark.parametrize(
    "option",
    [
        {"device": "cuda:1"},
        {"workspace": "elsewhere"},
        {"decode_workers": 3},
        {"deadline_s": 5.0},
        {"memory_limit_mb": 99},
        {"shard_clips": 7},
        {"weights_cache": "elsewhere"},
        {"retry_failed": True},
        {"modalities": "scene, audio,appearance ,face,pose"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_where_and_how_fast_features_are_made_does_not_change_them(option: dict) -> None:
    assert fingerprints(**option) == fingerprints()


def test_the_same_profile_under_another_name_makes_the_same_features(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("# mine\n" + TINY_PROFILE.read_text())
    assert fingerprints(tmp_path / "mine.toml") == fingerprints()


def test_weights_of_a_file_count_by_their_content(tmp_path: Path) -> None:
    for name, content in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        (tmp_path / name).write_bytes(content)
    found = {}
    for name in "abc":
        (tmp_path / name).mkdir()
        profile = edited(tmp_path / name, "scene", "weights", f'"{tmp_path}/{name}.pth"')
        found[name] = fingerprints(profile)["scene"]
    assert found["a"] == found["b"] != found["c"]


def test_chosen_modalities_come_in_one_order_whatever_the_order_given() -> None:
    assert list(fingerprints(modalities="scene,pose")) == ["pose", "scene"]
    assert fingerprints(modalities="pose,pose") == {"pose": fingerprints()["pose"]}


@pytest.mark.parametrize("modalities", ["pose,smell", "", ",", "Pose"])
def test_an_unknown_modality_or_none_is_refused_and_the_choices_are_named(modalities: str) -> None:
    with pytest.raises(ProfileError) as caught:
        fingerprints(modalities=modalities)
    assert repr(modalities) in str(caught.value)
    assert "pose, appearance, face, scene" in str(caught.value)


def test_decode_limits_are_those_given() -> None:
    assert task(deadline_s=7.5, memory_limit_mb=900).limits == DecodeLimits(deadline_s=7.5, memory_limit_mb=900)
    assert task().limits == DecodeLimits()
    assert task(decode_workers=3).worker_count == 3
    assert task().worker_count == len(os.sched_getaffinity(0))


def snapshot(path: Path) -> BatchSnapshot:
    (seen,) = take_snapshot(str(path), 64, DecodeLimits()).batches
    return seen


def test_a_folder_is_the_manifests_in_it(folder: Path) -> None:
    july, june = (snapshot(folder / f"{month}.csv") for month in ("july", "june"))
    for spec in (str(folder), f"{folder}/ju*.csv"):
        assert [seen.token for seen in take_snapshot(spec, 64, DecodeLimits()).batches] == [july.token, june.token]
    assert [seen.batch.name for seen in (july, june)] == ["july", "june"]
    assert july.ingest != june.ingest


def test_every_manifest_of_a_folder_is_extracted_by_a_task_of_its_own_with_the_same_options(folder: Path) -> None:
    dataset = AssembleDataset(manifest=str(folder), profile=str(TINY_PROFILE), workspace="w", device="cpu")
    july, june = dataset.extractions()
    assert (july.manifest, june.manifest) == (f"{folder}/july.csv", f"{folder}/june.csv")
    for one in (july, june):
        assert isinstance(one, ExtractBatch)
        assert (one.workspace, one.device, one.profile) == ("w", "cpu", str(TINY_PROFILE))
        assert one.specs == dataset.specs


def asked(folder: Path, **options: Any) -> AssembleDataset:
    return AssembleDataset(
        manifest=str(folder), profile=str(TINY_PROFILE), workspace=str(folder / "w"), device="cpu", **options
    )


def test_the_context_goes_with_likes_as_they_are_and_never_with_a_label_that_takes_it_out(folder: Path) -> None:
    kinds = {
        (label, context): asked(folder, label=label, with_context=context).label_kind
        for label in ("auto", "likes", "views")
        for context in (False, True)
    }
    assert kinds.pop(("auto", True)) == "likes"
    assert all(kind == label for (label, _), kind in kinds.items())
    assert asked(folder, label="adjusted").label_kind == "adjusted"
    task = asked(folder, label="adjusted", with_context=True)
    assert not task.complete()
    with pytest.raises(OptionError, match="--with-context with --label likes"):
        task.requires()


def change(folder: Path) -> None:
    (folder / "clips" / "june0").write_text("another upload under the same name")
    (folder / "june.csv").write_text("clip_id,uri,challenge\nlate,clips/june0,dance\n")


def test_all_tasks_of_a_command_see_one_state_of_its_clips_however_they_change_meanwhile(folder: Path) -> None:
    task = asked(folder)
    assert not task.complete()
    before = task.snapshot.token
    change(folder)
    made = task.requires()
    assert isinstance(made, AssembleDataset)
    _, june = made.snapshot.batches
    assert june.batch.rows["clip_id"].tolist() == ["june0", "june1"]
    assert {other.snapshot.token for other in (task, made)} == {before}
    (_, extraction) = made.needs()
    assert isinstance(extraction, ExtractBatch)
    assert extraction.snapshot.batches == (june,)
    assert pickle.loads(pickle.dumps(extraction)).snapshot.token == extraction.snapshot.token, "in another process"


def test_the_next_command_looks_again_even_where_it_is_the_same_task(folder: Path) -> None:
    task, made = asked(folder), []
    for _ in range(2):
        assert not task.complete()
        required = task.requires()
        assert isinstance(required, AssembleDataset)
        made.append(required)
        change(folder)
    first, second = made
    assert first.task_id != second.task_id
    _, june = second.snapshot.batches
    assert june.batch.rows["clip_id"].tolist() == ["late"]


def test_a_command_reads_its_manifests_once_and_so_warns_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ["a,clips/june0,dance,Anna", "b,clips/june1,dance,anna", "c,clips/june0,dance,anna"]
    (folder / "june.csv").write_text("\n".join(["clip_id,uri,challenge,creator_id", *rows]) + "\n")
    task = asked(folder)
    for commands in (1, 2):
        assert not task.complete()
        made = task.requires()
        assert isinstance(made, AssembleDataset)
        assert not any(other.done() for other in [made, *made.extractions()])
        assert len([message for message in caplog.messages if "'Anna'" in message]) == commands


def test_a_profile_is_read_anew_by_each_command_and_not_by_its_tasks(folder: Path) -> None:
    profile = edited(folder, "scene", "stride", "5")
    task = ExtractBatch(manifest=str(folder / "june.csv"), profile=str(profile), workspace=str(folder / "w"))
    assert not task.complete()
    made = task.requires()
    assert isinstance(made, ExtractBatch)
    profile.write_text(TINY_PROFILE.read_text())
    assert made.specs == task.specs != task.choose_features().specs
    assert not task.complete()
    assert task.specs == task.choose_features().specs


@pytest.mark.parametrize("changed", [False, True])
def test_a_task_loaded_from_its_text_looks_for_itself_and_refuses_another_state(folder: Path, changed: bool) -> None:
    made = asked(folder).requires()
    assert isinstance(made, AssembleDataset)
    if changed:
        change(folder)
    again = AssembleDataset.from_str_params(made.to_str_params())
    assert again.task_id == made.task_id
    if changed:
        with pytest.raises(DataError, match="changed meanwhile"):
            again.done()
    else:
        assert again.snapshot.token == made.snapshot.token


def test_luigi_keeps_no_snapshot_of_a_command_that_is_over(folder: Path) -> None:
    task = asked(folder)
    gone = weakref.ref(task.snapshot)
    made = task.requires()
    assert isinstance(made, AssembleDataset)
    assert [other.done() for other in made.extractions()] == [False, False]
    del made
    task.complete()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", [IngestBatch, ExtractBatch])
def test_a_task_of_one_manifest_refuses_several_and_says_which_take_them(folder: Path, kind: type) -> None:
    with pytest.raises(OptionError, match=r"names 2 manifest files; \w+Batch takes one, and AssembleDataset"):
        kind(manifest=str(folder), workspace=str(folder / "w")).complete()


def test_touched_clips_make_another_state(folder: Path) -> None:
    before = snapshot(folder / "june.csv")
    os.utime(folder / "clips" / "june1", ns=(1, 1))
    after = snapshot(folder / "june.csv")
    assert [a == b for a, b in zip(before.signatures, after.signatures, strict=True)] == [True, False]
    assert after.ingest != before.ingest


def test_a_wrong_row_in_any_manifest_of_a_folder_is_an_error_of_the_folder(folder: Path) -> None:
    (folder / "bad.csv").write_text("clip_id,uri,challenge\nx,,dance\n")
    with pytest.raises(ManifestError, match=r"bad\.csv:2"):
        take_snapshot(str(folder), 64, DecodeLimits())


@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "cpu:0", "gpu", "cuda:", "cuda:-1", "", "CPU"])
def test_a_kind_of_device_that_vdv_does_not_run_on_is_refused_with_those_it_does(device: str) -> None:
    for make in (
        lambda: task(device=device),
        lambda: Recommend(run_id="june", device=device),
        lambda: ActionFeedback(run_id="june", clip="a", device=device),
    ):
        with pytest.raises(OptionError, match=r"use auto \(a GPU where there is one\), cpu, cuda or cuda:N"):
            make()


def test_a_gpu_that_is_not_there_is_refused_before_any_work_with_the_devices_that_are(folder: Path) -> None:
    task = asked(folder).clone(device="cuda:99")
    assert not task.complete()
    with pytest.raises(OptionError, match=r"--device 'cuda:99': this machine has \d+ CUDA devices .*one of auto, cpu"):
        task.requires()


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("--shard-clips", "0", "a whole number from 1 to 100000"),
        ("--shard-clips", "many", "a whole number from 1 to 100000"),
        ("--decode-workers", "-1", "a whole number from 0 to 1024"),
        ("--deadline-s", "nan", "a number from 0.1 to 86400.0"),
        ("--max-failed", "5", "a number from 0.0 to 1.0"),
    ],
)
def test_a_number_that_an_option_does_not_take_is_named_with_what_it_takes(
    option: str, value: str, wanted: str
) -> None:
    arguments = ["AssembleDataset", "--manifest", "none.csv", option, value]
    with CmdlineParser.global_instance(arguments) as parser, pytest.raises(OptionError) as caught:
        parser.get_task_obj()
    shown = float(value) if "a number" in wanted else value
    assert str(caught.value) == f"{option} is {shown}; it takes {wanted}"


@pytest.mark.parametrize(
    ("task", "option", "choices"),
    [
        ("BuildVDV", "--engine", "local, ray"),
        ("BuildVDV", "--protocol", "kfold, time, leave-challenge-out"),
        ("BuildVDV", "--report-faces", "blur, none, show"),
        ("ExportDataset", "--to", "huggingface, webdataset, fiftyone, csv"),
        ("ExportModel", "--to", "onnx"),
    ],
)
def test_a_word_that_an_option_does_not_take_is_named_with_those_it_takes(task: str, option: str, choices: str) -> None:
    arguments = [task, "--run-id", "june", "--out", "out"] if task.startswith("Export") else [task]
    with CmdlineParser.global_instance([*arguments, option, "other"]) as parser, pytest.raises(OptionError) as caught:
        parser.get_task_obj()
    assert str(caught.value) == f"{option} is other; choose from {choices}"


@pytest.mark.parametrize(("option", "value"), [("profile", "none.toml"), ("modalities", "pose,smell")])
def test_features_that_cannot_be_made_are_refused_before_a_world_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the demo world is not there
    task = BuildVDV(workspace="workspace", **{option: value})
    assert not task.complete()
    with pytest.raises((OptionError, ProfileError), match=f"{value}|smell"):
        task.requires()


def test_a_mistyped_number_ends_luigi_with_one_line_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "ExtractBatch", "--manifest", "none.csv"]
    command += ["--workspace", str(tmp_path), "--shard-clips", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 40
    (said,) = [line for line in ended.stderr.splitlines() if line.strip()]
    assert said.endswith("vdv: --shard-clips is 0; it takes a whole number from 1 to 100000")


def test_a_number_that_other_code_passes_on_is_held_to_the_same_range() -> None:
    with pytest.raises(OptionError, match=r"--shard-clips is 0; it takes"):
        task(shard_clips=0)
    assert task(shard_clips=1).shard_clips == 1
    assert task(shard_clips=100_000).shard_clips == 100_000
