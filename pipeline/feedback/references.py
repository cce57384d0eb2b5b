"""The clips that a clip is held against: the best of its challenge, by others."""

import math
from dataclasses import dataclass

import pandas as pd

from pipeline.core import storage
from pipeline.core.errors import DataError, OptionError
from pipeline.dataset.assemble import read_clips, read_table
from pipeline.feedback.compare import LEAST_FITTING
from pipeline.runs.files import SCORES
from pipeline.runs.runs import read_run

MOST, LEAST, SHARE = 8, 5, 0.1  # the best tenth of the challenge, but at least 5 and at most 8
_SHOWN = 10


@dataclass(frozen=True)
class Chosen:
    """Rows of the dataset's clips.parquet."""

    clips: pd.DataFrame
    row: int
    references: tuple[int, ...]


def choose(workspace: str, run_dir: str, clip_id: str) -> Chosen:
    """The clip and its references: those of its challenge with the highest skeleton score, by other creators and no
    copies of it, one clip a creator; more of a creator only where there are too few.

    Raises:
        OptionError: no such clip, or the run has no skeletons.
        DataError: the clip shows nobody, or its challenge has too few clips to hold it against.
    """
    run = read_run(workspace, run_dir)
    if "pose" not in run["config"]["modalities"] or "pose" not in run["features"]:
        raise OptionError(
            f"{run_dir} was made without the pose modality: feedback needs skeletons; train a run with pose among"
            " --modalities"
        )
    clips = read_clips(workspace, f"datasets/{run['dataset']}")
    scores = read_table(storage.join(workspace, run_dir, SCORES)).set_index("clip_id")
    rows = clips.index[clips["clip_id"] == clip_id]
    if not len(rows):
        some = ", ".join(clips["clip_id"].head(_SHOWN))
        raise OptionError(f"--clip {clip_id!r}: run {run_dir} has no such clip; its {len(clips)} clips are {some}, ...")
    row = int(rows[0])
    own = clips.loc[row]
    score = clips["clip_id"].map(scores["score_pose"]).astype(float)
    if math.isnan(score[row]):
        why = f"it {own['status']} ({own['code']})" if own["status"] == "failed" else "nobody was found in it"
        raise DataError(f"clip {clip_id} has no skeleton: {why}; feedback needs a clip in which a dancer is seen")
    others = (clips["challenge"] == own["challenge"]) & score.notna() & (clips.index != row)
    if not pd.isna(own["creator_id"]):
        others &= (clips["creator_id"] != own["creator_id"]).fillna(True).astype(bool)
    if not pd.isna(own["copies"]):
        others &= (clips["copies"] != own["copies"]).fillna(True).astype(bool)
    ranked = score[others].sort_values(ascending=False, kind="stable").index
    wanted = min(MOST, max(LEAST, math.ceil(SHARE * int((clips["challenge"] == own["challenge"]).sum()))))
    if len(ranked) < LEAST_FITTING:
        raise DataError(
            f"challenge {own['challenge']!r} has {len(ranked)} clips with a skeleton by others than {clip_id}'s"
            f" creator; feedback needs {LEAST_FITTING} to hold it against"
        )
    creators = clips.loc[ranked, "creator_id"]
    again = creators.notna() & creators.duplicated()
    ordered = [*ranked[~again], *ranked[again]][:wanted]
    return Chosen(clips, row, tuple(int(one) for one in ordered))
