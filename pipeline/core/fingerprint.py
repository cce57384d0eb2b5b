"""Fingerprints: short names for everything that made a file. Equal inputs give equal names, others give others."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

LENGTH = 16  # hex digits, 64 bits: a million fingerprints collide with a chance of 3e-8


def fingerprint(value: object) -> str:
    """The first 16 hex digits of sha256 over `value` as canonical JSON.

    Equal for equal content in any process, on any machine and in any order of keys. A dataclass counts as the
    dictionary of its fields, a tuple as a list; 1 and 1.0 differ, as do True and 1.

    value: None, bool, int, float, str, and lists, tuples, mappings with str keys and dataclasses of these.

    Raises:
        TypeError: `value` holds anything else (a set has no order, an object no content); the message says where.
        ValueError: `value` holds NaN or an infinity, which JSON cannot hold.
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:LENGTH]


def canonical_json(value: object) -> str:
    """Canonical JSON text of `value`: sorted keys, no spaces, ASCII, floats by repr. Raises what `fingerprint` does."""
    return json.dumps(_plain(value, "value"), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object, where: str) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value!r}; a fingerprint takes finite numbers only")
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{position}]") for position, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(
                    f"{where} has the key {key!r} of type {type(key).__name__}; a fingerprint takes str keys only"
                )
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), f"{where}.{field.name}") for field in fields(value)}
    raise TypeError(
        f"{where} is a {type(value).__name__}, of which no fingerprint can be taken; name its content instead"
    )
