"""A manifest made of clips and of what other programs say about them: all of it, or a list of all that is in the way.

Nothing is guessed silently: the plan says which field each column comes from and what is left out, before anything is
written.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.core.errors import ManifestError, OptionError
from pipeline.core.text import quoted, visible
from pipeline.ingest.exports.cells import Reading, read_count, read_id, read_time, read_word
from pipeline.ingest.exports.challenges import HASHTAG, MUSIC, ChallengeRule
from pipeline.ingest.exports.clip_files import ClipFile, by_id, by_name, find_clips, find_files, uri_of
from pipeline.ingest.exports.columns import choose_fields, parse_map
from pipeline.ingest.exports.plan import ColumnMade, ManifestPlan
from pipeline.ingest.exports.records import Record, read_records
from pipeline.ingest.ids import CLIP_ID, NAME, look_alikes, spreadsheet_zeros
from pipeline.ingest.manifest import FALSE, MAX_PROBLEMS, SPLITS, TRUE
from pipeline.ingest.manifest_files import (
    BATCH_NAME,
    COLUMNS,
    COUNTS,
    IDS,
    LOST_DIGITS,
    SUFFIXES,
    USER_PREFIX,
)

EMPTY = "must not be empty"


@dataclass(frozen=True)
class ManifestOptions:
    """What a manifest is to be made of. Made by `of`, which checks it."""

    clips: str
    about: tuple[str, ...]
    manifest: str
    mapped: Mapping[str, str]  # column -> field
    challenge: ChallengeRule

    @classmethod
    def of(
        cls,
        clips: str,
        manifest: str,
        about: Sequence[str] = (),
        mapping: Sequence[str] = (),
        challenge: str = "",
        challenge_from: str = "",
    ) -> "ManifestOptions":
        """Options as they stand on the command line.

        Args:
            clips: folder, glob or URL.
            manifest: path or URL of the file to be made.
            about: files or globs of records; () is the info.json beside each clip.
            mapping: texts like `likes=Likes,followers=Creator followers`.
            challenge: of all clips.
            challenge_from: `hashtag:renegade,savage`, `music` or `music:ID,ID`.

        Raises:
            OptionError: an option says what cannot be.
        """
        name = manifest.rsplit("/", 1)[-1]
        if not name.lower().endswith(SUFFIXES) or not BATCH_NAME.fullmatch(name.rsplit(".", 1)[0]):
            raise OptionError(
                f"--manifest {visible(manifest)}: the file's name must be of A-Z a-z 0-9 . _ - and end in"
                f" {' or '.join(SUFFIXES)}"
            )
        return cls(clips, tuple(about), manifest, parse_map(mapping), ChallengeRule.of(challenge, challenge_from))


@dataclass(frozen=True)
class Match:
    """A clip's file and what is known of it."""

    file: ClipFile
    record: Record | None

    @property
    def place(self) -> str:
        return self.record.place if self.record else visible(self.file.path)


def plan_manifest(options: ManifestOptions) -> ManifestPlan:
    """The manifest of the clips. Writes nothing.

    Raises:
        ManifestError: lists every record and cell that is in the way, by file, line and field; or no clip is left.
    """
    plan = ManifestPlan(options.manifest)
    clips = find_clips(options.clips)
    sources = [path for spec in options.about for path in find_files(spec)]
    records = _read(sources or [file.info for file in clips.files if file.info], plan)
    fields = _chosen(options, records, plan)
    if sources:
        matches = _match(clips.files, records, fields, plan)
    else:
        of_info = {record.place: record for record in records}
        matches = [Match(file, of_info.get(visible(file.info or ""))) for file in clips.files]
        plan.listed["info.json without a clip"] += map(visible, clips.lone_infos)
    plan.files, plan.records = len(clips.files), len(records)
    now = datetime.now(UTC)
    made: list[tuple[Match, dict[str, Any]]] = []
    for match in matches:
        if (row := _row(match, options, fields, now, plan)) is not None:
            made.append((match, row))
    plan.problems += _problems_between(made)
    _refuse(plan)
    if not made:
        why = "; ".join(f"{len(found)} {reason}" for reason, found in plan.listed.items() if found)
        raise ManifestError(f"none of {plan.files} clips can be in the manifest: {why}; nothing was written")
    plan.rows = [row for _, row in made]
    plan.columns = _columns(plan.rows, options, fields)
    return plan


def _refuse(plan: ManifestPlan) -> None:
    """Raises ManifestError where the plan has problems."""
    count = len(plan.problems)
    if count:
        head = f"{count} problem{'s' if count > 1 else ''} in the way of {plan.path}; nothing was written"
        more = [f"... and {count - MAX_PROBLEMS} more"] if count > MAX_PROBLEMS else []
        raise ManifestError("\n".join([head, *plan.problems[:MAX_PROBLEMS], *more]))


# --- records, and whose they are


def _read(paths: Sequence[str], plan: ManifestPlan) -> list[Record]:
    records = []
    for path in paths:
        try:
            found, words = read_records(path, plan.problems)
        except ManifestError as error:
            plan.problems.append(str(error))
            continue
        records += found
        plan.formats[words] += 1
    return records


def _chosen(options: ManifestOptions, records: Sequence[Record], plan: ManifestPlan) -> dict[str, str]:
    """Column -> field. Raises ManifestError where that is not clear, or no clip can have an id or a challenge."""
    if not records:
        _refuse(plan)
    fields = choose_fields(records, options.mapped)
    rule = options.challenge
    names = ", ".join(map(quoted, dict.fromkeys(name for record in records for name in record.fields)))
    of = f", of {names}" if names else ""
    if records and "clip_id" not in fields:
        raise ManifestError(f"no field is known to be the clips' ids; say which: --map clip_id=FIELD{of}")
    if rule.kind == MUSIC and rule.column not in fields:
        raise ManifestError(
            "no field is known to hold ids of sounds (titles will not do, many are 'original sound'); say which, if"
            f" there is one: --map {rule.column}=FIELD{of}"
        )
    if rule.column and rule.column not in fields:
        raise ManifestError(
            "nothing says which challenge a clip is of: give --challenge NAME for all clips, --challenge-from"
            f" hashtag:TAG,TAG or music, or --map challenge=FIELD{of}"
        )
    return fields


def _match(
    files: Sequence[ClipFile], records: Sequence[Record], fields: Mapping[str, str], plan: ManifestPlan
) -> list[Match]:
    """Each clip with its record, by the field that names files, else by the id in the file's name."""
    if "uri" in fields:
        found = by_name(files, records, fields["uri"], plan.problems)
    else:
        clip_ids = [_cell(record, fields, "clip_id", plan) for record in records]
        cut_off = _cut_off("clip_id", clip_ids, [record.place for record in records])
        plan.problems += cut_off
        of_id = defaultdict(list)
        for clip_id, record in zip(clip_ids, records, strict=True):
            if clip_id is not None and not cut_off:
                of_id[clip_id].append(record)
        found = by_id(files, of_id, plan.problems)
    taken = {id(record) for several in found.values() for record in several}
    if not taken and not plan.problems:
        raise ManifestError(
            f"none of {len(records)} records in --about is of one of {len(files)} clips: name the files by the clips'"
            " ids, or map the column of their names by --map uri=FIELD"
        )
    plan.listed["records without a file"] += [record.place for record in records if id(record) not in taken]
    return [Match(file, _one(found.get(file.path, []), plan)) for file in files]


def _one(records: Sequence[Record], plan: ManifestPlan) -> Record | None:
    """The record of a clip: the first of those that are equal; another one is a problem."""
    for other in records[1:]:
        first = records[0]
        names = dict.fromkeys([*first.fields, *other.fields])
        differ = [name for name in names if first.fields.get(name, "") != other.fields.get(name, "")]
        if differ:
            named = ", ".join(map(quoted, differ[:5]))
            plan.problems.append(
                f"{other.place}: is of the same clip as {first.place}, and differs in {named}; keep one of them"
            )
        else:
            plan.listed["records that are there twice, read once"].append(other.place)
    return records[0] if records else None


# --- rows


def _row(
    match: Match, options: ManifestOptions, fields: Mapping[str, str], now: datetime, plan: ManifestPlan
) -> dict[str, Any] | None:
    """A clip's row; None where it is left out, or something is wrong with it."""
    before, path, rule = len(plan.problems), match.file.path, options.challenge
    if re.search("[\x00-\x1f\x7f\ud800-\udfff]", path):
        plan.problems.append(f"{visible(path)}: its name holds control characters, or is not UTF-8; rename the file")
    if match.record is None:
        ending = "in with the challenge alone" if rule.name else "left out"
        plan.listed[f"files without a record, {ending}"].append(visible(path))
        if not rule.name:
            return None
        row: dict[str, Any] = {"challenge": rule.name}
        try:
            row["clip_id"] = read_id(match.file.name, *CLIP_ID).value
        except ManifestError as error:
            plan.problems.append(
                f"{visible(path)}: no record says its id, and as one its name {error}; rename the file"
            )
    else:
        challenge = _challenge(match.record, rule, fields, plan)
        if challenge is None:
            return None
        row = {**_cells(match.record, rule, fields, now, plan), "challenge": challenge}
    row["uri"] = uri_of(path, options.manifest)
    return row if len(plan.problems) == before else None


def _cells(
    record: Record, rule: ChallengeRule, fields: Mapping[str, str], now: datetime, plan: ManifestPlan
) -> dict[str, Any]:
    """The record's cells by column of the manifest, and under x_ what else it says."""
    read = ("clip_id", "creator_id", "uploaded_at", *COUNTS, "split", "removed")
    row = {column: _cell(record, fields, column, plan, now) for column in read if column in fields}
    used = {fields[column] for column in (*row, *(["challenge"] if rule.column == "challenge" else []))}
    return row | {USER_PREFIX + name: text for name, text in record.fields.items() if name not in used and text}


def _cell(
    record: Record, fields: Mapping[str, str], column: str, plan: ManifestPlan, now: datetime | None = None
) -> Any:
    """The value of a record's cell, None where it is missing. What is wrong or remarkable is added to the plan."""
    name = fields[column]
    text = record.fields.get(name, "")
    try:
        read = _reader(column, now)(text)
        if read.value is None and column == "clip_id":
            raise ManifestError(EMPTY)
    except ManifestError as error:
        shown = quoted(text if len(text) <= 60 else text[:57] + "...")
        plan.problems.append(f"{record.place}: field {quoted(name)} ({column}): value {shown} : {error}")
        return None
    if read.note:
        plan.notes[column, read.note].append(text)
    return read.value


def _reader(column: str, now: datetime | None) -> Callable[[str], Reading]:
    if column in COUNTS:
        return read_count
    if column == "uploaded_at":
        return lambda text: read_time(text, now or datetime.now(UTC))
    words = {"split": SPLITS, "removed": (*TRUE, *FALSE)}
    if column in words:
        return lambda text: read_word(text, words[column])
    return lambda text: read_id(text, *(CLIP_ID if column == "clip_id" else NAME))


def _challenge(record: Record, rule: ChallengeRule, fields: Mapping[str, str], plan: ManifestPlan) -> str | None:
    """None: the record states none of the challenges, or several."""
    if rule.name:
        return rule.name
    if rule.kind == HASHTAG:
        names = rule.of_hashtags(record, fields)
        if len(names) == 1:
            return names[0]
        why = f"clips with several of the hashtags ({', '.join(names)})" if names else "clips with none of the hashtags"
    else:
        name = _cell(record, fields, rule.column, plan)
        if name is not None and (not rule.names or name in rule.names):
            return name
        why = "clips with another sound, or none" if rule.kind else "clips without a challenge"
    plan.listed[f"{why}, left out"].append(record.place)
    return None


def _problems_between(made: Sequence[tuple[Match, Mapping[str, Any]]]) -> list[str]:
    """Problems of rows that are right one by one: an id used twice, ids cut off by a spreadsheet, look-alikes."""
    problems = []
    first: dict[str, str] = {}
    for match, row in made:
        other = first.setdefault(row["clip_id"], match.file.path)
        if other != match.file.path:
            problems.append(
                f"{visible(match.file.path)}: is of the clip {row['clip_id']}, and so is {visible(other)}; take one of"
                " the files out"
            )
    for column in IDS:
        problems += _cut_off(column, [row.get(column) for _, row in made], [match.place for match, _ in made])
    for at, like in look_alikes([row["challenge"] for _, row in made]):
        (match, row), (other_match, other_row) = made[at], made[like]
        problems.append(
            f"{match.place}: challenge {quoted(row['challenge'])} looks like {quoted(other_row['challenge'])} at"
            f" {other_match.place}; write one of them everywhere"
        )
    return problems


def _cut_off(column: str, ids: Sequence[str | None], places: Sequence[str]) -> list[str]:
    """The problem of a column whose long ids a spreadsheet has cut off; [] where it has not."""
    at = spreadsheet_zeros(ids)
    if at is None:
        return []
    rule = f"{LOST_DIGITS}; every long id is zeros from the 16th digit on"
    return [f"{places[at]}: {column}: value {quoted(str(ids[at]))} : {rule}"]


# --- the table


def _columns(
    rows: Sequence[Mapping[str, Any]], options: ManifestOptions, fields: Mapping[str, str]
) -> tuple[ColumnMade, ...]:
    """Columns that hold something, those of a manifest first; of each its source, and how often it is filled."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    ordered = [*(name for name in COLUMNS if name in names), *(name for name in names if name not in COLUMNS)]
    made = []
    for name in ordered:
        cells = [str(row[name]) for row in rows if row.get(name) is not None]
        source = _source(name, options, fields)
        made.append(ColumnMade(name, source, len(cells), tuple(dict.fromkeys(cells))[:2]))
    return tuple(made)


def _source(column: str, options: ManifestOptions, fields: Mapping[str, str]) -> str:
    """Where a column comes from, in words."""
    rule = options.challenge
    if column == "challenge" and rule.name:
        return "--challenge"
    if column == "challenge" and rule.kind:
        looked_at = [rule.column] if rule.column else ["hashtags", "description"]
        return f"{rule.kind} in {' and '.join(fields[name] for name in looked_at if name in fields) or 'nothing'}"
    if column not in COLUMNS:
        return column.removeprefix(USER_PREFIX)
    if column == "uri" or column not in fields:
        return "the files' names"
    return fields[column] + (" (--map)" if column in options.mapped else "")
