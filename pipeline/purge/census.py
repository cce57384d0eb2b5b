"""Clips that a workspace knows: which files they were, whose they are, and where the user's own files of them lie."""

import difflib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.core import storage
from pipeline.core.errors import OptionError
from pipeline.core.text import quoted, visible
from pipeline.dataset.folder import CLIPS, DATASETS
from pipeline.ingest.clip_table import MANIFEST
from pipeline.ingest.ids import canonical_id
from pipeline.ingest.manifest_files import read_file
from pipeline.ingest.tombstones import read_tombstones
from pipeline.purge.job import Job, Source
from pipeline.purge.request import Request
from pipeline.purge.tables import GONE, UPLOADS, read_table, shard_clips, table_names

_NEAR = 3  # ids that a message suggests
_LISTED = 20  # unknown ids in one message


@dataclass
class Census:
    """What tables of clips, datasets, uploads and manifests say."""

    contents: dict[str, set[str]] = field(default_factory=dict)  # sha256 of files, "" where not known, by clip_id
    clips_of: dict[str, set[str]] = field(default_factory=dict)  # clip_ids by creator
    alike: dict[str, set[str]] = field(default_factory=dict)  # clip_ids by the first of those that show the same
    sources: set[Source] = field(default_factory=set)

    def add(self, clip_id: str, content: str) -> None:
        self.contents.setdefault(clip_id, set()).add(content)


def take_census(workspace: str) -> Census:
    """Read every ingest table, dataset and folder of uploads, and the manifests that the tables name.

    A file that is damaged tells nothing here: it is deleted with what is purged.
    """
    census = Census()
    manifests = {path for name in table_names(workspace) if (path := _add_clips(census, workspace, name))}
    for folder in (DATASETS, UPLOADS):
        for name in storage.listing(storage.join(workspace, folder)):
            if name.endswith(f"/{CLIPS}"):
                _add_dataset(census, storage.join(workspace, folder, name))
    for path in sorted(manifests):
        cells = read_file(0, path).cells
        for clip_id, creator in zip(cells["clip_id"], cells["creator_id"].astype(object), strict=True):
            if isinstance(creator, str) and isinstance(clip_id, str):
                census.clips_of.setdefault(canonical_id(creator), set()).add(canonical_id(clip_id))
    return census


def _add_clips(census: Census, workspace: str, name: str) -> str:
    """Add a table of clips; the path of the manifest that it was made of, "" where that is not known."""
    read = read_table(storage.join(workspace, "clips", name), "clip_id", "content_hash", "uri")
    if read is None:
        return ""
    rows, metadata = read
    manifest = metadata.get(MANIFEST, "")
    for row in rows:
        census.add(row["clip_id"], row.get("content_hash") or "")
        census.sources.add(Source(row["clip_id"], row.get("uri") or "", name.split("/")[0], manifest))
    for gone in json.loads(metadata.get(GONE, "{}")).values():
        for _, clip_id, content in gone:
            census.add(clip_id, content)
    return manifest


def _add_dataset(census: Census, path: str) -> None:
    read = read_table(path, "clip_id", "content_hash", "creator_id", "copies")
    for row in read[0] if read else ():
        census.add(row["clip_id"], row.get("content_hash") or "")
        if creator := row.get("creator_id"):
            census.clips_of.setdefault(creator, set()).add(row["clip_id"])
        if first := row.get("copies"):
            census.alike.setdefault(first, {first}).add(row["clip_id"])


def resolve(workspace: str, request: Request, census: Census) -> Job:
    """What is to be taken out for a request. Of clips that are purged already there is nothing but the id.

    With a clip go all that are, or were, the same file byte for byte: ingest would refuse them from now on.

    Raises:
        OptionError: a clip that the workspace does not know and never purged, or a creator without clips; all of them
            are named.
    """
    named = set(request.clip_ids).union(*(census.clips_of.get(creator, ()) for creator in request.creators))
    stones = read_tombstones(workspace)
    unknown = [id_ for id_ in request.clip_ids if id_ not in census.contents and not stones.has_clip(id_)]
    if unknown:
        in_shards = _in_shards(workspace)
        _refuse(workspace, "clip", [id_ for id_ in unknown if id_ not in in_shards], {*census.contents, *in_shards})
    _refuse(workspace, "creator", [id_ for id_ in request.creators if id_ not in census.clips_of], census.clips_of)
    contents = {content for clip_id in named for content in census.contents.get(clip_id, ()) if content}
    copies = {clip_id for clip_id, files in census.contents.items() if files & contents} - named
    gone = named | copies
    alike = {clip_id for group in census.alike.values() if group & gone for clip_id in group} - gone
    sources = sorted((one for one in census.sources if one.clip_id in gone), key=lambda one: (one.clip_id, one.uri))
    return Job(
        tuple(sorted(gone)), tuple(sorted(contents)), tuple(sorted(request.creators)), tuple(sorted(copies)),
        tuple(sorted(alike)), tuple(sources),
    )  # fmt: skip


def _in_shards(workspace: str) -> set[str]:
    """Clips in shards of features, whose tables may be lost."""
    folder = storage.join(workspace, "features")
    names = (name for name in storage.listing(folder) if name.endswith(".parquet"))
    return {clip_id for name in names for clip_id in shard_clips(storage.join(folder, name)) or ()}


def _refuse(workspace: str, what: str, unknown: list[str], known: Collection[str]) -> None:
    if not unknown:
        return
    lines = []
    for text in unknown[:_LISTED]:
        near = difflib.get_close_matches(text, list(known), _NEAR, 0.8)
        lines.append(f"  {quoted(text)}" + (f"; did you mean {', '.join(map(quoted, near))}?" if near else ""))
    if len(unknown) > _LISTED:
        lines.append(f"  ... and {len(unknown) - _LISTED} more")
    hint = {
        "clip": "correct it; one that was never built needs no purging, and one that must never be built is kept out by"
        " removed=true in its manifest",
        "creator": "correct it (a name may hold commas: give --creators once for each); if the clips were purged"
        " before, nothing is left to do",
    }[what]
    raise OptionError(
        f"{workspace} knows no {what} of {'this id' if len(unknown) == 1 else 'these ids'}; nothing was done:\n"
        + "\n".join(lines)
        + f"\n{hint}"
    )


def manifest_lines(sources: Iterable[Source]) -> Iterator[str]:
    """Where manifests still name the clips, and their files: a line each, to be told to their owner."""
    by_manifest: dict[tuple[str, str], list[Source]] = {}
    for source in sources:
        by_manifest.setdefault((source.batch, source.manifest), []).append(source)
    told: set[tuple[str, str]] = set()
    for (batch, manifest), named in sorted(by_manifest.items(), reverse=True):  # those of a known manifest first
        lines = _lines(manifest) if manifest else {}
        for source in named:
            if (source.clip_id, source.uri) in told:
                continue
            told.add((source.clip_id, source.uri))
            if source.clip_id in lines:
                where = f"{manifest}:{lines[source.clip_id]}"
            elif manifest:
                where = f"{manifest} (names it no more)"
            else:
                where = f"batch {batch}, whose manifest is not known"
            yield f"{where}: {source.clip_id} {visible(source.uri)}".rstrip()


def _lines(manifest: str) -> Mapping[str, int]:
    cells = read_file(0, manifest).cells
    pairs = zip(cells["clip_id"].astype(object), cells["line"], strict=True)
    return {canonical_id(clip_id): int(line) for clip_id, line in pairs if isinstance(clip_id, str)}
