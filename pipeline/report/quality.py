"""The section on how good the model is: everything measured, in the shape that the page draws."""

import pandas as pd

from pipeline.evaluation.calibration import calibration
from pipeline.metrics.significance import PRIMARY
from pipeline.report.contents import Found

_SHORT = {"spearman": "spearman", "kendall_tau_b": "kendall", "pairwise_accuracy": "pairwise", "ndcg_10": "ndcg"}


def quality(found: Found) -> dict:
    """Without the cautions, which look at all of it. docs/report.md lists the fields."""
    folds = found.metrics.get("folds")
    return {
        "note": found.metrics["note"],
        "folds": None if folds is None else {key: value for key, value in folds.items() if key not in _BESIDE},
        "table": folds["table"] if folds else [],
        "splits": splits(found.metrics),
        "coverage": coverage(found.metrics.get("coverage")),
        "calibration": calibration(found.judged, found.run["interval_level"]),
        "ablations": ablations(found.ablations),
        "attention": attention(found),
    }


_BESIDE = ("predictors", "table")


def splits(metrics: dict) -> list[dict]:
    """One row a split and predictor: the means over challenges."""
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


def coverage(measured: dict | None) -> dict | None:
    """None where nothing could be measured."""
    if measured is None or measured["share"] is None:
        return None
    low, high = measured["share_95"]
    kept = {name: measured[name] for name in ("level", "share", "clips", "creators", "by_creator", "mean_width")}
    return kept | {"low": low, "high": high}


def ablations(table: pd.DataFrame | None) -> list[dict] | None:
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


def attention(found: Found) -> list[dict]:
    """By challenge, the mean weight of each modality over the clips that have a score."""
    names = {f"attention_{modality}": modality for modality in found.scored_modalities}
    scored = found.clips[found.clips["score"].notna()]
    means = scored.groupby("challenge")[list(names)].mean().rename(columns=names)
    return [{"challenge": str(name), **row} for name, row in means.to_dict("index").items()]
