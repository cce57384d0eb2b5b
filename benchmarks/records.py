"""What a creator's record does to a label and to a forecast, on creators that are made up. Nothing is rendered.

    python -m benchmarks.records            # seconds

* The label `adjusted` of simulated worlds, whose followers tell creators apart but for a little: the best possible
  Spearman with it, of all that a clip shows, where the record is not taken out, is from one earlier clip on, and is by
  the product's rule.
* A forecast for creators who are new, where likes follow a fame that nobody can see: Spearman of the joint model fitted
  to content alone, with the context, and with the context and an effect a creator, as the content has it.
"""

import argparse
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from benchmarks.common import save, table
from models.virality.config import CONTEXT
from models.virality.joint import FEATURE_LIMIT, ContextPart, Part
from pipeline.dataset import labels
from pipeline.dataset.context import EARLIER_CLIPS, with_records
from pipeline.dataset.labels import LabelOptions, make_labels
from pipeline.training.joint import TrainingClips, calibrate, calibrate_context, fit_joint, read_context
from simulation.ceiling import mean_spearman
from simulation.world import DEMO_WORLD, WorldOptions, content_log_likes, make_world

WORLDS = {
    "the demo": [DEMO_WORLD],
    "256 clips by 96 creators": [WorldOptions(seed=seed) for seed in (500, 501, 600, 601)],
    "1,000 clips by 96 creators": [WorldOptions(seed=seed, clips=1000) for seed in (502, 503)],
}
SEEDS, CREATORS, CLIPS = range(4), 60, 600
TRAINED = 0.7  # of the creators


def label_ceilings(options: WorldOptions) -> list[float]:
    """Best possible Spearman with the label: record left in, taken out from one clip on, by the product's rule."""
    uploads = make_world(options)
    clips = _manifest(
        clip_id=[upload.script.clip_id for upload in uploads],
        challenge=[upload.script.dance for upload in uploads],
        creator_id=[upload.creator_id for upload in uploads],
        uploaded_at=[upload.uploaded_at for upload in uploads],
        likes=[upload.likes for upload in uploads],
        followers=[upload.followers for upload in uploads],
    )
    content = np.array([content_log_likes(upload) for upload in uploads])

    def ceiling(changed: pd.DataFrame) -> float:
        label = make_labels(changed, LabelOptions("adjusted", holdout=0)).label
        return mean_spearman(content, label, clips["challenge"])

    with patch.multiple(labels, RECORD_CLIPS=1, RECORD_TRAINING_CLIPS=1):
        of_one = ceiling(clips)
    return [ceiling(clips.assign(**{EARLIER_CLIPS: 0})), of_one, ceiling(clips)]


def forecasts(seed: int) -> list[float]:
    """Spearman with the likes of creators not trained on: content alone, with the context, and with an effect, too."""
    rng = np.random.default_rng(seed)
    creator = rng.integers(0, CREATORS, CLIPS)
    fame, level = rng.normal(0, 1.5, CREATORS)[creator], rng.normal(0, 0.5, CREATORS)[creator]
    skill = level + rng.normal(0, 0.3, CLIPS)
    seen = np.concatenate([(skill + rng.normal(0, 0.3, CLIPS))[:, None], rng.normal(size=(CLIPS, 21))], 1)
    clips = _manifest(
        clip_id=[str(place) for place in range(CLIPS)],
        challenge="one",
        creator_id=[f"creator{one}" for one in creator],
        uploaded_at=pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(rng.uniform(0, 200, CLIPS), "D"),
        likes=np.exp(5 + fame + skill + rng.normal(0, 0.5, CLIPS)).astype(int),
    )
    known = creator < TRAINED * CREATORS
    split = np.where(known, "train", "test")
    percentile = make_labels(clips.assign(split=pd.array(split, "string")), LabelOptions("likes")).percentile
    trained = TrainingClips(np.flatnonzero(known), np.full(known.sum(), "one"), creator[known], percentile[known])
    content, context = Part(seen.shape[1], FEATURE_LIMIT, 0), ContextPart()
    fitted = {"content": calibrate(content, *_given(seen[known])), CONTEXT: calibrate_context(context, clips[known])}
    asked = {"content": content.read(*_given(seen[~known])), CONTEXT: read_context(context, clips[~known])}

    def skill_of(names: dict[str, str]) -> float:
        joint = fit_joint({name: fitted[of] for name, of in names.items()}, trained)
        parts = joint.parts({name: asked[of] for name, of in names.items()})
        return float(spearmanr(sum(parts.values()), clips["likes"][~known].astype(float)).statistic)

    # Under another name the context is a modality like any other, and creators have an effect.
    return [skill_of(names) for names in ({"content": "content"}, {"content": "content", CONTEXT: CONTEXT},
                                          {"content": "content", "another": CONTEXT})]  # fmt: skip


def _manifest(**columns: object) -> pd.DataFrame:
    unknown = dict.fromkeys(("copies", "split", "views", "comments", "shares", "followers", "creator_likes",
                             "creator_videos", "duration_s"))  # fmt: skip
    counts = dict.fromkeys(("likes", "views", "comments", "shares", "followers", "creator_likes", "creator_videos"),
                           "Int64")  # fmt: skip
    texts = dict.fromkeys(("creator_id", "copies", "split"), "string")
    return with_records(pd.DataFrame(unknown | columns).astype({**counts, **texts, "duration_s": "Float64"}))


def _given(statistics: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Statistics as a part reads them, of clips all seen equally well; no networks."""
    ones = torch.ones(len(statistics))
    return torch.from_numpy(statistics).float(), torch.zeros(len(statistics), 0), ones, ones.bool()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    of_label = {name: np.mean([label_ceilings(one) for one in worlds], 0).round(3) for name, worlds in WORLDS.items()}
    head = ["best possible Spearman with the label", "record left in", "from one clip on", "by the rule"]
    print(table([[name, *found] for name, found in of_label.items()], head))
    of_forecast = np.mean([forecasts(seed) for seed in SEEDS], 0).round(3)
    head = ["Spearman with likes, creators new", "content alone", "with context", "and an effect a creator"]
    print(table([[f"{CLIPS} clips by {CREATORS} creators", *of_forecast]], head))
    save("records", {"label": {name: found.tolist() for name, found in of_label.items()},
                     "forecast": of_forecast.tolist()})  # fmt: skip


if __name__ == "__main__":
    main()
