"""The fit of the mean bar: it finds what made the choices, and writes a module that can be read."""

import runpy
from pathlib import Path

import numpy as np

from pipeline.music.meter import SIXTEENTHS
from pipeline.music.meter_pattern import PATTERN
from simulation.training.meter_training import Choices, choices_of, fit_choices, fit_odds, main, sounds


def test_weights_are_those_that_chose() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=9)
    data = []
    for _ in range(300):
        features = rng.normal(size=(3, SIXTEENTHS, 9)).astype(np.float32)
        best = int((features @ true).argmax())
        data.append(Choices(features, best // SIXTEENTHS, best % SIXTEENTHS))
    weights = fit_choices(data)
    assert np.corrcoef(weights, true)[0, 1] > 0.98


def test_odds_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    features = np.column_stack([np.ones(20_000), rng.normal(size=20_000)])
    right = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 - 2 * features[:, 1])))
    np.testing.assert_allclose(fit_odds(features, right), [0.5, -2], atol=0.1)


def test_the_right_choice_of_a_made_sound_scores_best_with_the_pattern_that_is_bundled() -> None:
    right = total = 0
    for sound, spectra in sounds(12, 9_000):
        choices = choices_of(sound, spectra) if len(sound.beats) else None
        if choices is not None:
            scores = choices.features[choices.tempo, :, : PATTERN.size] @ PATTERN.ravel()
            right += int(scores.argmax()) % 4 == choices.rotation % 4
            total += 1
    assert total >= 5
    assert right >= 0.8 * total


def test_the_module_that_is_written_holds_what_was_fitted(tmp_path: Path) -> None:
    path = tmp_path / "meter_pattern.py"
    main(["--sounds", "12", "--output", str(path)])
    written = runpy.run_path(str(path))
    assert written["PATTERN"].shape == PATTERN.shape
    assert written["PATTERN"].any()
    assert [len(written[name]) for name in ("TEMPO", "TEMPO_ODDS", "BEAT_ODDS")] == [3, 4, 4]
