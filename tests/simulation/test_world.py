"""The simulated world as a whole: its script, its likes, its files."""

import dataclasses
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import DataError
from pipeline.decode.orientation import orientation_of
from pipeline.ingest.manifest import read_manifests
from simulation import world as world_module
from simulation.ceiling import ceilings, mean_spearman
from simulation.filming.film import film, frame_times
from simulation.filming.recording import record
from simulation.render import is_rendered, manifest_path, read_options, render_clip, render_world, write_options
from simulation.truth import PEOPLE, clips_table, people_path, read_clips_truth, read_people
from simulation.world import LikesOptions, WorldOptions, content_log_likes, expected_log_likes, make_world

SMALL = WorldOptions(seed=5, clips=8, creators=3, seconds=(0.5, 0.5), broken=0.25)
BIG = WorldOptions(seed=9, clips=256, creators=96)


@pytest.fixture(scope="module")
def big() -> tuple[world_module.Upload, ...]:
    return make_world(BIG)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds") / "small"
    write_options(folder, SMALL)
    render_world(folder, workers=2)
    return folder


def manifest(uploads: tuple[world_module.Upload, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "clip_id": [upload.script.clip_id for upload in uploads],
            "likes": [upload.likes for upload in uploads],
            "followers": [upload.followers for upload in uploads],
            "uploaded_at": [upload.uploaded_at for upload in uploads],
        }
    )


def test_the_same_seed_gives_the_same_world_and_another_seed_another(big: tuple[world_module.Upload, ...]) -> None:
    assert make_world(BIG) == big
    other = make_world(dataclasses.replace(BIG, seed=10))
    assert [upload.likes for upload in other] != [upload.likes for upload in big]


def test_likes_are_the_sum_of_their_stated_terms(big: tuple[world_module.Upload, ...]) -> None:
    for upload in big:
        assert upload.likes == max(0, round(np.expm1(sum(upload.script.likes.values()))))
        lead, weights = upload.script.people[0], BIG.likes
        assert upload.script.likes["skill"] == pytest.approx(weights.skill * (lead.skill.overall - 0.5))
        assert upload.script.likes["look"] == pytest.approx(weights.look * (lead.outfit.look - 0.5))
        assert upload.script.likes["expression"] == pytest.approx(weights.expression * (lead.expression - 0.5))


def test_clips_of_one_challenge_share_its_term_and_clips_of_one_scene_that_of_the_scene(
    big: tuple[world_module.Upload, ...],
) -> None:
    table = clips_table(big)
    assert (table.groupby("challenge")["likes_challenge"].nunique() == 1).all()
    assert table["likes_challenge"].nunique() == 8
    assert (table.groupby("scene")["likes_scene"].nunique() == 1).all()
    assert sorted(table.groupby("scene")["likes_scene"].first()) == pytest.approx(
        np.linspace(-0.5, 0.5, 8) * BIG.likes.scene
    )


def test_nothing_in_the_clip_tells_of_the_noise_or_the_followers(big: tuple[world_module.Upload, ...]) -> None:
    table = clips_table(big)
    for hidden in ("likes_noise", "likes_followers", "likes_creator"):
        assert abs(table["content"].corr(table[hidden], method="spearman")) < 0.25


def test_every_term_matters_and_none_is_everything(big: tuple[world_module.Upload, ...]) -> None:
    table = clips_table(big)
    shares = table[["likes_skill", "likes_look", "likes_expression", "likes_scene"]].var()
    shares = shares / shares.sum()
    assert shares.min() > 0.1
    assert shares.max() < 0.6


def test_the_ceiling_falls_with_the_noise(big: tuple[world_module.Upload, ...]) -> None:
    quiet = make_world(dataclasses.replace(BIG, likes=LikesOptions(noise=0.01, creator=0.01)))
    loud = make_world(dataclasses.replace(BIG, likes=LikesOptions(noise=2.0)))
    found = [ceilings(clips_table(uploads), manifest(uploads)) for uploads in (quiet, big, loud)]
    assert found[0].adjusted > 0.97
    assert found[0].likes > 0.99
    assert found[0].adjusted > found[1].adjusted > found[2].adjusted
    assert found[1].likes_by_content < found[1].likes  # who does not see the followers knows less


def test_the_ceiling_is_a_ceiling(big: tuple[world_module.Upload, ...]) -> None:
    """Of predictors made from the terms, none that sees less beats the one that sees all."""
    table, likes = clips_table(big), manifest(big)["likes"]
    best = mean_spearman(table["expected"], likes, table["challenge"])
    for term in ("likes_skill", "likes_followers", "content"):
        assert mean_spearman(table[term], likes, table["challenge"]) < best


def test_expected_and_content_leave_out_what_cannot_be_known(big: tuple[world_module.Upload, ...]) -> None:
    upload = big[0]
    terms = upload.script.likes
    assert expected_log_likes(upload) == pytest.approx(sum(terms.values()) - terms["creator"] - terms["noise"])
    assert content_log_likes(upload) == pytest.approx(
        terms["skill"] + terms["look"] + terms["expression"] + terms["scene"]
    )


def test_a_world_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="creators 1 to clips"):
        WorldOptions(clips=4, creators=5)
    with pytest.raises(DataError, match=r"0\.5 to 60 s"):
        WorldOptions(seconds=(5.0, 3.0))
    with pytest.raises(DataError, match="150% out of time"):
        WorldOptions(lag=1.5)


def test_phones_have_all_their_habits(big: tuple[world_module.Upload, ...]) -> None:
    table = clips_table(big)
    assert {0, 90, 180, 270} == set(table["rotation"])
    assert {"h264", "hevc"} == set(table["codec"])
    assert table["variable_rate"].any()
    assert (table["people"] > 1).any()
    assert (table["shots"] > 1).any()
    assert (table["damage"] != "").sum() == round(BIG.broken * BIG.clips)
    assert table["width"].nunique() > 1


def test_options_survive_the_trip_through_world_toml(tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, lag=0.7, likes=LikesOptions(noise=0.1, synchrony=0.9))
    write_options(tmp_path, options)
    assert read_options(tmp_path) == options


def test_a_misspelt_option_is_named(tmp_path: Path) -> None:
    write_options(tmp_path, SMALL)
    path = tmp_path / "world.toml"
    path.write_text(path.read_text().replace("creators", "craetors"))
    with pytest.raises(DataError, match="craetors"):
        read_options(tmp_path)


def test_the_manifest_of_a_world_is_valid(rendered: Path) -> None:
    (batch,) = read_manifests(str(rendered))
    assert len(batch.rows) == SMALL.clips
    assert batch.rows["followers"].notna().all()


def test_every_sound_file_holds_the_frames_of_its_script_at_their_times(rendered: Path) -> None:
    for upload in make_world(SMALL):
        if upload.script.phone.damage:
            continue
        seconds = frame_times(upload.script)
        truth = read_people(rendered, upload.script.clip_id)
        with av.open(str(rendered / upload.uri)) as file:
            times = [float(frame.time) for frame in file.decode(video=0)]
        assert np.allclose(times, seconds, atol=1e-4)
        assert np.allclose(truth.timestamp, seconds, atol=1e-4)
        assert len(truth.people) == len(upload.script.people)


def test_a_rotated_file_stands_upright_once_its_metadata_is_applied(tmp_path: Path) -> None:
    upload = make_world(SMALL)[0]
    for rotation in (0, 90, 180, 270):
        phone = dataclasses.replace(
            upload.script.phone, rotation=rotation, damage="", codec="h264", crf=18, width=270, height=480
        )
        script = dataclasses.replace(upload.script, phone=phone)
        seconds = frame_times(script)[:2]
        wanted = [picture for picture, _ in film(script, seconds)]
        record(tmp_path / f"{rotation}.mp4", iter(wanted), seconds, phone)
        with av.open(str(tmp_path / f"{rotation}.mp4")) as file:
            frame = next(file.decode(video=0))
        stored = frame.to_ndarray(format="rgb24")
        assert stored.shape[:2] == ((480, 270) if rotation in (0, 180) else (270, 480))
        upright = orientation_of(frame).apply(stored)
        assert np.abs(upright.astype(int) - wanted[0].astype(int)).mean() < 6


def test_a_rendered_world_is_complete_and_is_not_rendered_again(rendered: Path) -> None:
    assert is_rendered(rendered)
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*") if path.is_file()}
    render_world(rendered, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in rendered.rglob("*") if path.is_file()}


def test_only_what_is_missing_is_rendered_again_and_comes_out_the_same(rendered: Path) -> None:
    first, second = [upload for upload in make_world(SMALL) if not upload.script.phone.damage][:2]
    gone, kept = rendered / first.uri, rendered / second.uri
    content_before, kept_before = gone.read_bytes(), kept.stat().st_mtime_ns
    os.unlink(gone)
    assert not is_rendered(rendered)
    render_world(rendered, workers=1)
    assert gone.read_bytes() == content_before
    assert kept.stat().st_mtime_ns == kept_before
    assert is_rendered(rendered)


def test_another_world_in_the_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    one = WorldOptions(seed=1, clips=1, creators=1, seconds=(0.5, 0.5), broken=0)
    write_options(folder, one)
    render_world(folder, workers=1)
    old = (folder / make_world(one)[0].uri).read_bytes()
    write_options(folder, dataclasses.replace(one, seconds=(0.6, 0.6)))
    assert not is_rendered(folder)
    render_world(folder, workers=1)
    assert (folder / make_world(one)[0].uri).read_bytes() != old


def test_rendering_here_leaves_opencv_its_threads(tmp_path: Path) -> None:
    (upload,) = make_world(WorldOptions(seed=1, clips=1, creators=1, seconds=(0.5, 0.5), broken=0))
    for name in ("clips", PEOPLE):
        (tmp_path / name).mkdir(parents=True)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        render_clip(tmp_path, upload)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(threads)


def test_likes_that_a_user_edited_stay(rendered: Path) -> None:
    path = manifest_path(rendered)
    text = path.read_text()
    path.write_text(text.replace(text.splitlines()[1].split(",")[5], "123456", 1))
    edited = path.read_text()
    os.unlink(people_path(rendered, make_world(SMALL)[0].script.clip_id))
    render_world(rendered, workers=1)
    assert path.read_text() == edited
    path.write_text(text)


def test_the_truth_table_has_a_row_a_clip_with_every_term(rendered: Path) -> None:
    table = read_clips_truth(rendered)
    pd.testing.assert_frame_equal(table, clips_table(make_world(SMALL)))


def test_a_world_whose_state_is_damaged_is_rendered_again_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_options(tmp_path, SMALL)
    (tmp_path / "truth").mkdir()
    for content in (b"", b'{"world": ', b"[1]", b"\xff"):
        (tmp_path / "truth/world.json").write_bytes(content)
        assert not is_rendered(tmp_path)
        assert "world.json is damaged" in caplog.text
        caplog.clear()
