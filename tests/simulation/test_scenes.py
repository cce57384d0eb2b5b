"""The places, how the phone moves through them, and what it does to the picture."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from simulation.filming.phone_look import CAPTION_BOTTOM, CAPTION_TOP, SIZES, apply_look, draw_phone
from simulation.filming.shots import SHORTEST_SHOT_S, cameras, draw_shots
from simulation.geometry import Camera
from simulation.scenes.panels import Canvas, PanelDrawer, floor
from simulation.scenes.places import Scene
from simulation.script import SCENES, Phone, Shot

PHONE = Phone(540, 960, 25.0, False, 0, "h264", 23, "")
TRIPOD = Shot(0.0, 2.9, 1.2, 0.2, 0.0, 1)


@cache
def _scene(name: str, seed: int) -> Scene:
    return Scene(name, seed)


def _camera(shot: Shot = TRIPOD, at_s: float = 0.0, width: int = 540, height: int = 960) -> Camera:
    return cameras([shot], np.array([at_s]), width, height)[0]


@pytest.mark.parametrize("name", SCENES)
def test_a_place_looks_the_same_whenever_it_is_built_of_one_seed(name: str) -> None:
    one, other = (Scene(name, 4).draw(_camera()) for _ in range(2))
    assert one.shape == (960, 540, 3)
    assert one.dtype == np.uint8
    assert one.flags.c_contiguous
    assert one.flags.writeable
    assert (one == other).all()


@pytest.mark.parametrize("name", SCENES)
def test_two_seeds_of_a_place_clearly_differ(name: str) -> None:
    pictures = [_scene(name, seed).draw(_camera()).astype(int) for seed in range(3)]
    for first in range(3):
        for second in range(first):
            assert np.abs(pictures[first] - pictures[second]).mean() > 12


@pytest.mark.parametrize("name", SCENES)
def test_no_colour_gives_a_place_away(name: str) -> None:
    colours = []
    for seed in range(8):
        small = cv2.resize(
            _scene(name, seed).draw(_camera(width=90, height=160)), (9, 16), interpolation=cv2.INTER_AREA
        )
        colours.append(small.reshape(-1, 3).mean(axis=0))
    spread = np.ptp(np.array(colours), axis=0)
    assert (spread > 25).all()  # of 255, in each channel of the picture's mean colour


def test_the_light_is_a_unit_vector_from_above_and_differs_between_seeds() -> None:
    for name in SCENES:
        lights = [_scene(name, seed).light for seed in range(2)]
        for light in lights:
            assert np.linalg.norm(light.direction) == pytest.approx(1)
            assert light.direction[1] > 0.2
            assert 0 < light.ambient < 1
            assert 0 < light.shadow < 1
            assert len(light.colour) == 3
        assert not np.allclose(lights[0].direction, lights[1].direction)


def test_an_unknown_place_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"attic.*bedroom"):
        Scene("attic", 1)


@pytest.mark.parametrize("size", SIZES)
def test_a_mark_on_the_floor_is_drawn_where_the_camera_projects_it(size: tuple[int, int]) -> None:
    canvas = Canvas(-2, 2, -2, 3, 100).cover(np.zeros((500, 400, 3), np.uint8))
    marks = [(0.0, 0.0), (0.8, 0.5), (-0.6, -0.9)]
    for x, z in marks:
        canvas.disc(x, -z, 0.06, 0.06, (255, 255, 255))
    drawer = PanelDrawer([floor(canvas)])
    for at_s in (0.0, 1.3, 2.9):
        camera = _camera(replace(TRIPOD, shake=1.0, distance_m=4.2), at_s, *size)
        picture = np.zeros((camera.height, camera.width, 4), np.uint8)
        drawer.draw(camera, picture)
        _, _, _, found = cv2.connectedComponentsWithStats((picture[..., 0] > 127).astype(np.uint8))
        for x, z in marks:
            place, _ = camera.project(np.array([x, 0.0, z]))
            assert np.linalg.norm(found[1:] - place, axis=1).min() < 1


@pytest.mark.parametrize("name", ["kitchen", "gymnasium/indoor", "stage/indoor", "street", "park", "beach"])
def test_the_floor_stands_still_in_the_world_while_the_hand_moves(name: str) -> None:
    seed = {"kitchen": 0, "gymnasium/indoor": 0}.get(name, 1)  # floors with something to see on them
    scene, shaken = _scene(name, seed), replace(TRIPOD, shake=0.6)
    first, second = _camera(shaken, 0.0), _camera(shaken, 0.6)
    before, after = (cv2.cvtColor(scene.draw(camera), cv2.COLOR_RGB2GRAY) for camera in (first, second))
    spots = np.array([[x, 0.0, z] for x in np.linspace(-0.6, 0.6, 7) for z in np.linspace(-1.2, 0.4, 7)])
    here, there = first.project(spots)[0], second.project(spots)[0]
    moved = np.linalg.norm(here - there, axis=1)
    assert moved.min() > 4  # so that standing still in the picture would fail
    errors = []
    for (x, y), (ahead_x, ahead_y) in zip(np.rint(here).astype(int), there - (here - np.rint(here)), strict=True):
        patch = before[y - 24 : y + 25, x - 24 : x + 25]
        if patch.std() < 6:  # bare floor: nothing to follow
            continue
        left, top = round(ahead_x) - 36, round(ahead_y) - 36
        score = cv2.matchTemplate(after[top : top + 73, left : left + 73], patch, cv2.TM_CCOEFF_NORMED)
        found = np.unravel_index(score.argmax(), score.shape)
        errors.append(np.hypot(left + found[1] + 24 - ahead_x, top + found[0] + 24 - ahead_y))
    assert len(errors) >= 8
    assert np.median(errors) < 1


@pytest.mark.parametrize("name", SCENES)
def test_every_place_fills_the_picture_from_wherever_it_is_filmed(name: str) -> None:
    """Pixels where no panel is have the one colour that lies beyond; no such patch is left in the lower part."""
    scene = Scene(name, 2)
    for seed, size in enumerate([(540, 960), (960, 540), (720, 720)]):
        shot = replace(draw_shots(np.random.default_rng(seed), 8, *size)[0], shake=1.0)
        camera = _camera(shot, 1.0, *size)
        scene._beyond = np.array([255, 0, 255, 255], np.uint8).view(np.uint32)[0]
        lower = scene.draw(camera)[camera.height // 2 :]
        assert (lower == (255, 0, 255)).all(axis=2).mean() < 0.001


def test_a_tripod_stands_still_and_a_hand_moves_smoothly() -> None:
    moments = np.arange(0, 8, 1 / 25)
    still = cameras([TRIPOD], moments, 540, 960)
    assert all((view.position == still[0].position).all() and view.pan == still[0].pan for view in still)
    floor_point = np.zeros(3)
    for shake, most_px in ((0.3, 5), (1.0, 15)):
        views = cameras([replace(TRIPOD, shake=shake)], moments, 540, 960)
        path = np.array([view.project(floor_point)[0] for view in views])
        assert np.ptp(path, axis=0).max() > 10 * shake
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < most_px


def test_the_picture_cuts_where_the_script_says_and_nowhere_else() -> None:
    shots = (replace(TRIPOD, shake=0.5), replace(TRIPOD, start_s=3.0, distance_m=2.6, offset_m=-0.3, shake=0.5, seed=9))
    moments = np.arange(0, 6, 1 / 25)
    path = np.array([view.position for view in cameras(shots, moments, 540, 960)])
    jumps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert jumps.argmax() == np.flatnonzero(moments >= 3.0)[0] - 1
    assert jumps.max() > 10 * np.delete(jumps, jumps.argmax()).max()


def test_a_moment_before_the_first_shot_is_refused() -> None:
    with pytest.raises(ValueError, match="before the first shot"):
        cameras([replace(TRIPOD, start_s=1.0)], np.array([0.5]), 540, 960)


def test_shots_have_a_cut_in_about_one_clip_of_eight_and_none_is_short() -> None:
    drawn = [draw_shots(np.random.default_rng(seed), 7.0, 540, 960) for seed in range(800)]
    assert {len(shots) for shots in drawn} == {1, 2}
    assert 0.08 < np.mean([len(shots) == 2 for shots in drawn]) < 0.16
    for shots in drawn:
        edges = [shot.start_s for shot in shots] + [7.0]
        assert edges[0] == 0
        assert np.diff(edges).min() >= SHORTEST_SHOT_S - 1e-3
    assert all(len(draw_shots(np.random.default_rng(seed), 3.0, 540, 960)) == 1 for seed in range(100))


@pytest.mark.parametrize("size", SIZES)
def test_a_dancer_with_raised_arms_stays_in_the_picture_and_fills_it(size: tuple[int, int]) -> None:
    width, height = size
    inside, share = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        shots, x = draw_shots(rng, 8, width, height), rng.uniform(-0.4, 0.4)
        body = np.array([[x - 0.25, 0, 0.15], [x + 0.25, 0, 0.15], [x - 0.2, 2.3, 0], [x + 0.2, 2.3, 0]])
        lead = np.array([[x, 0, 0], [x, 1.7, 0]])
        for camera in cameras(shots, np.arange(0, 8, 0.5), width, height):
            places, _ = camera.project(body)
            inside.append(((places >= 0) & (places <= [width - 1, height - 1])).all())
            share.append(np.diff(camera.project(lead)[0][:, 1])[0] / -height)
    assert np.mean(inside) > 0.98
    assert np.percentile(share, 2) > 0.44


def test_phones_are_of_the_kinds_and_shares_that_clips_have() -> None:
    rng = np.random.default_rng(3)
    phones = [draw_phone(rng) for _ in range(1500)]
    assert {(phone.width, phone.height) for phone in phones} == set(SIZES)
    assert {phone.fps for phone in phones} == {24.0, 25.0, 30.0}
    assert {phone.damage for phone in phones} == {""}
    assert min(phone.crf for phone in phones) == 20
    assert max(phone.crf for phone in phones) == 32
    shares = {
        "portrait": (np.mean([(p.width, p.height) == (540, 960) for p in phones]), 0.70),
        "variable": (np.mean([p.variable_rate for p in phones]), 0.15),
        "rotated": (np.mean([p.rotation != 0 for p in phones]), 0.20),
        "hevc": (np.mean([p.codec == "hevc" for p in phones]), 0.12),
        "caption": (np.mean([p.caption != "" for p in phones]), 0.35),
    }
    for name, (found, meant) in shares.items():
        assert found == pytest.approx(meant, abs=0.04), name


@pytest.mark.parametrize("size", SIZES)
def test_the_look_keeps_the_picture_and_changes_it_from_frame_to_frame(size: tuple[int, int]) -> None:
    phone = replace(PHONE, width=size[0], height=size[1], caption="day 3 #challenge")
    plain = np.full((size[1], size[0], 3), 120, np.uint8)
    one, again, later = (apply_look(plain.copy(), phone, frame, 5) for frame in (3, 3, 4))
    assert one.shape == plain.shape
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert (one != later).any()
    middle = one[size[1] // 3 : size[1] // 2]
    assert abs(float(middle.mean()) - 120) < 15
    assert 0.5 < float((middle.astype(int) - later[size[1] // 3 : size[1] // 2]).std()) < 12


def test_a_picture_of_another_size_than_the_phones_is_refused() -> None:
    with pytest.raises(ValueError, match="540x100"):
        apply_look(np.zeros((100, 540, 3), np.uint8), PHONE, 0, 1)


@pytest.mark.parametrize("size", SIZES)
def test_a_caption_lies_in_the_upper_eighth_or_the_lower_fifth(size: tuple[int, int]) -> None:
    bare = replace(PHONE, width=size[0], height=size[1])
    where = set()
    for seed in range(12):
        titled = replace(bare, caption="wait for it after work #challenge")
        plain = np.full((size[1], size[0], 3), 120, np.uint8)
        changed = apply_look(plain.copy(), titled, 0, seed) != apply_look(plain.copy(), bare, 0, seed)
        rows = np.flatnonzero(changed.any(axis=(1, 2)))
        columns = np.flatnonzero(changed.any(axis=(0, 2)))
        assert len(rows) > 10
        assert 0 < columns[0] < columns[-1] < size[0] - 1  # whole
        assert rows[-1] < size[1] * CAPTION_TOP or rows[0] >= int(size[1] * CAPTION_BOTTOM)
        where.add(bool(rows[-1] < size[1] / 2))
    assert where == {True, False}
