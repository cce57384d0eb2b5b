"""Reports' data made by script, of any number of clips, true to docs/report.md: for measuring and testing the page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.core.errors import SOUND_CODES
from pipeline.evaluation.predictors import CONTROL, EXPECTED_CHANCE, MODEL, predictors_in
from pipeline.metrics.ranking import percentile_within
from pipeline.report.page_file import MEDIA_BLOCK

MODALITIES = ("pose", "appearance", "face", "scene", "audio", "synchrony")
LOOKS = ["appearance", "face", "scene"]
TITLES = {name: name for name in MODALITIES} | {"audio": "sound", "synchrony": "keeping the beat"}
CURVES_HZ = 20
UNHEARD = {4: "no_sound", 5: "silent"}  # of each 50 clips; others have music
EMBEDDING = 16
FRAMES = 130_000  # of skeletons in a whole page, as pipeline/report/skeletons.py allows
FILMS = 120
STRIP_FRAMES = 12
_CHALLENGES = ("arms_up", "cross_arms", "hip_sway", "kick", "side_step", "spin_hands", "squat_drop", "wave")


_WEIGHTS = (3, 2, 1, 1, 1, 2)


@dataclass(frozen=True)
class Names:
    """How clips, challenges and creators are called; the numbers of one are put in."""

    clip: str = "clip-{:05d}"
    challenge: str = "{}"
    creator: str = "creator_{}"


def make_payload(clips: int, names: Names | None = None, seed: int = 0) -> tuple[dict, list[dict]]:
    """(payload, media) as make_page takes them.

    One clip in 50 failed, one in 30 is partial, one in ten is new (no likes), one in 20 lacks its face, a few are
    copies of one another; challenges and creators are unequal in size; music is as `planted` says. Without clips there
    is nothing measured.
    """
    rng = np.random.default_rng(seed)
    names = names or Names()
    count = min(len(_CHALLENGES), clips)
    called = sorted(names.challenge.format(name) for name in _CHALLENGES[:count])
    columns = _clips(rng, clips, len(called), names)
    media = _media(rng, columns, clips)
    columns["media"] = [row in media for row in range(clips)]
    payload = {
        "about": {
            "run": "0123456789abcdef", "name": "made by script", "made_at": "2026-01-02T03:04:05+00:00",
            "trained_at": "2026-01-02T03:00:00+00:00", "version": "0.1.0", "profile": "none", "label": "likes",
            "label_why": "asked for", "seed": seed, "trained_on": clips, "dataset": "fedcba9876543210",
            "modalities": list(MODALITIES), "untrained": False, "faces": "blur",
            "interval_level": 0.8,
            "context": True,
            "luigi": ".venv/bin/luigi",
        },
        "data": _data(columns, clips, count),
        "quality": _quality(rng, columns["id"], called),
        "modalities": list(MODALITIES),
        "titles": TITLES,
        "challenges": [
            {"name": name, "clips": columns["challenge"].count(place), "judged": columns["challenge"].count(place),
             "spearman": 0.6, "low": 0.4, "high": 0.75, "tempo": [100 + 6 * place, 99 + 6 * place, 101 + 6 * place],
             "tempo_clips": columns["challenge"].count(place), "usual_lag": [0.03, 0.01] if place != 1 else None}
            for place, name in enumerate(called)
        ],
        "clips": columns,
        "embedding": {"size": EMBEDDING, "values": _packed(_embedding(rng, clips))},
        "checks": _checks(rng, columns, clips),
        "feedback": [],
    }  # fmt: skip
    blocks: list[dict] = [{} for _ in range(-(-clips // MEDIA_BLOCK))]
    for row, entry in media.items():
        blocks[row // MEDIA_BLOCK][str(row)] = entry
    return payload, blocks


def _clips(rng: np.random.Generator, clips: int, challenges: int, names: Names) -> dict:
    status = np.where(rng.random(clips) < 1 / 30, "partial", "ok").astype(object)
    status[49::50] = "failed"
    decoded = status != "failed"
    challenge = np.minimum(rng.geometric(0.2, clips) - 1, max(challenges - 1, 0))
    challenge[: min(challenges, clips)] = np.arange(min(challenges, clips))
    creator = rng.integers(0, max(1, clips // 3), clips)
    score = np.where(decoded, rng.normal(size=clips), np.nan)
    new = rng.random(clips) < 0.1
    label = np.where(new, np.nan, np.nan_to_num(score) + rng.normal(size=clips))
    modality_scores = {modality: np.where(decoded, score + rng.normal(size=clips), np.nan) for modality in MODALITIES}
    modality_scores["face"][7::20] = np.nan
    attention = rng.dirichlet(_WEIGHTS, clips)
    percentile = _percentile(score, challenge)
    expected = np.clip(0.2 + 0.6 * percentile, 0, 1)
    copies = np.full(clips, None, object)
    copies[3::97] = "group-0"
    without = [UNHEARD.get(row % 50) if status[row] != "failed" else None for row in range(clips)]
    same_sound = [
        names.clip.format(int(one)) if row % 3 == 0 and decoded[row] and not without[row] else None
        for row, one in enumerate(challenge)
    ]
    (apart,) = rng.spawn(1)  # draws nothing from what all else is drawn from
    context = apart.normal(size=clips)
    return {
        "id": [names.clip.format(row) for row in range(clips)],
        "challenge": challenge.tolist(),
        "creator": [None if row % 33 == 5 else names.creator.format(one) for row, one in enumerate(creator.tolist())],
        "status": status.tolist(),
        "code": [{"ok": None, "partial": "corrupt", "failed": "missing"}[one] for one in status],
        "split": [("train", "train", "train", "val", "test")[one % 5] for one in creator.tolist()],
        "copies": copies.tolist(),
        "same_sound": same_sound,
        "without_sound": without,
        "likes": [None if unknown else int(np.exp(4 + 2 * value)) for unknown, value in zip(new, label, strict=True)],
        "followers": rng.integers(10, 100_000, clips).tolist(),
        "uploaded_at": [f"2025-{1 + row % 12:02d}-{1 + row % 28:02d}T12:00Z" for row in range(clips)],
        "new": new.tolist(),
        "actual": _plain(_percentile(label, challenge)),
        "score": _plain(score),
        "rank": _ranks(score, challenge),
        "percentile": _plain(percentile),
        "expected": _plain(expected),
        "low": _plain(np.clip(expected - 0.25, 0, 1)),
        "high": _plain(np.clip(expected + 0.25, 0, 1)),
        "unseen": _plain(_percentile(score + rng.normal(size=clips) / 2, challenge)),
        "content": _plain(_percentile(score - context, challenge)),
        "context": _plain(_percentile(context, challenge)),
        "modality_percentile": {
            modality: _plain(_percentile(values, challenge)) for modality, values in modality_scores.items()
        },
        "attention": {modality: _plain(attention[:, place]) for place, modality in enumerate(MODALITIES)},
        "better": _better(score, challenge),
    }


def _media(rng: np.random.Generator, columns: dict, clips: int) -> dict[int, dict]:
    frames = max(2, min(40, FRAMES // max(clips, 1)))
    strip = _strip(rng)
    entries = {}
    for row in range(clips):
        if columns["status"][row] == "failed":
            continue
        film = {"src": strip, "frames": STRIP_FRAMES, "width": 90, "height": 160,
                "seconds": np.round(np.arange(STRIP_FRAMES) * frames / 5 / STRIP_FRAMES, 2).tolist()}  # fmt: skip
        evidence = {"time": _signed(rng, frames), "joint": _signed(rng, 17)}
        entries[row] = {
            "fps": 5.0, "joints": _packed(_dance(rng, frames)), "aspect": 0.6,
            "evidence": evidence if row < 1000 else None, "film": film if row < FILMS else None,
            "music": None if columns["without_sound"][row] else made_music(planted(row), (frames - 1) / 5),
        }  # fmt: skip
        if row % 50 == 6:  # nobody
            entries[row] |= {"joints": "", "evidence": None, "film": None}
    return entries


@dataclass(frozen=True)
class PlantedMusic:
    """What is to be read on a clip's page."""

    bpm: float
    lag_s: float | None  # None: not known
    lag_error_s: float = 0.02
    strength: float = 0.62
    certain: bool = True
    why: str = ""


def planted(row: int) -> PlantedMusic:
    """The music of a clip that has sound. Of each 50 clips 2 is without beats, 3 without a lag, 6 without a dancer."""
    bpm = 112.0 + row % 7
    special = {
        0: PlantedMusic(112.0, 0.12),
        1: PlantedMusic(bpm, -0.08, certain=False),
        2: PlantedMusic(0.0, None, why="no_beats"),
        3: PlantedMusic(bpm, None),
        6: PlantedMusic(bpm, None, why="no_dancer"),
    }
    return special.get(row % 50, PlantedMusic(bpm, 0.01 * (row % 9 - 4), certain=row % 2 == 0))


def made_music(music: PlantedMusic, seconds: float) -> dict:
    """An entry as pipeline.report.music makes it: a stroke on every beat, limbs that rest so much later."""
    times = np.arange(int(seconds * CURVES_HZ) + 1) / CURVES_HZ
    beats = np.arange(0.2, seconds, 60 / music.bpm) if music.bpm else np.zeros(0)
    phase = (times - 0.2) * music.bpm / 60
    onsets = 255 * np.exp(-8 * (phase % 1)) if music.bpm else 40 * (1 + np.sin(9 * times))
    rows = [90 + onsets / 2, onsets]
    entry: dict = {
        "seconds": seconds, "hz": CURVES_HZ, "tempo": music.bpm or None, "tempo_confidence": 0.92 if music.bpm else 0.0,
        "heard": [0.0, seconds], "beats": _packed(np.round(100 * beats).astype("<u2")),
        "confidence": _packed(np.linspace(102, 255, len(beats)).astype(np.uint8)), "why": music.why, "dance": None,
    }  # fmt: skip
    if not music.why:
        late = [(music.lag_s or 0.0) + 0.01 * place for place in range(6)]  # of the body and five limbs
        rows += [1 + 254 * np.abs(np.sin(np.pi * (phase - by * music.bpm / 60))) for by in late]
        kinematic = [beats[: max(0, len(beats) - place)] + by for place, by in enumerate(late)]  # ever fewer
        kinematic = [one[(one >= 0) & (one < seconds)] for one in kinematic]
        middle = np.arange(1.5, max(seconds - 1.5, 1.5) + 0.01, 0.5)
        lag = np.full((3, len(middle)), -32768.0)
        lag[0] = 100 * middle
        if music.lag_s is not None:
            lag[1:] = 1000 * music.lag_s + 20 * np.sin(middle), np.full(len(middle), 1000 * music.lag_error_s)
        entry["dance"] = {
            "top": [2.5, 3.1, 3.2, 1.4, 1.5, 0.9], "kinematic_counts": [len(one) for one in kinematic],
            "kinematic": _packed(np.round(100 * np.concatenate(kinematic)).astype("<u2")),
            "lag": _packed(np.round(lag).astype("<i2")), "clip_lag": music.lag_s,
            "clip_lag_error": None if music.lag_s is None else music.lag_error_s, "strength": music.strength,
            "at_beats": -0.8, "period": 60 / music.bpm, "certain": music.certain,
        }  # fmt: skip
    return entry | {"curves": _packed(np.stack(rows).astype(np.uint8))}


# A standing figure in the box of the clip: COCO-17, x and y of 255.
_FIGURE = np.array([
    [128, 20], [134, 14], [122, 14], [142, 18], [114, 18], [160, 60], [96, 60], [185, 100], [71, 100], [200, 140],
    [56, 140], [148, 135], [108, 135], [150, 190], [106, 190], [152, 240], [104, 240],
])  # fmt: skip


def _dance(rng: np.random.Generator, frames: int) -> np.ndarray:
    """uint8 [frames, 17, 3]: the figure swinging, a joint in 30 not seen."""
    phase, reach = rng.uniform(0, 6, (17, 2)), rng.uniform(0, 25, (17, 2))
    at = _FIGURE + reach * np.sin(phase + np.arange(frames)[:, None, None] * 0.8)
    seen = rng.random((frames, 17, 1)) > 1 / 30
    return np.concatenate([np.clip(at, 0, 255) * seen, 255 * seen], axis=2).astype(np.uint8)


def _strip(rng: np.random.Generator) -> str:
    """A film strip of about 30 kB, as large as the pipeline lets one be."""
    noise = rng.integers(0, 255, (20, 12 * STRIP_FRAMES, 3), np.uint8)
    picture = Image.fromarray(noise).resize((90 * STRIP_FRAMES, 160), Image.Resampling.BICUBIC)
    return _picture(picture)


def _picture(picture: Image.Image) -> str:
    written = io.BytesIO()
    picture.save(written, "webp", quality=60)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}"


def _checks(rng: np.random.Generator, columns: dict, clips: int) -> list[dict]:
    picture = _picture(Image.fromarray(rng.integers(0, 255, (24, 14, 3), np.uint8)).resize((270, 480)))
    crop = _picture(Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).resize((80, 80)))
    scene = [["gymnasium/indoor", 0.7], ["living_room", 0.2], ["street", 0.05], ["beach", 0.03], ["stage/indoor", 0.02]]
    read = [row for row in range(clips) if columns["status"][row] != "failed"][:24]
    return [
        {"clip": row, "picture": picture if row % 5 else None, "crops": [crop] * (row % 4), "scene": scene,
         "indoor": 0.9, "people": 1 + row % 3, "second": 1.5 if row % 5 else None}
        for row in read
    ]  # fmt: skip


def _data(columns: dict, clips: int, challenges: int) -> dict:
    unheard = [row for row in range(clips) if columns["without_sound"][row]]
    codes = []
    for code, meaning in (("corrupt", "decoding stopped at damaged data"), ("missing", "no file at the clip's uri")):
        those = [name for name, one in zip(columns["id"], columns["code"], strict=True) if one == code]
        codes.append({"code": code, "meaning": meaning, "count": len(those), "clips": those[:100],
                      "reasons": [f"{meaning}, says {name}" for name in those[:100]]})  # fmt: skip
    return {
        "clips": clips, "creators": len({one for one in columns["creator"] if one is not None}),
        "challenges": challenges,
        "endings": {one: columns["status"].count(one) for one in sorted(set(columns["status"]))},
        "codes": [one for one in codes if one["count"]],
        "copies": {"of_a_file": 0, "near": sum(one is not None for one in columns["copies"])},
        "usable": [
            {"modality": name, "subject": subject, "searched": clips, "clips": clips * 9 // 10}
            for name, subject in (("pose", "the lead dancer"), ("face", "the lead dancer's face"),
                                  ("scene", "any frame"), ("appearance", "any frame"), ("audio", "the sound"),
                                  ("synchrony", "the lead dancer's time against the music's"))
        ],
        "sound": {
            "decoded": clips - columns["status"].count("failed"),
            "heard": clips - columns["status"].count("failed") - len(unheard),
            "with_tempo": sum(planted(row).bpm > 0 for row in range(clips) if row not in unheard),
            "codes": [
                {"code": code, "meaning": meaning, "count": columns["without_sound"].count(code),
                 "clips": [columns["id"][row] for row in unheard if columns["without_sound"][row] == code][:100]}
                for code, meaning in SOUND_CODES.items() if code in columns["without_sound"]
            ],
            "same": {
                "clips": sum(one is not None for one in columns["same_sound"]),
                "tracks": len({one for one in columns["same_sound"] if one is not None}),
                "held_out_of_other_challenges": 0,
            },
        },
    }  # fmt: skip


def _quality(rng: np.random.Generator, ids: list[str], challenges: list[str]) -> dict:
    clips = len(ids)
    nothing: dict = {"note": "nothing was judged", "folds": {"protocol": "kfold", "asked": 5, "folds": 0, "clips": 0,
               "reason": "2 labelled clips are too few"}, "table": [], "splits": [], "coverage": None,
               "calibration": [], "ablations": None, "attention": [], "warnings": [],
               "left_out": {"read": LOOKS, "not_read": [], "rows": []}}  # fmt: skip
    if clips < 50:
        return nothing
    columns = ("score", *(f"score_{name}" for name in MODALITIES), "baseline_followers", "baseline_ridge_means",
               "baseline_trees_all", "fusion_networks", "fusion_statistics", "fusion_mean", "fusion_concatenation",
               "fusion_only_pose+appearance", "fusion_only_face+scene")  # fmt: skip
    table = []
    for predictor in [*predictors_in(columns), EXPECTED_CHANCE]:
        at = 0.7 if predictor.section == MODEL else float(rng.uniform(0, 0.7))
        better = {"spearman": [0.7 - at, 0.6 - at, 0.8 - at], "p": 0.01, "p_holm": 0.04, "detectable": 0.1}
        table.append(predictor.entry() | {
            "clips": clips, "spearman": [at, at - 0.1, at + 0.1], "kendall_tau_b": [at * 0.7, None, None],
            "pairwise_accuracy": [0.5 + at / 3, 0.45 + at / 3, 0.55 + at / 3],
            "model_better_by": better if predictor.section not in (MODEL, CONTROL) else None,
        })  # fmt: skip
    return {
        "note": "test clips are of creators that training did not see; train shows the fit, not the skill",
        "folds": {"protocol": "kfold", "asked": 5, "folds": 5, "clips": clips, "scored": clips - 2},
        "table": table,
        "splits": [
            {"split": split, "predictor": predictor, "spearman": 0.6, "kendall": 0.4, "pairwise": 0.7, "ndcg": 0.9,
             "n": 20}
            for split in ("test", "train") for predictor in ("fused", *MODALITIES)
        ],
        "coverage": {"level": 0.8, "share": 0.81, "low": 0.75, "high": 0.86, "clips": clips},
        "calibration": [{"expected": at, "actual": float(np.clip(at + rng.normal() / 20, 0, 1)), "n": clips // 10}
                        for at in np.linspace(0.1, 0.9, 10).tolist()],
        "ablations": [
            {"variant": f"v{place}", "what": what, "predictor": "fused", "seeds": 3, "clips": clips, "p_holm": 0.2,
             "spearman": [0.7 - place / 50, 0.6, 0.8], "difference": [-place / 50, -0.1, 0.05] if place else None}
            for place, what in enumerate(("the model", "no pyramid", "no refinement", "no temporal relations"))
        ],
        "attention": [{"challenge": name} | dict(zip(MODALITIES, rng.dirichlet(_WEIGHTS).tolist(), strict=True))
                      for name in challenges],
        "left_out": {"read": LOOKS, "not_read": [], "rows": [_left_out(names, ids, challenges)
                     for names in (*([name] for name in LOOKS), LOOKS)]},
        "warnings": [
            {"id": "few_clips", "kind": "warning",
             "text": "Only few clips were judged: look at the ends of the intervals."},
            {"id": "made", "kind": "note", "text": "These data are made by script."},
        ],
    }  # fmt: skip


def _left_out(left_out: list[str], ids: list[str], challenges: list[str]) -> dict:
    """The more is left out, the more changes; without a face one clip has no score."""
    change = 0.05 * len(left_out)
    moved = [
        {"clip_id": name, "challenge": challenges[place % len(challenges)], "before": 0.9, "after": 0.9 - 4 * change}
        for place, name in enumerate(ids[:8])
    ]
    return {
        "left_out": left_out, "clips": len(ids), "unscored": int(left_out == ["face"]), "agreement": 1 - change,
        "least_agreement": 1 - 2 * change, "top": len(ids) // 10, "top_changed": len(left_out), "median_move": change,
        "far_move": 3 * change, "moved": moved, "spearman": {"with": [0.7, 0.6, 0.8],
        "without": [0.7 - change, 0.6 - change, 0.8 - change], "better_by": [change, change - 0.1, change + 0.1]},
    }  # fmt: skip


def _embedding(rng: np.random.Generator, clips: int) -> np.ndarray:
    """int8 [N, EMBEDDING]; one in 40 is nothing."""
    values = rng.normal(size=(clips, EMBEDDING))
    values /= np.abs(values).max(1, keepdims=True, initial=1e-9)
    values[11::40] = 0
    return np.round(values * 127).astype(np.int8)


def _percentile(values: np.ndarray, challenge: np.ndarray) -> np.ndarray:
    return percentile_within(pd.Series(values), pd.Series(challenge)).to_numpy()


def _ranks(score: np.ndarray, challenge: np.ndarray) -> list[int | None]:
    ranks: list[int | None] = [None] * len(score)
    for name in np.unique(challenge):
        members = np.flatnonzero((challenge == name) & np.isfinite(score))
        for place, row in enumerate(members[np.argsort(-score[members])].tolist(), start=1):
            ranks[row] = place
    return ranks


def _better(score: np.ndarray, challenge: np.ndarray) -> list[int]:
    """The next but four better ones of the challenge, or -1."""
    better = np.full(len(score), -1)
    for name in np.unique(challenge):
        members = np.flatnonzero((challenge == name) & np.isfinite(score))
        ordered = members[np.argsort(-score[members])]
        better[ordered[5:]] = ordered[:-5]
    return better.tolist()


def _signed(rng: np.random.Generator, count: int) -> list[float]:
    values = rng.normal(size=count)
    return np.round(values / np.abs(values).max(), 2).tolist()


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if not np.isfinite(value) else float(f"{value:.4g}") for value in values.tolist()]


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
