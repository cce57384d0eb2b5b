"""The demo world, rendered before it is read."""

import os
from pathlib import Path

import luigi

from pipeline.core import storage
from pipeline.core.errors import DataError
from tasks.console import Progress
from tasks.number_option import NumberOption
from tasks.options import forget_snapshots


class RenderWorld(luigi.Task):
    """Renders a simulated world into a folder: clips, manifest, and the truth about them.

    A folder with a world.toml is rendered as that says; BuildVDV asks for it by itself. Of a folder without one a new
    world is made from --seed, --clips and --challenges.
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
    processes = NumberOption(
        int, 0, 1024, default=0, significant=False, description="rendering processes; 0: one a processor core"
    )

    def complete(self) -> bool:
        from simulation.render import OPTIONS, is_rendered

        return Path(self.folder, OPTIONS).exists() and is_rendered(Path(self.folder))

    def run(self) -> None:
        from simulation.render import OPTIONS, manifest_path, render_world, write_options
        from simulation.world import WorldOptions

        folder = Path(self.folder)
        if not (folder / OPTIONS).exists():
            if manifest_path(folder).exists():
                raise DataError(f"{folder} holds a manifest and no {OPTIONS}: choose another folder for a new world")
            options = WorldOptions(
                seed=self.seed,
                clips=self.clips,
                creators=max(1, self.clips * 3 // 8),
                challenges=self.challenges,
                hidden=self.hidden,
            )
            write_options(folder, options)
        with Progress(self, f"render {folder.resolve().name}") as progress:
            render_world(folder, self.processes or len(os.sched_getaffinity(0)), progress)
        forget_snapshots()


def world_of(manifest: str) -> str | None:
    """The folder of the world that a manifest file belongs to; None: it is of real clips."""
    if not storage.is_local(manifest):
        return None
    folder = storage.local_path(manifest).parent
    return str(folder) if (folder / "world.toml").exists() else None
