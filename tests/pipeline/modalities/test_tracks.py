"""Tracks, lead and faces of synthetic skeletons whose identity is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from pipeline.modalities.tracks import LinkOptions, Track, choose_lead, link, mark_lead, match_faces

FPS = 10.0
# A standing person, 1 high, feet at y = 1, the middle at x = 0. COCO-17.
FIGURE = np.array([
    [0.00, 0.08], [-0.02, 0.06], [0.02, 0.06], [-0.05, 0.08], [0.05, 0.08], [-0.12, 0.22], [0.12, 0.22],
    [-0.16, 0.37], [0.16, 0.37], [-0.18, 0.50], [0.18, 0.50], [-0.08, 0.52], [0.08, 0.52], [-0.09, 0.75],
    [0.09, 0.75], [-0.10, 0.97], [0.10, 0.97],
])  # fmt: skip


@dataclass(frozen=True)
class Frame:
    keypoints: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


Linked = tuple[tuple[Track, ...], np.ndarray, list[Frame]]


def person(
    x: float, y: float = 200.0, height: float = 300.0, swing: float = 0.0, score: float = 0.9, confidence: float = 0.8
) -> tuple[np.ndarray, np.ndarray, float]:
    """keypoints [17, 3], box [4], score; x of the middle and y of the top in pixels, swing of the arms in heights."""
    points = FIGURE.copy()
    points[[7, 9], 1] -= np.array([0.5, 1.0]) * swing
    points[[8, 10], 1] -= np.array([0.5, 1.0]) * swing
    points = points * height + (x, y)
    keypoints = np.concatenate((points, np.full((17, 1), confidence)), axis=1).astype(np.float32)
    box = np.array([x - 0.2 * height, y, x + 0.2 * height, y + height], np.float32)
    return keypoints, box, score


def frame(*persons: tuple[np.ndarray, np.ndarray, float]) -> Frame:
    if not persons:
        return Frame(np.zeros((0, 17, 3), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    keypoints, boxes, scores = zip(*persons, strict=True)
    return Frame(np.stack(keypoints), np.stack(boxes), np.array(scores, np.float32))


def times(count: int) -> np.ndarray:
    return np.arange(count) / FPS


def middles(track: Track) -> np.ndarray:
    return track.box[track.valid][:, [0, 2]].mean(axis=1)


def lead_of(tracks: tuple[Track, ...]) -> Track:
    place = choose_lead(tracks, (1000, 700))
    assert place is not None
    return tracks[place]


def equal(first: Sequence[Track], second: Sequence[Track]) -> bool:
    return len(first) == len(second) and all(
        a.track_id == b.track_id and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ARRAYS)
        for a, b in zip(first, second, strict=True)
    )


ARRAYS = ("valid", "keypoints", "box", "score")


def test_a_dancer_who_swings_and_travels_is_one_track() -> None:
    swings = 0.3 * np.sin(np.arange(60) * 0.9)
    clip = [frame(person(200 + 8 * t, swing=swings[t])) for t in range(60)]
    (track,) = link(clip, times(60))
    assert track.valid.all()
    np.testing.assert_array_equal(track.keypoints[17], clip[17].keypoints[0])
    np.testing.assert_array_equal(track.box[59], clip[59].boxes[0])
    assert track.score[0] == np.float32(0.9)


def test_a_body_once_taken_for_two_stays_one_track() -> None:
    # In frame 10 the network sees a second body beside the first. From then on the dancer sways between the two places,
    # so that the ghost's last pose is the more alike in every other frame.
    clip = [frame(person(300 + (12 if t % 2 else 0))) for t in range(40)]
    clip[10] = frame(person(300), person(312, score=0.3))
    tracks = link(clip, times(40))
    assert tracks[0].valid.all()
    assert [int(track.valid.sum()) for track in tracks[1:]] == [1]


def test_two_people_who_cross_keep_who_they_are() -> None:
    # the second is listed first in every other frame; they meet in the middle, one 20 px lower
    clip = []
    for t in range(40):
        right, left = person(100 + 15 * t, y=200), person(700 - 15 * t, y=220, score=0.8)
        clip.append(frame(right, left) if t % 2 else frame(left, right))
    first, second = link(clip, times(40))
    assert (first.valid & second.valid).all()
    np.testing.assert_allclose(middles(first), 100 + 15 * np.arange(40), atol=0.01)
    np.testing.assert_allclose(middles(second), 700 - 15 * np.arange(40), atol=0.01)


def test_one_hidden_while_they_cross_comes_back_as_themselves() -> None:
    clip = []
    for t in range(40):
        seen = [person(100 + 15 * t)]
        if not 18 <= t <= 21:  # behind the first
            seen.append(person(700 - 15 * t, y=215, score=0.8))
        clip.append(frame(*seen))
    first, second = link(clip, times(40))
    assert first.valid.all()
    assert second.valid.sum() == 36
    np.testing.assert_allclose(middles(second)[-1], 700 - 15 * 39, atol=0.01)


def test_a_detection_missed_for_half_a_second_leaves_a_gap_and_no_new_person() -> None:
    clip = [frame() if 10 <= t < 15 else frame(person(300 + 5 * t)) for t in range(30)]
    (track,) = link(clip, times(30))
    assert np.flatnonzero(~track.valid).tolist() == [10, 11, 12, 13, 14]
    for name in ("keypoints", "box", "score"):
        assert not getattr(track, name)[10:15].any()


def test_a_gap_longer_than_the_limit_makes_a_new_person() -> None:
    clip = [frame() if 5 <= t < 18 else frame(person(300)) for t in range(30)]
    assert len(link(clip, times(30))) == 2
    assert len(link(clip, times(30), LinkOptions(max_gap_s=2.0))) == 1


def test_the_gap_is_in_seconds_not_in_frames() -> None:
    clip = [frame(person(300)) for _ in range(4)]
    assert len(link(clip, np.array([0.0, 0.9, 1.8, 2.7]))) == 1
    assert len(link(clip, np.array([0.0, 0.9, 2.0, 2.9]))) == 2


def test_one_who_leaves_and_another_who_enters_are_two() -> None:
    clip = [frame(person(100 - 10 * t)) if t < 10 else frame(person(800 - 10 * (t - 10))) for t in range(20)]
    first, second = link(clip, times(20))
    assert first.valid.tolist() == [True] * 10 + [False] * 10
    assert second.valid.tolist() == [False] * 10 + [True] * 10


def test_after_a_cut_nobody_is_who_was_there_before() -> None:
    before = [frame(person(200, height=300)) for _ in range(10)]
    elsewhere = [frame(person(900, height=300)) for _ in range(10)]
    closer = [frame(person(200, height=700)) for _ in range(10)]  # the same place, another shot
    middle = 200 + 300 * FIGURE[11, 1]
    hips_stay = [frame(person(200, y=middle - 640 * FIGURE[11, 1], height=640)) for _ in range(10)]
    for after in (elsewhere, closer, hips_stay):
        first, second = link(before + after, times(20))
        assert first.valid.tolist() == second.valid[::-1].tolist() == [True] * 10 + [False] * 10


def test_boxes_decide_where_keypoints_are_not_trusted() -> None:
    clip = [frame(person(200 + 4 * t, confidence=0.1), person(600, confidence=0.1, score=0.5)) for t in range(20)]
    first, second = link(clip, times(20))
    assert (first.valid & second.valid).all()
    np.testing.assert_allclose(middles(second), 600, atol=0.01)


def test_nobody_and_nothing_give_no_tracks() -> None:
    assert link([], []) == ()
    assert link([frame()] * 5, times(5)) == ()
    assert choose_lead((), (100, 100)) is None
    assert mark_lead((), (100, 100)) == ()


def test_one_frame_gives_a_track_a_person_best_first() -> None:
    tracks = link([frame(person(100, score=0.4), person(600, score=0.9))], [0.0])
    assert [track.track_id for track in tracks] == [0, 1]
    np.testing.assert_allclose([middles(track)[0] for track in tracks], [600, 100])


def test_frames_and_timestamps_must_agree() -> None:
    with pytest.raises(ValueError, match="2 frames of people, but 3 timestamps"):
        link([frame()] * 2, times(3))


def test_the_order_of_people_within_a_frame_changes_nothing() -> None:
    random = np.random.default_rng(0)
    clip, shuffled = [], []
    for t in range(30):
        people = [person(100 + 150 * n + 5 * t, height=200 + 20 * n, score=0.5) for n in range(5)]
        clip.append(frame(*people))
        shuffled.append(frame(*[people[n] for n in random.permutation(5)]))
    assert equal(link(clip, times(30)), link(shuffled, times(30)))


def test_five_hundred_people_a_frame_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    solve = scipy.optimize.linear_sum_assignment

    def watched(cost: np.ndarray, **options: Any) -> Any:
        shapes.append(cost.shape)
        return solve(cost, **options)

    monkeypatch.setattr(scipy.optimize, "linear_sum_assignment", watched)
    random = np.random.default_rng(1)
    clip = []
    for _ in range(12):
        x, y, height, score = random.uniform((0, 0, 20, 0), (2000, 2000, 400, 1), (500, 4)).T
        clip.append(frame(*map(person, x, y, height, np.zeros(500), score)))
    options = LinkOptions(max_tracks=7, max_persons=20)
    tracks = link(clip, times(12), options)
    assert [track.track_id for track in tracks] == list(range(7))
    assert len(shapes) == 11  # one assignment a frame, but for the first
    assert max(rows for rows, _ in shapes) <= 40
    assert max(columns for _, columns in shapes) <= 20


def test_the_tracks_kept_are_those_of_most_evidence() -> None:
    passing = {0: [person(700, score=0.95)], 9: [person(1200, score=0.95)]}
    clip = [frame(person(200, score=0.9), *passing.get(t, [])) for t in range(10)]
    (kept,) = link(clip, times(10), LinkOptions(max_tracks=1))
    assert kept.track_id == 0
    assert kept.valid.all()


def test_the_lead_is_the_one_in_front_in_the_middle_and_there() -> None:
    behind = [person(150, height=200, score=0.95), person(850, height=200, score=0.95)]
    clip = [frame(*behind, person(500, height=400, score=0.8)) for _ in range(10)]
    tracks = mark_lead(link(clip, times(10)), (1000, 700))
    (lead,) = [track for track in tracks if track.is_lead]
    np.testing.assert_allclose(middles(lead), 500)


def lead_middles(tracks: Sequence[Track]) -> np.ndarray:
    """Middles of the lead dancer in a picture of 1000 x 700 px."""
    lead = choose_lead(tracks, (1000, 700))
    assert lead is not None
    return middles(tracks[lead])


def test_of_two_alike_the_central_one_leads_and_of_two_who_come_and_go_the_present_one() -> None:
    clip = [frame(person(100), person(500)) for _ in range(10)]
    tracks = link(clip, times(10))
    assert lead_middles(tracks)[0] == pytest.approx(500)
    clip = [frame(*([person(500)] if t < 4 else []), person(600)) for t in range(10)]
    tracks = link(clip, times(10))
    assert lead_middles(tracks)[0] == pytest.approx(600)


def test_of_two_equals_the_first_to_appear_leads() -> None:
    clip = [frame(person(400)), frame(person(400), person(600)), frame(person(600))]
    tracks = link(clip, times(3))
    assert lead_middles(tracks)[0] == pytest.approx(400)


def test_what_lies_outside_of_the_frame_does_not_make_a_lead() -> None:
    clip = [frame(person(-100, height=680), person(500, height=300)) for _ in range(5)]
    tracks = link(clip, times(5))
    assert lead_middles(tracks)[0] == pytest.approx(500)


def face(
    keypoints: np.ndarray, size: float = 40.0, shift: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """A face's box [4] and landmarks [5, 2] around a person's nose and eyes; image-left eye first, as MTCNN has it."""
    x, y = keypoints[0, :2] + shift
    box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], np.float32)
    points = np.array([[-8, -6], [8, -6], [0, 0], [-6, 10], [6, 10]]) + np.array([x, y])
    return box, points.astype(np.float32)


def faces(*pairs: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    boxes, landmarks = zip(*pairs, strict=True)
    return np.stack(boxes), np.stack(landmarks)


@pytest.fixture
def three_dancers() -> Linked:
    """Poses of every third source frame; dancers at x = 200, 270, 700, the first two with heads 70 px apart."""
    clip = [frame(person(200, score=0.9), person(270, score=0.8), person(700, score=0.7)) for _ in range(8)]
    return link(clip, times(8)), np.arange(8) * 3, clip


def test_faces_go_to_the_heads_they_hold(three_dancers: Linked) -> None:
    tracks, index, clip = three_dancers
    right, middle, left = (face(clip[0].keypoints[n]) for n in (2, 1, 0))
    boxes, landmarks = faces(right, middle, left, left, middle)
    owner = match_faces(tracks, index, np.array([0, 0, 0, 6, 12]), boxes, landmarks)
    assert owner.dtype == np.int32
    assert owner.tolist() == [2, 1, 0, 0, 1]


def test_a_face_whose_dancer_is_not_there_is_nobodys_and_takes_nobody_elses(three_dancers: Linked) -> None:
    tracks, index, clip = three_dancers
    stranger = face(clip[0].keypoints[0], shift=(250.0, 0.0))
    boxes, landmarks = faces(stranger, face(clip[0].keypoints[2]))
    assert match_faces(tracks, index, np.array([0, 0]), boxes, landmarks).tolist() == [-1, 2]


def test_two_faces_on_one_head_give_one_to_the_dancer_and_the_nearer_one(three_dancers: Linked) -> None:
    tracks, index, clip = three_dancers
    boxes, landmarks = faces(face(clip[0].keypoints[2], shift=(10, 0)), face(clip[0].keypoints[2]))
    assert match_faces(tracks, index, np.array([0, 0]), boxes, landmarks).tolist() == [-1, 2]


def test_a_face_in_a_frame_without_poses_or_with_a_hidden_head_is_nobodys(three_dancers: Linked) -> None:
    tracks, index, clip = three_dancers
    boxes, landmarks = faces(face(clip[0].keypoints[2]))
    assert match_faces(tracks, index, np.array([1]), boxes, landmarks).tolist() == [-1]
    assert match_faces(tracks, index, np.array([99]), boxes, landmarks).tolist() == [-1]
    hidden = [frame(person(700, confidence=0.1)) for _ in range(8)]
    assert match_faces(link(hidden, times(8)), index, np.array([0]), boxes, landmarks).tolist() == [-1]


def test_ears_stand_in_for_a_head_seen_from_the_side(three_dancers: Linked) -> None:
    _, index, _ = three_dancers
    keypoints, box, score = person(700)
    keypoints[0:3, 2] = 0.05
    tracks = link([frame((keypoints, box, score))] * 8, times(8))
    boxes, landmarks = faces(face(keypoints))
    assert match_faces(tracks, index, np.array([0]), boxes, landmarks).tolist() == [0]


def test_no_faces_and_no_dancers_match_nobody(three_dancers: Linked) -> None:
    tracks, index, clip = three_dancers
    empty = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
    assert match_faces(tracks, index, np.zeros(0, int), *empty).shape == (0,)
    assert match_faces((), index, np.array([0]), *faces(face(clip[0].keypoints[0]))).tolist() == [-1]
