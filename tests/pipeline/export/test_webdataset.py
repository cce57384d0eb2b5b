"""The export as tar shards, opened by WebDataset: what a clip's files hold, keys, sizes."""

import json
import tarfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from pipeline.export.webdataset import key_of, write_webdataset
from pipeline.features.reader import ShardReader
from tests.support.exports import HARD_CLIPS, clips_of, contents_of, export


def read(folder: Path) -> dict[str, dict]:
    """The samples of all shards as WebDataset decodes them, by clip_id."""
    import webdataset

    shards = sorted(str(path) for path in folder.glob("*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert len({sample["__key__"] for sample in samples}) == len(samples)
    return {sample["json"]["clip_id"]: sample for sample in samples}


@pytest.fixture(scope="module")
def samples(hard: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("webdataset") / "june"
    export(hard, "webdataset", folder, films=True)
    return read(folder)


def test_every_clip_is_one_sample_whatever_its_id(samples: dict[str, dict]) -> None:
    assert set(samples) == {clip.clip_id for clip in HARD_CLIPS}
    assert {clip_id: unquote(sample["__key__"]) for clip_id, sample in samples.items()} == {
        clip.clip_id: clip.clip_id for clip in HARD_CLIPS
    }


def test_features_are_those_of_the_shards(hard: Path, samples: dict[str, dict]) -> None:
    row = clips_of(hard).set_index("clip_id").loc["a.b.c"]
    pose, scene = (ShardReader(f"{hard}/{row[f'shard_{name}']}").read("a.b.c") for name in ("pose", "scene"))
    found = samples["a.b.c"]["pose.npz"]
    np.testing.assert_array_equal(found["keypoints"], np.stack([track.keypoints for track in pose.tracks]))  # type: ignore[attr-defined]
    assert found["is_lead"].tolist() == [track.is_lead for track in pose.tracks]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found["timestamp"], pose.grid.timestamp)
    np.testing.assert_array_equal(samples["a.b.c"]["scene.npz"]["feature"], scene.feature)  # type: ignore[attr-defined]


def test_what_a_clip_lacks_is_no_file_of_it(samples: dict[str, dict]) -> None:
    assert [name for name in samples["broken"] if not name.startswith("__")] == ["json", "mp4"]
    assert "audio.npz" not in samples["-1"]
    assert samples["empty"]["pose.npz"]["keypoints"].shape[0] == 0
    assert "mp4" not in samples["gone"]


def test_films_are_the_clips_own(hard: Path, samples: dict[str, dict]) -> None:
    source = hard.parent / f"{hard.name}-source"
    assert samples["_.hidden"]["mp4"] == (source / "_.hidden.mp4").read_bytes()


def test_faces_have_no_embeddings_or_pictures_unless_asked_for(
    hard: Path, samples: dict[str, dict], tmp_path: Path
) -> None:
    assert set(samples["a.b.c"]["face.npz"]) == {
        "frame_index", "timestamp", "valid", "frame", "box", "landmarks", "probability",
    }  # fmt: skip
    export(hard, "webdataset", tmp_path / "out", biometrics=True)
    asked = read(tmp_path / "out")["a.b.c"]
    assert asked["face.npz"]["embedding"].shape[1] == 512
    assert len([name for name in asked if name.endswith(".jpg")]) == len(asked["face.npz"]["box"])


def test_shards_are_of_bounded_size_and_hold_whole_clips(hard: Path, tmp_path: Path) -> None:
    names = write_webdataset(contents_of(hard), tmp_path, None, lambda *_: None, shard_bytes=1)
    assert sum(map(len, names.values())) == len(HARD_CLIPS)
    assert set(read(tmp_path)) == {clip.clip_id for clip in HARD_CLIPS}


def test_the_same_clips_give_the_same_shards(hard: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(hard, "webdataset", tmp_path / name, films=True)
    for path in (tmp_path / "one").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        with tarfile.open(path) as tar:
            assert {(entry.uid, entry.mtime, entry.uname) for entry in tar} == {(0, 0, "")}


def test_json_holds_numbers_texts_and_nulls(samples: dict[str, dict]) -> None:
    about = json.loads(json.dumps(samples["broken"]["json"], allow_nan=False))
    assert (about["status"], about["score"], about["likes"]) == ("failed", None, 1)


@pytest.mark.parametrize("clip_id", ["a", "a.b", "_x", "__a__.json", "-", "A%".strip("%")])
def test_a_key_gives_its_id_back_and_holds_no_dot(clip_id: str) -> None:
    assert unquote(key_of(clip_id)) == clip_id
    assert "." not in key_of(clip_id)
    assert not key_of(clip_id).startswith("_")
