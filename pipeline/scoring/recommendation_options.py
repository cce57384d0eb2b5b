"""Options of a recommendation, and their checks. Imports nothing heavy, for planning needs it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from pipeline.core import storage
from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.core.fingerprint import fingerprint
from pipeline.core.text import quoted, visible
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import ENGAGEMENT
from pipeline.ingest.upload_times import iso_time
from pipeline.modalities.registry import modality_names
from pipeline.runs.run import SCORES, Run
from pipeline.runs.runs import NAME

FUSED = "fused"


@dataclass(frozen=True)
class RecommendOptions:
    """Options of one recommendation.

    weights: (modality or "fused", weight) pairs, as `parse_weights` gives them: weights in a clip's relevance.
    challenge: the only one; "": each.
    top: most clips of a challenge.
    diversity: 0, the most relevant clips, to 1, the most different ones: 1 - the lambda of maximal marginal relevance.
    per_creator: most clips of one creator in a challenge; 0: no limit.
    new_only: only clips without any known engagement.
    since: only clips uploaded at this time or later, ISO 8601; "": any.
    uploads: id of uploads that ScoreUploads scored with the run, to choose from; "": the run's own clips.
    """

    weights: tuple[tuple[str, float], ...] = ((FUSED, 1.0),)
    challenge: str = ""
    top: int = 10
    diversity: float = 0.3
    per_creator: int = 1
    new_only: bool = False
    since: str = ""
    uploads: str = ""

    def folder(self, workspace: str, run: Mapping) -> DatasetFolder:
        """The folder of the clips to choose from. run: its run.json."""
        if self.uploads:
            return DatasetFolder(workspace, f"uploads/{self.uploads}")
        return DatasetFolder.of(workspace, run["dataset"])

    def name(self) -> str:
        """Default name of the files."""
        return fingerprint(self)


def parse_weights(text: str) -> tuple[tuple[str, float], ...]:
    """Pairs of `pose=2,scene=1`, in that order; a modality without a number has weight 1.

    Raises:
        OptionError: a modality is unknown or named twice, a weight is no number or below 0, or none is above 0.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        modality, _, number = (word.strip() for word in part.partition("="))
        if modality not in (*modality_names(), FUSED):
            raise OptionError(
                f"--weights names {modality!r}; there are {', '.join(modality_names())}, and {FUSED} for all of them"
                " as the model weighs them"
            )
        if modality in weights:
            raise OptionError(f"--weights names {modality} twice; give it one weight")
        weights[modality] = _weight(modality, number if "=" in part else "1")
    if not any(weights.values()):
        raise OptionError(
            f"--weights is {text!r}, which leaves nothing to recommend by; give at least one modality a weight above 0,"
            " as in --weights pose=2,scene=1"
        )
    return tuple(weights.items())


def _weight(modality: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise OptionError(
            f"--weights gives {modality} the weight {text!r}; a weight is a number from 0 up, as in {modality}=2"
        )
    return weight


def since_time(text: str) -> datetime:
    """The time of an ISO 8601 day (its first second) or time; UTC without a zone. Raises OptionError: it is neither."""
    since = iso_time(text)
    if since is None:
        raise OptionError(f"--since is {text!r}; give a day or a time as in 2024-06-30 or 2024-06-30T18:00:00+02:00")
    return since


def check_name(name: str) -> None:
    """Raises OptionError where a file may not have this name."""
    if not NAME.fullmatch(name):
        raise OptionError(
            f"--name is {name!r}; a name has up to 64 letters, digits, dots, hyphens and underscores, and starts with a"
            " letter or digit"
        )


def check_options(run_folder: Run, options: RecommendOptions) -> None:
    """Checks the options against a finished run.

    Raises:
        OptionError: the run lacks a modality or the challenge, or has no clip that is new enough.
        WorkspaceError: the run's scores or its dataset are missing.
    """
    from pipeline.dataset.folder import CLIPS

    run = run_folder.about
    folder = options.folder(run_folder.workspace, run)
    scores_folder = folder if options.uploads else run_folder
    if options.uploads and not scores_folder.has(SCORES):
        _refuse_uploads(run_folder.workspace, options.uploads)
    for place, name in ((scores_folder, SCORES), (folder, CLIPS)):
        if not place.has(name):
            raise WorkspaceError(f"{place.file(name)} is missing; run the run's BuildVDV again to make it")
    lacking = [modality for modality, _ in options.weights if modality != FUSED and modality not in run["features"]]
    if lacking:
        raise OptionError(
            f"--weights names {' and '.join(lacking)}, but the run was made without; it has"
            f" {', '.join(modality for modality in modality_names() if modality in run['features'])}, and {FUSED}"
        )
    if options.since:
        since_time(options.since)
    clips = folder.read_clips()
    challenges = sorted(clips["challenge"].unique())
    if options.challenge and options.challenge not in challenges:
        names = ", ".join(map(visible, challenges))
        raise OptionError(f"--challenge {quoted(options.challenge)} is none of those there: {names}")
    if not eligible(clips, options).any():
        raise OptionError(_nothing_new(clips, options))


def _refuse_uploads(workspace: str, uploads: str) -> None:
    files = storage.listing(storage.join(workspace, "uploads"))
    scored = sorted(path.split("/")[0] for path in files if path.endswith(f"/{SCORES}") and path.count("/") == 1)
    raise OptionError(
        f"--uploads {uploads!r}: {workspace} has no such uploads; ScoreUploads scores some and prints their folder,"
        f" uploads/<id>. There {'are ' + ', '.join(scored) if scored else 'are none'}"
    )


def eligible(clips: pd.DataFrame, options: RecommendOptions) -> np.ndarray:
    """Mask of the clips that `options` allow, bool [N], whatever their scores.

    A clip is new if its engagement is unknown: the manifest has none of its likes, views, comments, shares.
    """
    chosen = np.ones(len(clips), bool)
    if options.challenge:
        chosen &= (clips["challenge"] == options.challenge).to_numpy(bool)
    if options.new_only:
        chosen &= clips[list(ENGAGEMENT)].isna().all(axis=1).to_numpy(bool)
    if options.since:
        uploaded = pd.to_datetime(clips["uploaded_at"], utc=True)
        chosen &= (uploaded >= since_time(options.since)).to_numpy(bool)
    return chosen


def _nothing_new(clips: pd.DataFrame, options: RecommendOptions) -> str:
    where = f" of {visible(options.challenge)}" if options.challenge else ""
    if not options.since:
        return (
            f"--new-only: no clip{where} is without likes, views, comments and shares, which is what counts as new."
            " Give --since DATE for those uploaded from a day on, or score new clips with ScoreUploads"
        )
    known = pd.to_datetime(clips["uploaded_at"], utc=True).dropna()
    if known.empty:
        return f"--since {options.since}: the manifest says of no clip when it was uploaded; add uploaded_at to it"
    also = " and is without engagement" if options.new_only else ""
    return (
        f"--since {options.since}: no clip{where} was uploaded then or later{also}; the last is of"
        f" {known.max():%Y-%m-%d}"
    )
