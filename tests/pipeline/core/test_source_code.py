"""A module's code is its own and all that it imports, and nothing else."""

from pathlib import Path

import pytest

from pipeline.core.source_code import PACKAGES, ROOT, code_hash, imported_files

ENCODER_TRAINING = "pipeline.training.encoder_training"


def copy_of_product(folder: Path, commented: str = "") -> Path:
    """The product's modules, a comment added to one of them."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            path = file.relative_to(ROOT)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(file.read_text() + "# a comment\n" * (path.as_posix() == commented))
    return folder


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("pipeline/training/encoder_training.py", True),
        ("pipeline/training/__init__.py", True),
        ("models/virality/psgcn.py", True),
        ("models/virality/skeleton.py", True),  # which psgcn imports
        ("models/virality/pose_sampling.py", True),  # imported within a function
        ("pipeline/dataset/loading.py", True),
        ("pipeline/features/reader.py", True),
        ("pipeline/report/render.py", False),
        ("pipeline/feedback/attribution.py", False),
        ("pipeline/scoring/scores.py", False),
        ("pipeline/evaluation/evaluate.py", False),
    ],
)
def test_the_code_of_training_is_what_it_imports(tmp_path: Path, path: str, counts: bool) -> None:
    plain, changed = copy_of_product(tmp_path / "plain"), copy_of_product(tmp_path / "changed", commented=path)
    assert (plain / path).read_text() != (changed / path).read_text()
    assert (code_hash(ENCODER_TRAINING, plain) != code_hash(ENCODER_TRAINING, changed)) == counts
    assert code_hash(ENCODER_TRAINING, plain) == code_hash(ENCODER_TRAINING)


def test_all_kinds_of_imports_are_followed(tmp_path: Path) -> None:
    sources = {
        "models/__init__.py": "",
        "models/net.py": "import torch\nfrom pipeline.b import thing\n",
        "pipeline/__init__.py": "from pipeline import d\n",
        "pipeline/b.py": "def thing():\n    import pipeline.sub.c\n",
        "pipeline/sub/__init__.py": "",
        "pipeline/sub/c.py": "from models import net\n",  # a circle
        "pipeline/d.py": "",
        "pipeline/e.py": "from pipeline.b import thing\n",
    }
    for path, text in sources.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    files = {path.relative_to(tmp_path).as_posix() for path in imported_files("models.net", tmp_path)}
    assert files == set(sources) - {"pipeline/e.py"}
