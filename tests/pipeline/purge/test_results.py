"""Runs, datasets and uploads without the clips: other clips' rows stay as they were, and the model is marked."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from models.task_command import task_command
from pipeline.dataset.assemble import count_clips
from pipeline.dataset.folder import DatasetFolder
from pipeline.feedback.references import choose_references
from pipeline.files.checksums import check_file
from pipeline.files.folder import Folder
from pipeline.purge.purge import find_places, plan_purge
from pipeline.purge.request import Request
from pipeline.runs.purged import purged_text
from pipeline.runs.run import Run
from pipeline.scoring.embeddings import read_embeddings
from pipeline.scoring.recommendation import write_recommendation
from pipeline.scoring.recommendation_options import RecommendOptions
from pipeline.scoring.scores import score_clips
from pipeline.scoring.uploads import assemble_uploads, score_uploads
from tests.end_to_end.workspaces import contents
from tests.support.learnable_world import Clip, make_batch
from tests.support.made_once import Workspaces, begins_with
from tests.support.purging import purge
from tests.support.small_run import RUN, make_run
from tests.support.whole_files import cut, read_json, write_json

CPU = torch.device("cpu")
ZOE = ("new0", "new1")  # new uploads without likes: scored, and not trained on
BOB = ("twin0", "twin1")  # one file of two creators
TRAINED = ("clip000", "clip004", "clip005")  # trained on


@begins_with(make_run)
def make_full_run(workspace: Path) -> Path:
    """The small run with embeddings, recommendations, feedback, a report, checkpoints, logs and uploads."""
    run = Run(str(workspace), RUN)
    dataset = DatasetFolder(str(workspace), "datasets/one")
    about = read_json(workspace / RUN / "run.json")
    write_json(workspace / RUN / "run.json", about | {"dataset": "one"})
    embeddings = read_embeddings(dataset, run, CPU)
    for challenge in ("shuffle", "wave"):
        write_recommendation(run, embeddings, RecommendOptions(challenge=challenge), challenge)
    for name, references in {"twin0": ["clip000"], "clip000": ["clip002", "new0"], "clip001": ["clip003"]}.items():
        write_json(workspace / RUN / f"feedback/{name}.json", {"clip": name, "references": references})
        (workspace / RUN / f"feedback/{name}.mp4").write_bytes(b"\x00\xff")
    (workspace / RUN / "feedback/clip002.mp4").write_bytes(b"\x00\xff")  # whose JSON is lost
    (workspace / RUN / "report.html").write_text("<html>")
    write_json(workspace / RUN / "report.json", {"shown": {}, "files": {}})
    for name in ("checkpoints/0.pose.ff.ckpt", "ablations-checkpoints/0.pose.ff.ckpt"):
        (workspace / RUN / name).parent.mkdir()
        (workspace / RUN / name).write_bytes(b"\x00")
    (workspace / RUN / "logs/a.log").write_text("cannot read twin0.mp4\n")
    uploads = DatasetFolder(str(workspace), "uploads/first")
    old = [Clip("up0", creator="zoe"), Clip("up1", "wave", creator="una"), Clip("up2", creator="uno", content="twins")]
    assemble_uploads(uploads, [make_batch(workspace, old, "new", ("pose", "scene"))])
    score_uploads(uploads, run, CPU)
    return workspace


@pytest.fixture
def workspace(workspaces: Workspaces) -> Iterator[Path]:
    copy = workspaces.copy(make_full_run)
    yield copy
    shutil.rmtree(copy)


def tables(workspace: Path) -> dict[str, pd.DataFrame]:
    """All tables of runs, datasets and uploads with a column clip_id, by place."""
    paths = [path for kind in ("runs", "datasets", "uploads") for path in (workspace / kind).glob("*/*.parquet")]
    read = {str(path.relative_to(workspace)): Folder(str(path.parent)).read_table(path.name) for path in paths}
    return {place: table for place, table in read.items() if "clip_id" in table}


def test_rows_of_other_clips_stay_as_they_were(workspace: Path) -> None:
    before = tables(workspace)
    purge(workspace, *ZOE, *BOB)
    after = tables(workspace)
    assert set(after) == set(before)
    assert len(after) > 7
    for place, table in after.items():
        kept = before[place][~before[place]["clip_id"].isin([*ZOE, *BOB, "up2"])].reset_index(drop=True)
        columns = [name for name in table if not name.startswith("shard_") and name != "copies"]
        pd.testing.assert_frame_equal(table[columns], kept[columns])


def test_every_file_that_is_left_is_whole(workspace: Path) -> None:
    purge(workspace, *ZOE, *BOB)
    for path in workspace.rglob("*"):
        if path.suffix in (".json", ".parquet", ".safetensors") and path.is_file():
            check_file(str(path))


def test_a_dataset_is_counted_again_says_so_and_names_shards_that_are_there(workspace: Path) -> None:
    purge(workspace, *ZOE, *BOB)
    for place, missing in (("datasets/one", 4), ("uploads/first", 1)):
        folder = DatasetFolder(str(workspace), place)
        clips, statistics = folder.read_clips(), folder.read_statistics()
        counted = count_clips(clips, ["pose", "scene"])
        assert {name: statistics[name] for name in counted} == counted
        assert statistics["purged"] == missing
        for modality in ("pose", "scene"):
            assert all((workspace / path).exists() for path in clips[f"shard_{modality}"].dropna())


def test_copies_are_named_by_the_first_that_is_left_and_one_alone_is_none(tmp_path: Path) -> None:
    from pipeline.dataset.assemble import assemble
    from pipeline.dataset.labels import LabelOptions

    workspace = tmp_path / "workspace"
    clips = [Clip(name, creator=name, likes=5, film=film) for name, film in
             {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2}.items()]  # fmt: skip
    assemble(DatasetFolder(str(workspace), "datasets/one"), [make_batch(workspace, clips)], LabelOptions("likes"))
    assert DatasetFolder(str(workspace), "datasets/one").read_clips()["copies"].tolist() == list("aaadd")
    purge(workspace, "a", "d")
    left = DatasetFolder(str(workspace), "datasets/one").read_clips().set_index("clip_id")["copies"]
    assert left.loc[["b", "c"]].tolist() == ["b", "b"]
    assert pd.isna(left["e"])


def test_a_model_that_was_trained_on_purged_clips_is_marked_with_the_command_that_trains_again(workspace: Path) -> None:
    run = Run(str(workspace), RUN)
    purge(workspace, *TRAINED[:2])
    mark = read_json(workspace / RUN / "purged.json")
    assert (mark["trained_on"], mark["clips"]) == (2, 2)
    assert mark["retrain"].startswith(task_command("BuildVDV", "--manifest") + " /")
    assert "/workspace-source/june.csv --workspace" in mark["retrain"]
    text = purged_text(run)
    assert text is not None
    assert text.startswith(f"PURGED CLIPS: the model of run {run.id} was trained on 2 clips that were purged since.")
    purge(workspace, TRAINED[2], "new0")  # a second purge adds up
    mark = read_json(workspace / RUN / "purged.json")
    assert (mark["trained_on"], mark["clips"]) == (3, 4)


def test_a_model_that_only_scored_purged_clips_is_not_marked(workspace: Path) -> None:
    purge(workspace, *ZOE)
    assert purged_text(Run(str(workspace), RUN)) is None
    assert not (workspace / RUN / "report.html").exists()


def test_what_shows_the_clips_and_a_command_makes_again_is_deleted(workspace: Path) -> None:
    purge(workspace, *ZOE)
    run = workspace / RUN
    gone = ["report.html", "report.json", "checkpoints/0.pose.ff.ckpt", "ablations-checkpoints/0.pose.ff.ckpt",
            "feedback/clip000.json", "feedback/clip000.mp4", "feedback/clip002.mp4",
            "recommendations/shuffle.json", "recommendations/shuffle.parquet"]  # fmt: skip
    assert [name for name in gone if (run / name).exists()] == []
    kept = ["feedback/twin0.json", "feedback/clip001.json", "feedback/clip001.mp4", "recommendations/wave.parquet",
            "recommendations/wave.json", "logs/a.log", "model.safetensors", "folds.json"]  # fmt: skip
    assert [name for name in kept if not (run / name).exists()] == []
    purge(workspace, "twin0")
    assert not (run / "feedback/twin0.mp4").exists()
    assert not (run / "logs/a.log").exists()


def test_uploads_lose_the_clips_from_their_csv_too_and_are_whole(workspace: Path) -> None:
    purge(workspace, "twin0")  # up2 is the same file
    folder = DatasetFolder(str(workspace), "uploads/first")
    text = (workspace / "uploads/first/scores.csv").read_text()
    assert "up0" in text
    assert "up2" not in text
    assert folder.have_hashes(folder.read_json("scores.json")["files"])


def test_a_training_that_did_not_finish_is_deleted_for_nobody_knows_on_which_clips(workspace: Path) -> None:
    path = workspace / "runs" / ("b" * 16) / "checkpoints/0.pose.ff.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x00")
    purge(workspace, "new0")
    assert not path.exists()


def test_a_run_of_other_clips_is_not_touched(workspace: Path) -> None:
    before = contents(workspace / RUN)
    purge(workspace, "up0")
    assert contents(workspace / RUN) == before


def test_a_damaged_table_is_deleted_and_the_purge_goes_on(workspace: Path) -> None:
    cut(workspace / RUN / "folds.parquet", 0.5)
    cut(workspace / "datasets/one/faces.parquet", 0.5)
    _, proof = purge(workspace, *BOB)
    assert not proof.found
    assert not (workspace / RUN / "folds.parquet").exists()
    assert not (workspace / "datasets/one/faces.parquet").exists()


def test_a_dry_run_lists_every_file_that_changes_and_changes_none(workspace: Path) -> None:
    before = contents(workspace)
    listed = find_places(str(workspace), plan_purge(str(workspace), Request((*ZOE, *TRAINED))))
    assert contents(workspace) == before
    done, _ = purge(workspace, *ZOE, *TRAINED)
    after = contents(workspace)
    changed = {name for name, digest in before.items() if after.get(name) != digest}
    assert {place.path for place in listed} == changed | {f"{RUN}/purged.json"}
    assert sorted(place.path for place in done) == sorted(place.path for place in listed)


def test_the_run_still_recommends_gives_references_and_scores_as_before(workspace: Path) -> None:
    purge(workspace, *BOB)
    run, dataset = Run(str(workspace), RUN), DatasetFolder(str(workspace), "datasets/one")
    embeddings = read_embeddings(dataset, run, CPU)
    assert len(embeddings["pose"]) == len(dataset.read_clips())
    assert len(write_recommendation(run, embeddings, RecommendOptions()).table)
    assert len(choose_references(run, "clip000").references) >= 4
    before = run.read_table("scores.parquet")
    score_clips(dataset, run, CPU)
    pd.testing.assert_series_equal(run.read_table("scores.parquet")["score"], before["score"], rtol=1e-5, atol=1e-5)
