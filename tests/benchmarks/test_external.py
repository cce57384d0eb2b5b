"""The external benchmark measures what it says, and no test episode's label reaches a training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import external, external_training
from benchmarks.external_metrics import auc_and_interval, mean_and_interval, pairs_of_subjects, pairwise_within
from benchmarks.external_training import joint_scores
from benchmarks.ui_prmd import Episodes, Split, leave_movements_out, leave_subjects_out, load_episodes, only_subjects
from models.virality.config import VdvConfig
from models.virality.skeleton import KINECT22

MOVEMENTS, SUBJECTS, REPETITIONS = 2, 4, 4
RAISED = {1: ("left_elbow", "left_wrist"), 2: ("right_knee", "right_ankle", "right_toes")}  # by movement


def standing() -> np.ndarray:
    """float64 [22, 3] centimetres, y up."""
    where = {
        "pelvis": (0, 95), "spine": (0, 110), "chest": (0, 130), "neck": (0, 145), "head": (0, 155),
        "head_top": (0, 170), "collar": (6, 140), "shoulder": (18, 140), "elbow": (22, 112), "wrist": (24, 88),
        "hip": (10, 92), "knee": (11, 50), "ankle": (11, 9), "toes": (11, 2),
    }  # fmt: skip
    places = []
    for name in KINECT22.joints:
        side, _, part = name.partition("_") if name.startswith(("left_", "right_")) else ("", "", name)
        across, up = where[part]
        places.append((-across if side == "left" else across, up, 0))
    return np.array(places, float)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people raise an arm or a leg; done wrong, half as high."""
    rng = np.random.default_rng(0)
    joints, length, tables = [], [], []
    for movement in range(1, MOVEMENTS + 1):
        raised = [KINECT22.joints.index(name) for name in RAISED[movement]]
        for subject in range(1, SUBJECTS + 1):
            for correct in (1, 0):
                for _ in range(REPETITIONS):
                    frames = int(rng.integers(20, 30))
                    way = np.sin(np.linspace(0, np.pi, frames)) * rng.normal(40 if correct else 20, 2)
                    place = np.repeat(standing()[None] * (0.9 + 0.05 * subject), frames, 0)
                    place[:, raised, 1] += way[:, None]
                    joints.append(place + rng.normal(0, 0.3, place.shape))
                    length.append(frames)
                    tables.append((movement, subject, correct))
    movement, subject, correct = np.array(tables).T
    path = tmp_path_factory.mktemp("data") / "episodes.npz"
    parent = np.array([-1, *KINECT22.parents[1:]])
    np.savez(
        path, joints=np.concatenate(joints).astype(np.float32), parent=parent, length=length, movement=movement,
        subject=subject, correct=correct,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def episodes(archive: Path) -> Episodes:
    return load_episodes(archive)


def test_pairs_are_of_one_movement_and_one_subject_and_ties_count_half(episodes: Episodes) -> None:
    # A score that only knows the subject or the movement says nothing of a pair.
    constant = (episodes.subject + 10 * episodes.movement).astype(float)
    rows = np.arange(len(constant))
    shares = pairwise_within(episodes, rows, constant)
    assert len(shares) == MOVEMENTS * SUBJECTS
    assert set(shares.values()) == {0.5}
    # One of the right ones of (1, 1) falls below all the wrong ones: a quarter of that subject's pairs is lost.
    known = constant + 0.5 * episodes.correct
    fallen = np.flatnonzero((episodes.movement == 1) & (episodes.subject == 1) & (episodes.correct == 1))[0]
    known[fallen] -= 1
    shares = pairwise_within(episodes, rows, known)
    assert shares.pop((1, 1)) == pytest.approx(1 - 1 / REPETITIONS)
    assert set(shares.values()) == {1.0}


def test_the_mean_over_pairs_of_subjects_is_the_pooled_auc(episodes: Episodes) -> None:
    rows = np.flatnonzero(episodes.movement == 2)
    score = np.random.default_rng(1).normal(0, 1, len(rows)).round(1) + 0.5 * episodes.correct[rows]
    expected = roc_auc_score(episodes.correct[rows], score)
    pairs = pairs_of_subjects(episodes, rows, score)
    assert pairs.mean() == pytest.approx(expected)
    assert auc_and_interval(pairs[None])["mean"] == pytest.approx(expected, abs=1e-4)


def test_an_interval_is_of_subjects() -> None:
    values = np.array([0.8, 0.9, 1.0, 0.9] * 25)
    interval = mean_and_interval(values)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert interval["low"] == pytest.approx(interval["mean"] - error, abs=0.003)
    assert interval["high"] == pytest.approx(interval["mean"] + error, abs=0.003)


@pytest.mark.parametrize("training", [1, 3])
def test_no_subject_is_on_both_sides_and_each_teaches_as_often_as_the_others(episodes: Episodes, training: int) -> None:
    taught, tested = [], []
    for split in leave_subjects_out(episodes, training):
        ours, others = set(episodes.subject[split.train]), set(episodes.subject[split.test])
        assert (len(ours), len(others)) == (training, SUBJECTS - training)
        assert not ours & others
        taught += list(ours)
        tested += list(others)
    assert {taught.count(subject) for subject in range(1, SUBJECTS + 1)} == {training}
    assert {tested.count(subject) for subject in range(1, SUBJECTS + 1)} == {SUBJECTS - training}


def test_as_many_training_subjects_as_there_are_leave_none_to_judge(episodes: Episodes) -> None:
    with pytest.raises(ValueError, match="4 training subjects of 4: must be 1 to 3"):
        leave_subjects_out(episodes, SUBJECTS)


def test_an_unseen_movement_was_not_trained_on(episodes: Episodes) -> None:
    splits = leave_movements_out(episodes)
    assert len(splits) == MOVEMENTS
    for split in splits:
        assert not set(episodes.movement[split.train]) & set(episodes.movement[split.test])


def test_tuning_sees_the_first_subjects_only(episodes: Episodes) -> None:
    some = only_subjects(episodes, 2)
    assert set(some.subject) == {1, 2}
    assert len(some.postures) == len(some.subject) == len(some.correct)


def test_an_archive_of_another_skeleton_is_refused(archive: Path, tmp_path: Path) -> None:
    with np.load(archive) as file:
        arrays = dict(file)
    np.savez(tmp_path / "other.npz", **{**arrays, "parent": arrays["parent"][::-1]})
    with pytest.raises(ValueError, match="not those of the layout KINECT22"):
        load_episodes(tmp_path / "other.npz")
    del arrays["length"]
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(ValueError, match=r"has no \['length'\]"):
        load_episodes(tmp_path / "less.npz")


CONFIG = replace(external.CONFIG, epochs=10)  # few clips: as few steps as the full check makes would teach nothing


def split_of(episodes: Episodes, training: int | None) -> Split:
    """training: as Setting's."""
    return (leave_movements_out(episodes) if training is None else leave_subjects_out(episodes, training))[0]


def predictions(episodes: Episodes, split: Split, known: bool, config: VdvConfig = CONFIG) -> dict[str, np.ndarray]:
    """What each way says of a split's test rows."""
    numbers = external_training.motion_numbers(external_training.fixed_draws(episodes, external.MOTION))
    of_trees = external_training.tree_statistics(episodes)
    fixed = external_training.fixed_draws(episodes, config)
    trees = external_training.predict_by_trees(episodes, of_trees, split, 0, known, trees=30)
    network = external_training.predict_by_network(episodes, fixed, split, config, known)
    return {
        "trees": trees.test,
        "network": network.test,
        "statistics": joint_scores(episodes, numbers, split, known),
        "joint": joint_scores(episodes, numbers, split, known, network),
        "joint with trees": joint_scores(episodes, numbers, split, known, network, trees),
    }


# One subject is eight episodes a movement.
@pytest.mark.parametrize(("training", "least"), [(3, 0.9), (1, 0.75)])
def test_each_way_learns_to_tell_right_from_wrong(episodes: Episodes, training: int, least: float) -> None:
    split = split_of(episodes, training)
    for way, score in predictions(episodes, split, known=True).items():
        accuracy = np.mean(list(pairwise_within(episodes, split.test, score).values()))
        assert accuracy > least, f"{way} orders {accuracy:.2f} of the pairs"


@pytest.mark.parametrize("training", [3, 1, None])
def test_an_episode_is_judged_by_itself_and_whatever_its_label(episodes: Episodes, training: int | None) -> None:
    split, known, config = split_of(episodes, training), training is not None, replace(CONFIG, epochs=2)
    before = predictions(episodes, split, known, config)
    unknown = episodes.correct.copy()
    unknown[split.test] = 0
    some = np.arange(0, len(split.test), 3)
    after = predictions(replace(episodes, correct=unknown), replace(split, test=split.test[some]), known, config)
    for way, score in before.items():
        np.testing.assert_allclose(after[way], score[some], rtol=1e-4, atol=1e-5, err_msg=way)


@pytest.mark.parametrize("training", [3, 1, None])
def test_what_the_joint_model_learns_from_had_not_seen_the_episode(
    episodes: Episodes, training: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor its subject, where several teach."""
    split, known = split_of(episodes, training), training is not None
    held: list[tuple[np.ndarray, np.ndarray]] = []

    def score(trained_on: np.ndarray, fixed: torch.Tensor) -> np.ndarray:
        held.append((trained_on, fixed.numpy()))
        return fixed.numpy()

    monkeypatch.setattr(external_training, "train_network", lambda _episodes, rows, _config: rows)
    monkeypatch.setattr(external_training, "_score", score)
    every_row = torch.arange(len(episodes.correct))
    predicted = external_training.predict_by_network(episodes, every_row, split, CONFIG, known)
    assert len(held) > 2
    np.testing.assert_array_equal(predicted.held_out, split.train)
    np.testing.assert_array_equal(predicted.test, split.test)
    assert not set(split.train) & set(split.test)
    for rows, judged in held[:-1]:  # the last is trained on all
        assert not set(rows) & set(judged)
        if training != 1:  # of two movements one teaches, and its subjects are held out
            assert not set(episodes.subject[rows]) & set(episodes.subject[judged])


def test_a_batch_holds_whole_challenges_and_an_epoch_each_row_once(episodes: Episodes) -> None:
    rows = np.flatnonzero(episodes.subject > 1)
    config = replace(CONFIG, batch_clips=20)  # two challenges of eight
    batches = list(external_training._batches(episodes, rows, config, epoch=0))
    assert sorted(np.concatenate(batches)) == sorted(rows)
    of_row = external_training.challenges(episodes)
    for batch in batches:
        names, counts = np.unique(of_row[batch], return_counts=True)
        assert len(names) <= 2
        assert set(counts) == {2 * REPETITIONS}
    assert [list(batch) for batch in external_training._batches(episodes, rows, config, epoch=1)] != [
        list(batch) for batch in batches
    ]


def test_what_is_kept_is_not_done_again(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["external", "--data", str(archive), "--work", str(tmp_path), "--seeds", "1", "--only", "1 subject"]
    monkeypatch.setattr("sys.argv", [*command, "--subjects", "2"])
    monkeypatch.setattr(external, "SETTINGS", tuple(replace(setting, epochs=1) for setting in external.SETTINGS))
    monkeypatch.setattr(external, "TREES", 20)
    external.main()
    first = capsys.readouterr().out
    kept = sorted((tmp_path / "2-subjects").iterdir())
    ways = len(external.METHODS) + len(external.JOINTS)
    assert len(kept) == 2 * ways
    kept[0].unlink()
    external.main()
    second = capsys.readouterr().out
    assert (first.count("seed 0: "), second.count("seed 0: ")) == (len(kept), 1)
    # The table is the same but for the seconds of what was done again.
    figures = [[line.split()[:-1] for line in out.splitlines() if " to " in line] for out in (first, second)]
    assert figures[0] == figures[1]
    assert len(figures[0]) == ways + 1  # and the networks alone


def test_trees_learn_and_the_seed_decides_everything() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(120, 5))
    target = (numbers[:, 4] > 0).astype(float)
    predicted, again, other = (
        external_training.fit_trees(numbers[:80], target[:80], seed, trees=50).predict(numbers[80:])
        for seed in (3, 3, 4)
    )
    assert ((predicted > 0.5) == target[80:]).mean() > 0.8
    np.testing.assert_array_equal(predicted, again)
    assert not np.array_equal(predicted, other)
