"""Code and machine in run.json."""

import json
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
import torch

from pipeline.core.environment import PACKAGES, code_version, cpu_model, environment, require_packages
from pipeline.core.errors import OptionError, how_to_install


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "code.py").write_text("x = 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "code.py")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first")
    return folder


def git(folder: Path, *command: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *command], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_checkout_says_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert code_version(checkout) | {"version": ""} == {"version": "", "commit": commit, "dirty": False}
    (checkout / "notes.txt").write_text("not part of it")
    assert code_version(checkout)["dirty"] is False
    (checkout / "code.py").write_text("x = 2\n")
    assert code_version(checkout)["dirty"] is True


def test_a_package_that_lies_inside_another_checkout_does_not_claim_its_commit(checkout: Path) -> None:
    installed = checkout / "lib/site-packages"
    installed.mkdir(parents=True)
    code = code_version(installed)
    assert (code["commit"], code["dirty"]) == (None, None)
    assert code["version"]


def test_without_git_the_version_is_all_there_is(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert code_version(checkout)["commit"] is None


def test_a_repository_without_commits_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert code_version(tmp_path)["commit"] is None


def test_the_environment_names_packages_and_processor_and_no_folder() -> None:
    description = environment(torch.device("cpu"))
    assert set(description["packages"]) == set(PACKAGES)
    assert description["packages"]["numpy"]
    assert description["device"] == "cpu"
    assert description["gpu"] is None
    assert str(Path.home()) not in json.dumps(description)


def test_the_processor_is_named_as_the_kernel_does(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast One @ 3 GHz\n\nprocessor\t: 1\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Fast One @ 3 GHz"
    assert cpu_model(tmp_path / "none")


def test_packages_that_are_missing_are_named_and_what_pip_finds_of_their_extra() -> None:
    require_packages("onnx", "json")
    with pytest.raises(OptionError, match=r"needs no_such and nor_this, not installed here: pip install onnx onnxs"):
        require_packages("onnx", "no_such", "json", "nor_this")


def test_every_extra_s_packages_are_those_of_setup_cfg() -> None:
    setup = ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    for extra, packages in setup["options.extras_require"].items():
        asked = shlex.split(how_to_install(extra).removeprefix("pip install ").partition(" (")[0])
        assert {name for name in asked if not name.startswith("moto")} == {
            name for name in packages.split() if not name.startswith("moto")
        }
