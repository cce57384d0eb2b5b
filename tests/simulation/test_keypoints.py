"""Keypoints made without a picture are where the drawn dancer's are, give or take what a pose network misses."""

from dataclasses import replace

import numpy as np

from simulation.filming.film import film
from simulation.filming.keypoints import ERROR, LEAST_SCORE, film_keypoints
from simulation.filming.visibility import OUTSIDE
from simulation.script import ClipScript
from simulation.world import WorldOptions, make_world

SECONDS = np.array([0.0, 0.7, 1.9])


def script() -> ClipScript:
    return make_world(WorldOptions(seed=3, clips=4, creators=4, broken=0.0))[0].script


def test_joints_are_where_the_film_shows_them() -> None:
    one = script()
    truth = np.stack([seen[0].keypoints for _, seen in film(one, SECONDS)])
    found = np.stack([film_keypoints(one, SECONDS, np.random.default_rng(seed)) for seed in range(40)])
    height = np.ptp(truth[..., 1], axis=1).mean()
    # The errors are random, so their mean over many draws is the joint itself.
    assert np.abs(np.median(found[..., :2], 0) - truth[..., :2]).max() < 0.01 * height
    assert 0.5 * ERROR < np.median(np.abs(found[..., :2] - truth[..., :2])) / height < ERROR


def test_joints_outside_of_the_picture_are_not_sure() -> None:
    one = script()
    near = replace(one, shots=tuple(replace(shot, distance_m=0.45 * shot.distance_m) for shot in one.shots))
    truth = np.stack([seen[0].keypoints for _, seen in film(near, SECONDS)])
    outside = truth[..., 2] == OUTSIDE
    assert outside.any()
    assert not outside.all()
    found = np.stack([film_keypoints(near, SECONDS, np.random.default_rng(seed)) for seed in range(10)])
    sure = (found[..., 2] >= LEAST_SCORE).mean(0)
    assert sure[outside].max() < 0.5 < sure[~outside].min()


def test_scores_differ_from_clip_to_clip_as_a_networks_do() -> None:
    found = np.stack([film_keypoints(script(), SECONDS, np.random.default_rng(seed)) for seed in range(30)])
    usual = np.median(found[..., 2], axis=(1, 2))
    assert usual.min() < 0.78
    assert usual.max() > 0.92
