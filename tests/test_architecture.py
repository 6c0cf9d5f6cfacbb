"""The arrows that docs/architecture.md draws are all there are."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src/tunelab"

#: Room -> rooms it may import from (besides itself). A file in the package's root is a room of its own.
ARROWS = {
    "errors": set(),
    "config": {"errors"},
    "files": {"errors"},
    "provenance": set(),
    "records": {"config"},
    "report": {"errors", "files", "records"},
    "models": {"config", "errors", "files"},
    "data": {"config", "errors", "files"},
    "objectives": set(),
    "measure": set(),
    "tasks": {"config", "errors", "data", "objectives", "measure", "rlhf"},
    "methods": {"config", "errors"},
    "rlhf": {"errors", "files", "objectives"},
    "train": {"config", "errors", "files", "data", "methods"},
    "serve": {"config", "errors", "files", "data", "methods", "tasks", "train", "models", "provenance"},
    "study": {
        *("config", "errors", "files", "data", "methods", "tasks", "train", "models", "provenance"),
        *("measure", "serve", "records", "rlhf"),
    },
    "samples": set(),
    "terminal": set(),
    "api": {
        "config",
        "errors",
        "data",
        "methods",
        "tasks",
        "serve",
        "study",
        "terminal",
        "report",
        "records",
    },
    "cli": {"config", "errors", "api", "methods", "tasks", "models", "terminal"},
    "__init__": {"api", "errors"},
    "__main__": {"cli"},
}


def imports(path: Path) -> set[str]:
    """Rooms of tunelab that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tunelab":
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "tunelab"
                else [node.module]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "tunelab"]
        found |= {name.split(".")[1] if "." in name else "__init__" for name in names}
    return found


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else path.stem


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_drawn_arrows(path: Path) -> None:
    here = room(path)
    assert here in ARROWS, f"the room {here!r} is not drawn"
    undrawn = imports(path) - ARROWS[here] - {here}
    assert not undrawn, f"{path.name} imports from {sorted(undrawn)}"


@pytest.mark.parametrize("place", ["methods", "tasks"])
def test_no_method_imports_a_method_and_no_task_a_task(place: str) -> None:
    """Shared parts have a leading underscore, or are the contract or the structure."""
    shared = {"base", "structure"}
    for path in (ROOT / place).glob("*.py"):
        if path.stem == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.startswith(f"tunelab.{place}.")
            ):
                other = node.module.split(".")[2]
                assert other in shared or other.startswith("_"), f"{path.name} imports {other}"


def test_every_arrow_in_the_drawing_is_used() -> None:
    """An arrow that nothing uses is a drawing of another house."""
    used: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        used.setdefault(room(path), set()).update(imports(path))
    for here, there in ARROWS.items():
        assert there <= used.get(here, set()), (
            f"{here} does not import {sorted(there - used.get(here, set()))}"
        )
