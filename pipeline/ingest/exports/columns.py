"""The choice of a source's field for each column of a manifest: as the user maps them, else by well-known names."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pipeline.core.errors import ManifestError, OptionError
from pipeline.core.text import quoted
from pipeline.ingest.exports.records import YT_DLP, Record

# Letters and digits alone, in lower case: `Like Count`, `like_count` and `likeCount` are likecount. An info.json has
# several of some; the first is taken: a moment before its day, an id before a name.
# yt-dlp: https://github.com/yt-dlp/yt-dlp#output-template. TikTok's Research API:
# https://developers.tiktok.com/doc/research-api-specs-query-videos. Others: what people call such columns.
KNOWN_NAMES = {
    "clip_id": ("clipid", "videoid", "awemeid", "id"),
    "uri": ("uri", "file", "filename", "filepath", "videofile"),
    "challenge": ("challenge",),
    "creator_id": (
        "creatorid", "uploaderid", "channelid", "authorid", "userid", "username", "uploader", "channel", "author",
        "creator",
    ),
    "uploaded_at": ("uploadedat", "createtime", "timestamp", "createdat", "publishedat", "uploaddate"),
    "likes": ("likes", "likecount", "diggcount"),
    "views": ("views", "viewcount", "plays", "playcount"),
    "comments": ("comments", "commentcount"),
    "shares": ("shares", "sharecount", "repostcount"),
    "followers": ("followers", "followercount", "channelfollowercount", "creatorfollowers"),
    "creator_likes": ("creatorlikes",),
    "creator_videos": ("creatorvideos",),
    "split": ("split",),
    "removed": ("removed",),
    # Not of the manifest: what a challenge may be made of.
    "hashtags": ("hashtagnames", "hashtags", "tags"),
    "description": ("videodescription", "description", "desc", "caption"),
    "music_id": ("musicid",),
}  # fmt: skip


def parse_map(texts: Iterable[str]) -> dict[str, str]:
    """Column -> field, of `likes=Likes,followers=Creator followers`; of a field "" the column is left empty.

    Raises:
        OptionError: no such column, a column mapped twice, or no `=`.
    """
    chosen: dict[str, str] = {}
    for text in texts:
        for pair in re.split(r",(?=\s*\w+\s*=)", text):
            column, equals, field = (part.strip() for part in pair.partition("="))
            if not equals:
                raise OptionError(f"--map {quoted(pair)}: write COLUMN=FIELD, like likes=Likes")
            if column not in KNOWN_NAMES:
                near = difflib.get_close_matches(column.lower(), KNOWN_NAMES, n=1)
                hint = f"did you mean {near[0]}?" if near else f"the columns are {', '.join(KNOWN_NAMES)}"
                raise OptionError(f"--map {quoted(pair)}: there is no column {quoted(column)}; {hint}")
            if column in chosen:
                raise OptionError(f"--map gives {column} two fields, {quoted(chosen[column])} and {quoted(field)}")
            chosen[column] = unicodedata.normalize("NFC", field.strip('"'))
    return chosen


def choose_fields(records: Sequence[Record], mapped: Mapping[str, str]) -> dict[str, str]:
    """Column -> field of the source; a column for which there is none is left out.

    Raises:
        ManifestError: a mapped field is in no record, two fields could be one column, or the sources are of two kinds,
            whose fields do not mean the same.
    """
    kinds = {record.kind: record.place for record in reversed(records)}
    if len(kinds) > 1:
        named = " and ".join(f"{place} is of {kind}" for kind, place in sorted(kinds.items()))
        raise ManifestError(f"{named}: their fields do not mean the same; make a manifest of each")
    filled = Counter(name for record in records for name, text in record.fields.items() if text)
    names = dict.fromkeys(name for record in records for name in record.fields)
    faults = [_no_such_field(column, field, names) for column, field in mapped.items() if field and field not in names]
    chosen: dict[str, str] = {}
    for column, known in KNOWN_NAMES.items():
        if column in mapped:
            chosen |= {column: mapped[column]} if mapped[column] else {}
            continue
        fits = [name for key in known for name in filled if _key(name) == key]
        if len(fits) > 1 and YT_DLP not in kinds:
            each = " or ".join(f"--map {column}={quoted(name)}" for name in fits)
            faults.append(f"{column}: there are fields {', '.join(map(quoted, fits))}; say which it is: {each}")
        elif fits:
            chosen[column] = max(fits, key=lambda name: filled[name])  # of equals the first
    if faults:
        raise ManifestError("\n".join(["the fields of the columns are not clear; nothing was written", *faults]))
    return chosen


def _key(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _no_such_field(column: str, field: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(field, names, n=1)
    hint = f"did you mean {quoted(near[0])}?" if near else f"there are {', '.join(map(quoted, names)) or 'none'}"
    return f"--map {column}={field}: no record has a field {quoted(field)}; {hint}"
