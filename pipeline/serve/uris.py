"""Uris that a client may ask for: those that match a pattern of --allow-uri, and no others."""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from pipeline.access.rules import matches, scheme
from pipeline.core.errors import ClipError
from pipeline.core.text import visible

# A host without a wildcard, and where it ends: `https://media.example*` matches https://media.example.org, too.
_NAMES_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#*\[\]]+/")


def check_asked(uri: str, patterns: Sequence[str]) -> None:
    """Refuse a uri that clients may not ask for.

    Raises:
        ClipError: not_allowed.
    """
    if scheme(uri) == "chain":
        raise ClipError("not_allowed", f"{visible(uri)}: chains of filesystems are not read")
    parts = re.split(r"[/\\?#]", unquote(uri))
    if ".." in parts or "." in parts:
        raise ClipError("not_allowed", f"{visible(uri)}: a uri with . or .. in its path may lead elsewhere")
    if not matches(uri, patterns):
        raise ClipError("not_allowed", f"{visible(uri)} matches none of the patterns that this service reads")


def trusted(patterns: Sequence[str]) -> tuple[str, ...]:
    """The patterns that let through private addresses and http, too: those that name their host.

    For another, such as https://*, a client chooses the host: it has to be https and at a public address.
    """
    return tuple(pattern for pattern in patterns if _NAMES_HOST.match(pattern))
