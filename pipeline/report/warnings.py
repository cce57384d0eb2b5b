"""What to distrust: sentences that the run's own numbers call for, and no others."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.evaluation.predictors import CONTROL, FUSED, MUST_BEAT
from pipeline.metrics.significance import PRIMARY
from pipeline.report.contents import Found

WARNING, NOTE = "warning", "note"
FEW_CLIPS = 100  # judged in all: below, the interval of a mean Spearman is wider than about 0.4
FEW_IN_CHALLENGE = 10
FEW_CREATORS = 20
MANY_LACK = 0.3  # share of the decoded clips that may lack a modality unremarked
MANY_FAILED = 0.02
WIDE = 0.6  # mean width of the intervals
ONE_MODALITY = 0.8  # mean weight of a modality that is as good as alone
NAMED = 4  # in one sentence; more are counted

Caution = dict[str, str]


def find_cautions(found: Found, faces: str, lost_films: Mapping[str, int], blind: bool) -> list[Caution]:
    """Warnings first. docs/report.md says when each appears.

    faces: blur, none or show. lost_films: by code, of how many clips no picture could be had. blind: pictures are left
    out because no network that finds faces was at work.
    """
    looks: Sequence[Callable[[Found], list[Caution]]] = (
        untrained, judging, spread, rivals, controls, intervals, missing_modalities, creators, label, endings,
        small_challenges, one_modality,
    )  # fmt: skip
    told = [caution for look in looks for caution in look(found)]
    told += pictures(faces, lost_films, blind)
    return sorted(told, key=lambda caution: caution["kind"] != WARNING)


def warning(text: str) -> Caution:
    return {"kind": WARNING, "text": text}


def note(text: str) -> Caution:
    return {"kind": NOTE, "text": text}


def untrained(found: Found) -> list[Caution]:
    names = found.statistics["untrained"]
    if not names:
        return []
    return [
        warning(
            f"Untrained weights: the {_and(names)} features come from networks with random weights. Scores, rankings"
            " and figures of this run mean nothing; use --profile full for real ones."
        )
    ]


def judging(found: Found) -> list[Caution]:
    """Whether, and on how many clips, the training was judged."""
    folds = found.metrics.get("folds")
    if folds is None:
        return [
            note(
                "The training was not judged by folds (--folds 0): the figures are of the clips held out alone, without"
                " intervals."
            )
        ]
    if not folds["clips"]:
        return [warning(f"The training could not be judged by folds: {folds['reason']}.")]
    told = []
    if folds["clips"] < FEW_CLIPS:
        told.append(
            warning(f"Only {folds['clips']} clips were judged: look at the ends of the intervals, not at the figures.")
        )
    if folds["protocol"] == "leave-challenge-out":
        told.append(note("The training was judged on challenges that it did not know."))
    return told


def spread(found: Found) -> list[Caution]:
    """The model's own interval holds chance."""
    for row in _table(found):
        if row["predictor_id"] == FUSED:
            value, low, high = row[PRIMARY]
            if value is not None and low is not None and low <= 0:
                return [
                    warning(
                        f"The order may be no better than chance: the interval of the model's Spearman goes from"
                        f" {low:.2f} to {high:.2f}."
                    )
                ]
    return []


def rivals(found: Found) -> list[Caution]:
    """Predictors that reach more than the model: surely, or as far as these clips can tell."""
    surely: dict[str, float] = {}  # by how much
    perhaps: dict[str, float] = {}
    for row in _table(found):
        if row["section_id"] in MUST_BEAT and row["model_better_by"]:
            value, _, high = row["model_better_by"][PRIMARY]
            if value is not None and value < 0:
                (surely if high is not None and high < 0 else perhaps)[row["title"]] = -value
    told = []
    if surely:
        told.append(warning(f"Better than the model, by more than chance explains: {_best(surely)}."))
    if perhaps:
        told.append(
            note(f"Above the model in Spearman on these clips, by no more than chance may explain: {_best(perhaps)}.")
        )
    return told


def controls(found: Found) -> list[Caution]:
    """What learned of permuted labels must find nothing."""
    leaks = [
        row["title"]
        for row in _table(found)
        if row["section_id"] == CONTROL and row[PRIMARY][1] is not None and row[PRIMARY][1] > 0
    ]
    if not leaks:
        return []
    return [
        warning(
            f"A control found what is not there ({_and(leaks)}): clips of one creator or of one film may be on both"
            " sides of the folds."
        )
    ]


def intervals(found: Found) -> list[Caution]:
    """Whether they hold what they promise, and whether they say anything."""
    measured = found.metrics.get("coverage")
    if not measured or measured["share"] is None:
        return [note("Nothing is known of how often the intervals hold: no clips of two creators were held out.")]
    level, share = measured["level"], measured["share"]
    low, high = measured["share_95"]
    told = []
    if high < level:
        told.append(
            warning(f"The intervals are too narrow: they were to hold {level:.0%} of the clips and held {share:.0%}.")
        )
    elif low > level:
        told.append(note(f"The intervals are wider than need be: asked to hold {level:.0%}, they held {share:.0%}."))
    if measured["mean_width"] > WIDE:
        told.append(
            note(
                f"An interval spans {measured['mean_width']:.0%} of its challenge on average: of a single clip little"
                " is known; trust the order of many."
            )
        )
    return told


def missing_modalities(found: Found) -> list[Caution]:
    decoded = found.clips["status"] != "failed"
    lacking = []
    for modality in found.modalities:
        share = float((found.clips.loc[decoded, f"quality_{modality}"] <= 0).mean()) if decoded.any() else 0.0
        if share > MANY_LACK:
            lacking.append(f"{modality} in {share:.0%}")
    if not lacking:
        return []
    return [
        warning(
            f"Modalities that many decoded clips lack: {_and(lacking)}. Such a clip is judged by its other modalities, and its"
            " score is drawn to the middle."
        )
    ]


def creators(found: Found) -> list[Caution]:
    labelled = found.clips[found.clips["label"].notna()]
    if labelled.empty:
        return []
    known = labelled["creator_id"].dropna()
    told = []
    if len(known) < len(labelled):
        unknown = 1 - len(known) / len(labelled)
        told.append(
            warning(
                f"The creator of {unknown:.0%} of the labelled clips is not known: clips of one person may be trained"
                " on and tested on, which flatters the model. Add creator_id to the manifest."
            )
        )
    elif known.nunique() < FEW_CREATORS:
        told.append(
            warning(f"The labelled clips are of {known.nunique()} creators: few, for intervals count creators.")
        )
    return told


def label(found: Found) -> list[Caution]:
    kind = found.statistics["label"]["kind"]
    if kind == "adjusted":
        return []
    told = f"The label is {kind}, with the creators' reach in it: who has many followers is called better."
    return [note(f"{told} Why: {found.statistics['label']['why']}.")]


def endings(found: Found) -> list[Caution]:
    failed = int((found.clips["status"] == "failed").sum())
    if not len(found.clips) or failed <= MANY_FAILED * len(found.clips):
        return []
    return [note(f"{failed} of {len(found.clips)} clips failed; what is missing may not be like what is there.")]


def small_challenges(found: Found) -> list[Caution]:
    clips = found.clips
    labelled = clips["label"].notna().groupby(clips["challenge"]).sum()
    small = [str(name) for name in labelled.index[labelled < FEW_IN_CHALLENGE]]
    if not small:
        return []
    shown = _and(_few(small))
    return [note(f"Challenges with under {FEW_IN_CHALLENGE} labelled clips, whose figures are worth little: {shown}.")]


def one_modality(found: Found) -> list[Caution]:
    scored = found.clips[found.clips["score"].notna()]
    if len(found.scored_modalities) < 2 or scored.empty:
        return []
    weights = {modality: float(scored[f"attention_{modality}"].mean()) for modality in found.scored_modalities}
    modality = max(weights, key=lambda name: weights[name])
    if weights[modality] <= ONE_MODALITY:
        return []
    return [note(f"The fused score is nearly the {modality} score alone: its mean weight is {weights[modality]:.0%}.")]


def pictures(faces: str, lost: Mapping[str, int], blind: bool) -> list[Caution]:
    told = []
    if blind:
        told.append(
            note("No pictures: faces are to be blurred, and no trained network looked for heads (pose or face) here.")
        )
    if faces == "show":
        told.append(warning("This page shows faces (--report-faces show). Pass it on with care."))
    if total := sum(lost.values()):
        codes = ", ".join(f"{count} {code}" for code, count in sorted(lost.items()))
        told.append(note(f"{total} of the clips have no film, for their files could not be decoded again: {codes}."))
    return told


def _table(found: Found) -> list[dict]:
    return found.metrics.get("folds", {}).get("table", [])


def _best(found: Mapping[str, float]) -> str:
    """The first few with by how much, and how many more there are."""
    ordered = sorted(found, key=lambda name: -found[name])
    return _and(_few([f"{name} ({found[name]:+.2f})" for name in ordered]))


def _few(names: Sequence[str]) -> list[str]:
    return list(names) if len(names) <= NAMED else [*names[: NAMED - 1], f"{len(names) - NAMED + 1} more"]


def _and(names: Sequence[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
