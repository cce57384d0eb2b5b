"""The page's data as one JSON object: facts about the run, counts, and the clips as columns."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import pandas as pd

from models.task_command import luigi_program
from pipeline.core.errors import CLIP_CODES
from pipeline.dataset.labels import TEST
from pipeline.evaluation.predictors import FUSED
from pipeline.metrics.ranking import percentile_within
from pipeline.modalities.registry import find_modality, title_of
from pipeline.report.run_contents import RunContents
from pipeline.report.similarity import nearest_better
from pipeline.report.values import packed, plain
from pipeline.runs.run import CONTEXT_SCORE, content_score
from pipeline.scoring.recommendation_options import RecommendOptions, eligible

NAMED = 100  # clips listed a code


def build_payload(
    contents: RunContents,
    name: str | None,
    faces: str,
    vectors: np.ndarray,
    checks: Sequence[Mapping],
    quality: Mapping,
    has_media: np.ndarray,
    sound: Mapping | None,
    challenge_music: Mapping[str, Mapping],
) -> dict:
    """Everything but the media, ready for json.dumps; docs/report.md lists the fields.

    Args:
        name: the run's; None: it has none.
        faces: blur, none or show.
        vectors: int8 [N, E], as similarity.projected gives them.
        checks: entries of the samples of the extraction.
        quality: as quality.measured_quality gives it, with `warnings`.
        has_media: bool [N]
        sound: as music.sound_counts gives it.
        challenge_music: as music.challenge_music gives it.
    """
    return plain(
        {
            "about": _about(contents, name, faces),
            "data": _data(contents) | {"sound": sound},
            "quality": quality,
            "modalities": contents.scored_modalities,
            "titles": {modality: title_of(modality) for modality in contents.modalities},
            "challenges": [{**row, **challenge_music[row["name"]]} for row in _challenges(contents)],
            "clips": _clips(contents, vectors, has_media),
            "embedding": {"size": int(vectors.shape[1]), "values": packed(vectors)},
            "checks": list(checks),
            "feedback": _feedback(contents),
        }
    )


def _about(contents: RunContents, name: str | None, faces: str) -> dict:
    run = contents.run
    return {
        "run": contents.run_id,
        "name": name,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trained_at": run["finished_at"],
        "version": version("vdv"),
        "profile": ", ".join(contents.statistics["profiles"]),
        "label": contents.statistics["label"]["kind"],
        "label_why": contents.statistics["label"]["why"],
        "seed": run["seed"],
        "trained_on": run["trained_on"],
        "modalities": contents.modalities,
        "dataset": run["dataset"],
        "untrained": bool(contents.statistics["untrained"]),
        "faces": faces,
        "interval_level": run["interval_level"],
        "context": run["config"]["context"],
        "luigi": luigi_program(),
    }


def _data(contents: RunContents) -> dict:
    table = contents.clips
    codes = []
    for code, count in contents.statistics["codes"].items():
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
        "challenges": len(contents.challenges),
        "endings": contents.statistics["status"],
        "codes": codes,
        "copies": contents.statistics["copies"],
        "usable": [
            {
                "modality": modality,
                "subject": find_modality(modality).subject,
                "searched": contents.statistics["modalities"].get(modality, 0),
                "clips": int((table[f"quality_{modality}"] > 0).sum()),
            }
            for modality in contents.modalities
        ],
    }


def _challenges(contents: RunContents) -> list[dict]:
    """One row a challenge, by name; Spearman of the clips judged by folds, else of those held out."""
    judged = contents.metrics.get("folds", {}).get("predictors") or contents.metrics["splits"][TEST]["predictors"]
    of_each = judged[FUSED].get("challenges", {})
    counts = contents.clips["challenge"].value_counts()
    rows = []
    for name in contents.challenges:
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


def _clips(contents: RunContents, vectors: np.ndarray, has_media: np.ndarray) -> dict:
    table = contents.clips
    challenge = table["challenge"]
    index = {name: place for place, name in enumerate(contents.challenges)}
    score = table["score"].astype("float64")
    ranks = score.groupby(challenge).rank(method="first", ascending=False)
    content = percentile_within(content_score(table), challenge)
    context = table[CONTEXT_SCORE] if CONTEXT_SCORE in table else pd.Series(np.nan, table.index)
    return {
        "id": table["clip_id"],
        "challenge": [index[str(name)] for name in challenge],
        "creator": table["creator_id"],
        "status": table["status"],
        "code": table["code"].replace("", None),
        "split": table["split"],
        "copies": table["copies"],
        "same_sound": table["same_sound"],
        "without_sound": table.get("without_audio", pd.Series(None, table.index, object)),
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
        "unseen": _unseen(contents),
        "content": _unseen(contents, content_score).fillna(content),
        "context": percentile_within(context, challenge),
        "modality_percentile": {
            modality: percentile_within(table[f"score_{modality}"], challenge)
            for modality in contents.scored_modalities
        },
        "attention": {modality: table[f"attention_{modality}"] for modality in contents.scored_modalities},
        "better": nearest_better(vectors, challenge.to_numpy(str), content),
        "media": has_media,
    }


def _feedback(contents: RunContents) -> list[dict]:
    """Feedback as read, with the clip's row in place of its id."""
    row = {clip_id: place for place, clip_id in enumerate(contents.clips["clip_id"])}
    return [asdict(feedback) | {"clip": row[feedback.clip]} for feedback in contents.feedback]


def _unseen(
    contents: RunContents, score: Callable[[pd.DataFrame], pd.Series] = operator.itemgetter("score")
) -> pd.Series:
    """Percentile within the challenge by a fold's model that saw nothing of the creator; NaN: no such score.

    score: of the folds' table.
    """
    if contents.folds is None:
        return pd.Series(np.nan, index=contents.clips.index)
    judged = percentile_within(score(contents.folds), contents.folds["challenge"])
    by_id = dict(zip(contents.folds["clip_id"], judged, strict=True))
    return contents.clips["clip_id"].map(by_id).astype("float64")


def _times(values: pd.Series) -> list[str | None]:
    """To the minute, UTC."""
    known = pd.to_datetime(values, utc=True)
    return [None if pd.isna(time) else time.strftime("%Y-%m-%dT%H:%MZ") for time in known]
