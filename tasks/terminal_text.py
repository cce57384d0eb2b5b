"""Text that the tasks print at their end: tables and sentences, made of what a run left."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.core.errors import CLIP_CODES
from pipeline.core.text import visible
from pipeline.scoring.recommendation_options import RecommendOptions

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.evaluation.compare_runs import Comparison
    from pipeline.feedback.clip_feedback import ClipFeedback
    from pipeline.ingest.exports.plan import ManifestPlan
    from pipeline.purge.job import Job, Place
    from pipeline.purge.proof import Proof
    from pipeline.scoring.recommendation import Recommendation

TOP = 10  # clips of a challenge that are printed
NAMED = 5  # clips of an ending that are printed
LISTED = 20  # files or records that are printed of those that a manifest is made without
DEMO_PROFILE_NOTE = "NOTE: the profile demo knows rendered dancers only; use --profile full for real clips"


class ClipOutcome(Protocol):
    """What the tables of clips say of one."""

    @property
    def clip_id(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def code(self) -> str: ...


def clips_text(counts: Mapping[str, int], clips: Iterable[ClipOutcome], retry: str = "add --retry-failed") -> list[str]:
    """How many clips ended in which way; of those that were not ok a line a code, and what to do.

    counts: clips by ending. clips: at least those that were not ok. retry: how those are tried again that may pass.
    """
    by_code: dict[tuple[str, str], list[str]] = {}
    for clip in clips:
        if clip.status != "ok":
            by_code.setdefault((clip.status, clip.code), []).append(clip.clip_id)
    lines = [f"clips: {', '.join(f'{count} {ending}' for ending, count in counts.items())}"]
    for (status, code), ids in sorted(by_code.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1])):
        named = ", ".join(ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")
        lines.append(f"  {len(ids)} {status}, {code}: {named}\n      {CLIP_CODES[code].meaning}")
    if by_code:
        passing = sum(len(by_code.get(("failed", code), ())) for code, about in CLIP_CODES.items() if about.retryable)
        again = f"; {passing} may pass another time: {retry}" if passing else ""
        lines.append(f"  what to do about each code: docs/clip-endings.md{again}")
    return lines


def manifest_text(plan: "ManifestPlan") -> str:
    """Of a manifest made of exports: where each column comes from, what was left out, how cells were read."""
    rows = [
        [column.name, column.source, f"{column.filled} of {len(plan.rows)}", _examples(column.examples)]
        for column in plan.columns
    ]
    header = ["column", "from", "filled", "for example"]
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    if plan.records:
        lines.append("fields are found by their names, or by --map COLUMN=FIELD")
    lines += [f"read: {count} x {words}" for words, count in plan.formats.items()]
    for (column, note), cells in plan.notes.items():
        lines.append(f"{column}: {len(cells)} {note}: {_examples(tuple(dict.fromkeys(cells))[:NAMED])}")
    lines.append(f"{len(plan.rows)} of {plan.files} clips are in the manifest; {plan.records} records were read")
    for what, places in plan.listed.items():
        if places:
            more = [f"      ... and {len(places) - LISTED} more"] if len(places) > LISTED else []
            lines += [f"  {len(places)} {what}:", *(f"      {place}" for place in places[:LISTED]), *more]
    return "\n".join(lines)


def _examples(cells: Iterable[str]) -> str:
    return ", ".join(visible(cell if len(cell) <= 30 else cell[:27] + "...") for cell in cells)


def build_text(clips: list[str], metrics: dict, notes: list[str], times: str, report: str) -> str:
    """The clips' endings, how well the run ranks, where the time went, and the report's place.

    metrics: metrics.json.
    """
    lines = [*clips, f"ranking: {ranking_text(metrics)}", *not_judged_text(metrics.get("folds") or {}), *notes]
    if times:
        lines += ["time:", times]
    return "\n".join([*lines, f"report: {report}"])


def ceiling_text(ceiling: float) -> list[str]:
    """The Spearman correlation that the best possible predictor of a simulated world would reach.

    NaN, where there is nothing to compare: no line, for that of the ranking says why.
    """
    if math.isnan(ceiling):
        return []
    return [f"         the best possible predictor reaches {ceiling:.2f} on the same clips (docs/demo-world.md)"]


def copies_text(counts: dict[str, int]) -> list[str]:
    """A line on uploads that are there more than once, from statistics.json; none where there are none."""
    words = {
        "of_a_file": ("1 upload is a copy of another's file", "{} uploads are copies of others' files"),
        "near": ("1 upload is a near-copy of another", "{} uploads are near-copies of others"),
    }
    phrases = [
        one if counts[kind] == 1 else many.format(counts[kind]) for kind, (one, many) in words.items() if counts[kind]
    ]
    return [f"copies: {', '.join(phrases)}; they share folds"] if phrases else []


def ranking_text(metrics: dict) -> str:
    """How the fused score agrees with the likes of clips by creators never seen, from metrics.json."""
    evaluated = metrics["folds"] if metrics.get("folds", {}).get("clips") else metrics["splits"]["test"]
    fused = evaluated["predictors"]["fused"]["mean"]
    if fused["spearman"] is None:
        return f"not evaluated: {fused['reason']}"
    interval = "({:.2f} to {:.2f}) ".format(*fused["spearman_95"]) if fused.get("spearman_95") else ""
    return (
        f"Spearman {fused['spearman']:.2f} {interval}within a challenge, on {fused['n']} clips of creators never seen"
    )


def not_judged_text(folds: Mapping[str, Any]) -> list[str]:
    """A line that says why no folds judged the training, from folds.json; none where some did."""
    return [f"not judged by folds: {folds['reason']}"] if folds.get("reason") else []


def uploads_text(table: "pd.DataFrame", written: str, top: int = TOP) -> str:
    """The first clips of each challenge, and clips without a score. table: as ScoreUploads writes it."""
    import pandas as pd

    lines = []
    for name, clips in table.groupby("challenge"):
        ordered = clips[~clips["abstained"]].sort_values(["score", "clip_id"], ascending=[False, True])
        known = bool(clips["known_challenge"].all())
        note = "" if known else "; the run was not trained on this challenge: an order, and no more"
        lines.append(f"{name}: {len(clips)} clips{note}")
        for place, clip in enumerate(ordered.head(top).itertuples(), start=1):
            line = f"  {place:>3}  {clip.clip_id:<24} score {clip.score:+.2f}"
            if not pd.isna(clip.expected_percentile):
                expected, low, high = (round(100 * end) for end in (clip.expected_percentile, clip.low, clip.high))
                line += f"   percentile {expected} ({low} to {high})"
            lines.append(line)
    abstained = table[table["abstained"]]
    if len(abstained):
        named = ", ".join(
            f"{clip.clip_id} ({clip.code or 'nothing to judge'})" for clip in abstained.head(top).itertuples()
        )
        lines.append(f"without a score: {len(abstained)} clips: {named}")
    return "\n".join([*lines, f"scores: {written}"])


def purge_text(job: "Job", interrupted: "Job | None", manifest_lines: Iterable[str]) -> str:
    """What is purged, what goes with it and what does not, and where the user's own files still name it."""
    lines = [f"purging {len(job.clip_ids)} clip{'' if len(job.clip_ids) == 1 else 's'}: {_few(job.clip_ids)}"]
    if interrupted == job:
        lines.append("this purge was interrupted before, and goes on")
    elif interrupted is not None:
        lines.append(f"before it, the purge that was interrupted: {len(interrupted.clip_ids)} clips")
    if job.copies:
        lines.append(f"of them not asked for, but the same file as one that was: {_few(job.copies)}")
    if job.alike:
        lines.append(
            f"these show the same pictures as one of them and stay; name them to purge them: {_few(job.alike)}"
        )
    if named := list(manifest_lines):
        lines.append("yours, and left as they are: manifests that name them, and the clips' files:")
        lines += [f"  {line}" for line in named[:LISTED]]
        lines += [f"  ... and {len(named) - LISTED} more"] if len(named) > LISTED else []
    return "\n".join(lines)


def places_text(places: Iterable["Place"], dry_run: bool = False) -> str:
    """Every place, and what became of it or would become of it."""
    listed = list(places)
    lines = [f"  {place.action:<9}  {place.path}" + (f": {place.why}" if place.why else "") for place in listed]
    counts = Counter(place.action for place in listed)
    total = ", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "nothing to change"
    return "\n".join([*lines, f"dry run: {total}; nothing was changed" if dry_run else f"files: {total}"])


def _few(ids: Sequence[str]) -> str:
    return ", ".join(map(visible, ids[:LISTED])) + (f" and {len(ids) - LISTED} more" if len(ids) > LISTED else "")


def proof_text(job: "Job", proof: "Proof", workspace: str) -> str:
    """What was looked for, in how much, and that it is not there."""
    counts = {"id": len(job.clip_ids), "content hash": len(job.contents), "creator": len(job.creators)}
    what = [f"{count} {name}" + ("" if count == 1 else "es" if name.endswith("sh") else "s")
            for name, count in counts.items() if count]  # fmt: skip
    return (
        f"proof: {proof.files} files of {workspace} read ({proof.size_bytes / 1e6:.1f} MB); none of"
        f" {', '.join(what)} is in them. tombstones.json holds salted hashes, by which the clips are refused"
    )


def comparison_text(compared: "Comparison", first: str, second: str) -> str:
    """A table of Spearman correlations, and what the runs were made with that is not the same."""
    from pipeline.metrics.significance import PRIMARY

    lines = [
        f"{first} against {second}: Spearman within a challenge on {compared.clips} clips of {compared.creators}"
        f" creators that the folds of both judged; label {compared.label}",
        f"  {'':<11}{'first':>8}{'second':>8}{'first less second, 95 %':>30}{'p (Holm)':>10}{'detectable':>12}",
    ]
    for row in compared.rows:
        one, other, less = row.first[PRIMARY], row.second[PRIMARY], row.difference.by_metric[PRIMARY]
        interval = f"{less.value:+.3f} ({less.low:+.3f} to {less.high:+.3f})"
        lines.append(
            f"  {row.name:<11}{one.value:>8.3f}{other.value:>8.3f}{interval:>30}{row.p_holm:>10.3f}"
            f"{row.difference.detectable:>12.3f}"
        )
    if any(compared.left_out):
        only = " and ".join(
            f"{count} that only {name} judged"
            for count, name in zip(compared.left_out, (first, second), strict=True)
            if count
        )
        lines.append(f"left out: {only}")
    lines += ["what differs (first / second):", *(f"  {line}" for line in compared.differing or ("nothing",))]
    return "\n".join(lines)


def feedback_text(clip: str, feedback: "ClipFeedback") -> str:
    """The sentences, strongest first, and what they are worth."""
    references, findings = feedback.references, feedback.comparison.findings
    lines = [f"clip {clip} against the best {len(references)} of its challenge: {', '.join(references)}"]
    for explained in findings:
        lines += [f"  {explained.sentence}", f"      {explained.meaning}"]
    if not findings:
        lines.append("  nothing stands out: it differs from them no more than they do from one another")
    return "\n".join([*lines, f"written: {feedback.json_path} and {feedback.film_path}"])


def recommendation_text(made: "Recommendation", options: RecommendOptions, run: str) -> str:
    """A table a challenge: what each clip is good for, what it looks like, and whose place it took."""
    asked = ", ".join(f"{modality} {weight:g}" for modality, weight in options.weights if weight)
    creators = f"at most {options.per_creator} a creator" if options.per_creator else "any number a creator"
    lines = [f"recommended from run {run} by {asked}; diversity {options.diversity:g}, {creators}"]
    for about in made.challenges:
        here = made.table[made.table["challenge"] == about["name"]]
        lines += ["", _heading(about, options)]
        if len(here):
            lines += _clip_lines(here)
    lines.append("")
    seen = int((made.table["place"].notna() & ~made.table["unseen"]).sum())
    if seen:
        lines.append(
            f"NOTE: the model was trained on {seen} of these clips and saw their likes, which flatters them; BuildVDV"
            " with --folds 3 judges every clip by a model that did not see it"
        )
    lines.append(f"written: {made.parquet} and .json beside it")
    return "\n".join(lines)


def _heading(about: dict, options: RecommendOptions) -> str:
    which = ["without engagement yet"] * options.new_only + [f"uploaded since {options.since}"] * bool(options.since)
    heading = f"{about['name']}: {about['to_choose_from']} of {about['clips']} clips to choose from"
    heading += f" ({' and '.join(which)})" if which else ""
    if math.isfinite(about["diversity"]):
        heading += (
            f"; mean relevance {about['relevance']:.2f} ({about['relevance_undiversified']:.2f} by relevance alone),"
            f" diversity {about['diversity']:.2f} ({about['diversity_undiversified']:.2f})"
        )
    return heading if about["known"] else f"{heading}; the run was not trained on this challenge: an order, and no more"


def _clip_lines(clips: "pd.DataFrame") -> list[str]:
    """Of one challenge: a header, the clips recommended and those passed over."""
    percentiles = [name for name in clips.columns if name.startswith("percentile_")]
    header = ["", "clip", "creator", "relevance", *(name.removeprefix("percentile_") for name in percentiles)]
    rows = [
        [
            _text(clip["place"], "-"), clip["clip_id"], _text(clip["creator_id"], ""),
            *(_text(clip[name] * 100, "-", ".0f") for name in ("relevance", *percentiles)),
        ]
        for _, clip in clips.iterrows()
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str], ending: str) -> str:
        words = [cell.ljust(width) for cell, width in zip(cells[1:3], widths[1:3], strict=True)]
        figures = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
        return "  ".join(["  " + cells[0].rjust(widths[0]), *words, *figures, ending]).rstrip()

    endings = [_ending(clip) for _, clip in clips.iterrows()]
    return [line(header, "by relevance  most like"), *(line(*row) for row in zip(rows, endings, strict=True))]


def _ending(clip: "pd.Series") -> str:
    """What a clip gained or lost by being like others, or not."""
    if _text(clip["passed_over"], "") == "":
        moved = int(clip["relevance_place"]) - int(clip["place"])
        rank = f"{clip['relevance_place']}" + (f" ({moved:+d})" if moved else "")
        alike = _text(clip["most_similar"], "")
        return f"{rank:<12}  {clip['similarity']:.2f} {alike}" if alike else rank
    why = {
        "creator": f"creator {clip['creator_id']} is there with {clip['instead']}",
        "copy": f"a copy of {clip['instead']}",
        "alike": f"too much like {clip['instead']} ({clip['similarity']:.2f})",
    }[clip["passed_over"]]
    return f"{clip['relevance_place']}, but passed over: {why}"


def _text(value: Any, nothing: str, form: str = "") -> str:
    import pandas as pd

    return nothing if pd.isna(value) else format(value, form)
