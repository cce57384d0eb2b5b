"""The demo world, rendered before it is read."""

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

import luigi

from pipeline.commands.command import Stage
from pipeline.commands.progress import EVERY_S
from pipeline.core import storage
from pipeline.core.errors import DataError
from tasks.console import Progress, say
from tasks.option_types import CommandOption, NumberOption

if TYPE_CHECKING:
    from simulation.world import WorldOptions

DEMO = "data_manifest/demo"  # the folder of the demo world; outside a checkout it is not there until it is rendered


class RenderWorld(luigi.Task):
    """Renders a simulated world into a folder: clips, manifest, and the truth about them.

    A folder with a world.toml is rendered as that says; BuildVDV asks for it by itself. Of a folder without one a new
    world is made from --seed, --clips and --challenges, or the demo world with --demo.
    """

    folder = luigi.Parameter(description="where the world lies or will lie; its manifest is <folder>/<its name>.csv")
    seed = NumberOption(int, 0, 2**31 - 1, default=0, description="of a new world")
    clips = NumberOption(int, 1, 1_000_000, default=256, description="of a new world")
    hidden = NumberOption(
        float,
        0.0,
        1.0,
        default=0.0,
        description="share of a new world's clips that hide a modality, each of four by itself",
    )
    challenges = NumberOption(int, 1, 8, default=8, description="of a new world, 1 to 8")
    demo = luigi.BoolParameter(description="a new world is the demo world of docs/demo-world.md")
    processes = NumberOption(
        int, 0, 1024, default=0, significant=False, description="rendering processes; 0: one a processor core"
    )

    progress_s = NumberOption(
        float, 0.05, 86_400.0, default=EVERY_S, significant=False,
        description="seconds between two reports of progress where the output is no terminal",
    )  # fmt: skip
    for_command = CommandOption()

    def complete(self) -> bool:
        from simulation.render import OPTIONS, is_rendered

        return Path(self.folder, OPTIONS).exists() and is_rendered(Path(self.folder))

    def run(self) -> None:
        from simulation.render import OPTIONS, manifest_path, render_world, write_options

        folder = Path(self.folder)
        if not (folder / OPTIONS).exists():
            if manifest_path(folder).exists():
                raise DataError(f"{folder} holds a manifest and no {OPTIONS}: choose another folder for a new world")
            write_options(folder, self._new_world())
        self.stage = Stage(self.for_command, self.task_family, "")
        with self.stage, Progress(self, f"render {folder.resolve().name}") as progress:
            render_world(folder, self.processes or len(os.sched_getaffinity(0)), progress)
            self.stage.measure(clips=progress.did)
        say(f"rendered: {manifest_path(folder)} and its clips")

    def _new_world(self) -> "WorldOptions":
        from simulation.world import DEMO_WORLD, WorldOptions

        if self.demo:
            return DEMO_WORLD
        return WorldOptions(
            seed=self.seed,
            clips=self.clips,
            creators=max(1, self.clips * 3 // 8),
            challenges=self.challenges,
            hidden=self.hidden,
        )


@RenderWorld.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _nothing_to_do(task: RenderWorld) -> None:
    say(f"nothing to do: the world of {task.folder} is rendered")


def world_of(manifest: str) -> str | None:
    """The folder of the world that a manifest file, or a folder of them, belongs to; None: it is of real clips."""
    if not storage.is_local(manifest):
        return None
    path = storage.local_path(manifest)
    folder = path if path.is_dir() else path.parent
    return str(folder) if (folder / "world.toml").exists() else None


def worlds_to_render(manifest: str) -> tuple[RenderWorld, ...]:
    """The worlds of a manifest file, folder or glob that are not rendered yet."""
    if manifest == DEMO and not Path(DEMO).exists():
        return (RenderWorld(folder=DEMO, demo=True),)
    is_glob = storage.is_local(manifest) and glob.has_magic(manifest) and not os.path.exists(manifest)
    paths = sorted(glob.glob(manifest, recursive=True)) if is_glob else [manifest]
    worlds = dict.fromkeys(filter(None, map(world_of, paths)))
    return tuple(task for task in map(RenderWorld, worlds) if not task.complete())
