"""Every command in the README and every Python example runs, on a tiny model and a small file."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import make_model_folder, write_sentences

ROOT = Path(__file__).parents[1]
TINY = {
    "compare": ["--model", "tiny", "train.epochs=1"],
    "run": ["--model", "tiny"],
    "check": ["--model", "tiny"],
}


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def commands(path: Path) -> list[list[str]]:
    lines = [line for block in blocks(path, "bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith(".venv/bin/tunelab")]
    return [w[1:] for w in words]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_model_folder(tmp_path / "tiny")
    write_sentences(tmp_path / "reviews.csv", 60)
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_readme_run(place: Path) -> None:
    """In their order, as a reader would; the tiny model stands in for the packaged one."""
    found = commands(ROOT / "README.md")
    assert {words[0] for words in found} >= {"check", "compare", "predict", "run", "methods", "export"}
    for words in found:
        if words[0] == "compare" and "--add" not in words:
            words += [*([] if "--methods" in words else ["--methods", "full,lora"]), "--folds", "2"]
            words += [] if "--effort" in words else ["search.trials=1"]
        words = words if "--add" in words else [*words, *TINY.get(words[0], [])]
        repeated = [w for w in words if w.startswith("train.epochs=")]
        words = [w for w in words if w not in repeated[1:]]
        done = subprocess.run(
            [sys.executable, "-m", "tunelab.cli", *words],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
    assert (place / "my-model/model.safetensors").is_file()


@pytest.mark.slow
def test_the_python_of_the_readme_runs(place: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    code = block.replace(
        'compare("reviews.csv"', 'compare("reviews.csv", model="tiny", effort="quick", folds=2'
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_examples_run(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/own_file.py"), "reviews.csv", "tiny"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "lora" in done.stdout


def test_both_readmes_show_the_same_commands() -> None:
    """Word for word, but for the text that is predicted."""

    def shape(name: str) -> list[list[str]]:
        return [[w for i, w in enumerate(c) if c[i - 1] != "--text"] for c in commands(ROOT / name)]

    assert shape("README.md") == shape("README.zh-CN.md")


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target
