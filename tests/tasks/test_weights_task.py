"""FetchWeights from the command line, without a network."""

import os
from pathlib import Path

import pytest

from models.weights.catalogue import published
from pipeline.modalities.registry import load_profile, profile_weights
from tasks.preparation import FetchWeights
from tests.end_to_end.workspaces import TINY_PROFILE, Finished, luigi
from tests.support.warm_process import environment


def luigi_command(task: str, folder: Path, *options: str) -> Finished:
    """Runs a task where every connection is refused, also where there is a network: no test downloads 100 MB."""
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    settings = {name: value for name, value in environment().items() if name.lower() != "no_proxy"}
    return luigi(["--module", "tasks", task, *options], folder, {**settings, **nowhere})


def test_weights_that_come_with_the_package_are_complete_without_a_network_or_a_folder(tmp_path: Path) -> None:
    for profile in ("untrained", str(TINY_PROFILE)):
        assert FetchWeights(profile=profile, weights_cache=str(tmp_path / "cache")).complete()
    assert list(tmp_path.iterdir()) == []
    done = luigi_command("FetchWeights", tmp_path, "--profile", "untrained", "--weights-cache", str(tmp_path / "cache"))
    assert done.code == 0, done.output
    assert f"nothing to do: weights of the profile untrained are in {tmp_path / 'cache'}" in done.output
    assert list(tmp_path.iterdir()) == []


def test_published_weights_that_are_not_there_are_not_complete(tmp_path: Path) -> None:
    assert not FetchWeights(profile="light", weights_cache=str(tmp_path)).complete()


def test_without_a_network_it_fails_and_names_the_url_and_the_place_and_leaves_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = luigi_command("FetchWeights", tmp_path, "--profile", "light", "--weights-cache", str(cache))
    assert done.code == 30, done.output
    assert "Traceback" not in done.output
    first = published(profile_weights(load_profile("light"))[0])
    assert first is not None
    assert first.url in done.output
    assert str(cache / first.file_name) in done.output
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_the_cache_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VDV_WEIGHTS", str(tmp_path / "mine"))
    entry = published("imagenet-resnet18-v1")
    assert entry is not None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / entry.file_name).write_bytes(b"another file")
    profile = tmp_path / "only-appearance.toml"
    head, _, table = TINY_PROFILE.read_text().partition("[appearance]")
    table = table.replace("untrained:0", "imagenet-resnet18-v1", 1).replace("resnet10-w32", "resnet18", 1)
    profile.write_text(head + "[appearance]" + table)
    done = luigi_command("FetchWeights", tmp_path, "--profile", str(profile))
    assert done.code not in (0, None)
    assert str(tmp_path / "mine" / entry.file_name) in done.output  # found there, and seen to be another file
    assert "Delete it" in done.output
    assert "Traceback" not in done.output
    assert os.listdir(tmp_path / "mine") == [entry.file_name]
