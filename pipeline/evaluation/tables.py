"""Comparison of the model with every predictor of a cross-validation, as JSON, Markdown and LaTeX."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.evaluation.predictors import (
    CONTROL,
    EXPECTED_CHANCE,
    FUSION,
    SCORE,
    SECTIONS,
    Predictor,
    predictors_in,
)
from pipeline.metrics.ranking import METRICS, expected_at_random
from pipeline.metrics.significance import (
    PERMUTATIONS,
    PRIMARY,
    RESAMPLES,
    Clips,
    Difference,
    Estimate,
    compare,
    draw_creators,
    estimate,
    estimate_several,
    holm,
)

TITLES = {"spearman": "Spearman", "pairwise_accuracy": "pairs right", "kendall_tau_b": "Kendall tau-b",
          "ndcg_10": "NDCG@10", "top_decile_precision": "top decile"}  # fmt: skip
# Columns in units of their own fold's model. All others are on one scale in all folds: the label's, to which they are
# fitted on training clips, or that of a number of the clip itself.
_UNITS_OF_FOLD = (f"{FUSION}concatenation", f"{FUSION}mean")


@dataclass(frozen=True)
class Row:
    """One predictor of the table."""

    predictor: Predictor
    clips: int  # that it has a score of
    metrics: dict[str, Estimate]
    difference: Difference | None = None  # of the model less this; None for the model and the controls
    p_holm: float = math.nan  # corrected over the table


def on_one_scale(scores: pd.DataFrame, name: str) -> np.ndarray:
    """A column of cross_validate's frame, float64 [clips]; standardised within each fold unless folds share its scale.

    A fold whose values are all equal keeps them.
    """
    values = scores[name].astype(float)
    if name not in _UNITS_OF_FOLD:
        return values.to_numpy(float, na_value=np.nan)
    by_fold = values.groupby(scores["fold"])
    spread = by_fold.transform("std").replace(0, np.nan)
    return ((values - by_fold.transform("mean")) / spread).where(spread.notna(), values).to_numpy(float)


def clips_of(scores: pd.DataFrame, label: str = "label") -> Clips:
    return Clips(scores[label].to_numpy(float), scores["challenge"].to_numpy(str), scores["group"].to_numpy(np.int64))


def comparison_table(
    *trainings: pd.DataFrame, resamples: int = RESAMPLES, permutations: int = PERMUTATIONS
) -> list[Row]:
    """A row for every predictor of a cross-validation, in the table's order.

    The folds of a challenge are evaluated together (`on_one_scale`), two predictors on the clips that both score.
    Labels are fitted without the clip's fold.

    trainings: as cross_validate gives them, with baselines or without: one, or several of the same folds with
        other seeds, whose metrics are averaged. Controls, whose labels every seed permutes anew, are those of the
        trainings that have them.
    """
    first = trainings[0]
    clips = clips_of(first)
    draws = draw_creators(clips.group, resamples)
    model = _of_all(trainings, SCORE)
    rows = []
    for predictor in predictors_in(first):
        name = predictor.column
        if predictor.section == CONTROL:
            controls = [(clips_of(one, "label_permuted"), on_one_scale(one, name)) for one in trainings if name in one]
            count = int(np.isfinite(np.stack([score for _, score in controls])).all(0).sum())
            rows.append(Row(predictor, count, estimate_several(controls, draws)))
            continue
        score = _of_all(trainings, name)
        count = int(np.isfinite(np.atleast_2d(score)).all(0).sum())
        row = Row(predictor, count, estimate(clips, score, draws))
        if name != SCORE:
            row = replace(row, difference=compare(clips, model, score, draws, permutations))
        rows.append(row)
    corrected = holm([row.difference.p if row.difference else math.nan for row in rows])
    rows = [replace(row, p_holm=p) for row, p in zip(rows, corrected, strict=True)]
    return [*rows, Row(EXPECTED_CHANCE, len(first), _chance(clips))]


def _of_all(trainings: Sequence[pd.DataFrame], name: str) -> np.ndarray:
    """A predictor's scores, float64 [N], or [S, N] of several trainings."""
    scores = np.stack([on_one_scale(training, name) for training in trainings])
    return scores[0] if len(scores) == 1 else scores


def _chance(clips: Clips) -> dict[str, Estimate]:
    """Expected metrics of a random order, mean over the challenges in which they are defined."""
    labels = [clips.label[clips.challenge == name] for name in np.unique(clips.challenge)]
    expected = [expected_at_random(label) for label in labels if len(label) > 1 and np.ptp(label) > 0]
    means = {name: float(np.mean([one[name] for one in expected])) if expected else math.nan for name in METRICS}
    return {name: Estimate(value, math.nan, math.nan) for name, value in means.items()}


# --- as JSON and as text


def as_json(rows: Sequence[Row]) -> list[dict]:
    """Rows of metrics.json; an estimate is [value, low, high], an undefined number null."""
    return [
        {
            **row.predictor.entry(),
            "clips": row.clips,
            **{metric: interval(estimated) for metric, estimated in row.metrics.items()},
            "model_better_by": _difference(row.difference, row.p_holm),
        }
        for row in rows
    ]


def _difference(difference: Difference | None, p_holm: float) -> dict | None:
    if difference is None:
        return None
    return {
        "clips": difference.clips,
        **{metric: interval(estimated) for metric, estimated in difference.by_metric.items()},
        "p": _finite(difference.p),
        "p_holm": _finite(p_holm),
        "detectable": _finite(difference.detectable),
    }


def interval(estimated: Estimate) -> list[float | None]:
    return [_finite(estimated.value), _finite(estimated.low), _finite(estimated.high)]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class TextTable:
    """A table of text in sections of a title and rows of cells. The first column is left-aligned, others right."""

    header: tuple[str, ...]
    sections: Sequence[tuple[str, Sequence[Sequence[str]]]]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        lines = ["| " + " | ".join(self.header) + " |", "|---" + "|---:" * (len(self.header) - 1) + "|"]
        for title, rows in self.sections:
            lines.append(f"| **{title}** |" + " |" * (len(self.header) - 1))
            lines += ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([*lines, "", *self.notes]) + "\n"

    def latex(self) -> str:
        """A tabular for the package booktabs."""
        lines = [f"\\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}", "\\toprule", _tex_row(self.header)]
        for title, rows in self.sections:
            lines += ["\\midrule", f"\\multicolumn{{{len(self.header)}}}{{l}}{{\\emph{{{_tex(title)}}}}} \\\\"]
            lines += [_tex_row(row) for row in rows]
        lines += ["\\bottomrule", "\\end{tabular}"]
        return "\n".join([*(f"% {note}" for note in self.notes), *lines]) + "\n"


def as_text(rows: Sequence[Row]) -> TextTable:
    """The rows of `comparison_table` as text."""
    sections: dict[str, list[list[str]]] = {}
    for row in rows:
        first = row.metrics[PRIMARY]
        cells = [row.predictor.title, str(row.clips), estimate_text(first.value, first.low, first.high)]
        cells += [figure_text(row.metrics[name].value) for name in METRICS if name != PRIMARY]
        if row.difference:
            lead = row.difference.by_metric[PRIMARY]
            cells += [estimate_text(lead.value, lead.low, lead.high, sign=True), p_text(row.p_holm)]
        else:
            cells += ["", ""]
        sections.setdefault(row.predictor.section, []).append(cells)
    header = ("predictor", "clips", f"{TITLES[PRIMARY]} (95 %)", *(TITLES[name] for name in METRICS if name != PRIMARY),
              "model better by (95 %)", "p")  # fmt: skip
    notes = (
        f"Per challenge, then the mean. Intervals: bootstrap over creators. p: paired permutation of {TITLES[PRIMARY]}"
        " over creators, Holm-corrected over the table.",
        *detectable_note([row.difference.detectable for row in rows if row.difference]),
    )
    return TextTable(header, [(SECTIONS[section], cells) for section, cells in sections.items()], notes)


def detectable_note(differences: Sequence[float]) -> list[str]:
    """Note on the detectable differences of a table's comparisons; those of two equal predictors are left out."""
    known = [value for value in differences if math.isfinite(value) and value > 0]
    if not known:
        return []
    return [
        f"Detectable difference in {TITLES[PRIMARY]} (5 %, power 80 %): {min(known):.3f} to {max(known):.3f}, median"
        f" {np.median(known):.3f}; a smaller one may be there unseen."
    ]


def figure_text(value: float, sign: bool = False) -> str:
    return "–" if not math.isfinite(value) else f"{value:+.3f}" if sign else f"{value:.3f}"


def estimate_text(value: float, low: float, high: float, sign: bool = False) -> str:
    if not math.isfinite(low):
        return figure_text(value, sign)
    return f"{figure_text(value, sign)} ({figure_text(low, sign)} to {figure_text(high, sign)})"


def p_text(value: float) -> str:
    return "–" if not math.isfinite(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(_tex(cell) for cell in cells) + " \\\\"


def _tex(text: str) -> str:
    special = {"&": "\\&", "%": "\\%", "_": "\\_", "#": "\\#", "$": "\\$", "–": "--", "<": "$<$"}
    return "".join(special.get(letter, letter) for letter in text)
