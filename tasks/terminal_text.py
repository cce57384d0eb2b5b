"""Text that the tasks print at their end: tables and sentences, made of what a run left."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from models.task_command import task_command
from pipeline.core.text import visible
from pipeline.scoring.recommendation_options import RecommendOptions

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.commands.forecast import Forecast
    from pipeline.commands.progress import Standing
    from pipeline.commands.work import BatchWork, ClipWork
    from pipeline.evaluation.compare_runs import Comparison
    from pipeline.feedback.clip_feedback import ClipFeedback
    from pipeline.ingest.exports.plan import ManifestPlan
    from pipeline.scoring.recommendation import Recommendation

TOP = 10  # clips of a challenge that are printed
NAMED = 5  # cells that are printed of a column
LISTED = 20  # files or records that are printed of those that a manifest is made without
DEMO_PROFILE_NOTE = "NOTE: the profile demo knows rendered dancers only; use --profile full for real clips"


def demo_profile_text(manifest: str) -> str:
    """What somebody should know who builds from real clips with the networks of the demo, before hours are spent."""
    return (
        f"NOTE: the profile demo is of networks trained on rendered dancers, and the clips of {manifest} are none: what"
        f" it finds in them says little. For the official weights: {task_command('FetchWeights', '--profile', 'full')};"
        " then the same command with --profile full"
    )


def progress_text(standing: "Standing") -> str:
    """A line on how far a stage is, made for those who look at it hours later: since when, done, rate, time left."""
    parts = [f"{standing.title} after {duration_text(standing.seconds)}"]
    if standing.total:
        share = f"({100 * standing.done // standing.total} %)"
        failed = f", {standing.failed} failed" if standing.counts or standing.unit == "clip" else ""
        parts.append(f"{standing.done} of {standing.total} {standing.unit}s {share}{failed}")
        if standing.per_s:
            parts.append(f"{standing.per_s:.3g} {standing.unit}s/s")
        if standing.eta_s and not standing.ended:
            parts.append(f"about {duration_text(standing.eta_s)} left")
    parts += [standing.message] * bool(standing.message)
    return ": ".join([parts[0], "; ".join(parts[1:])]) if len(parts) > 1 else parts[0]


def duration_text(seconds: float) -> str:
    """12 s, 3 min 12 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def times_text(stages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where a command's time went, a kind of stage a line, from its summary; none where nothing ran for a second."""
    spent: dict[str, Counter[str]] = {}
    for stage in stages:
        spent.setdefault(stage["stage"], Counter()).update({"": stage["took_s"]} | stage.get("parts", {}))
    lines = []
    for name, parts in spent.items():
        if parts[""] >= 1:
            named = [f"{part} {duration_text(took)}" for part, took in parts.items() if part and took >= 1]
            lines.append(f"  {name:<16} {duration_text(parts['']):>12}" + (f"   {', '.join(named)}" if named else ""))
    return ["time:", *lines] if lines else []


def clips_text(content: Mapping[str, Any], retry: str = "add --retry-failed") -> list[str]:
    """How many clips ended in which way; of those that were not ok a line a code, and what to do.

    content: as `clip_counts` gives it. retry: how those are tried again that may pass.
    """
    lines = [f"clips: {', '.join(f'{count} {ending}' for ending, count in content['clips'].items())}"]
    for code in content["codes"]:
        named = ", ".join(code["named"]) + (", ..." if code["clips"] > len(code["named"]) else "")
        lines.append(f"  {code['clips']} {code['status']}, {code['code']}: {named}\n      {code['meaning']}")
    if content["codes"]:
        passing = sum(code["clips"] for code in content["codes"] if code["retryable"])
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


def build_text(clips: list[str], metrics: dict, notes: list[str]) -> list[str]:
    """The clips' endings, and how well the run ranks. metrics: metrics.json."""
    return [*clips, f"ranking: {ranking_text(metrics)}", *not_judged_text(metrics.get("folds") or {}), *notes]


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


def without_text(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line a modality on clips that were decoded and have nothing of it, by why, from statistics.json."""
    lines = []
    for modality, codes in counts.items():
        ordered = sorted(codes.items(), key=lambda code: (-code[1], code[0]))
        phrases = [f"{code.replace('_', ' ')}: {count}" for code, count in ordered]
        lines.append(f"without {modality}: {', '.join(phrases)}")
    return lines


def fused_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """How the fused score agrees with the likes of clips by creators never seen, from metrics.json."""
    evaluated = metrics["folds"] if metrics.get("folds", {}).get("clips") else metrics["splits"]["test"]
    return evaluated["predictors"]["fused"]["mean"]


def dataset_text(content: Mapping[str, Any]) -> list[str]:
    """The clips' endings, those that cannot be heard, and the uploads that are there more than once.

    content: of a dataset's summary.
    """
    return [*clips_text(content), *without_text(content["without"]), *copies_text(content["copies"])]


def ranking_text(metrics: dict) -> str:
    """The same in words."""
    fused = fused_metrics(metrics)
    if fused["spearman"] is None:
        return f"not evaluated: {fused['reason']}"
    interval = "({:.2f} to {:.2f}) ".format(*fused["spearman_95"]) if fused.get("spearman_95") else ""
    return (
        f"Spearman {fused['spearman']:.2f} {interval}within a challenge, on {fused['n']} clips of creators never seen"
    )


def not_judged_text(folds: Mapping[str, Any]) -> list[str]:
    """A line that says why no folds judged the training, from folds.json; none where some did."""
    return [f"not judged by folds: {folds['reason']}"] if folds.get("reason") else []


def uploads_text(table: "pd.DataFrame", top: int = TOP) -> list[str]:
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
                line += f"   expected percentile {expected} ({low} to {high})"
            lines.append(line)
    abstained = table[table["abstained"]]
    if len(abstained):
        named = ", ".join(
            f"{clip.clip_id} ({clip.code or 'nothing to judge'})" for clip in abstained.head(top).itertuples()
        )
        lines.append(f"without a score: {len(abstained)} clips: {named}")
    return lines


def comparison_text(compared: "Comparison", first: str, second: str) -> list[str]:
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
    return [*lines, "what differs (first / second):", *(f"  {line}" for line in compared.differing or ("nothing",))]


def dry_run_text(task: str, workspace: str) -> str:
    """The first line of a dry run."""
    return f"dry run of {task}: nothing is done, and nothing in {workspace} is touched"


def forecast_text(forecast: "Forecast") -> list[str]:
    """What a command would do, and how long that would take."""
    lines: list[str] = []
    for work, times in forecast.batches:
        lines.append(f"{work.batch}: {work.clips} clips" + (", up to date" if work.nothing else ""))
        if work.unprobed:
            lines.append(f"  to probe: {work.unprobed} clips, {_unprobed_bytes_text(work)}; {_time_text(times.ingest)}")
        todo = [(name, part, times.modalities[name]) for name, part in work.modalities.items()]
        rows = [*todo, ("decoding, once for all", work.decoded, times.decoding)]
        lines += [f"  {name:<24}{_work_text(part)}; {_time_text(time)}" for name, part, time in rows if part.shards]
        if work.unprobed and work.modalities:
            lines.append(
                f"  {', '.join(work.modalities)}: of the {work.unprobed} clips to probe, those that can be decoded; how"
                " long they are, and so how much work that is, is not known before IngestBatch has run"
            )
    lines += [f"{work.stage}: {_time_text(time)}" for work, time in forecast.stages.items()]
    if forecast.nothing:
        return [*lines, "nothing to do: everything is up to date"]
    unknown = [f"{', '.join(forecast.unmeasured)}, not measured yet"] if forecast.unmeasured else []
    unknown += [f"the features of the {forecast.unprobed} clips to probe"] * bool(
        forecast.unprobed and forecast.profile
    )
    if unknown and not forecast.known_s:
        return [*lines, f"in all: not known: {'; and '.join(unknown)}"]
    beside = f", and beside it {'; and '.join(unknown)}" if unknown else ""
    return [*lines, f"in all: about {duration_text(forecast.known_s)} by the rates measured on this workspace{beside}"]


def _work_text(work: "ClipWork") -> str:
    unstated = f" and {work.unstated} clips of unstated length" if work.unstated else ""
    video = f"{duration_text(work.video_s)} of video{unstated}"
    return f"{work.clips} clips in {work.shards} shards, {video}, {_bytes_text(work.bytes)} to read"


def _unprobed_bytes_text(work: "BatchWork") -> str:
    more = f" and {work.unprobed_unsized} clips of unknown size" if work.unprobed_unsized else ""
    return f"{_bytes_text(work.unprobed_bytes)}{more} to read"


def _bytes_text(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return "time not measured on this workspace yet"
    if seconds < 0.5:
        return "less than a second" if seconds else "at once"
    return f"about {duration_text(seconds)}"


def feedback_text(clip: str, feedback: "ClipFeedback") -> list[str]:
    """The sentences, strongest first, and what they are worth."""
    references, findings = feedback.references, feedback.comparison.findings
    lines = [f"clip {clip} against the best {len(references)} of its challenge: {', '.join(references)}"]
    for explained in findings:
        lines += [f"  {explained.sentence}", f"      {explained.meaning}"]
    for off in feedback.off_beat:
        lines += [f"  {off.sentence}", f"      {off.meaning}"]
    if not (findings or feedback.off_beat):
        lines.append("  nothing stands out: it differs from them no more than they do from one another")
    return lines


def recommendation_text(made: "Recommendation", options: RecommendOptions, run: str) -> list[str]:
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
    return lines


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
