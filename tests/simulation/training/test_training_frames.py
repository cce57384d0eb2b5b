"""Labelled frames on disk: rendered once, whole or not at all, and told apart over worlds."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DataError
from simulation.training.labelled_frames import labelled_frames
from simulation.training.training_frames import outfit_values, render_frame_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    render_frame_set(folder, [5, 6], clips=2, frames_a_clip=2, processes=2)
    return folder


def test_what_is_read_is_what_was_rendered(folder: Path) -> None:
    frames = render_frame_set(folder, [5, 6], 2, 2, processes=1)
    expected = [frame for seed in (5, 6) for frame in labelled_frames(seed, 2, 2)]
    assert len(frames) == len(expected) == 8
    for index, frame in enumerate(expected):
        difference = np.abs(frames.picture(index).astype(int) - frame.picture)
        assert difference.mean() < 2.5  # JPEG
        people = frames.people(index)
        assert people.stop - people.start == len(frame.people)
        for person, place in zip(frame.people, range(people.start, people.stop), strict=True):
            np.testing.assert_array_equal(frames.keypoints[place], person.keypoints)
            np.testing.assert_array_equal(frames.face_box[place], person.face_box)
            np.testing.assert_array_equal(frames.outfit[place], outfit_values(person.outfit))
            assert frames.expression[place] == np.float32(person.expression)
        assert frames.scene[index] == frame.scene


def test_nobody_is_taken_for_somebody_of_another_world(folder: Path) -> None:
    one, other = (render_frame_set(folder, [seed], 2, 2, processes=1) for seed in (5, 6))
    assert not set(one.identity) & set(other.identity)


def test_what_is_there_is_not_rendered_again_and_what_is_half_there_is(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert len(before) == 2
    (folder / "world-7-2x2.part").write_bytes(b"half")
    frames = render_frame_set(folder, [5, 7], 2, 2, processes=1)
    assert len(frames) == 8
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert len(after) == 3
    assert before.items() <= after.items()
    assert not list(folder.glob("*.part"))


def test_a_thinned_set_keeps_people_with_their_frames(folder: Path) -> None:
    frames = render_frame_set(folder, [5, 6], 2, 2, processes=1)
    few = frames.thinned(3)
    assert len(few) == 3
    for place, index in enumerate((0, 3, 7)):
        assert few.jpegs[place] == frames.jpegs[index]
        for item in fields(frames):
            if item.name not in ("jpegs", "first", "scene"):
                one, other = (getattr(kept, item.name) for kept in (few, frames))
                np.testing.assert_array_equal(one[few.people(place)], other[frames.people(index)])


def test_frames_that_are_damaged_are_named(folder: Path, tmp_path: Path) -> None:
    first = folder / "world-5-2x2.npz"
    copied = tmp_path / first.name
    whole = bytearray(first.read_bytes())
    whole[len(whole) // 2] ^= 4
    for damaged in (b"", bytes(whole[: len(whole) // 2]), bytes(whole)):
        copied.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{copied} is damaged .*; delete it"):
            render_frame_set(tmp_path, [5], 2, 2, processes=1)
