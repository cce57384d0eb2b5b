"""Measurements of the model, in the shape that the page draws."""

from dataclasses import asdict

import pandas as pd

from pipeline.evaluation.calibration import calibration
from pipeline.evaluation.left_out import ranking_changes
from pipeline.evaluation.predictors import SCORE
from pipeline.metrics.significance import PRIMARY
from pipeline.modalities.registry import MODALITIES
from pipeline.report.run_contents import RunContents, scored_clips

_ELSEWHERE = ("predictors", "table")  # of the folds: in the payload's challenges, and beside `folds`
_SHORT = {"spearman": "spearman", "kendall_tau_b": "kendall", "pairwise_accuracy": "pairwise", "ndcg_10": "ndcg"}


def measured_quality(contents: RunContents) -> dict:
    """The payload's `quality` without the warnings. docs/report.md lists the fields."""
    folds = contents.metrics.get("folds")
    return {
        "note": contents.metrics["note"],
        "folds": None
        if folds is None
        else {
            **{key: value for key, value in folds.items() if key not in _ELSEWHERE},
            "scored": scored_clips(contents),
        },
        "table": folds["table"] if folds else [],
        "splits": _splits(contents.metrics),
        "coverage": _coverage(contents.metrics.get("coverage")),
        "calibration": calibration(contents.judged, contents.run["interval_level"]),
        "ablations": _ablations(contents.ablations),
        "attention": _attention(contents),
        "left_out": _left_out(contents),
    }


def _splits(metrics: dict) -> list[dict]:
    """One row a split and predictor, with means over challenges."""
    return [
        {
            "split": split,
            "predictor": predictor,
            **{short: judged["mean"].get(name) for name, short in _SHORT.items()},
            "n": judged["mean"].get("n"),
            "reason": judged["mean"].get("reason"),
        }
        for split, of_split in metrics["splits"].items()
        for predictor, judged in of_split["predictors"].items()
    ]


def _coverage(measured: dict | None) -> dict | None:
    """Coverage of the intervals; None where nothing could be measured."""
    if measured is None or measured["share"] is None:
        return None
    low, high = measured["share_95"]
    kept = {name: measured[name] for name in ("level", "share", "clips", "creators", "by_creator", "mean_width")}
    return kept | {"low": low, "high": high}


def _ablations(table: pd.DataFrame | None) -> list[dict] | None:
    """One row a variant and predictor, in the primary metric; estimates are [value, low, high]."""
    if table is None:
        return None
    rows = table[table["metric"] == PRIMARY]
    return [
        {
            "variant": row.variant,
            "what": row.what,
            "predictor": row.predictor,
            "seeds": row.seeds,
            "clips": row.clips,
            PRIMARY: [row.value, row.low, row.high],
            # Of the run itself there is none.
            "difference": None
            if pd.isna(row.difference)
            else [row.difference, row.difference_low, row.difference_high],
            "p_holm": row.p_holm,
        }
        for row in rows.itertuples(index=False)
    ]


def _attention(contents: RunContents) -> list[dict]:
    """Mean weight of each modality over the clips that have a score, by challenge."""
    names = {f"attention_{modality}": modality for modality in contents.scored_modalities}
    scored = contents.clips[contents.clips["score"].notna()]
    means = scored.groupby("challenge")[list(names)].mean().rename(columns=names)
    return [{"challenge": str(name), **row} for name, row in means.to_dict("index").items()]


def _left_out(contents: RunContents) -> dict:
    """The ranking without modalities that show looks, beside how well it and the model's predict the label.

    `read`, `not_read`: such modalities that the model has, and has not. `rows`: one a set of modalities that is left
    out; none without folds. Estimates are [value, low, high].
    """
    looks = [modality.name for modality in MODALITIES if modality.shows_looks]
    read = [name for name in looks if name in contents.scored_modalities]
    rows = []
    if contents.folds is not None:
        table = {row["name"]: row for row in contents.metrics["folds"]["table"]}
        for change in ranking_changes(contents.folds, contents.scored_modalities):
            row = asdict(change)
            alone = table[row.pop("column")]
            better = alone["model_better_by"]
            skill = {"with": table[SCORE][PRIMARY], "without": alone[PRIMARY], "better_by": better[PRIMARY]}
            rows.append({**row, PRIMARY: skill})
    return {"read": read, "not_read": [name for name in looks if name not in read], "rows": rows}
