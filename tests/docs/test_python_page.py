"""docs/python.md in a notebook's kernel: its examples run, bars are widgets, an interrupt ends a command in order."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from pipeline.commands.command import COMMANDS
from pipeline.core.interrupt import MESSAGE
from simulation.render import write_options
from simulation.world import WorldOptions
from tests.docs.pages import ROOT, examples
from tests.support.orphans import still_running
from tests.support.warm_process import environment

# Uploads are scored by tests/end_to_end/test_uploads.py.
EXAMPLES = [example.code for example in examples(ROOT / "docs/python.md") if "ws.score(" not in example.code]
WIDGET = "application/vnd.jupyter.widget-view+json"
# Of the page's builds: what is learned is not looked at here.
CONFIGURATION = "[BuildVDV]\nepochs=1\nfolds=0\nmodalities=pose\nreport_films=0\n[RenderWorld]\nprocesses=1\n"

WITHOUT_WIDGETS = """
import sys
for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
    sys.modules.pop(name)
sys.modules["ipywidgets"] = None
"""


@dataclass
class Shown:
    """What a cell shows."""

    text: str = ""
    error: str = ""  # name of the exception
    message: str = ""
    widgets: int = 0
    bars: list[str] = field(default_factory=list)  # texts of widgets


class Killed(Exception):
    """The kernel was."""


class Kernel:
    def __init__(self, folder: Path):
        self._folder = folder
        self.manager = KernelManager(kernel_name="python3")
        env = environment() | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / ".ipython")}
        self.manager.start_kernel(cwd=str(folder), env=env)
        self._client: BlockingKernelClient = self.manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.manager.provisioner.pid)  # type: ignore[union-attr]

    def run(self, code: str, meanwhile: Callable[[], None] = lambda: None) -> Shown:
        """Executes a cell. meanwhile: called whenever nothing is heard of it for a moment."""
        shown = Shown()
        request = self._client.execute(code)
        until = time.monotonic() + 200
        while time.monotonic() < until:
            meanwhile()
            if not self._client.iopub_channel.msg_ready():
                time.sleep(0.02)
                continue
            message = self._client.get_iopub_msg(timeout=10)
            if message["parent_header"].get("msg_id") == request and _note(message, shown):
                return shown
        raise TimeoutError(shown)

    def value(self, expression: str) -> Any:
        """What an expression is, as JSON has it."""
        shown = self.run(f"import json; print(json.dumps({expression}, default=str))")
        assert not shown.error, shown
        return json.loads(shown.text)

    def close(self) -> None:
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _note(message: dict, shown: Shown) -> bool:
    """Note what a message shows; True: it says that the cell has ended."""
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        shown.text += content["text"]
    elif kind == "error":
        shown.error, shown.message = content["ename"], content["evalue"]
    elif kind == "display_data":
        shown.widgets += WIDGET in content["data"]
    elif kind in ("comm_open", "comm_msg"):
        text = content["data"].get("state", {}).get("value")
        shown.bars += [text] if isinstance(text, str) else []
    return kind == "status" and content["execution_state"] == "idle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader of the page has it, and a manifest of a broken clip."""
    folder = tmp_path_factory.mktemp("notebook")
    demo = folder / "data_manifest/demo"  # as a clone has it, only smaller
    demo.mkdir(parents=True)
    write_options(demo, WorldOptions(seed=1010, clips=4, creators=4, challenges=1, seconds=(0.5, 0.5), broken=0))
    (folder / "broken.mp4").write_text("no film")
    (folder / "broken.csv").write_text("clip_id,uri,challenge\nbroken,broken.mp4,wave\n")
    (folder / "luigi.cfg").write_text(CONFIGURATION)
    return folder


@pytest.fixture(scope="module")
def kernel(folder: Path) -> Iterator[Kernel]:
    """A kernel in which the page was run from top to bottom."""
    kernel = Kernel(folder)
    yield kernel
    kernel.close()


@pytest.fixture(scope="module")
def shown(kernel: Kernel) -> list[Shown]:
    """What the page's examples show, run from top to bottom."""
    return [kernel.run(example) for example in EXAMPLES]


def newest_log(folder: Path) -> list[dict]:
    newest = max((folder / "workspace" / COMMANDS).glob("*.jsonl"))
    return [json.loads(line) for line in newest.read_text().splitlines()]


def commands(kernel: Kernel) -> list[psutil.Process]:
    """The commands under way, and all that they have started."""
    return kernel.process.children(recursive=True)


def test_the_page_s_examples_run_in_a_notebook(kernel: Kernel, shown: list[Shown]) -> None:
    assert [about.error for about in shown] == [""] * len(EXAMPLES) == [""] * 3
    assert kernel.value("[len(clips), len(scores)]") == [4, 4]
    assert kernel.value("[type(pose).__name__, list(pose.valid.shape)[1] > 0]") == ["PoseTensors", True]
    assert kernel.value("pose.lead") is not None
    assert kernel.value("[ws.run('june') == ws.run(), ws.runs()['name'].tolist()]") == [True, ["june"]]
    assert shown[2].text.startswith("typo.csv: no such file or folder")


def test_progress_is_a_widget_a_stage_and_what_the_command_prints_stands_below(shown: list[Shown]) -> None:
    built = shown[0]
    assert built.widgets >= 5
    assert "ExtractBatch\u2007demo:\u2007100%" in "\n".join(built.bars)
    assert "clips: 4 ok" in built.text
    assert "extract demo after" not in built.text


def test_a_build_that_fails_raises_its_own_error_with_its_words_and_without_ipywidgets_bars_are_text(
    kernel: Kernel, shown: list[Shown]
) -> None:
    kernel.run(WITHOUT_WIDGETS)
    failed = kernel.run("ws.build('broken.csv')")
    assert failed.error == "TooManyFailed"
    assert failed.message.startswith("1 of 1 clips failed (1 not_a_video)")
    assert "Traceback" not in failed.text
    assert "IngestBatch broken: 100%" in failed.text
    assert not failed.widgets
    assert not commands(kernel)


def test_an_interrupted_kernel_ends_the_command_in_order_and_goes_on(
    kernel: Kernel, folder: Path, shown: list[Shown]
) -> None:
    before = newest_log(folder)[0]["command"]
    children: list[psutil.Process] = []

    def interrupt() -> None:
        log = newest_log(folder)
        if not children and log[0]["command"] != before and log[-1].get("stage") == "TrainFusion":
            children.extend(commands(kernel))
            kernel.manager.interrupt_kernel()

    stopped = kernel.run("ws.build('data_manifest/demo', seed=1, epochs=100_000)", interrupt)
    assert stopped.error == "KeyboardInterrupt", stopped
    assert MESSAGE in stopped.text
    assert children
    assert not still_running(children)
    assert newest_log(folder)[-1]["outcome"] == "interrupted"
    assert not list((folder / "workspace").rglob(".staged-*"))
    assert kernel.value("ws.runs()['name'].tolist()") == ["june"]


def test_a_command_dies_with_the_kernel(folder: Path, kernel: Kernel, shown: list[Shown]) -> None:
    """The last of the module: it kills the kernel."""
    before = newest_log(folder)[0]["command"]
    children: list[psutil.Process] = []

    def kill() -> None:
        if not children and newest_log(folder)[0]["command"] != before:
            children.extend(commands(kernel))
            kernel.process.kill()
            raise Killed

    with pytest.raises(Killed):
        kernel.run("ws.build('data_manifest/demo', seed=2, epochs=100_000)", kill)
    alive = still_running(children)
    for child in alive:
        child.kill()
    assert not alive
