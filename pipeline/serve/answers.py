"""Answers of the service: the models of its JSON, and what is said of a clip in words."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.core import storage
from pipeline.core.errors import CLIP_CODES, SOUND_CODES
from pipeline.modalities.registry import title_of
from pipeline.report.sentences import percent
from pipeline.report.warnings import CONTEXT_TEXT, untrained_text
from pipeline.runs.run import CONTEXT_SCORE

NOT_JUDGED = "no_evidence"  # in place of a code: the clip was looked at, and the modality has nothing to go by


@dataclass(frozen=True)
class Judged:
    """What came of one clip."""

    status: str  # ok, partial or failed
    code: str  # one of errors.CLIP_CODES; empty for ok
    reason: str
    frames: int = 0  # sampled frames, of those expected
    expected: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)  # by columns of uploads' scores.parquet; of failed: none
    clip: Mapping[str, Any] = field(default_factory=dict)  # by columns of clips.parquet


@dataclass(frozen=True)
class RunFacts:
    """What answers say of the run."""

    run: str  # its id
    level: float  # of the intervals
    untrained: tuple[str, ...]  # modalities whose networks have random weights
    purged: str | None  # of pipeline.runs.purged.purged_text


class Part(BaseModel):
    """One modality's part of the score."""

    modality: str
    score: float | None = Field(description="what it adds to the score, which is the sum of the parts; null: nothing")
    attention: float = Field(description="share of how far all parts may move this clip's score, 0 to 1")
    quality: float = Field(description="how well the modality is seen or heard in the clip, 0 to 1")
    code: str | None = Field(description=f"why there is none: {NOT_JUDGED}, {', '.join(SOUND_CODES)}")


class Reason(BaseModel):
    """One thing to know about the score, in words."""

    kind: Literal["part", "missing", "warning"]
    code: str = Field(description="the modality of a part or of what is missing; of a warning, its name")
    text: str


class Answer(BaseModel):
    """A clip's score within its challenge by the run, and why."""

    request_id: str
    run: str
    challenge: str | None
    known_challenge: bool = Field(description="false: the run was not trained on it, and nothing is expected")
    score: float | None = Field(description="higher: more popular within its challenge; null: nothing could be judged")
    expected_percentile: float | None = Field(description="place in the challenge that is to be expected, 0 to 1")
    low: float | None = Field(description="lower end of its interval")
    high: float | None = Field(description="upper end of its interval")
    level: float = Field(description="share of clips by new creators that such intervals hold")
    abstained: bool = Field(description="no modality could be judged, so there is no score")
    status: Literal["ok", "partial"]
    code: str = Field(description="how decoding ended, docs/clip-endings.md; empty for ok")
    reason: str
    frames: int = Field(description="pictures looked at")
    expected_frames: int
    parts: list[Part]
    context: float | None = Field(description="the part of the score that is not of the content; of a run with it")
    reasons: list[Reason]


class Problem(BaseModel):
    """An answer without a score, as RFC 9457 has it."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["about:blank"] = "about:blank"
    title: str = Field(description="the status in words")
    status: int
    code: str = Field(description="what is wrong: docs/serve.md, and of a clip docs/clip-endings.md")
    detail: str = Field(description="what is wrong, and what to do")
    request_id: str


class Health(BaseModel):
    """State of the service."""

    status: Literal["ok"] = "ok"
    run: str
    waiting: int = Field(description="clips that wait or are worked on")
    queue: int = Field(description="clips that may")


def answer(request_id: str, challenge: str | None, facts: RunFacts, judged: Judged) -> Answer:
    """The answer for a clip that did not fail. challenge: as the client named it."""
    scores = judged.scores
    parts = [_part(name.removeprefix("attention_"), judged) for name in scores if name.startswith("attention_")]
    return Answer(
        request_id=request_id, run=facts.run, challenge=challenge, known_challenge=bool(scores["known_challenge"]),
        score=_number(scores["score"]), expected_percentile=_number(scores["expected_percentile"]),
        low=_number(scores["low"]), high=_number(scores["high"]), level=facts.level,
        abstained=bool(scores["abstained"]), status="ok" if judged.status == "ok" else "partial", code=judged.code,
        reason=judged.reason, frames=judged.frames, expected_frames=judged.expected, parts=parts,
        context=_number(scores.get(CONTEXT_SCORE)), reasons=list(_reasons(facts, judged, parts)),
    )  # fmt: skip


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _part(modality: str, judged: Judged) -> Part:
    score = _number(judged.scores[f"score_{modality}"])
    code = None if score is not None else judged.clip.get(f"without_{modality}") or NOT_JUDGED
    attention, quality = judged.scores[f"attention_{modality}"], judged.clip.get(f"quality_{modality}") or 0.0
    return Part(modality=modality, score=score, attention=float(attention), quality=float(quality), code=code)


def _reasons(facts: RunFacts, judged: Judged, parts: list[Part]) -> Iterator[Reason]:
    """Warnings first, then parts, the weightiest first, then what is missing."""
    for code, text in _warnings(facts, judged, parts):
        yield Reason(kind="warning", code=code, text=text)
    for part in sorted(parts, key=lambda one: -one.attention):
        if part.score is not None:
            does = f"adds {part.score:.2f} to" if part.score >= 0 else f"takes {-part.score:.2f} from"
            text = f"{_title(part)} {does} the score; its weight is {percent(part.attention)}."
            yield Reason(kind="part", code=part.modality, text=text)
    for part in parts:
        if part.code is not None:
            why = SOUND_CODES.get(part.code, "the clip shows nothing that it could be judged by")
            yield Reason(kind="missing", code=part.modality, text=f"{_title(part)} is not judged: {why}.")


def _title(part: Part) -> str:
    return title_of(part.modality).capitalize()


def _warnings(facts: RunFacts, judged: Judged, parts: list[Part]) -> Iterator[tuple[str, str]]:
    if facts.untrained:
        yield "untrained", untrained_text(facts.untrained)
    if facts.purged:
        yield "purged", f"{facts.purged}."
    if judged.scores["abstained"]:
        yield "abstained", "No modality could be judged, so there is no score."
    elif any(part.code for part in parts):
        yield "missing_modalities", "The clip is judged by its other modalities, and its score is drawn to the middle."
    if not judged.scores["known_challenge"]:
        text = "The run was not trained on this challenge: the score orders clips, and no more; nothing is expected."
        yield "unknown_challenge", text
    if judged.code:
        yield judged.code, f"Only a part of the clip is used: {CLIP_CODES[judged.code].meaning} ({judged.reason})."
    if judged.scores.get(CONTEXT_SCORE) is not None:
        yield "context", CONTEXT_TEXT


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error was raised, or has been raised from one, for want of room on a disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in storage.DISK_FULL:
            return True
        error = error.__cause__
    return False
