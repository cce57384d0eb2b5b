"""Installing: the page, the Makefile and the Dockerfile say the same, and what they name is there.

Nothing is installed here: docs/installation.md says what was tried in full.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from luigi.cmdline_parser import CmdlineParser

import tasks
from models.weights.catalogue import CACHE_VARIABLE
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/installation.md").read_text()
COMMANDS = re.sub(r"\\\n\s+", "", "\n".join(re.findall(r"^    (.+)$", PAGE, re.MULTILINE))).splitlines()
INLINE = re.findall(r"`([^`]+)`", PAGE)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def by_hand(line: str) -> str:
    """A line of pip as one would type it: by its program, and not quiet."""
    line = line.replace(".venv/bin/python -m pip", ".venv/bin/pip").replace("'", "")
    return re.sub(r" --quiet| --disable-pip-version-check", "", line)


def made(*words: str) -> list[str]:
    """What make would run, without running it."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "TORCH", "VENV")}
    printed = subprocess.run(["make", "-n", *words], cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    return printed.stdout.splitlines()


def installs(lines: list[str], program: str = ".venv/bin/pip install") -> list[str]:
    return [by_hand(line) for line in lines if by_hand(line).startswith(program)]


@pytest.mark.parametrize("torch", ["", "cpu"])
def test_the_lines_by_hand_are_those_of_make(torch: str, tmp_path: Path) -> None:
    venv = tmp_path / ".venv"
    lines = [line.replace(str(venv), ".venv") for line in made(f"TORCH={torch}", f"VENV={venv}", "demo")]
    for_cpu, *usual = sorted(installs(COMMANDS), key=lambda line: CPU_INDEX not in line)
    assert installs(lines) == ([for_cpu, *usual] if torch else usual)
    assert ".venv/bin/luigi --module tasks BuildVDV --workspace 'workspace'" in lines


def test_a_venv_keeps_to_its_torch_and_is_not_made_twice(tmp_path: Path) -> None:
    venv = tmp_path / ".venv"
    venv.mkdir()
    (venv / ".installed-cpu").touch()
    assert installs([line.replace(str(venv), ".venv") for line in made(f"VENV={venv}", "demo")]) == []
    refused = subprocess.run(["make", "-n", f"VENV={venv}", "lock"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "has torch for cpu" in refused.stderr


def test_the_index_of_builds_for_cpus_gives_the_versions_that_were_tested(tmp_path: Path) -> None:
    """By pip itself, from a folder laid out like that index, with other versions beside."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    versions = {name: pins[name] for name in ("torch", "torchvision")}
    for name, version in versions.items():
        folder = tmp_path / "whl/cpu" / name
        folder.mkdir(parents=True)
        wheels = [wheel(folder, name, one) for one in (f"{version}+cpu", "0.1+cpu", "99.0+cpu")]
        (folder / "index.html").write_text("".join(f'<a href="{one}">{one}</a>' for one in wheels))
    index = (tmp_path / "whl/cpu").as_uri()
    (line, *_) = [line for line in made("TORCH=cpu", f"TORCH_INDEX={index}", "VENV=none", "demo") if index in line]
    words = shlex.split(line)
    report = subprocess.run(
        [sys.executable, *words[1:], "--dry-run", "--ignore-installed", "--report", "-"],
        cwd=ROOT, check=True, capture_output=True, text=True,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
             "PIP_CONFIG_FILE": os.devnull},
    )  # fmt: skip
    chosen = {one["metadata"]["name"]: one["metadata"]["version"] for one in json.loads(report.stdout)["install"]}
    assert chosen == {name: f"{version}+cpu" for name, version in versions.items()}


def wheel(folder: Path, name: str, version: str) -> str:
    """Writes a wheel that holds nothing; returns its name."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        info = f"{name}-{version}.dist-info"
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path.name


def test_uv_is_asked_for_the_same() -> None:
    asked = [words(line) for line in installs(COMMANDS) if CPU_INDEX not in line]
    assert [words(line) for line in COMMANDS if line.startswith("uv pip")] == asked
    (for_cpu,) = [words(line) for line in INLINE if line.startswith("uv pip")]
    assert for_cpu == ["--torch-backend", "cpu", *asked[0]]
    assert "--seed" in next(line for line in COMMANDS if line.startswith("uv venv"))  # make asks for pip


def words(line: str) -> list[str]:
    """What stands behind `install`."""
    return shlex.split(line)[shlex.split(line).index("install") + 1 :]


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines if line.strip()]


def test_what_the_dockerfile_runs_is_on_the_page_or_makes_its_user() -> None:
    runs = [re.sub(r"--mount=\S+\s+", "", rest) for name, rest in instructions() if name == "RUN"]
    commands = [" ".join(one.split()) for run in runs for one in run.split("&&")]
    typed = {by_hand(line) for line in COMMANDS} | {by_hand(line).replace("-e .[dev]", ".") for line in COMMANDS}
    others = [one for one in commands if one not in typed]
    assert [one.split()[0] for one in others] == ["useradd", "install"]
    assert {one for one in commands if "pip install" in one} <= typed
    assert len(commands) == 6


def test_what_the_dockerfile_copies_is_there_is_sent_and_is_the_whole_package() -> None:
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and not rest.startswith("--from")]
    files = {one for files in copied for one in files}
    assert not [one for one in files if not (ROOT / one).exists()]
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert files == sent
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert {one.strip("*") for one in setup["options.packages.find"]["include"].split()} <= files
    assert set(setup["metadata"]["license_files"].split()) | {"README.md", "pyproject.toml"} <= files


def test_stages_are_there_for_each_build_that_the_page_names() -> None:
    builds = set(re.findall(r"--build-arg TORCH=(\w+)", PAGE))
    (default,) = [rest.removeprefix("TORCH=") for name, rest in instructions() if rest.startswith("TORCH=")]
    stages = {rest.split()[-1] for name, rest in instructions() if name == "FROM" and " AS " in rest}
    assert {f"torch-{build}" for build in builds | {default}} == {one for one in stages if one.startswith("torch-")}
    assert default == "cpu"
    assert f"{CACHE_VARIABLE}=/weights" in dict(instructions())["ENV"].split()


def test_what_containers_are_asked_for_is_a_command_of_ours() -> None:
    entry, default = (json.loads(dict(instructions())[name]) for name in ("ENTRYPOINT", "CMD"))
    assert entry[0] == "luigi"
    runs = [shlex.split(line) for line in COMMANDS if line.startswith("docker run")]
    assert len(runs) == 3
    for run in runs:
        (image,) = [at for at, word in enumerate(run) if re.fullmatch(r"vdv:\w+", word)]
        with CmdlineParser.global_instance([*entry[1:], *(run[image + 1 :] or default)]) as parser:
            assert parser.get_task_obj().task_family in tasks.__all__
