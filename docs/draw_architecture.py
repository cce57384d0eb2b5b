"""The picture of docs/architecture.md, drawn from the imports: `python docs/draw_architecture.py` writes it anew.

Boxes are packages, in the order in which data go through them; arrows are imports. A package that nearly all others
import says so in words instead. Lines are rounded to two digits, so that a small change leaves the picture as it is.
"""

import ast
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/architecture.svg"
TOPS = ("models", "pipeline", "simulation", "tasks")
# The order of the data: a package imports those before it.
STAGES = (
    "core", "files", "access", "decode", "music", "modalities", "ingest", "features", "extraction", "cluster",
    "dataset", "training", "runs", "metrics", "scoring", "evaluation", "feedback", "report", "export", "commands",
    "purge", "api", "serve",
)  # fmt: skip
NEARLY_ALL = 0.8  # of the other stages: above, an arrow from each would hide the rest

STYLE = """
text { font-family: system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif; fill: #18181b; font-size: 12px }
.name { font-size: 15px; font-weight: 600 } .count { fill: #52525b } .ground { fill: #ffffff }
.frame { fill: #f4f4f5; stroke: #d4d4d8 } .box { fill: #ffffff; stroke: #a1a1aa }
.arrow { fill: none; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #f4f4f5 } .count { fill: #a1a1aa } .ground { fill: #18181b } .frame { fill: #27272a; stroke: #3f3f46 }
  .box { fill: #18181b; stroke: #71717a }
}"""
# Seen on white and on black; one for each package that imports.
COLOURS = (
    "#3b82f6", "#d97706", "#10b981", "#d946ef", "#ef4444", "#0891b2", "#8b5cf6", "#84a100", "#f472b6", "#78716c",
    "#2dd4bf", "#f59e0b", "#6366f1", "#65a30d",
)  # fmt: skip
WIDTH, MARGIN = 1150, 24
MODELS_X, MODELS_WIDTH, MODELS_HEIGHT = 64, 136, 60
STAGES_X, STAGES_WIDTH, STAGES_TOP, HEIGHT, GAP = 264, 630, 128, 46, 12


@cache
def modules() -> Mapping[str, ast.Module]:
    """Every module of the product by its dotted name; a package's __init__ by the package's."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
        for top in TOPS
        for path in sorted((ROOT / top).rglob("*.py"))
        if path.stem.isidentifier()  # not the configurations of mmpose
    }


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imports() -> Mapping[str, set[str]]:
    """Module -> modules of the product that it imports: at the top, in a function, under TYPE_CHECKING."""
    return {name: set(_imported(tree)) for name, tree in modules().items()}


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield from [m for m in (f"{node.module}.{alias.name}", f"{node.module}") if m in modules()][:1]


def package_of(module: str) -> str:
    """The package that is drawn: pipeline.core, models.weights, simulation, tasks; models for its own modules."""
    top, *rest = module.split(".")
    inner = ".".join([top, *rest[:1]])
    return inner if top in ("pipeline", "models") and path_of(inner).name == "__init__.py" else top


def package_imports() -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {package_of(module): set() for module in modules()}
    for module, others in imports().items():
        found[package_of(module)] |= {package_of(other) for other in others} - {package_of(module)}
    return found


def _count(package: str) -> str:
    """modules and lines of a package, lines to two digits."""
    paths = [path_of(module) for module in modules() if package_of(module) == package]
    lines = sum(len(path.read_text().splitlines()) for path in paths)
    shown = round(lines, 2 - len(str(lines)))
    return f"{len([path for path in paths if path.name != '__init__.py'])} modules, {shown:,} lines"


def _purpose(package: str) -> str:
    return (ast.get_docstring(modules()[package]) or "").split("\n")[0].rstrip(".")


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(name.split(".")[-1] for name in names))


def draw() -> str:
    """The picture as SVG."""
    among = package_imports()
    stages = [f"pipeline.{stage}" for stage in STAGES if f"pipeline.{stage}" in among]
    importers = {p: {other for other in stages if p in among[other]} for p in stages}
    common = {p for p in stages if len(importers[p]) >= NEARLY_ALL * (len(stages) - 1)}
    tops = {p: STAGES_TOP + place * (HEIGHT + GAP) for place, p in enumerate(stages)}
    end = STAGES_TOP + len(stages) * (HEIGHT + GAP)
    left, whole = STAGES_X - 16, WIDTH - 2 * MARGIN
    unused = _listed(set(stages) - among["tasks"])
    parts = [
        _frame(MARGIN, 24, whole, 50, "tasks", f"imports models, simulation, pipeline{unused and ' but '}{unused}"),
        _frame(MARGIN, 92, MODELS_X + MODELS_WIDTH + 16 - MARGIN, end - 92, "models", ""),
        _frame(left, 92, WIDTH - MARGIN - left, end - 92, "pipeline", "data go down, imports go up"),
        _frame(MARGIN, end + 18, whole, 50, "simulation", f"imports {_listed(among['simulation'])}"),
    ]
    for package in stages:
        note = _but(set(stages) - importers[package] - {package}) if package in common else ""
        parts.append(_box(STAGES_X, tops[package], package, note))
    edges = [(p, q) for p in stages for q in among[p] if q in tops and q not in common]
    parts += _arcs(edges, tops, HEIGHT, STAGES_X + STAGES_WIDTH, lambda rows: 16 + 17 * rows)
    parts += _models(among, stages, tops)
    height = end + 92
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<title>Packages of vdv and their imports</title><style>{STYLE}</style><defs>{_heads()}</defs>",
        '<rect class="ground" width="100%" height="100%"/>', *parts, "</svg>\n",
    ])  # fmt: skip


def _but(others: Collection[str]) -> str:
    return f"imported by all but {_listed(others)}" if others else "imported by all"


def _frame(x: float, y: float, width: float, height: float, name: str, note: str) -> str:
    whole = name in ("tasks", "simulation")  # one package: its count and purpose stand in its frame
    count = f'<tspan class="count" x="{x + width - 14}" text-anchor="end">{_count(name)}</tspan>' if whole else ""
    purpose = f'<text x="{x + 14}" y="{y + 40}">{escape(_purpose(name))}</text>' if whole else ""
    return (
        f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
        f'<text y="{y + 22}"><tspan class="name" x="{x + 14}">{name}/</tspan>'
        f'<tspan class="count" dx="10">{note}</tspan>{count}</text>{purpose}'
    )


def _box(x: float, y: float, package: str, note: str) -> str:
    return (
        f'<rect class="box" x="{x}" y="{y}" width="{STAGES_WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text y="{y + 19}"><tspan class="name" x="{x + 12}">{package.split(".")[1]}</tspan>'
        f'<tspan class="count" dx="10">{note}</tspan>'
        f'<tspan class="count" x="{x + STAGES_WIDTH - 12}" text-anchor="end">{_count(package)}</tspan></text>'
        f'<text x="{x + 12}" y="{y + 36}">{escape(_purpose(package))}</text>'
    )


def _heads() -> str:
    return "".join(
        f'<marker id="head{place}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
        for place, colour in enumerate(COLOURS)
    )


def _arrow(path: str, colour: int) -> str:
    return f'<path class="arrow" d="{path}" stroke="{COLOURS[colour]}" marker-end="url(#head{colour})"/>'


def _arcs(
    edges: Sequence[tuple[str, str]],
    tops: Mapping[str, float],
    height: float,
    x: float,
    reach: Callable[[int], float],
) -> Iterator[str]:
    """Arcs beside boxes, nested: those between near packages lie inside those between far ones.

    reach: of an arc's control points from x, by the number of rows that it spans.
    """
    order = list(tops)
    for importer, imported in sorted(edges, key=lambda edge: [order.index(package) for package in edge]):
        leaving = sorted((b for a, b in edges if a == importer), key=order.index, reverse=True)
        arriving = sorted((a for a, b in edges if b == imported), key=order.index, reverse=True)
        rows = order.index(importer) - order.index(imported)
        start = tops[importer] + 3 + 20 * (leaving.index(imported) + 0.5) / len(leaving)
        end = tops[imported] + height - 3 - 20 * (arriving.index(importer) + 0.5) / len(arriving)
        far = x + reach(abs(rows))
        path = f"M{x} {start:.1f} C{far:.1f} {start:.1f} {far:.1f} {end:.1f} {x} {end:.1f}"
        yield _arrow(path, order.index(importer) % len(COLOURS))


def _models(among: Mapping[str, set[str]], stages: Sequence[str], tops: Mapping[str, float]) -> Iterator[str]:
    """The packages of models, each at the height of the stages that import it, and the arrows from these."""
    users = {p: [s for s in stages if p in among[s]] for p in among if p.split(".")[0] == "models"}
    wanted = {p: sum(tops[s] for s in users[p]) / max(len(users[p]), 1) for p in users}
    places: dict[str, float] = {}
    for package in sorted(users, key=lambda p: wanted[p]):
        places[package] = max(wanted[package], max(places.values(), default=STAGES_TOP - 78) + 78)
    right = MODELS_X + MODELS_WIDTH
    for package, y in places.items():
        lines = [package.partition(".")[2] or "errors, device", *_count(package).split(", ", 1)]
        yield f'<rect class="box" x="{MODELS_X}" y="{y:.0f}" width="{MODELS_WIDTH}" height="{MODELS_HEIGHT}" rx="6"/>'
        for down, line in zip((19, 36, 51), lines, strict=True):
            kind = "name" if down == 19 else "count"
            yield f'<text class="{kind}" x="{MODELS_X + 10}" y="{y + down:.0f}">{line}</text>'
        for place, stage in enumerate(users[package]):
            start = tops[stage] + HEIGHT / 2
            end = y + MODELS_HEIGHT * (place + 0.5) / len(users[package])
            path = f"M{STAGES_X} {start:.1f} C{STAGES_X - 40} {start:.1f} {right + 40} {end:.1f} {right} {end:.1f}"
            yield _arrow(path, stages.index(stage) % len(COLOURS))
    edges = [(p, q) for p in places for q in among[p] if q in places and q != "models"]
    yield from _arcs(edges, places, MODELS_HEIGHT, MODELS_X, lambda rows: -16 - 10 * rows)


if __name__ == "__main__":
    PICTURE.write_text(draw())
    print(f"written: {PICTURE.relative_to(ROOT)}")
