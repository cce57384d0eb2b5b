"""The page's data as one JSON object: what was read, how good the model is, and every clip as a row of columns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import pandas as pd

from pipeline.core.errors import CLIP_CODES
from pipeline.metrics.ranking import percentile_within
from pipeline.modalities.registry import find_modality
from pipeline.report.contents import Found
from pipeline.report.quality import quality
from pipeline.report.similarity import nearest_better
from pipeline.report.values import packed, plain
from pipeline.report.warnings import Caution
from pipeline.scoring.recommendation_options import RecommendOptions, eligible

NAMED = 100  # clips listed a code


def build_payload(
    found: Found,
    name: str | None,
    faces: str,
    vectors: np.ndarray,
    checks: Sequence[Mapping],
    cautions: Sequence[Caution],
    media: np.ndarray,
) -> dict:
    """Everything but the media, ready for json.dumps; docs/report.md lists the fields.

    Args:
        name: the run's; None: it has none.
        faces: blur, none or show.
        vectors: int8 [N, E], as likeness.projected gives them.
        checks: as the page shows them.
        media: bool [N]: has an entry there.
    """
    return plain(
        {
            "about": about(found, name, faces),
            "data": data(found),
            "quality": quality(found) | {"cautions": list(cautions)},
            "modalities": found.scored_modalities,
            "challenges": challenges(found),
            "clips": clips(found, vectors, media),
            "embedding": {"size": int(vectors.shape[1]), "values": packed(vectors)},
            "checks": list(checks),
            "feedback": feedback(found),
        }
    )


def about(found: Found, name: str | None, faces: str) -> dict:
    run = found.run
    return {
        "run": found.run_id,
        "name": name,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trained_at": run["finished_at"],
        "version": version("vdv"),
        "profile": ", ".join(found.statistics["profiles"]),
        "label": found.statistics["label"]["kind"],
        "label_why": found.statistics["label"]["why"],
        "seed": run["seed"],
        "trained_on": run["trained_on"],
        "modalities": found.modalities,
        "dataset": run["dataset"],
        "untrained": bool(found.statistics["untrained"]),
        "faces": faces,
        "interval_level": run["interval_level"],
    }


def data(found: Found) -> dict:
    table = found.clips
    codes = []
    for code, count in found.statistics["codes"].items():
        named = table.loc[table["code"] == code, ["clip_id", "reason"]].head(NAMED)
        meaning = CLIP_CODES[code].meaning if code in CLIP_CODES else ""
        codes.append(
            {
                "code": code,
                "meaning": meaning,
                "count": count,
                "clips": named["clip_id"].tolist(),
                "reasons": named["reason"].tolist(),
            }
        )
    return {
        "clips": len(table),
        "creators": int(table["creator_id"].nunique()),
        "challenges": len(found.challenges),
        "endings": found.statistics["status"],
        "codes": codes,
        "copies": found.statistics["copies"],
        "usable": [
            {
                "modality": modality,
                "subject": find_modality(modality).subject,
                "searched": found.statistics["modalities"].get(modality, 0),
                "clips": int((table[f"quality_{modality}"] > 0).sum()),
            }
            for modality in found.modalities
        ],
    }


def challenges(found: Found) -> list[dict]:
    """By name; Spearman of the clips judged by folds, else of those held out."""
    judged = found.metrics.get("folds", {}).get("predictors") or found.metrics["splits"]["test"]["predictors"]
    of_each = judged["fused"].get("challenges", {})
    counts = found.clips["challenge"].value_counts()
    rows = []
    for name in found.challenges:
        measured = of_each.get(name, {})
        low, high = spearman_interval(measured.get("spearman"), measured.get("n", 0))
        rows.append(
            {
                "name": name,
                "clips": int(counts[name]),
                "judged": measured.get("n", 0),
                "spearman": measured.get("spearman"),
                "low": low,
                "high": high,
            }
        )
    return rows


def spearman_interval(value: float | None, clips: int) -> tuple[float | None, float | None]:
    """95 % interval by Fisher's z, with the variance of Bonett and Wright (2000); clips as if independent."""
    if value is None or clips < 5:
        return None, None
    z = np.arctanh(np.clip(value, -0.999999, 0.999999))
    reach = 1.959964 * np.sqrt((1 + value**2 / 2) / (clips - 3))
    return float(np.tanh(z - reach)), float(np.tanh(z + reach))


def clips(found: Found, vectors: np.ndarray, media: np.ndarray) -> dict:
    table = found.clips
    challenge = table["challenge"]
    index = {name: place for place, name in enumerate(found.challenges)}
    score = table["score"].astype("float64")
    ranks = score.groupby(challenge).rank(method="first", ascending=False)
    return {
        "id": table["clip_id"],
        "challenge": [index[str(name)] for name in challenge],
        "creator": table["creator_id"],
        "status": table["status"],
        "code": table["code"].replace("", None),
        "split": table["split"],
        "copies": table["copies"],
        "likes": table["likes"],
        "followers": table["followers"],
        "uploaded_at": _times(table["uploaded_at"]),
        "new": eligible(table, RecommendOptions(new_only=True)),
        "actual": percentile_within(table["label"], challenge),
        "score": score,
        "rank": ranks.astype("Int64"),
        "percentile": percentile_within(score, challenge),
        "expected": table["expected_percentile"],
        "low": table["low"],
        "high": table["high"],
        "unseen": unseen(found),
        "modality_percentile": {
            modality: percentile_within(table[f"score_{modality}"], challenge) for modality in found.scored_modalities
        },
        "attention": {modality: table[f"attention_{modality}"] for modality in found.scored_modalities},
        "better": nearest_better(vectors, challenge.to_numpy(str), percentile_within(score, challenge)),
        "media": media,
    }


def feedback(found: Found) -> list[dict]:
    """As it was made, with the clip's row for its id."""
    row = {clip_id: place for place, clip_id in enumerate(found.clips["clip_id"])}
    return [asdict(one) | {"clip": row[one.clip]} for one in found.feedback]


def unseen(found: Found) -> pd.Series:
    """Where in its challenge the score stands of a model that saw nothing of the creator; NaN: there is none."""
    if found.folds is None:
        return pd.Series(np.nan, index=found.clips.index)
    judged = percentile_within(found.folds["score"], found.folds["challenge"])
    by_id = dict(zip(found.folds["clip_id"], judged, strict=True))
    return found.clips["clip_id"].map(by_id).astype("float64")


def _times(values: pd.Series) -> list[str | None]:
    """To the minute, UTC."""
    known = pd.to_datetime(values, utc=True)
    return [None if pd.isna(one) else one.strftime("%Y-%m-%dT%H:%MZ") for one in known]
