"""The modality audio: from its extractor's results to rows, columns and the model's input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.extractors.audio.extractor import AudioExtractor
from models.virality.config import VdvConfig
from pipeline.decode.clips import Ending
from pipeline.features.columns import from_table, to_batch
from pipeline.modalities.audio import AUDIO, STATISTICS, AudioRows, sound_statistics
from pipeline.modalities.record import Decoded, Grid
from pipeline.modalities.registry import load_profile
from tests.support.feature_rows import audio_rows
from tests.support.made_sounds import SAMPLE_HZ, excerpt, made_track

ENDING = Ending("clip", "ok", "", "", 10, 10)


def rows_of(sound: np.ndarray, heard: tuple[float, float] | None = None) -> AudioRows:
    """As an extraction makes them."""
    entry = load_profile("untrained").entry("audio")
    extractor = AUDIO.build_extractor(entry, None, device=torch.device("cpu"), batch_size=32, seed=0)
    assert isinstance(extractor, AudioExtractor)
    prepared = extractor.prepare(torch.from_numpy(np.asarray(sound, np.float32)))
    results = extractor.infer(prepared.inputs, prepared.extras)
    decoded = Decoded(ENDING, heard=heard or (0.0, len(sound) / SAMPLE_HZ))
    return AUDIO.assemble(decoded, Grid(*extractor.grid(len(sound))), np.array(prepared.frame, np.int32), results)


def test_a_clips_sound_becomes_embeddings_beats_and_a_fingerprint() -> None:
    track = made_track(503)
    rows = rows_of(excerpt(track, 8.0)[0])
    assert rows.feature.shape == (7, 64)
    assert rows.log_mel.shape == (801, 64)
    assert rows.onset.shape == (801,)
    assert rows.tempo == pytest.approx(track.style.bpm, rel=0.005)
    assert len(rows.beats) == len(rows.beat_confidence) == pytest.approx(8 * track.style.bpm / 60, abs=2)
    assert len(rows.fingerprint) > 140
    assert rows.heard.tolist() == [0.0, 8.0]


def test_rows_survive_their_columns_to_the_bit() -> None:
    for rows in (audio_rows(), audio_rows(beats=0), rows_of(excerpt(made_track(503), 5.0)[0])):
        read = from_table("audio", to_batch(rows))
        assert isinstance(read, AudioRows)
        for column in AUDIO.columns:
            if hasattr(rows, column.name) and column.name != "clip_id":
                one, other = np.asarray(getattr(rows, column.name)), np.asarray(getattr(read, column.name))
                assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes()), column.name


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    rows = audio_rows()
    with pytest.raises(ValueError, match=r"onset is float32 \[499\], must be float32 \[500\]"):
        to_batch(replace(rows, onset=rows.onset[:-1]))
    with pytest.raises(ValueError, match=r"beat_confidence is float32 \[8\], must be float32 \[9\]"):
        to_batch(replace(rows, beat_confidence=rows.beat_confidence[:-1]))


def test_windows_outside_of_what_is_heard_are_not_valid() -> None:
    sound = np.concatenate([np.zeros(3 * SAMPLE_HZ), excerpt(made_track(503), 5.0)[0]])
    rows = rows_of(sound, heard=(3.0, 8.0))
    assert rows.grid.timestamp.tolist() == [1, 2, 3, 4, 5, 6, 7]
    valid = [False, False, True, True, True, True, True]
    assert AUDIO.valid(rows).tolist() == valid
    tensors = AUDIO.tensors(rows)
    assert tensors.valid.tolist() == valid
    assert not tensors.feature[:2].any()
    assert rows.beats.min() >= 3.0


def test_quality_is_the_share_that_is_heard_and_half_of_it_the_rhythms() -> None:
    rows = audio_rows()
    assert AUDIO.quality(replace(rows, tempo_confidence=np.float32(1)), 1.0, np.zeros(0, int)) == pytest.approx(1)
    assert AUDIO.quality(replace(rows, tempo_confidence=np.float32(0)), 1.0, np.zeros(0, int)) == pytest.approx(0.5)
    half = replace(rows, heard=np.array([0.0, 3.2], np.float32), tempo_confidence=np.float32(1))
    assert AUDIO.quality(half, 0.5, np.zeros(0, int)) == pytest.approx(0.5 * 3 / 5)


def test_the_model_reads_embeddings_and_six_statistics() -> None:
    rows = audio_rows()
    spec = AUDIO.input_spec(AUDIO.stored_width(rows))
    assert (spec.width, spec.statistics_width) == (48 + 6, len(STATISTICS))
    given = AUDIO.read_input(rows, spec, VdvConfig(), np.zeros(0, int), 0.7)
    assert given.values.shape == (5, 54)
    np.testing.assert_array_equal(given.values[:, :48], rows.feature.astype(np.float32))
    np.testing.assert_array_equal(given.values[:, 48:], sound_statistics(rows))
    assert AUDIO.read_input(None, spec, VdvConfig(), np.zeros(0, int), 0.0).values.shape == (0, 54)


def test_statistics_tell_loud_from_soft_bright_from_dull_and_fast_from_slow() -> None:
    rows = audio_rows()
    spectra = rows.log_mel.astype(np.float32)

    def mean(changed: AudioRows) -> dict[str, float]:
        return dict(zip(STATISTICS, sound_statistics(changed).mean(0).tolist(), strict=True))

    usual = mean(rows)
    softer = mean(replace(rows, log_mel=(spectra - 20).astype(np.float16)))
    assert softer["loudness"] == pytest.approx(usual["loudness"] - 1, abs=0.01)
    assert softer["brightness"] == pytest.approx(usual["brightness"], abs=0.01)
    treble = spectra.copy()
    treble[:, 40:] += 10
    assert mean(replace(rows, log_mel=treble.astype(np.float16)))["brightness"] > usual["brightness"] + 0.2
    bass = spectra.copy()
    bass[:, :3] += 10
    assert mean(replace(rows, log_mel=bass.astype(np.float16)))["bass"] > usual["bass"] + 0.8
    assert mean(replace(rows, tempo=np.float32(224)))["tempo"] == pytest.approx(1)
    assert mean(replace(rows, tempo=np.float32(0)))["tempo"] == 0
    assert mean(replace(rows, onset=rows.onset + 1))["onsets"] == pytest.approx(usual["onsets"] + 1, abs=1e-5)


def test_a_statistic_is_of_the_sound_around_its_window() -> None:
    rows = audio_rows()
    spectra = rows.log_mel.astype(np.float32)
    spectra[250:350] += 20  # nearest to the window around 3 s
    changed = sound_statistics(replace(rows, log_mel=spectra.astype(np.float16)))[:, 0] - sound_statistics(rows)[:, 0]
    np.testing.assert_allclose(changed, [0, 0, 1, 0, 0], atol=0.01)


def test_a_clip_without_windows_has_no_statistics() -> None:
    assert sound_statistics(audio_rows(windows=0)).shape == (0, 6)
