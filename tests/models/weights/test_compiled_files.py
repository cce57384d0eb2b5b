"""Compiled networks on disk: the bits of one that was compiled, for this very network, whatever became of the file."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.extractors import compiled
from models.extractors.compiled import CompiledNetwork
from models.weights import compiled_files
from models.weights.compiled_files import CompiledFile, cache_key
from tests.support.warm_process import ended, environment, start
from tests.support.whole_files import cut, flip


class Network(nn.Module):
    """Results in a tuple with a list and None, by whatever a layer can hold what decides them in."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.register_buffer("table", torch.ones(8, 1, 1), persistent=False)
        self.plain = torch.full((1,), 2.0)
        self.scales = {"levels": [1.0, 0.5]}
        self.function = torch.relu
        self.bound = partial(torch.clamp, min=-9.0)
        self.shifted = _shifted(0.0)
        self.kinds = {"a", "b"}
        self.number = np.float32(1)
        self.object = SimpleNamespace(scale=1.0)
        self.unseen = [nn.Linear(2, 2)]  # no module of this one to torch

    def forward(self, inputs: Tensor) -> tuple[list[Tensor], None]:
        features = self.function(self.first(inputs) * self.table)
        return [features * self.plain, *(features.mean((2, 3)) * scale for scale in self.scales["levels"])], None


def _shifted(by: float) -> Callable[[Tensor], Tensor]:
    return lambda values: values + by


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(compiled_files.FOLDER_VARIABLE, str(tmp_path / "compiled"))
    return tmp_path / "compiled"


def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network().eval().requires_grad_(False)


INPUTS = torch.rand((2, 3, 12, 9), generator=torch.Generator().manual_seed(1))


def results(sides_vary: bool = False) -> list[Tensor]:
    """Of a network that is new to this process."""
    found, nothing = CompiledNetwork(network(), sides_vary)(INPUTS)
    assert nothing is None
    return found


def equal(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(torch.equal(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on nothing may be compiled."""

    def compile_network(*_: Any) -> None:
        raise AssertionError("it is compiled anew")

    return lambda: monkeypatch.setattr("models.extractors.compiled._compile", compile_network)


@pytest.mark.parametrize("sides_vary", [False, True])
def test_a_network_is_compiled_once_and_its_bits_are_those_of_the_first_time(
    folder: Path, untraced: Callable[[], None], sides_vary: bool
) -> None:
    wanted = results(sides_vary)
    torch.testing.assert_close(wanted, network()(INPUTS)[0], atol=1e-5, rtol=1e-5)
    assert len(list(folder.iterdir())) == 1
    untraced()
    assert equal(results(sides_vary), wanted)
    with pytest.raises(AssertionError, match="anew"):
        CompiledNetwork(network(), sides_vary)(INPUTS[:1])


def test_hooks_of_loading_do_not_tell_networks_apart() -> None:
    """torch numbers them through the whole process; each of mmpose's networks has one."""
    first, second = network(), network()
    for each in (first, second):
        each.register_load_state_dict_pre_hook(lambda *_: None)
    assert cache_key(first) == cache_key(second)


CHANGES: dict[str, Callable[[Any], object]] = {
    "a weight": lambda net: net.first[0].weight[0, 0, 0].fill_(7),
    "statistics": lambda net: net.first[1].running_mean.add_(1e-6),
    "a buffer that no checkpoint holds": lambda net: net.table.mul_(2),
    "a tensor that is no buffer": lambda net: net.plain.add_(1),
    "a number in a list in a mapping": lambda net: net.scales["levels"].__setitem__(1, 0.25),
    "a function": lambda net: setattr(net, "function", torch.tanh),
    "what a function was given beforehand": lambda net: setattr(net, "bound", partial(torch.clamp, min=-1.0)),
    "what a function closes over": lambda net: setattr(net, "shifted", _shifted(1.0)),
    "a set": lambda net: net.kinds.add("c"),
    "a number of numpy's": lambda net: setattr(net, "number", np.float32(2)),
    "an object's attribute": lambda net: setattr(net.object, "scale", 2.0),
    "a weight of a layer in a list": lambda net: net.unseen[0].weight.data.add_(1),
    "a function's own numbers": lambda net: setattr(net, "function", lambda values: values * 3),
    "a layer's option": lambda net: setattr(net.first[0], "stride", (2, 2)),
    "a layer's kind": lambda net: net.first.__setitem__(2, nn.SiLU()),
    "the order of layers": lambda net: setattr(net, "first", nn.Sequential(net.first[0], net.first[2], net.first[1])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_the_results_decides_the_key(change: str) -> None:
    changed = network()
    before = cache_key(changed, threads=1)
    assert before == cache_key(network(), threads=1)
    CHANGES[change](changed)
    assert cache_key(changed, threads=1) != before
    assert cache_key(network(), threads=2) != before


def test_another_process_finds_it(folder: Path, tmp_path: Path) -> None:
    wanted = results()
    path, threads = tmp_path / "found", torch.get_num_threads()
    process = start(_results_without_compiling, str(path), threads, folder=tmp_path, env=environment())
    assert ended(process, 100) == 0
    assert equal(torch.load(path), wanted)


def _results_without_compiling(path: str, threads: int) -> None:
    torch.set_num_threads(threads)
    del compiled._compile
    torch.save(results(), path)


HARMS: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: cut(path, 0.6),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": lambda path: flip(path, path.stat().st_size // 2),
    "no network": lambda path: _write_no_network(path.name),
}


def _write_no_network(key: str) -> None:
    kept = compiled_files.read(key)
    assert kept is not None
    compiled_files.write(key, CompiledFile(b"no network", kept.leaves, kept.tree))


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_file_is_told_of_and_made_again(folder: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    wanted = results()
    (path,) = folder.iterdir()
    HARMS[harm](path)
    assert equal(results(), wanted)
    (record,) = caplog.records
    assert "made again" in record.getMessage() or "compiled again" in record.getMessage()
    assert compiled_files.read(path.name) is not None
    assert list(folder.iterdir()) == [path]


def test_another_networks_file_under_its_name_is_not_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = results()
    (path,) = folder.iterdir()
    other = network()
    other.plain.add_(1)
    CompiledNetwork(other)(INPUTS)
    (foreign,) = set(folder.iterdir()) - {path}
    shutil.copy(foreign, path)
    assert equal(results(), wanted)
    assert "compiled again" in caplog.text


def test_a_file_that_cannot_be_marked_as_used_is_used(
    folder: Path, untraced: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = results()
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask(), "others who share the folder read it, too"
    untraced()

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert equal(results(), wanted)


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("place", ["a file", "nobody's home", "a pipe"])
def test_where_nothing_can_be_kept_networks_run_all_the_same(
    folder: Path, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)  # where a home that there is not would be taken for a folder's name
    if place == "a file":
        folder.write_text("no folder")
    elif place == "nobody's home":
        monkeypatch.setenv(compiled_files.FOLDER_VARIABLE, "~nobody-of-this-name/compiled")
    else:
        wanted = results()
        (path,) = folder.iterdir()
        path.unlink()
        os.mkfifo(path)
        assert equal(results(), wanted)
    for _ in range(2):
        torch.testing.assert_close(results(), network()(INPUTS)[0], atol=1e-5, rtol=1e-5)
    assert caplog.text.count("cannot be written to") == (place == "a file"), "told once"


def test_those_not_used_for_the_longest_time_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(key: str) -> None:
        compiled_files.write(key, CompiledFile(bytes(1000), [], torch.utils._pytree.tree_flatten(())[1]))

    new, old, older, newest, large = (letter * 64 for letter in "abcde")
    for age, name in enumerate((new, old, older)):
        write(name)
        os.utime(folder / name, (1000 - age, 1000 - age))
    assert compiled_files.read(older) is not None
    (folder / "thesis.tex").write_bytes(bytes(5000))  # nothing of vdv's
    (folder / "subfolder").mkdir()
    for name in ("thesis.tex", "subfolder"):
        os.utime(folder / name, (1, 1))
    (folder / ".part-killed").write_bytes(b"half")
    os.utime(folder / ".part-killed", (time.time() - 7200,) * 2)
    (folder / ".part-now").write_bytes(b"half")
    monkeypatch.setattr(compiled_files, "MAX_BYTES", 3 * (folder / new).stat().st_size + 10)
    write(newest)
    left = {"thesis.tex", "subfolder", ".part-now"}
    assert {path.name for path in folder.iterdir()} == left | {new, older, newest}
    monkeypatch.setattr(compiled_files, "MAX_BYTES", 10)
    write(large)
    assert {path.name for path in folder.iterdir()} == left | {large}


def test_the_folder_is_the_users_own_unless_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(compiled_files.FOLDER_VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compiled_files.folder() == tmp_path / ".cache/vdv/compiled"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert compiled_files.folder() == tmp_path / "xdg/vdv/compiled"
    monkeypatch.setenv(compiled_files.FOLDER_VARIABLE, "~/chosen")
    assert compiled_files.folder() == tmp_path / "chosen"
