"""The rule of when a clip was decoded whole: what came of it is compared with all that its container promises.

`docs/clip-endings.md` has the rule in words, and a table of the kinds of film that tests make, each with its ending.
"""

from dataclasses import dataclass

# Stated durations are rounded, and a last picture's length is often guessed: half a second is no cut.
_SLACK_S = 0.5
_CONTRADICTORY = 0.1  # share of pictures whose timestamps do not follow the one before, from which on none is believed


@dataclass(frozen=True)
class Promise:
    """Statements of a clip's container; 0 where it makes none. A clip is decoded up to `max_seconds`."""

    duration_s: float  # of the film
    pictures: int  # in the index
    missing_end_s: float  # what the file as a whole, with its sound, lacks of its stated duration
    cut_off: bool  # bytes that the container names lie behind the file's end
    max_seconds: float


@dataclass(frozen=True)
class Found:
    """Outcome of a clip's decoding, as pipeline.decode.timeline.Timeline has it."""

    pictures: int
    end_s: float
    step_s: float  # median time from one picture to the next
    holes: list[tuple[float, float]]  # (seconds from the first picture, seconds missing)
    jumps: list[tuple[float, float]]
    restarts: int
    strays: int
    stopped: str = ""  # why no decoder came further; empty: all came to the end


def ending_of(found: Found, promise: Promise) -> tuple[str, str, str]:
    """(status, code, reason) of a clip of which at least one picture was decoded; ("ok", "", "") where it is whole."""
    if found.stopped:
        return "partial", "truncated" if promise.cut_off else "corrupt", found.stopped
    if reason := _contradiction(found, promise.max_seconds):
        return "partial", "incomplete", reason
    if found.end_s < promise.max_seconds:
        if reason := _early_end(found, promise):
            return "partial", "truncated", reason
        if reason := _too_few(found, promise):
            return "partial", "truncated" if promise.cut_off else "incomplete", reason
    return "ok", "", ""


def _contradiction(found: Found, max_seconds: float) -> str:
    """Of holes in the middle, and of timestamps that do not tell the order of things; empty where there are none."""
    backwards = found.restarts + found.strays
    if backwards > max(2, _CONTRADICTORY * found.pictures):
        return (
            f"the timestamps of {backwards} of {found.pictures} pictures run backwards; the pictures are used as if "
            "they followed each other evenly"
        )
    if found.jumps:
        where = ", ".join(f"{step_s:.2f} s at {at_s:.2f} s" for at_s, step_s in found.jumps[:3])
        return (
            f"the timestamps jump ahead ({where}; {len(found.jumps)} in all): either pictures are missing, or the "
            "recording went on later; what follows is used as if it followed at once"
        )
    holes = [(at_s, min(missing_s, max_seconds - at_s)) for at_s, missing_s in found.holes]
    holes = [(at_s, missing_s) for at_s, missing_s in holes if missing_s > _SLACK_S]
    if not holes:
        return ""
    where = ", ".join(f"{missing_s:.2f} s at {at_s:.2f} s" for at_s, missing_s in holes[:3])
    return f"{sum(missing_s for _, missing_s in holes):.2f} s of pictures are missing: {where}"


def _early_end(found: Found, promise: Promise) -> str:
    if promise.missing_end_s > _SLACK_S:
        return f"the file ends {promise.missing_end_s:.2f} s before its stated duration"
    stated_s = 0.0 if found.restarts else min(promise.duration_s, promise.max_seconds)
    if stated_s - found.end_s > _slack_s(found, promise):
        return f"{found.end_s:.2f} s decoded of {promise.duration_s:.2f} s that the file states"
    if promise.cut_off and not stated_s:
        return f"the file is smaller than it states; {found.end_s:.2f} s of it decoded"
    return ""


def _too_few(found: Found, promise: Promise) -> str:
    lacking = promise.pictures - found.pictures
    if lacking > 0 and (found.pictures == 1 or lacking * found.step_s > _SLACK_S):
        return f"{found.pictures} of {promise.pictures} pictures decoded that the file states"
    return ""


def _slack_s(found: Found, promise: Promise) -> float:
    """How much the film may end early. The last picture of a slide show may stay as long as those before, a single one
    for all of the film, if the file's bytes are all there.
    """
    if promise.cut_off:
        return _SLACK_S
    return max(_SLACK_S, 2 * found.step_s) if found.pictures > 1 else promise.duration_s
