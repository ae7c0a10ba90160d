"""Imports point one way, and the codec brings nothing of weight along."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [  # of h3r_jax, from the ground up; a module imports from its own floor and those below
    {"errors", "ranges"},
    {"codec", "landmarks"},
    {"geometry", "losses", "metrics", "images", "reference_crop"},
    {"models"},
    {"inference", "run"},
]


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import h3r_jax.codec", {"flax", "tensorflow", "torch", "orbax", "optax", "matplotlib"}),
        (
            "from h3r_jax import codec, losses, geometry, landmarks, metrics",
            {"flax", "tensorflow", "torch", "orbax", "pycocotools"},
        ),
        (
            "import h3r_jax; h3r_jax.models, h3r_jax.augment, h3r_jax.training",
            {"tensorflow", "torch", "tensorflow_datasets"},
        ),
        (
            "import h3r_jax.predict, h3r_jax.predict.faces; h3r_jax.load_predictor",
            {"tensorflow", "torch", "optax", "mtcnn", "cv2"},
        ),
        (
            "import h3r_jax.training.loop, h3r_jax.training.recipe, h3r_jax.evaluation.evaluator",
            {"tensorflow", "torch"},
        ),
    ],
)
def test_what_an_import_brings(statement, absent):
    loaded = loaded_by(statement)
    assert "h3r_jax" in loaded
    assert not loaded & absent


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def floor_of(name):
    return next((i for i, floor in enumerate(FLOORS) if name in floor), len(FLOORS))


def test_imports_point_down():
    for path in (ROOT / "h3r_jax").rglob("*.py"):
        room = path.relative_to(ROOT / "h3r_jax").parts[0].removesuffix(".py")
        for name in imports_of(path):
            assert name.split(".")[0] not in ("data", "configs", "tests", "benchmarks"), f"{path.name} imports {name}"
            parts = name.split(".")
            if (
                parts[0] == "h3r_jax"
                and len(parts) > 1
                and parts[1] not in ("__version__", room)
                and room != "__init__"
            ):
                assert floor_of(parts[1]) <= floor_of(room), f"{path} imports {name}, which stands above it"


def test_unknown_attribute_names_what_there_is():
    import h3r_jax

    with pytest.raises(AttributeError, match="no attribute 'codecs'; it has .*codec"):
        h3r_jax.codecs  # noqa: B018
    assert "codec" in dir(h3r_jax)
