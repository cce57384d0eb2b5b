"""A fingerprint changes when, and only when, its inputs do."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.fingerprint import canonical_json, fingerprint
from pipeline.core.options import SamplingOptions

VALUE = {"b": [1, 2.5, None, True], "a": {"ü": "é"}, "c": 0.1 + 0.2}

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Nested:
    sampling: SamplingOptions
    sizes: tuple[int, ...]


def test_it_is_the_documented_digest_of_the_canonical_json() -> None:
    assert canonical_json(VALUE) == (
        '{"a":{"\\u00fc":"\\u00e9"},"b":[1,2.5,null,true],"c":0.30000000000000004}'
    )  # fmt: skip
    assert fingerprint({"a": 1}) == "015abd7f5cc57a2d"  # printf '{"a":1}' | sha256sum


def test_it_is_the_same_in_another_process_with_another_hash_seed() -> None:
    program = f"from pipeline.core.fingerprint import fingerprint; print(fingerprint({VALUE!r}))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {fingerprint(VALUE)}


@given(st.dictionaries(st.text(max_size=3), plain, max_size=5))
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


@given(plain, plain)
def test_two_values_share_a_fingerprint_only_when_they_are_the_same_json(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (canonical_json(one) == canonical_json(other))


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (True, 1), (None, "null"), (0, ""), ([1, [2]], [1, 2]), ("1", 1), (0.0, -0.0)]
)
def test_values_that_only_look_alike_differ(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_dataclass_counts_as_its_fields_and_a_tuple_as_a_list() -> None:
    value = Nested(SamplingOptions(), (1, 2))
    sampling = {"sample_fps": 10.0, "max_seconds": 60.0, "max_side": 1280, "decoder": "auto"}
    assert fingerprint(value) == fingerprint({"sizes": [1, 2], "sampling": sampling})
    assert fingerprint(replace(value, sampling=SamplingOptions(sample_fps=9.9))) != fingerprint(value)


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", np.arange(3), SamplingOptions, {1: "a"}, np.int64(3)])
def test_what_has_no_canonical_json_is_refused_and_located(value: Any) -> None:
    with pytest.raises(TypeError, match=r"value\['options'\]\[1\]"):
        fingerprint({"options": [0, value]})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_and_located(value: float) -> None:
    with pytest.raises(ValueError, match=r"value\.sample_fps"):
        fingerprint(SamplingOptions(sample_fps=value))
