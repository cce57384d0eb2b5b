"""The export for FiftyOne: its documents by what FiftyOne's format asks for; and opened by FiftyOne where that is.

FiftyOne's requirements and those of this project cannot be installed together, so it is run by another interpreter:
docs/export.md says how to make one.
"""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.features.reader import ShardReader
from tests.support.exports import HARD_CLIPS, clips_of, export

LABELS = ("people", "boxes", "faces")
OPEN = """
import json, sys
import fiftyone as fo
dataset = fo.Dataset.from_dir(sys.argv[1], dataset_type=fo.types.FiftyOneDataset)
copy = fo.Dataset()
copy.add_samples(list(dataset))  # FiftyOne writes every field anew
sample = dataset.match({"clip_id": "a.b.c"}).first()
frame = sample.frames.first()
print(json.dumps({
    "clips": dataset.values("clip_id"), "scores": dataset.values("score"), "tags": dataset.count_sample_tags(),
    "keypoints": dataset.count("frames.people.keypoints"), "boxes": dataset.count("frames.boxes.detections"),
    "faces": dataset.count("frames.faces.detections"), "points": frame.people.keypoints[0].points,
    "films": dataset.values("filepath"), "joints": dataset.default_skeleton.labels, "uploaded": str(sample.uploaded_at),
    "schema": sorted(dataset.get_frame_field_schema(flat=True)) == sorted(copy.get_frame_field_schema(flat=True)),
}))
"""


@pytest.fixture(scope="module")
def exported(hard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fiftyone") / "june"
    export(hard, "fiftyone", out, films=True)
    return out


@pytest.fixture(scope="module")
def documents(exported: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return {path.stem: json.loads(path.read_text(), parse_constant=refuse) for path in exported.glob("*.json")}


def test_every_clip_is_a_sample_with_its_film_its_split_as_a_tag_and_its_score(
    hard: Path, documents: dict[str, Any]
) -> None:
    samples = {sample["clip_id"]: sample for sample in documents["samples"]["samples"]}
    clips = clips_of(hard).set_index("clip_id")
    assert set(samples) == set(clips.index)
    for clip_id, sample in samples.items():
        assert sample["filepath"] == f"data/{clip_id}.mp4"
        assert sample["tags"] == [clips.loc[clip_id, "split"]]
    assert samples["a.b.c"]["score"] == -1
    assert "score" not in samples["broken"]
    assert samples["a.b.c"]["uploaded_at"] == {"$date": "2024-06-01T00:00:00Z"}


def test_every_field_of_a_document_is_declared_and_every_id_is_one_s_own(documents: dict[str, Any]) -> None:
    metadata = documents["metadata"]
    ids: Counter[str] = Counter()
    for kind in ("samples", "frames"):
        declared = {field["db_field"] for field in metadata[f"{kind[:-1]}_fields"]}
        for document in documents[kind][kind]:
            assert set(document) <= declared
            ids[document["_id"]["$oid"]] += 1
            for labels in (document.get(name, {}) for name in (LABELS if kind == "frames" else ())):
                several = [*labels.get("keypoints", ()), *labels.get("detections", ())]
                ids.update(label["_id"]["$oid"] for label in several)
    assert len(ids) > 100
    assert set(ids.values()) == {1}
    assert all(len(name) == 24 and int(name, 16) >= 0 for name in ids)


def test_joints_boxes_and_faces_are_shares_of_the_picture(hard: Path, documents: dict[str, Any]) -> None:
    row = clips_of(hard).set_index("clip_id").loc["a.b.c"]
    (sample,) = [one for one in documents["samples"]["samples"] if one["clip_id"] == "a.b.c"]
    frames = {
        frame["frame_number"]: frame for frame in documents["frames"]["frames"] if frame["_sample_id"] == sample["_id"]
    }
    pose, face = (ShardReader(f"{hard}/{row[f'shard_{name}']}").read("a.b.c") for name in ("pose", "face"))
    size, seen = np.array([720, 1280]), 0
    for at, number in enumerate(pose.grid.frame_index + 1):
        for track in pose.tracks:  # type: ignore[attr-defined]
            labels = [one for one in frames.get(number, {}).get("people", {}).get("keypoints", ())
                      if one["index"] == track.track_id]  # fmt: skip
            assert len(labels) == track.valid[at]
            for label in labels:
                seen += 1
                assert label["label"] == ("lead" if track.is_lead else "person")
                np.testing.assert_allclose(label["points"], track.keypoints[at, :, :2] / size, atol=1e-6)
    assert seen > 50
    number = face.grid.frame_index[face.frame[0]] + 1  # type: ignore[attr-defined]
    left, top, width, height = frames[number]["faces"]["detections"][0]["bounding_box"]
    corners = np.array([left, top, left + width, top + height]) * np.tile(size, 2)
    np.testing.assert_allclose(corners, face.box[0], atol=0.01)  # type: ignore[attr-defined]


def test_without_films_a_sample_names_where_its_film_lies(hard: Path, tmp_path: Path) -> None:
    export(hard, "fiftyone", tmp_path / "out")
    samples = json.loads((tmp_path / "out/samples.json").read_text())["samples"]
    paths = {sample["clip_id"]: Path(sample["filepath"]) for sample in samples}
    assert paths["a.b.c"].read_text() == "a.b.c"
    assert not (tmp_path / "out/data").exists()


@pytest.mark.timeout(600)
def test_fiftyone_opens_it(exported: Path, hard: Path, documents: dict[str, Any], tmp_path: Path) -> None:
    interpreter = os.environ.get("VDV_FIFTYONE")
    if not interpreter:
        pytest.skip("VDV_FIFTYONE names no interpreter that has FiftyOne: docs/export.md")
    environment = os.environ | {"FIFTYONE_DATABASE_DIR": str(tmp_path / "database"), "FIFTYONE_DO_NOT_TRACK": "true",
                                "FIFTYONE_DATABASE_NAME": "vdv-tests", "PYTHONPATH": ""}  # fmt: skip
    ended = subprocess.run(
        [interpreter, "-c", OPEN, str(exported)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    samples, frames = documents["samples"]["samples"], documents["frames"]["frames"]
    assert found["clips"] == [clip.clip_id for clip in HARD_CLIPS]
    assert found["scores"] == [sample.get("score") for sample in samples]
    assert found["tags"] == dict(Counter(sample["tags"][0] for sample in samples))
    for name, (field, kind) in {
        "keypoints": ("people", "keypoints"), "boxes": ("boxes", "detections"), "faces": ("faces", "detections"),
    }.items():  # fmt: skip
        assert found[name] == sum(len(frame.get(field, {}).get(kind, ())) for frame in frames)
    (sample,) = [one for one in samples if one["clip_id"] == "a.b.c"]
    first = next(frame for frame in frames if frame["_sample_id"] == sample["_id"])
    assert found["points"] == first["people"]["keypoints"][0]["points"]
    assert [Path(path).is_file() for path in found["films"]] == [clip.clip_id != "gone" for clip in HARD_CLIPS]
    assert found["joints"][0] == "nose"
    assert found["uploaded"] == "2024-06-01 00:00:00"
    assert found["schema"], "FiftyOne would declare other fields itself"
