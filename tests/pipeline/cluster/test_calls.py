"""Calls on a Ray cluster: their values come back, errors are the function's own, and a death costs another try."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.calls import call_on_cluster
from pipeline.cluster.connection import Cluster, connected
from pipeline.core.errors import DataError, OptionError, WorkspaceError
from pipeline.decode.worker_process import WorkerError
from tests.pipeline.cluster.called import die, has_torch, name_of, refuse
from tests.support.ray_cluster import two_nodes


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster's, to which this process stays connected: with each connection its processes begin anew."""
    with two_nodes() as nodes, connected(nodes.address):
        yield nodes.address


@pytest.fixture
def call(address: str, tmp_path: Path) -> Callable[..., list]:
    """The values of calls, with a workspace that holds one file."""
    (tmp_path / "seen").touch()

    def values(function: Callable[..., Any], *arguments: int, device: str = "auto", seen: str = "seen") -> list:
        cluster = Cluster(address, device, 0, 0)
        return list(call_on_cluster(cluster, function, arguments, str(tmp_path), str(tmp_path / seen)))

    return values


def test_each_argument_has_its_value(call: Callable[..., list]) -> None:
    assert sorted(call(name_of, 1, 2, 3)) == ["1 on cpu", "2 on cpu", "3 on cpu"]


def test_a_called_process_imports_no_torch_that_the_function_does_not(call: Callable[..., list]) -> None:
    assert call(has_torch, 1) == [False]


def test_an_error_is_the_functions_own(call: Callable[..., list]) -> None:
    with pytest.raises(DataError, match="nothing to learn from in fold 1"):
        call(refuse, 1)


def test_a_call_whose_process_dies_is_made_again_but_not_for_ever(call: Callable[..., list], tmp_path: Path) -> None:
    for name in ("twice", "ever"):
        (tmp_path / name).mkdir()
    assert call(partial(die, str(tmp_path / "twice"), 2), 5) == [5]
    with pytest.raises(WorkerError, match="3 processes of the Ray cluster died over the same work"):
        call(partial(die, str(tmp_path / "ever"), 9), 5)


def test_a_machine_that_does_not_see_the_workspace_is_named(call: Callable[..., list]) -> None:
    with pytest.raises(WorkspaceError, match=r"cannot be seen from 127\.0\.0\.1|cannot be seen from \d"):
        call(name_of, 1, seen="elsewhere")


def test_a_gpu_is_asked_for_where_there_is_none(call: Callable[..., list]) -> None:
    with pytest.raises(OptionError, match="no machine of the Ray cluster offers a GPU"):
        call(name_of, 1, device="cuda")
