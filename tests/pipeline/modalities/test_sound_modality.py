"""A modality that reads sound is one record, from the film to the report; clips that cannot be heard are counted."""

import json
from pathlib import Path

import luigi
import numpy as np
import pandas as pd
import pytest

from benchmarks.tiny_clips import tiny_world
from pipeline.features.reader import ShardReader
from pipeline.modalities import registry
from tasks import BuildVDV
from tasks.terminal_text import without_text
from tests.end_to_end.workspaces import TINY_PROFILE
from tests.support.loudness import LOUDNESS, PROFILE, LoudnessRows
from tests.support.sounded_films import SoundTrack, clicks, dubbed

CLICK_S = 0.25


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of a whole build of scene and loudness: clips 0 to 8 have sound, 9 has silence, 10 and 11 none."""
    monkeypatch.setattr(registry, "MODALITIES", (*registry.MODALITIES, LOUDNESS))
    profile = tmp_path / "five.toml"
    profile.write_text(TINY_PROFILE.read_text() + PROFILE)
    manifest = tiny_world(tmp_path, 12)
    for place in range(10):
        sound = SoundTrack(clicks([CLICK_S] if place < 9 else [], 1.0))
        dubbed(tmp_path / "clips" / f"clip{place:03d}.mp4", sound)
    workspace = tmp_path / "workspace"
    build = BuildVDV(
        manifest=str(manifest),
        workspace=str(workspace),
        profile=str(profile),
        modalities="scene,loudness",
        device="cpu",
        epochs=2,
        folds=2,
        decode_workers=1,
        report_films=2,
    )
    assert luigi.build([build], local_scheduler=True, log_level="WARNING")
    return workspace


def test_sound_goes_from_the_film_to_the_report(built: Path) -> None:
    (shard,) = (built / "features" / "loudness").rglob("*.parquet")
    reader = ShardReader(str(shard))
    assert reader.skipped == {"clip009": "silent", "clip010": "no_sound", "clip011": "no_sound"}
    rows = reader.read("clip003")
    assert isinstance(rows, LoudnessRows)
    loud = rows.grid.timestamp[(rows.feature[:, 0] > 0.1).nonzero()]
    np.testing.assert_allclose(loud[np.diff(loud, prepend=-1) > 0.1], [CLICK_S], atol=0.005)

    latest = json.loads((built / "latest.json").read_text())
    clips = pd.read_parquet(built / latest["dataset"] / "clips.parquet").set_index("clip_id")
    assert clips["without_loudness"].dropna().to_dict() == reader.skipped
    assert clips["shard_loudness"].notna().sum() == 9
    assert (clips["status"] == "ok").all()
    assert clips.loc["clip003", "quality_loudness"] == np.isfinite(rows.feature).mean() > 0.8
    assert clips.loc["clip010", "quality_loudness"] == 0.0
    statistics = json.loads((built / latest["dataset"] / "statistics.json").read_text())
    assert statistics["without"] == {"loudness": {"no_sound": 2, "silent": 1}}
    assert statistics["modalities"] == {"scene": 12, "loudness": 9}

    (summary,) = (built / "commands").glob("*.json")
    assert json.loads(summary.read_text())["without"] == statistics["without"]
    scores = pd.read_parquet(built / latest["run"] / "scores.parquet").set_index("clip_id")
    assert scores["score"].notna().all()  # by the scene alone, where nothing is to be heard
    assert scores["score_loudness"].notna().sum() == 9
    assert "the sound's loudness" in (built / latest["run"] / "report.html").read_text().replace("\\u0027", "'")


def test_the_summary_says_how_many_clips_cannot_be_heard_and_why() -> None:
    assert without_text({}) == []
    counts = {"loudness": {"no_sound": 3, "silent": 1, "undecodable": 2}}
    assert without_text(counts) == ["without loudness: no sound: 3, undecodable: 2, silent: 1"]
