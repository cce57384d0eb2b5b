"""References of a clip: the best-scored clips of its challenge, by other creators."""

import math
from dataclasses import dataclass

import pandas as pd

from pipeline.core.errors import DataError, OptionError
from pipeline.core.text import quoted
from pipeline.dataset.folder import DatasetFolder
from pipeline.runs.run import SCORES, Run

# The best tenth of the challenge, within limits.
MAX_REFERENCES, MIN_REFERENCES, REFERENCE_SHARE = 8, 5, 0.1
MIN_FITTING = 4  # references that fit the clip: fewer do not show what good clips have in common
_LISTED = 10  # clip ids in a message


@dataclass(frozen=True)
class References:
    """Rows of the dataset's clips.parquet: the clip's and its references', best first."""

    clips: pd.DataFrame
    row: int
    references: tuple[int, ...]


def choose_references(run_folder: Run, clip_id: str) -> References:
    """The clip's challenge by the pose's part of the score, without the clip's creator and copies of it.

    One clip a creator; more of a creator only where there are too few.

    Raises:
        OptionError: no such clip, or the run has no skeletons.
        DataError: the clip shows nobody, or its challenge has too few clips to compare it with.
    """
    run = run_folder.about
    if "pose" not in run["config"]["modalities"] or "pose" not in run["features"]:
        raise OptionError(
            f"{run_folder.place} was made without the pose modality: feedback needs skeletons; train a run with pose"
            " among --modalities"
        )
    clips = DatasetFolder.of(run_folder.workspace, run["dataset"]).read_clips()
    scores = run_folder.read_table(SCORES).set_index("clip_id")
    rows = clips.index[clips["clip_id"] == clip_id]
    if not len(rows):
        some = ", ".join(clips["clip_id"].head(_LISTED))
        raise OptionError(
            f"--clip {quoted(clip_id)}: run {run_folder.place} has no such clip; its {len(clips)} clips are {some}, ..."
        )
    row = int(rows[0])
    clip = clips.loc[row]
    score = clips["clip_id"].map(scores["score_pose"]).astype(float)
    if math.isnan(score[row]):
        why = f"it {clip['status']} ({clip['code']})" if clip["status"] == "failed" else "nobody was found in it"
        raise DataError(f"clip {clip_id} has no skeleton: {why}; feedback needs a clip in which a dancer is seen")
    same_challenge = clips["challenge"] == clip["challenge"]
    eligible = same_challenge & score.notna() & (clips.index != row)
    for column in ("creator_id", "copies"):
        if not pd.isna(clip[column]):
            eligible &= (clips[column] != clip[column]).fillna(True).astype(bool)
    ranked = score[eligible].sort_values(ascending=False, kind="stable").index
    if len(ranked) < MIN_FITTING:
        raise DataError(
            f"challenge {quoted(clip['challenge'])} has {len(ranked)} clips with a skeleton by others than {clip_id}'s"
            f" creator; feedback needs {MIN_FITTING} to hold it against"
        )
    wanted = min(MAX_REFERENCES, max(MIN_REFERENCES, math.ceil(REFERENCE_SHARE * int(same_challenge.sum()))))
    creators = clips.loc[ranked, "creator_id"]
    repeated = creators.notna() & creators.duplicated()
    return References(clips, row, tuple(int(row) for row in [*ranked[~repeated], *ranked[repeated]][:wanted]))
