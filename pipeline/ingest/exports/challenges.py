"""The rule that says which challenge a clip is of: a name for all, a hashtag, the sound, or a field of the records."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.errors import OptionError
from pipeline.core.text import look_alike_key, quoted, stripped
from pipeline.ingest.exports.records import Record
from pipeline.ingest.ids import NAME, canonical_id

HASHTAG, MUSIC = "hashtag", "music"


@dataclass(frozen=True)
class ChallengeRule:
    """Made by `of`, which checks it. With neither name nor kind, a field of the records states the challenge."""

    name: str = ""  # of all clips
    kind: str = ""  # HASHTAG, MUSIC or ""
    names: tuple[str, ...] = ()  # hashtags, or ids of sounds, that are challenges; of sounds () is every one

    @classmethod
    def of(cls, name: str, source: str) -> "ChallengeRule":
        """Of --challenge and --challenge-from. Raises OptionError where they say what cannot be."""
        kind, _, listed = source.partition(":")
        name = canonical_id(stripped(name))
        names = tuple(canonical_id(part) for tag in listed.split(",") if (part := stripped(tag).lstrip("#")))
        if name and source:
            raise OptionError("--challenge and --challenge-from both say which challenge; give one of them")
        if source and not (kind == HASHTAG and names) and kind != MUSIC:
            raise OptionError(
                f"--challenge-from {quoted(source)}: write hashtag: and the tags that are challenges, like"
                " hashtag:renegade,savage; or music, or music: and ids of sounds"
            )
        for given in filter(None, (name, *names)):
            if not re.fullmatch(NAME[0], given):
                raise OptionError(f"the challenge {quoted(given)} {NAME[1]}")
        return cls(name, kind, names)

    @property
    def column(self) -> str:
        """The one of columns.KNOWN_NAMES whose cell decides; "" where it takes none, or several."""
        return "" if self.name or self.kind == HASHTAG else "music_id" if self.kind == MUSIC else "challenge"

    def of_hashtags(self, record: Record, fields: Mapping[str, str]) -> list[str]:
        """The challenges that are among a record's hashtags, case aside: of its list of them and of its description."""
        listed, described = (record.fields.get(fields.get(column, ""), "") for column in ("hashtags", "description"))
        tags = [tag.rstrip(".,;:!?)]\"'") for tag in re.findall(r"#([^\s#]+)", f"{listed} {described}")]
        tags += [tag.strip(" []'\"") for tag in re.split(r"[,;|]", listed)]  # texts of Python's lists, too
        keys = {look_alike_key(tag) for tag in tags}
        return [name for name in self.names if look_alike_key(name) in keys]
