"""The run's findings as sentences, and numbers as people read them."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pipeline.dataset.labels import TEST
from pipeline.evaluation.predictors import FUSED, MUST_BEAT

NOTHING = "–"
_PAIRS = "pairwise_accuracy"


def headlines(payload: Mapping[str, Any]) -> list[dict[str, str]]:
    """The findings, most important first: `figure`, short, and `text`, a sentence that says what it means."""
    quality = payload["quality"]
    findings = [_order(quality), _rival(quality), _intervals(quality), _reading(payload["data"])]
    return [finding for finding in findings if finding is not None]


def _order(quality: Mapping[str, Any]) -> dict[str, str]:
    model = _model(quality["table"])
    if model is not None and model[_PAIRS][0] is not None:
        share, low, high = model[_PAIRS]
        between = f" (95 % interval {percent(low)} to {percent(high)})" if low is not None else ""
        return {
            "figure": percent(share),
            "text": f"Of two clips of a challenge, by creators it never saw, the model puts the better one first in"
            f" {percent(share)} of all cases{between}. Tossing a coin: 50 %.",
        }
    held_out = next(
        (row for row in quality["splits"] if (row["split"], row["predictor"]) == (TEST, FUSED)), {"pairwise": None}
    )
    if held_out["pairwise"] is not None:
        return {
            "figure": percent(held_out["pairwise"]),
            "text": "Of two clips of a challenge the model puts the better one first in"
            f" {percent(held_out['pairwise'])} of all cases, judged by the {count(held_out['n'])} clips held out only."
            " Tossing a coin: 50 %.",
        }
    reason = (quality["folds"] or {}).get("reason", "no clips with a known outcome were kept apart")
    return {"figure": "not known", "text": f"How good the order is cannot be said: {reason}."}


def _rival(quality: Mapping[str, Any]) -> dict[str, str] | None:
    """The model against the strongest predictor that it must beat."""
    baselines = [row for row in quality["table"] if row["section_id"] in MUST_BEAT]
    known = [row for row in baselines if row["spearman"][0] is not None and row["model_better_by"]]
    if not known:
        return None
    rival = max(known, key=lambda row: row["spearman"][0])
    by, low, high = rival["model_better_by"]["spearman"]
    if by is None:
        return None
    verdict = "neither is shown to be better"
    if low is not None and low > 0:
        verdict = "the model is better"
    if high is not None and high < 0:
        verdict = "the model is worse"
    between = f" (95 % interval {signed(low)} to {signed(high)})" if low is not None else ""
    return {
        "figure": signed(by),
        "text": f"in Spearman against the strongest of {plural(len(known), 'rival')}, {rival['title']}{between}:"
        f" {verdict}.",
    }


def _intervals(quality: Mapping[str, Any]) -> dict[str, str] | None:
    coverage = quality["coverage"]
    if coverage is None:
        return None
    return {
        "figure": percent(coverage["share"]),
        "text": f"of {count(coverage['clips'])} clips by creators it never saw ended within the interval given for"
        f" them ({percent(coverage['low'])} to {percent(coverage['high'])}); {percent(coverage['level'])} were to.",
    }


def _reading(data: Mapping[str, Any]) -> dict[str, str]:
    endings = data["endings"]
    return {
        "figure": count(data["clips"]),
        "text": f"clips of {plural(data['challenges'], 'challenge')} by {plural(data['creators'], 'creator')}:"
        f" {count(endings.get('ok', 0))} were read whole, {count(endings.get('partial', 0))} in part,"
        f" {count(endings.get('failed', 0))} not at all.",
    }


def _model(table: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((row for row in table if row["predictor_id"] == FUSED), None)


def sections(table: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of metrics.json's table by the id of their section, in order."""
    by_section: dict[str, list[Mapping[str, Any]]] = {}
    for row in table:
        by_section.setdefault(row["section_id"], []).append(row)
    return by_section


def number(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.2f}".replace("-", "−")


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.0f} %"


def count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def plural(value: int, noun: str) -> str:
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def estimate(values: Sequence[float | None], sign: bool = False) -> str:
    """A figure and the ends of its interval, as tables.interval gives them."""
    text = signed if sign else number
    value, low, high = values
    return text(value) if low is None else f"{text(value)} ({text(low)} to {text(high)})"


def clip_link(clip_id: str) -> str:
    """The address of a clip within the page."""
    return f"#clip/{quote(clip_id, safe='')}"
