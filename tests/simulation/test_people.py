"""Dancers as they are drawn, and the truth about what can be seen of them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from models.extractors.face_search.cascade import DetectorOptions, FaceCascade
from simulation.dancers.body import NEUTRAL, POSE_INDEX, draw_body, place_joints
from simulation.dancers.figure import PosedPerson, draw_people
from simulation.dancers.looks import HAIR_STYLES, SKINS, draw_face, draw_outfit
from simulation.filming.visibility import PersonLabels
from simulation.geometry import JOINT, Camera
from simulation.script import Light, Person, Skill

WIDTH, HEIGHT = 360, 640
NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST = 0, 5, 6, 9, 10  # of COCO's keypoints
NO_SHADOW = Light(np.array([0.48, 0.64, 0.6]), 0.4, (1.0, 1.0, 1.0), 0.0)


def a_person(seed: int, look: float = 0.6) -> Person:
    rng = np.random.default_rng(seed)
    face, body = draw_face(rng), draw_body(rng)
    return Person(seed, body, face, draw_outfit(look, rng), Skill(1, 1, 1, 1), 0.5, 0.0, 0.0, 0.0, seed)


def posed(
    person: Person, turn_deg: float = 0, x: float = 0, z: float = 0, expression: float = 0.4, **pose_deg: float
) -> PosedPerson:
    """Standing at ease but for `pose_deg`, columns of a pose with __ for the dot."""
    row = NEUTRAL.copy()
    for name, value in pose_deg.items():
        row[POSE_INDEX[name.replace("__", ".")]] = value
    points, head = place_joints(person.body, row[None])
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return PosedPerson(person, points[0] @ turn.T + [x, 0, z], turn @ head[0], expression, 1.0)


def a_camera(width: int = WIDTH, height: int = HEIGHT, px_per_m: float = 300, up_m: float = 0.95) -> Camera:
    return Camera(np.array([0, up_m, 3.0]), 3.0 * px_per_m, width, height)


def background(camera: Camera, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 220, (camera.height // 40, camera.width // 40, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (camera.width, camera.height)), 0, 255).astype(np.uint8)


def draw(
    *people: PosedPerson, camera: Camera | None = None, light: Light = NO_SHADOW, seed: int = 0
) -> tuple[np.ndarray, list[PersonLabels]]:
    camera = camera or a_camera()
    picture = background(camera, seed)
    return picture, draw_people(picture, camera, list(people), light)


def changed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int [n, 2] x, y of the pixels that differ."""
    return np.argwhere((first != second).any(2))[:, ::-1]


def head_px(one: PosedPerson, camera: Camera) -> np.ndarray:
    return camera.project(one.points[JOINT["head"]])[0]


def test_drawing_depends_on_its_arguments_alone() -> None:
    one = posed(a_person(1))
    points = one.points.copy()
    first, seen = draw(one)
    draw(posed(a_person(2), expression=1.0), posed(a_person(1), turn_deg=80))
    second, again = draw(one)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(seen[0].keypoints, again[0].keypoints)
    np.testing.assert_array_equal(points, one.points)


def test_look_is_in_the_clothes_and_in_no_pixel_of_the_face() -> None:
    person = a_person(3)
    pale, vivid = (replace(person, outfit=draw_outfit(look, np.random.default_rng(8))) for look in (0.0, 1.0))
    where = changed(draw(posed(pale))[0], draw(posed(vivid))[0])
    away = (where - head_px(posed(pale), a_camera())) / 300
    assert len(where) > 5000
    assert (np.hypot(away[:, 0] / 0.09, away[:, 1] / 0.12) > 1).all()  # metres: outside the face


def test_a_higher_look_is_more_vivid_and_more_contrasting_whatever_the_hue() -> None:
    def vividness(colour: tuple[int, int, int]) -> int:
        return max(colour) - min(colour)

    for seed in range(30):
        outfits = [draw_outfit(look, np.random.default_rng(seed)) for look in (0.0, 0.33, 0.67, 1.0)]
        vivid = [vividness(one.top) + vividness(one.bottom) for one in outfits]
        contrast = [np.abs(np.subtract(one.top, one.bottom)).sum() for one in outfits]
        assert vivid == sorted(vivid)
        assert vivid[0] < 60 < 200 < vivid[3]
        assert contrast[0] < 100 < 150 < contrast[3]
        assert len({(one.pattern, one.sleeves, one.legs) for one in outfits}) == 1


def test_expression_changes_the_face_and_no_pixel_outside_the_head() -> None:
    camera, person = a_camera(), a_person(4)
    blank, smile = posed(person, expression=0.0), posed(person, expression=1.0)
    where = changed(draw(blank)[0], draw(smile)[0])
    away = np.abs(where - head_px(blank, camera)) / 300
    assert len(where) > 300
    assert away[:, 0].max() < 0.11
    assert away[:, 1].max() < 0.145


def test_every_step_of_expression_opens_the_mouth_further() -> None:
    person = a_person(5)
    camera = a_camera(px_per_m=1000, up_m=1.5)
    pictures = [draw(posed(person, expression=share), camera=camera)[0] for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    differences = [np.abs(pictures[0].astype(int) - picture).sum() for picture in pictures]
    steps = np.diff(differences)
    assert (steps > 0.1 * differences[-1]).all()


@pytest.mark.parametrize("style", range(HAIR_STYLES))
def test_the_back_of_the_head_has_no_face(style: int) -> None:
    person = a_person(6)
    person = replace(person, face=replace(person.face, hair_style=style))
    blank, seen = draw(posed(person, turn_deg=180, expression=0.0))
    smile, _ = draw(posed(person, turn_deg=180, expression=1.0))
    # A chin seen from below and behind may take a shade of the face's edge.
    assert np.abs(blank.astype(int) - smile).max() <= 4
    assert not seen[0].face_box.any()
    assert seen[0].keypoints[:3, 2].tolist() == [1, 1, 1]
    assert seen[0].yaw_deg == pytest.approx(180, abs=15)


def test_turning_the_head_hides_the_far_eye_and_ear_first() -> None:
    def states(head_yaw: float) -> list[int]:
        return draw(posed(a_person(7), trunk__head_yaw=head_yaw))[1][0].keypoints[:5, 2].astype(int).tolist()

    assert states(0) == [2, 2, 2, 2, 2]
    assert states(40) == [2, 2, 2, 1, 2]  # nose, left eye, right eye, left ear, right ear
    assert states(80) == [2, 1, 2, 1, 2]
    assert states(-80) == [2, 2, 1, 2, 1]


def test_mtcnn_finds_frontal_faces_where_the_truth_says() -> None:
    torch.set_num_threads(1)
    cascade = FaceCascade(DetectorOptions(min_face_size=20, thresholds=(0.6, 0.7, 0.7)), torch.device("cpu"))
    found, overlaps, errors = 0, [], []
    rng = np.random.default_rng(0)
    tried = 30
    for seed in range(tried):
        camera = a_camera(360, 360, px_per_m=float(rng.uniform(240, 520)), up_m=1.5)
        angle = rng.uniform(-np.pi, np.pi)
        direction = np.array([np.sin(angle), rng.uniform(0.3, 1.5), np.cos(angle)])
        light = Light(direction / np.linalg.norm(direction), rng.uniform(0.1, 0.8), (1.0, 0.96, 0.92), 0.5)
        one = posed(a_person(100 + seed), expression=float(rng.random()), trunk__head_yaw=float(rng.uniform(-30, 30)))
        picture, seen = draw(one, camera=camera, light=light, seed=seed)
        kept, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])
        assert kept
        faces = cascade(torch.from_numpy(cv2.imdecode(packed, cv2.IMREAD_COLOR))[None])
        overlap = [_overlap(box, seen[0].face_box) for box in faces.box]
        if overlap and max(overlap) > 0.5:
            found += 1
            overlaps.append(max(overlap))
            off = faces.landmarks[int(np.argmax(overlap))] - seen[0].landmarks
            apart = np.linalg.norm(seen[0].landmarks[0] - seen[0].landmarks[1])
            errors.append(np.linalg.norm(off, axis=1).mean() / apart)
    assert found >= tried - 1
    assert np.mean(overlaps) > 0.75
    assert np.mean(errors) < 0.13


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def test_left_is_the_dancers_own_and_landmarks_are_the_viewers() -> None:
    _, seen = draw(posed(a_person(8)))
    keypoints, landmarks = seen[0].keypoints, seen[0].landmarks
    assert keypoints[LEFT_SHOULDER, 0] > keypoints[RIGHT_SHOULDER, 0]
    assert landmarks[0, 0] < landmarks[2, 0] < landmarks[1, 0]
    assert landmarks[3, 0] < landmarks[4, 0]
    np.testing.assert_allclose(landmarks[1], keypoints[1, :2], atol=1e-4)


def test_a_wrist_behind_the_back_is_hidden_and_one_before_the_chest_is_not() -> None:
    person = a_person(9)
    one = posed(person)
    # Turned about, what was hidden is in front.
    one.points[JOINT["left_elbow"]] = one.points[JOINT["left_shoulder"]] + [0.06, -0.25, -0.1]
    one.points[JOINT["left_wrist"]] = one.points[JOINT["pelvis"]] + [0.02, 0.12, -0.2]
    one.points[JOINT["left_hand"]] = one.points[JOINT["pelvis"]] + [-0.06, 0.1, -0.2]
    about = replace(one, points=one.points * [-1, 1, -1], head=one.head * [[-1], [1], [-1]])
    front_picture, front = draw(one)
    back_picture, back = draw(about)
    assert front[0].keypoints[LEFT_WRIST, 2] == 1
    assert back[0].keypoints[LEFT_WRIST, 2] == 2
    for picture, seen, shows_skin in ((front_picture, front, False), (back_picture, back, True)):
        x, y, _ = np.rint(seen[0].keypoints[LEFT_WRIST]).astype(int)
        skin, cloth = (
            np.linalg.norm(picture[y, x] / max(picture[y, x].max(), 1) - np.array(colour) / max(colour))
            for colour in (person.face.skin, person.outfit.top)
        )
        assert (skin < cloth) == shows_skin


def test_seen_from_the_side_the_far_shoulder_is_hidden_by_the_body() -> None:
    _, seen = draw(posed(a_person(10), turn_deg=88))
    # Turned to her left, her right side is near.
    assert seen[0].keypoints[RIGHT_SHOULDER, 2] == 2
    assert seen[0].keypoints[LEFT_SHOULDER, 2] == 1


def test_who_stands_in_front_covers_and_hides_who_stands_behind() -> None:
    near, far = posed(a_person(11), z=0.4), posed(a_person(12), z=-0.6)
    alone, _ = draw(near)
    both, seen = draw(far, near)
    for x, y in np.rint(seen[0].keypoints[[LEFT_SHOULDER, RIGHT_SHOULDER], :2]).astype(int):
        np.testing.assert_array_equal(both[y - 3 : y + 4, x - 3 : x + 4], alone[y - 3 : y + 4, x - 3 : x + 4])
    assert (seen[0].keypoints[[LEFT_SHOULDER, RIGHT_SHOULDER], 2] == 1).all()
    assert (seen[1].keypoints[[NOSE, LEFT_SHOULDER, RIGHT_SHOULDER], 2] == 2).all()
    assert seen[0].box[3] < seen[1].box[3]  # feet further up: the order is that of the arguments


def test_the_box_holds_every_pixel_drawn_and_little_else() -> None:
    for seed, turn in ((13, 0), (14, 60), (15, 180)):
        one = posed(a_person(seed), turn_deg=turn, left_arm__up=40.0)
        picture, seen = draw(one)
        where = changed(picture, background(a_camera()))
        low, high = where.min(0), where.max(0)
        box = seen[0].box
        assert (low >= box[:2] - 2).all()
        assert (high <= box[2:] + 2).all()
        assert (np.abs(np.concatenate([low, high]) - box) < 8).all()


def test_what_is_outside_the_picture_is_told_so() -> None:
    _, seen = draw(posed(a_person(16), x=0.6))
    keypoints = seen[0].keypoints
    assert keypoints[LEFT_WRIST, 2] == 0
    assert keypoints[RIGHT_WRIST, 2] == 2
    assert seen[0].box[2] == pytest.approx(WIDTH - 0.5, abs=1)
    _, gone = draw(posed(a_person(16), x=5.0))
    assert not gone[0].keypoints[:, 2].any()
    assert not gone[0].box.any()
    assert not gone[0].face_box.any()


def test_a_person_behind_the_camera_is_neither_drawn_nor_seen() -> None:
    picture, seen = draw(posed(a_person(17), z=4.0), posed(a_person(18)))
    alone, only = draw(posed(a_person(18)))
    np.testing.assert_array_equal(picture, alone)
    assert not seen[0].keypoints[:, 2].any()
    assert not seen[0].box.any()
    np.testing.assert_array_equal(seen[1].keypoints, only[0].keypoints)


def test_a_tenth_of_a_pixel_of_movement_shows_and_does_not_jitter() -> None:
    one = posed(a_person(19))
    still, _ = draw(one)
    moved, _ = draw(replace(one, points=one.points + [0.1 / 300, 0, 0]))
    difference = np.abs(still.astype(int) - moved)
    assert 0 < difference.max() < 90
    assert 0 < difference.mean() < 0.5


def test_people_cast_a_shadow_on_the_floor_beside_them() -> None:
    lit = replace(NO_SHADOW, shadow=0.8)
    with_shadow, seen = draw(posed(a_person(20)), light=lit)
    without, _ = draw(posed(a_person(20)))
    where = changed(with_shadow, without)
    assert len(where) > 500
    assert (with_shadow.astype(int) <= without).all()
    assert where[:, 1].min() > seen[0].keypoints[11, 1]  # below the hips


def test_faces_differ_and_come_from_the_generator_alone() -> None:
    assert draw_face(np.random.default_rng(5)) == draw_face(np.random.default_rng(5))
    faces = [draw_face(np.random.default_rng(seed)) for seed in range(300)]
    assert len(set(faces)) == 300
    nearest = [int(np.argmin([np.abs(np.subtract(skin, face.skin)).sum() for skin in SKINS])) for face in faces]
    assert np.bincount(nearest, minlength=len(SKINS)).min() >= 300 / len(SKINS) / 2
    assert set(range(HAIR_STYLES)) == {face.hair_style for face in faces}


def test_a_picture_of_another_size_than_the_cameras_is_refused() -> None:
    with pytest.raises(ValueError, match="give uint8"):
        draw_people(np.zeros((10, 10, 3), np.uint8), a_camera(), [], NO_SHADOW)
