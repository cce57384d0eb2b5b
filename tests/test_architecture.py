"""The layout that pipeline/__init__.py and docs/architecture.md promise, read from the source.

An import counts wherever it stands: at the top, in a function, under TYPE_CHECKING.
"""

import ast
from collections import Counter
from collections.abc import Mapping

import pytest

import pipeline
from docs.draw_architecture import PICTURE, STAGES, draw, imports, modules, path_of

MAY_IMPORT = {  # of our own code
    "models": {"models"},
    "pipeline": {"models", "pipeline"},
    "simulation": {"models", "pipeline", "simulation"},
    "tasks": {"models", "pipeline", "simulation", "tasks"},
}
MAX_LINES, MAX_FUNCTION_LINES, MAX_MODULES, MAX_FLOORS = 400, 60, 15, 3
RIDDLES = ("What", "Which", "How", "Where", "Whether", "Who")
PROMISES = ("In: ", "Out: ", "Never known here: ")


def stage_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def floors(package: str) -> Mapping[str, int]:
    """Module -> the floor that it stands on: 1 where it imports none of its own package."""
    inside = {name: found for name, found in imports().items() if name.startswith(f"{package}.")}
    known: dict[str, int] = {}

    def floor(module: str, above: tuple[str, ...]) -> int:
        assert module not in above, f"modules import each other: {' -> '.join([*above, module])}"
        if module not in known:
            below = [floor(other, (*above, module)) for other in inside[module] if other in inside]
            known[module] = 1 + max(below, default=0)
        return known[module]

    return {module: floor(module, ()) for module in inside}


@pytest.mark.parametrize("top", MAY_IMPORT)
def test_imports_go_from_tasks_over_the_pipeline_to_the_models(top: str) -> None:
    found = [(module, other) for module, others in imports().items() for other in others if module.split(".")[0] == top]
    assert found
    assert not [pair for pair in found if pair[1].split(".")[0] not in MAY_IMPORT[top]]


def test_a_stage_imports_only_stages_before_it() -> None:
    found = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if module.startswith("pipeline.") and other.startswith("pipeline.")
        and STAGES.index(stage_of(other)) > STAGES.index(stage_of(module))
    ]  # fmt: skip
    assert not found


def test_the_order_of_the_stages_is_the_one_that_the_package_states() -> None:
    assert pipeline.__doc__ is not None
    assert ", ".join(STAGES) in " ".join(pipeline.__doc__.split())
    assert {stage_of(module) for module in modules() if module.startswith("pipeline.")} == set(STAGES)


def test_only_tasks_know_the_simulation() -> None:
    importers = {
        module.split(".")[0]
        for module, others in imports().items()
        for other in others
        if other.split(".")[0] == "simulation"
    }
    assert importers <= {"simulation", "tasks"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_package_of_the_pipeline_has_at_most_three_floors(stage: str) -> None:
    high = {module: floor for module, floor in floors(f"pipeline.{stage}").items() if floor > MAX_FLOORS}
    assert not high


def test_no_module_is_long() -> None:
    lengths = {module: len(path_of(module).read_text().splitlines()) for module in modules()}
    assert not {module: lines for module, lines in lengths.items() if lines > MAX_LINES}


def test_no_function_is_long() -> None:
    lengths = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}


def test_no_package_holds_many_modules() -> None:
    counts = Counter(module.rpartition(".")[0] for module in modules() if path_of(module).name != "__init__.py")
    assert not {package: count for package, count in counts.items() if count > MAX_MODULES}


def test_module_docstrings_are_no_riddles() -> None:
    first_words = {module: (ast.get_docstring(tree) or "").split(" ")[0] for module, tree in modules().items()}
    assert not {module: word for module, word in first_words.items() if word in RIDDLES}


def test_every_package_says_what_comes_in_what_goes_out_and_what_it_never_knows() -> None:
    packages = [m for m in modules() if path_of(m).name == "__init__.py" and m.split(".")[0] in ("models", "pipeline")]
    texts = {
        m: ast.get_docstring(modules()[m]) or "" for m in [*packages, "simulation"] if m not in ("models", "pipeline")
    }
    assert len(texts) > len(STAGES)
    missing = {m: [part for part in PROMISES if part not in " ".join(text.split()) + " "] for m, text in texts.items()}
    assert not {module: parts for module, parts in missing.items() if parts}


def test_the_picture_is_the_one_that_the_imports_give() -> None:
    assert PICTURE.read_text() == draw(), "run: python docs/draw_architecture.py"


def test_what_a_package_is_for_fits_its_box() -> None:
    first = {stage: (ast.get_docstring(modules()[f"pipeline.{stage}"]) or "").split("\n")[0] for stage in STAGES}
    assert not {stage: line for stage, line in first.items() if not line or len(line) > 100}
