"""Recommending on the command line: what is asked, what is refused, what is printed."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from luigi.cmdline_parser import CmdlineParser

from pipeline.core.errors import OptionError
from pipeline.dataset.folder import DatasetFolder
from pipeline.runs.run import Run
from pipeline.runs.runs import name_run
from pipeline.scoring.uploads import assemble_uploads, score_uploads
from tasks.finished.recommend import Recommend
from tests.pipeline.runs.test_train import CPU
from tests.support.learnable_world import Clip, make_batch
from tests.support.made_once import Workspaces
from tests.support.small_run import RUN, make_run
from tests.support.whole_files import write_json


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    workspace = workspaces.copy(make_run)
    name_run(str(workspace), RUN.removeprefix("runs/"), "june")
    return workspace


def task(workspace: Path, **options: object) -> Recommend:
    return Recommend(**({"run_id": "june", "workspace": str(workspace), "device": "cpu"} | options))


def test_every_option_can_be_given_as_the_docs_write_it(workspace: Path) -> None:
    words = ["Recommend", "--run", "june", "--workspace", str(workspace), "--challenge", "wave", "--top", "3",
             "--weights", "pose=2,scene=1", "--diversity", "0.5", "--new-only", "--per-creator", "0"]  # fmt: skip
    with CmdlineParser.global_instance(["--module", "tasks.finished.recommend", *words]) as parser:
        given = parser.get_task_obj()
    assert isinstance(given, Recommend)
    assert (given.run_id, given.top, given.diversity, given.new_only, given.per_creator) == ("june", 3, 0.5, True, 0)


def test_the_table_says_place_relevance_and_what_each_clip_gained_and_lost(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task(workspace, top=4, weights="pose=2,scene=1", diversity=0.6, name="mine").run()
    said = capsys.readouterr().err
    assert said.startswith("recommended from run june by pose 2, scene 1; diversity 0.6, at most 1 a creator")
    table = pd.read_parquet(workspace / RUN / "recommendations/mine.parquet")
    for name, clips in table.groupby("challenge"):
        assert re.search(rf"^{name}: \d+ of 20 clips to choose from; mean relevance 0\.\d\d \(0\.\d\d by", said, re.M)
        for clip in clips.itertuples():
            (line,) = [line for line in said.splitlines() if re.match(rf" +[-\d]+  {clip.clip_id} ", line)]
            words = line.split()
            figures = [clip.relevance, clip.percentile_fused, clip.percentile_pose, clip.percentile_scene]
            assert words[:2] == ["-" if pd.isna(clip.place) else str(clip.place), clip.clip_id]
            assert words[-len(words) + 2 + pd.notna(clip.creator_id) :][:4] == [
                "-" if pd.isna(one) else f"{100 * one:.0f}" for one in figures
            ]
            if pd.isna(clip.place):
                assert re.search(rf"  {clip.relevance_place}, but passed over: .*{clip.instead}", line)
                continue
            assert clip.similarity == 0 or f"{clip.similarity:.2f} {clip.most_similar}" in line
            moved = clip.relevance_place - clip.place
            assert f"  {clip.relevance_place}" + (f" ({moved:+d})" if moved else "") in line
    assert table["place"].isna().any()
    written = f"{workspace}/{RUN}/recommendations/mine"
    assert f"written: {written}.parquet, {written}.json\n" in said


def test_a_name_used_again_is_replaced_and_other_options_get_other_files(workspace: Path) -> None:
    folder = workspace / RUN / "recommendations"
    task(workspace, name="again", top=2).run()
    task(workspace, name="again", top=3).run()
    assert json.loads((folder / "again.json").read_text())["asked"]["top"] == 3
    before = len(list(folder.iterdir()))
    task(workspace, top=2).run()
    task(workspace, top=3).run()
    task(workspace, top=3).run()
    assert len(list(folder.iterdir())) == before + 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "dance=1"}, "there are pose"),
        ({"weights": "face=1"}, "the run was made without"),
        ({"weights": "pose=-1"}, "a number from 0 up"),
        ({"weights": "pose=0"}, "nothing to recommend by"),
        ({"challenge": "polka"}, "shuffle, wave"),
        ({"challenge": "cafe\u0301"}, "'café' is none"),  # composed, as the manifest's are
        ({"run_id": "july"}, "'july'; there are"),
        ({"name": "a/b"}, "--name"),
        ({"since": "2031"}, "--since"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    workspace: Path, options: dict[str, str], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        task(workspace, **options).complete()


@pytest.mark.parametrize("options", [{"diversity": 1.1}, {"top": 0}, {"per_creator": -1}])
def test_numbers_out_of_range_are_refused(workspace: Path, options: dict) -> None:
    with pytest.raises(OptionError, match=r"it takes a"):
        task(workspace, **options)


def test_random_weights_are_warned_of(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = workspace / RUN / "run.json"
    before = path.read_text()
    write_json(path, json.loads(before) | {"untrained": ["pose"]})
    try:
        task(workspace).run()
    finally:
        path.write_text(before)
    assert "UNTRAINED WEIGHTS: pose" in caplog.text


def test_scores_that_have_seen_the_likes_are_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task(workspace).run()
    assert "NOTE" not in capsys.readouterr().err
    about = workspace / RUN / "folds.json"
    before = about.read_text()
    write_json(about, {"protocol": "kfold", "folds": 0, "clips": 0, "reason": "few"})
    try:
        task(workspace).run()
    finally:
        about.write_text(before)
    assert re.search(r"NOTE: the model was trained on \d+ of these clips", capsys.readouterr().err)


def test_uploads_that_the_run_scored_can_be_recommended_from(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = [
        Clip("one", creator="zoe", speed=1.3),
        Clip("two", creator="yan", speed=0.2),
        Clip("three", creator="yan", speed=0.3),
        Clip("far", "elsewhere", creator="zoe", speed=0.5),
    ]
    files = make_batch(workspace, new, name="july", modalities=("pose", "scene"))
    assemble_uploads(DatasetFolder(str(workspace), "uploads/july"), [files])
    score_uploads(DatasetFolder(str(workspace), "uploads/july"), Run(str(workspace), RUN), CPU)
    task(workspace, uploads="uploads/july", name="uploads").run()
    said = capsys.readouterr().err
    assert "elsewhere: 1 of 1 clips to choose from; the run was not trained on this challenge" in said
    assert re.search(r"^shuffle: 3 of 3 clips to choose from; mean relevance .*\)$", said, re.M)
    table = pd.read_parquet(workspace / RUN / "recommendations/uploads.parquet").set_index("clip_id")
    scores = pd.read_parquet(workspace / "uploads/july/scores.parquet").set_index("clip_id")
    assert table["place"].notna().sum() == 3, "one clip a creator and challenge"
    taken = table[(table["challenge"] == "shuffle") & table["place"].notna()]
    assert taken.index[0] == scores.loc[["one", "two", "three"], "score"].idxmax()
    np.testing.assert_allclose(taken["percentile_fused"], scores.loc[taken.index, "percentile"])
    with pytest.raises(OptionError, match=r"--uploads 'june': .* has no such uploads; .* There are july"):
        task(workspace, uploads="june").complete()
