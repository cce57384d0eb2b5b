"""Warnings about a run: sentences that its own numbers call for, and no others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.evaluation.predictors import CONTROL, FUSED, MUST_BEAT
from pipeline.metrics.significance import PRIMARY
from pipeline.modalities.registry import title_of
from pipeline.report.run_contents import RunContents, scored_clips
from pipeline.runs.run import CONTEXT_SCORE

FEW_CLIPS = 100  # judged in all: below, the interval of a mean Spearman is wider than about 0.4
FEW_IN_CHALLENGE = 10
FEW_CREATORS = 20
MANY_LACK = 0.3  # share of the decoded clips that may lack a modality without a warning
MANY_FAILED = 0.02
WIDE = 0.6  # mean width of the intervals
ONE_MODALITY = 0.8  # mean weight of a modality that decides nearly alone
NAMED = 4  # in one sentence; more are counted
CONTEXT_TEXT = (
    "The score is a forecast, and no judgement of the content: the context is a part of it (the creator's reach and"
    " record, age, length), so who has many likes already is scored higher. The part that is not of the content is the"
    " row and column `context`."
)


@dataclass(frozen=True)
class ReportWarning:
    id: str
    kind: Literal["warning", "note"]
    text: str


Check = Callable[[RunContents], Iterator[ReportWarning]]


def find_warnings(
    contents: RunContents, faces: str, film_failures: Mapping[str, int], no_heads: bool
) -> list[ReportWarning]:
    """Warnings first, then notes. docs/report.md says when each appears.

    Args:
        faces: blur, none or show.
        film_failures: by code, number of clips that no picture could be had of.
        no_heads: pictures are left out because no trained network looked for heads.
    """
    checks: Sequence[Check] = (
        untrained, purged, judging, chance, better_predictors, controls, intervals, missing_modalities, creators, label,
        endings, small_challenges, one_modality,
    )  # fmt: skip
    warnings = [warning for check in checks for warning in check(contents)]
    warnings += pictures(faces, film_failures, no_heads)
    return sorted(warnings, key=lambda warning: warning.kind != "warning")


def untrained(contents: RunContents) -> Iterator[ReportWarning]:
    if names := contents.statistics["untrained"]:
        yield ReportWarning("untrained", "warning", untrained_text(names))


def untrained_text(modalities: Sequence[str]) -> str:
    return (
        f"Untrained weights: the {_and(modalities)} features come from networks with random weights. Scores, rankings"
        " and figures of this run mean nothing; use --profile full for real ones."
    )


def purged(contents: RunContents) -> Iterator[ReportWarning]:
    """The model learned from clips that are no longer there."""
    if contents.purged:
        yield ReportWarning("purged", "warning", f"{contents.purged}.")


def judging(contents: RunContents) -> Iterator[ReportWarning]:
    """Whether, and on how many clips, the training was judged."""
    folds = contents.metrics.get("folds")
    if folds is None:
        yield ReportWarning(
            "no_folds", "note",
            "The training was not judged by folds (--folds 0): the figures are of the clips held out alone, without"
            " intervals.",
        )  # fmt: skip
        return
    if not folds["clips"]:
        text = f"The training could not be judged by folds: {folds['reason']}."
        yield ReportWarning("folds_impossible", "warning", text)
        return
    scored = scored_clips(contents)
    if scored < FEW_CLIPS:
        text = f"Only {scored} clips were judged: look at the ends of the intervals, not at the figures."
        yield ReportWarning("few_clips", "warning", text)
    if folds["protocol"] == "leave-challenge-out":
        text = "The training was judged on challenges that it did not know."
        yield ReportWarning("unknown_challenges", "note", text)


def chance(contents: RunContents) -> Iterator[ReportWarning]:
    """The interval of the model's Spearman holds 0."""
    for row in _table(contents):
        if row["predictor_id"] == FUSED:
            value, low, high = row[PRIMARY]
            if value is not None and low is not None and low <= 0:
                yield ReportWarning(
                    "chance", "warning",
                    f"The order may be no better than chance: the interval of the model's Spearman goes from {low:.2f}"
                    f" to {high:.2f}.",
                )  # fmt: skip


def better_predictors(contents: RunContents) -> Iterator[ReportWarning]:
    """Predictors that reach more than the model: surely, or as far as these clips can tell."""
    better: list[tuple[float, str]] = []  # by how much, and the title
    perhaps: list[tuple[float, str]] = []
    for row in _table(contents):
        if row["section_id"] in MUST_BEAT and row["model_better_by"]:
            value, _, high = row["model_better_by"][PRIMARY]
            if value is not None and value < 0:
                (better if high is not None and high < 0 else perhaps).append((-value, row["title"]))
    if better:
        text = f"Better than the model, by more than chance explains: {_best(better)}."
        yield ReportWarning("better_predictors", "warning", text)
    if perhaps:
        text = f"Above the model in Spearman on these clips, by no more than chance may explain: {_best(perhaps)}."
        yield ReportWarning("perhaps_better_predictors", "note", text)


def controls(contents: RunContents) -> Iterator[ReportWarning]:
    """A predictor that learned permuted labels is above chance."""
    leaks = [
        row["title"]
        for row in _table(contents)
        if row["section_id"] == CONTROL and row[PRIMARY][1] is not None and row[PRIMARY][1] > 0
    ]
    if leaks:
        yield ReportWarning(
            "controls", "warning",
            f"A control found what is not there ({_and(leaks)}): clips of one creator or of one film may be on both"
            " sides of the folds.",
        )  # fmt: skip


def intervals(contents: RunContents) -> Iterator[ReportWarning]:
    """Coverage and width of the intervals."""
    measured = contents.metrics.get("coverage")
    if not measured or measured["share"] is None:
        text = "Nothing is known of how often the intervals hold: no clips of two creators were held out."
        yield ReportWarning("coverage_unknown", "note", text)
        return
    level, share = measured["level"], measured["share"]
    low, high = measured["share_95"]
    if high < level:
        text = f"The intervals are too narrow: they were to hold {level:.0%} of the clips and held {share:.0%}."
        yield ReportWarning("intervals_too_narrow", "warning", text)
    elif low > level:
        text = f"The intervals are wider than need be: asked to hold {level:.0%}, they held {share:.0%}."
        yield ReportWarning("intervals_too_wide", "note", text)
    if measured["mean_width"] > WIDE:
        yield ReportWarning(
            "wide_intervals", "note",
            f"An interval spans {measured['mean_width']:.0%} of its challenge on average: of a single clip little is"
            " known; trust the order of many.",
        )  # fmt: skip


def missing_modalities(contents: RunContents) -> Iterator[ReportWarning]:
    decoded = contents.clips["status"] != "failed"
    lacking = []
    for modality in contents.modalities:
        share = float((contents.clips.loc[decoded, f"quality_{modality}"] <= 0).mean()) if decoded.any() else 0.0
        if share > MANY_LACK:
            lacking.append(f"{title_of(modality)} in {share:.0%}")
    if lacking:
        yield ReportWarning(
            "missing_modalities", "warning",
            f"Modalities that many decoded clips lack: {_and(lacking)}. Such a clip is judged by its other modalities,"
            " and its score is drawn to the middle.",
        )  # fmt: skip


def creators(contents: RunContents) -> Iterator[ReportWarning]:
    labelled = contents.clips[contents.clips["label"].notna()]
    known = labelled["creator_id"].dropna()
    if len(known) < len(labelled):
        unknown = 1 - len(known) / len(labelled)
        yield ReportWarning(
            "unknown_creators", "warning",
            f"The creator of {unknown:.0%} of the labelled clips is not known: clips of one person may be trained on"
            " and tested on, which flatters the model. Add creator_id to the manifest.",
        )  # fmt: skip
    elif len(labelled) and known.nunique() < FEW_CREATORS:
        text = f"The labelled clips are of {known.nunique()} creators: few, for intervals count creators."
        yield ReportWarning("few_creators", "warning", text)


def label(contents: RunContents) -> Iterator[ReportWarning]:
    kind, why = contents.statistics["label"]["kind"], contents.statistics["label"]["why"]
    if CONTEXT_SCORE in contents.clips:
        yield ReportWarning("context", "warning", CONTEXT_TEXT)
    elif kind != "adjusted":
        yield ReportWarning(
            "label", "note",
            f"The label is {kind}, with the creators' reach in it: who has many followers is called better."
            f" Why: {why}.",
        )  # fmt: skip


def endings(contents: RunContents) -> Iterator[ReportWarning]:
    failed, clips = int((contents.clips["status"] == "failed").sum()), len(contents.clips)
    if failed > MANY_FAILED * clips:
        text = f"{failed} of {clips} clips failed; what is missing may not be like what is there."
        yield ReportWarning("failed_clips", "note", text)


def small_challenges(contents: RunContents) -> Iterator[ReportWarning]:
    labelled = contents.clips["label"].notna().groupby(contents.clips["challenge"]).sum()
    if small := [str(name) for name in labelled.index[labelled < FEW_IN_CHALLENGE]]:
        yield ReportWarning(
            "small_challenges", "note",
            f"Challenges with under {FEW_IN_CHALLENGE} labelled clips, whose figures are worth little:"
            f" {_and(_few(small))}.",
        )  # fmt: skip


def one_modality(contents: RunContents) -> Iterator[ReportWarning]:
    scored = contents.clips[contents.clips["score"].notna()]
    if len(contents.scored_modalities) < 2 or scored.empty:
        return
    weights = {modality: float(scored[f"attention_{modality}"].mean()) for modality in contents.scored_modalities}
    modality = max(weights, key=lambda name: weights[name])
    if weights[modality] > ONE_MODALITY:
        title, weight = title_of(modality), weights[modality]
        text = f"The fused score is nearly that of {title} alone: its mean weight is {weight:.0%}."
        yield ReportWarning("one_modality", "note", text)


def pictures(faces: str, film_failures: Mapping[str, int], no_heads: bool) -> Iterator[ReportWarning]:
    if no_heads:
        text = "No pictures: faces are to be blurred, and no trained network looked for heads (pose or face) here."
        yield ReportWarning("no_pictures", "note", text)
    if faces == "show":
        text = "This page shows faces (--report-faces show). Pass it on with care."
        yield ReportWarning("faces_shown", "warning", text)
    if total := sum(film_failures.values()):
        codes = ", ".join(f"{count} {code}" for code, count in sorted(film_failures.items()))
        text = f"{total} of the clips have no film, for their files could not be decoded again: {codes}."
        yield ReportWarning("films_missing", "note", text)


def _table(contents: RunContents) -> list[dict]:
    return contents.metrics.get("folds", {}).get("table", [])


def _best(leads: Sequence[tuple[float, str]]) -> str:
    """Titles and leads of the first few, and the number of others."""
    ordered = sorted(leads, key=lambda lead: -lead[0])
    return _and(_few([f"{title} ({lead:+.2f})" for lead, title in ordered]))


def _few(names: Sequence[str]) -> list[str]:
    return list(names) if len(names) <= NAMED else [*names[: NAMED - 1], f"{len(names) - NAMED + 1} more"]


def _and(names: Sequence[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
