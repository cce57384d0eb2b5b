"""What the benchmarks share: which machine this is, medians, and where results go."""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from pipeline.modalities.registry import extracted_names, find_extracted

RESULTS = Path(__file__).parent / "results"
SEEN = tuple(name for name in extracted_names() if find_extracted(name).reads == "frames")  # modalities of pictures


def machine() -> dict:
    """CPU, cores and GPU as the system names them; no host name."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        model = found.group(1) if found else model
    gpu = ""
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpu = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "gpu": gpu,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def result_path(name: str) -> Path:
    """results/<name>-<machine>.json of this machine."""
    about = machine()
    slug = re.sub(r"[^a-z0-9]+", "-", f"{about['gpu'] or about['cpu']} {about['cores']} cores".lower()).strip("-")
    return RESULTS / f"{name}-{slug}.json"


def save(name: str, results: dict, keep_others: bool = False) -> Path:
    """Writes results/<name>-<machine>.json and says where.

    keep_others: what an earlier run found and this one did not ask for stays as it was.
    """
    about, path = machine(), result_path(name)
    RESULTS.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if keep_others and path.exists() else {}
    path.write_text(json.dumps({**before, "machine": about, **results}, indent=1) + "\n")
    print(f"written: benchmarks/results/{path.name}")
    return path


def interleaved(runs: int, **sides: Callable[[], object]) -> dict[str, list[float]]:
    """Wall seconds of each side, run in turn (a b a b ...) so that a drifting machine bends all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, run in sides.items():
            start = perf_counter()
            run()
            seconds[name].append(perf_counter() - start)
    return seconds


def median_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median over the pairs of one turn each."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    cells = [list(map(str, header)), *[[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
