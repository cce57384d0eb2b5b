"""The motion of the demo world: bodies, dances, and how skill and faults show in a performance."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from simulation.dancers.body import NEUTRAL, draw_body, place_joints
from simulation.dancers.choreography import choreography
from simulation.dancers.performance import draw_skill, perform
from simulation.geometry import JOINT, JOINTS
from simulation.script import DANCES, Face, Fault, Outfit, Person, Skill

PERFECT = Skill(1.0, 1.0, 1.0, 1.0)
POOR = Skill(0.0, 0.0, 0.0, 0.0)
TEN_SECONDS = np.arange(0.0, 10.0, 0.02)
FACE = Face((200, 160, 130), (60, 40, 30), (80, 60, 40), 1, 1.0, 1.0, 1.0, 1.0, 1.0)
OUTFIT = Outfit(0.5, (200, 30, 30), (30, 30, 90), (240, 240, 240), (20, 20, 20), 0, 0.4, 1.0)

BONES = (
    ("pelvis", "chest"), ("chest", "neck"), ("neck", "head"), ("chest", "left_shoulder"), ("chest", "right_shoulder"),
    ("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow"), ("left_elbow", "left_wrist"),
    ("right_elbow", "right_wrist"), ("left_wrist", "left_hand"), ("right_wrist", "right_hand"), ("pelvis", "left_hip"),
    ("pelvis", "right_hip"), ("left_hip", "left_knee"), ("right_hip", "right_knee"), ("left_knee", "left_ankle"),
    ("right_knee", "right_ankle"), ("left_ankle", "left_toe"), ("right_ankle", "right_toe"),
)  # fmt: skip
# Points that belong to one limb alone, and a frame's origin to see them from.
LIMB_POINTS = {
    "left_arm": ("left_elbow", "left_wrist", "left_hand"),
    "right_arm": ("right_elbow", "right_wrist", "right_hand"),
    "left_leg": ("left_knee", "left_ankle", "left_toe"),
    "right_leg": ("right_knee", "right_ankle", "right_toe"),
}


def dancer(skill: Skill = PERFECT, seed: int = 4, faults: tuple[Fault, ...] = ()) -> Person:
    body = draw_body(np.random.default_rng(seed))
    return Person(0, body, FACE, OUTFIT, skill, 0.5, 0.0, 0.0, 0.0, seed, faults)


def joint(points: np.ndarray, name: str) -> np.ndarray:
    return points[:, JOINT[name]]


def limb(points: np.ndarray, name: str) -> np.ndarray:
    """[T, 9] a limb's own points, arms seen from their shoulder."""
    places = np.stack([joint(points, point) for point in LIMB_POINTS[name]], axis=1)
    if name.endswith("arm"):
        places = places - joint(points, name.replace("arm", "shoulder"))[:, None]
    return places.reshape(len(points), -1)


def bend(points: np.ndarray, a: str, b: str, c: str) -> np.ndarray:
    """Degrees [T] by which a straight line from a over b to c is bent."""
    first, second = joint(points, b) - joint(points, a), joint(points, c) - joint(points, b)
    cosine = (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def lag(late: np.ndarray, model: np.ndarray, most: int = 25) -> float:
    """Frames by which `late` [T, D] runs behind `model`: where their mean squared difference is least."""
    inside = slice(most, len(model) - most)
    shifts = range(-most, most + 1)
    gaps = [((late[inside] - np.roll(model, shift, axis=0)[inside]) ** 2).mean() for shift in shifts]
    return float(shifts[int(np.argmin(gaps))])


def still(points: np.ndarray) -> float:
    """The share of time in which both hands are slow, for how fast they are at their fastest."""
    hands = np.stack([limb(points, "left_arm"), limb(points, "right_arm")])
    speed = np.linalg.norm(np.diff(hands, axis=1), axis=2)
    return float((speed < 0.1 * np.quantile(speed, 0.98)).mean())


def test_bodies_are_of_people() -> None:
    bodies = [draw_body(np.random.default_rng(seed)) for seed in range(300)]
    heights = np.array([body.height_m for body in bodies])
    assert heights.min() >= 1.52
    assert heights.max() <= 1.90
    assert 0.05 < heights.std() < 0.12
    for body in bodies:
        points, _ = place_joints(body, NEUTRAL[None])
        crown = joint(points, "head")[0, 1] + 0.13 * body.head_size
        assert crown == pytest.approx(body.height_m, abs=0.04)  # soft knees take a little off
        assert 0.30 * body.height_m < body.arm_length < 0.36 * body.height_m
        assert body.hip_width < body.shoulder_width
        assert 0.03 < joint(points, "left_wrist")[0, 0] - joint(points, "left_hip")[0, 0] < 0.25


def test_left_is_at_plus_x_and_the_dancer_faces_plus_z() -> None:
    points, head = place_joints(draw_body(np.random.default_rng(0)), NEUTRAL[None])
    for part in ("shoulder", "wrist", "hip", "ankle"):
        assert joint(points, f"left_{part}")[0, 0] > joint(points, f"right_{part}")[0, 0]
    assert joint(points, "left_toe")[0, 2] > joint(points, "left_ankle")[0, 2] + 0.1
    np.testing.assert_allclose(head[0], np.eye(3), atol=1e-12)


@pytest.mark.parametrize("dance", DANCES)
@pytest.mark.parametrize("skill", [PERFECT, POOR], ids=["perfect", "poor"])
def test_a_dancer_keeps_her_bones_her_joints_limits_and_the_floor(dance: str, skill: Skill) -> None:
    for seed in range(3):
        motion = perform(dance, dancer(skill, seed), TEN_SECONDS)
        points = motion.points
        assert points.shape == (500, len(JOINTS), 3)
        assert points.dtype == np.float64
        for a, b in BONES:
            assert np.ptp(np.linalg.norm(joint(points, a) - joint(points, b), axis=1)) < 1e-6, (a, b)
        np.testing.assert_allclose(
            motion.head.transpose(0, 2, 1) @ motion.head, np.tile(np.eye(3), (500, 1, 1)), atol=1e-9
        )
        assert (np.linalg.det(motion.head) > 0).all()
        assert np.degrees(np.arccos(motion.head[:, 2, 2])).max() < 40  # the face is towards the camera

        toes = np.minimum(joint(points, "left_toe")[:, 1], joint(points, "right_toe")[:, 1])
        assert toes.min() > 0.01
        assert np.quantile(toes, 0.95) < 0.04
        assert toes.max() < 0.10
        assert min(joint(points, "left_ankle")[:, 1].min(), joint(points, "right_ankle")[:, 1].min()) > 0.07
        for side in ("left", "right"):
            assert bend(points, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist").max() < 150
            assert bend(points, f"{side}_hip", f"{side}_knee", f"{side}_ankle").max() < 145
            for part in ("elbow", "wrist", "hand"):  # outside the trunk's axis and the skull
                arm = joint(points, f"{side}_{part}")
                pelvis, spine = joint(points, "pelvis"), joint(points, "neck") - joint(points, "pelvis")
                along = np.clip(((arm - pelvis) * spine).sum(1) / (spine**2).sum(1), 0, 1)
                assert np.linalg.norm(arm - pelvis - along[:, None] * spine, axis=1).min() > 0.14
                assert np.linalg.norm(arm - joint(points, "head"), axis=1).min() > 0.11


@pytest.mark.parametrize("dance", DANCES)
def test_knees_bend_forwards_when_the_feet_are_down(dance: str) -> None:
    points = perform(dance, dancer(), TEN_SECONDS).points
    pelvis_left = joint(points, "left_hip") - joint(points, "right_hip")
    ahead = np.cross(pelvis_left, [0.0, 1.0, 0.0])
    for side in ("left", "right"):
        hip, knee, ankle = (joint(points, f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        down = ankle[:, 1] < 0.10
        assert down.mean() > 0.3
        assert (((knee - (hip + ankle) / 2) * ahead).sum(1)[down] > 0).all()


@pytest.mark.parametrize("dance", DANCES)
def test_every_dance_uses_every_limb(dance: str) -> None:
    points = perform(dance, dancer(), TEN_SECONDS).points
    for name in LIMB_POINTS:
        assert np.ptp(limb(points, name), axis=0).max() > (0.5 if name.endswith("arm") else 0.2), name
    assert np.ptp(joint(points, "pelvis"), axis=0).max() > 0.1
    assert np.ptp(joint(points, "neck") - joint(points, "pelvis"), axis=0).max() > 0.08


@pytest.mark.parametrize("dance", DANCES)
def test_motion_has_no_jumps_of_place_or_speed(dance: str) -> None:
    faults = (Fault("late", "left_arm", 1.0, 3.0, 0.3), Fault("unsteady", "trunk", 2.0, 3.5, 0.1))
    person = dancer(Skill(0.3, 0.6, 0.9, 0.2), 7, faults)

    def roughest(step: float) -> float:
        points = perform(dance, person, np.arange(0.0, 4.0, step)).points
        return float(np.abs(np.diff(points, 2, axis=0)).max())

    # Second differences fall with the square of the step where speed is continuous, and in proportion where it jumps.
    assert roughest(0.002) > 3.0 * roughest(0.001)


def test_a_performance_is_the_same_twice_and_at_any_frame_rate() -> None:
    person = dancer(Skill(0.3, 0.5, 0.4, 0.2), 9, (Fault("small", "right_arm", 2.0, 4.0, 0.5),))
    even = np.arange(0.0, 8.0, 0.04)
    uneven = np.sort(np.random.default_rng(0).choice(even, 60, replace=False))
    whole, again, some = (perform("wave", person, seconds) for seconds in (even, even, uneven))
    np.testing.assert_array_equal(whole.points, again.points)
    chosen = np.searchsorted(even, uneven)
    np.testing.assert_allclose(whole.points[chosen], some.points, atol=1e-9)
    np.testing.assert_allclose(whole.head[chosen], some.head, atol=1e-9)
    assert np.abs(perform("wave", replace(person, seed=10), even).points - whole.points).max() > 0.1


@pytest.mark.parametrize("dance", DANCES)
def test_everybody_dances_within_two_percent_of_the_tempo(dance: str) -> None:
    steps = choreography(dance)
    assert 100 <= steps.bpm <= 130
    assert 8 <= steps.loop <= 16
    usual = steps.loop * 60 / steps.bpm
    for seed in range(4):
        start = perform(dance, dancer(seed=seed), np.arange(0.0, 3.0, 0.05)).points
        loops = np.arange(0.96, 1.04, 0.0025)
        gaps = [
            np.abs(perform(dance, dancer(seed=seed), np.arange(0.0, 3.0, 0.05) + usual * loop).points - start).max()
            for loop in loops
        ]
        assert abs(loops[int(np.argmin(gaps))] - 1) < 0.0225
        assert min(gaps) < 0.1  # metres: it repeats, but for the grid of tempos tried


def test_amplitude_scales_the_movement() -> None:
    for dance in DANCES:
        sizes = []
        for amplitude in (0.0, 0.25, 0.5, 0.75, 1.0):
            points = perform(dance, dancer(replace(PERFECT, amplitude=amplitude)), TEN_SECONDS).points
            path = [np.linalg.norm(np.diff(limb(points, name), axis=0), axis=1).sum() for name in LIMB_POINTS]
            sizes.append(np.sum(path))
        assert (np.diff(sizes) > 0).all(), dance
        assert sizes[0] < 0.65 * sizes[-1], dance


def test_timing_sets_each_limb_off_the_beat_by_itself() -> None:
    spreads = []
    for timing in (0.0, 0.3, 0.6, 1.0):
        late = []
        for seed in range(4):
            points = perform("arms_up", dancer(replace(PERFECT, timing=timing), seed), TEN_SECONDS).points
            model = perform("arms_up", dancer(seed=seed), TEN_SECONDS).points
            late.append(0.02 * np.array([lag(limb(points, name), limb(model, name)) for name in LIMB_POINTS]))
        spreads.append(np.ptp(late, axis=1).mean())
        assert np.max(late) < 0.3
    assert spreads[-1] == 0.0
    assert (np.diff(spreads) < 0).all()
    assert spreads[0] > 0.08  # seconds between the earliest and the latest limb


def test_sharpness_moves_quickly_and_holds_without_being_late() -> None:
    for dance in DANCES:
        model = perform(dance, dancer(), TEN_SECONDS).points
        held = []
        for sharpness in (0.0, 0.35, 0.7, 1.0):
            points = perform(dance, dancer(replace(PERFECT, sharpness=sharpness)), TEN_SECONDS).points
            held.append(still(points))
            assert abs(lag(limb(points, "left_arm"), limb(model, "left_arm"))) <= 2, dance
        assert (np.diff(held) > 0).all(), (dance, held)
        assert held[-1] > held[0] + 0.15, (dance, held)


def test_balance_sways_the_trunk_and_shifts_the_feet() -> None:
    seconds = np.arange(0.0, 20.0, 0.05)
    model = perform("hip_sway", dancer(), seconds).points
    sways, shifts, leans = [], [], []
    for balance in (0.0, 0.35, 0.7, 1.0):
        points = perform("hip_sway", dancer(replace(PERFECT, balance=balance)), seconds).points
        sways.append(np.abs(joint(points, "pelvis") - joint(model, "pelvis")).max())
        shifts.append(np.abs(joint(points, "left_toe") - joint(model, "left_toe")).max())
        lean, upright = (joint(p, "neck") - joint(p, "pelvis") for p in (points, model))
        leans.append(np.abs(lean - upright).max() / np.linalg.norm(upright, axis=1).mean())
        assert np.abs(joint(points, "pelvis")[:, 1] - joint(model, "pelvis")[:, 1]).max() < 1e-9
    for seen in (sways, shifts, leans):
        assert seen[-1] == 0.0
        assert (np.diff(seen) < 0).all()
    assert 0.07 < sways[0] < 0.11
    assert 0.02 < shifts[0] < 0.10
    assert 6 < np.degrees(leans[0]) < 15


@pytest.mark.parametrize("kind", ["late", "small"])
@pytest.mark.parametrize("name", LIMB_POINTS)
def test_a_fault_changes_its_limb_in_its_window_and_nothing_else(kind: str, name: str) -> None:
    # Windows that hold some of every limb's movement in this dance.
    fault = Fault(kind, name, 2.0, 7.0, 0.3 if kind == "late" else 0.6)
    skill = Skill(0.8, 0.9, 0.7, 0.6)
    sound = perform("kick", dancer(skill, 2), TEN_SECONDS)
    faulty = perform("kick", dancer(skill, 2, (fault,)), TEN_SECONDS)
    change = np.linalg.norm(faulty.points - sound.points, axis=2)
    mine = [JOINT[point] for point in LIMB_POINTS[name]]
    inside = (TEN_SECONDS > 2.0) & (TEN_SECONDS < 7.0)
    assert change[~inside].max() == 0.0
    assert np.delete(change, mine, axis=1).max() == 0.0
    np.testing.assert_array_equal(faulty.head, sound.head)
    assert change[:, mine].max() > 0.1

    middle = (TEN_SECONDS > 3.0) & (TEN_SECONDS < 6.0)
    if kind == "late":
        assert 0.02 * lag(limb(faulty.points, name)[middle], limb(sound.points, name)[middle]) == pytest.approx(
            0.3, abs=0.05
        )
    else:
        path = [
            np.linalg.norm(np.diff(limb(motion.points, name)[middle], axis=0), axis=1).sum()
            for motion in (faulty, sound)
        ]
        # Of a leg, stepping aside shrinks with the fault but following the hips does not.
        assert path[0] < (0.6 if name.endswith("arm") else 0.8) * path[1]


def test_an_unsteady_trunk_sways_by_the_size_given_over_planted_feet() -> None:
    fault = Fault("unsteady", "trunk", 2.0, 6.0, 0.08)
    sound = perform("hip_sway", dancer(), TEN_SECONDS).points
    faulty = perform("hip_sway", dancer(faults=(fault,)), TEN_SECONDS).points
    off = np.abs(joint(faulty, "pelvis") - joint(sound, "pelvis"))
    inside = (TEN_SECONDS > 2.0) & (TEN_SECONDS < 6.0)
    assert off[~inside].max() == 0.0
    assert off[:, 0].max() == pytest.approx(0.08, abs=0.01)
    feet = [JOINT["left_toe"], JOINT["right_toe"]]
    assert np.abs(faulty[:, feet] - sound[:, feet]).max() < 0.03


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (Fault("early", "left_arm", 1.0, 2.0, 0.1), "no fault 'early'"),
        (Fault("late", "tail", 1.0, 2.0, 0.1), "of 'tail'"),
        (Fault("unsteady", "left_leg", 1.0, 2.0, 0.1), "only the trunk"),
        (Fault("late", "left_leg", 2.0, 2.0, 0.1), "end after it starts"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault: Fault, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        perform("wave", dancer(faults=(fault,)), TEN_SECONDS)


def test_unknown_dances_and_times_out_of_order_are_refused() -> None:
    with pytest.raises(KeyError, match="no dance 'waltz'"):
        perform("waltz", dancer(), TEN_SECONDS)
    with pytest.raises(ValueError, match="ascending"):
        perform("wave", dancer(), np.array([0.0, 0.2, 0.1]))


def seen(dance: str, person: Person, rng: np.random.Generator) -> np.ndarray:
    """What a pose network gives, [80, 13, 2] in body heights: ten frames a second from the front, 2 cm off."""
    names = [n for n in JOINTS if n.split("_")[-1] in ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")]
    points = perform(dance, person, np.arange(80) / 10).points[:, [JOINT[name] for name in names], :2]
    return (points + rng.normal(0.0, 0.02, points.shape)) / person.body.height_m


def test_the_eight_dances_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    cases = [(dance, dancer(draw_skill(rng), seed)) for seed in range(12) for dance in DANCES]
    rows = []
    for dance, person in cases:
        points = seen(dance, person, rng)
        points = points - points[:, 7:9].mean(axis=1, keepdims=True)  # from the hips
        rows.append(np.concatenate([np.quantile(points, q, axis=0).ravel() for q in (0.1, 0.5, 0.9)]))
    looks = np.array(rows)
    gaps = np.linalg.norm(looks[:, None] - looks[None], axis=2) + np.diag(np.full(len(looks), np.inf))
    right = [cases[i][0] == cases[int(np.argmin(gaps[i]))][0] for i in range(len(cases))]
    assert np.mean(right) > 0.75  # whatever the skill; 0.125 by chance


def test_skill_is_read_from_noisy_keypoints_at_ten_frames_a_second() -> None:
    """Ridge regression of overall skill from hand-made statistics within each dance, five-fold."""
    rng = np.random.default_rng(1)
    rows, skills = [], []
    for i in range(200):
        person = dancer(draw_skill(rng), seed=i)
        points = seen(DANCES[i % 8], person, rng).reshape(80, -1)
        speed = np.abs(np.diff(points, axis=0))
        spectrum = np.abs(np.fft.rfft(points - points.mean(axis=0), axis=0)) ** 2
        bands = [spectrum[low:high].sum(axis=0) for low, high in ((1, 4), (4, 8), (8, 16), (16, 41))]
        rows.append(np.concatenate([points.std(axis=0), (speed**4).mean(0) / (speed**2).mean(0) ** 2, *np.log(bands)]))
        skills.append(person.skill.overall)
    features, skill, dance, fold = np.array(rows), np.array(skills), np.arange(200) % 8, rng.permutation(200) % 5
    for number in range(8):
        of = dance == number
        features[of] = (features[of] - features[of].mean(axis=0)) / features[of].std(axis=0)
    guess = np.zeros(200)
    for test in range(5):
        known, mean = features[fold != test], skill[fold != test].mean()
        weights = np.linalg.solve(
            known.T @ known + 100 * np.eye(known.shape[1]), known.T @ (skill[fold != test] - mean)
        )
        guess[fold == test] = features[fold == test] @ weights + mean
    assert spearmanr(guess, skill).statistic > 0.8


def test_skills_drawn_spread_over_the_range_and_their_parts_differ() -> None:
    skills = [draw_skill(np.random.default_rng(seed)) for seed in range(400)]
    parts = np.array([[s.timing, s.amplitude, s.sharpness, s.balance] for s in skills])
    assert parts.min() >= 0.0
    assert parts.max() <= 1.0
    overall = np.array([s.overall for s in skills])
    assert np.quantile(overall, 0.1) < 0.25
    assert np.quantile(overall, 0.9) > 0.75
    assert 0.4 < np.corrcoef(parts.T)[0, 1] < 0.9
