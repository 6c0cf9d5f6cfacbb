"""Every command in the README and every Python example runs, on a tiny model and a small file."""

import json
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lm_toys import language_model
from tiny import make_model_folder, write_sentences

from tunelab.cli import main

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


def code_of(command: Callable[[], None]) -> int:
    """The exit code of a command in this process."""
    try:
        command()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder a reader stands in."""
    make_model_folder(tmp_path / "tiny")
    write_sentences(tmp_path / "reviews.csv", 60)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_readme_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In their order, as a reader would; the tiny model stands in for the packaged one."""
    found = commands(ROOT / "README.md")
    assert {words[0] for words in found} >= {"check", "compare", "predict", "run", "methods", "export"}
    for words in found:
        if words[0] == "compare" and "--add" not in words:
            words += [*([] if "--methods" in words else ["--methods", "full,lora"]), "--folds", "0"]
            words += [] if "--effort" in words else ["search.trials=1", "--seeds", "2"]
        words = words if "--add" in words else [*words, *TINY.get(words[0], [])]
        repeated = [w for w in words if w.startswith("train.epochs=")]
        words = [w for w in words if w not in repeated[1:]]
        monkeypatch.setattr(sys, "argv", ["tunelab", *words])
        assert code_of(main) == 0, f"{words}: {capsys.readouterr().err}"
    assert (place / "my-model/model.safetensors").is_file()


@pytest.mark.slow
def test_the_python_of_the_readme_runs(place: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    code = block.replace(
        'compare("reviews.csv"', 'compare("reviews.csv", model="tiny", effort="quick", folds=0'
    )
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.slow
def test_the_examples_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = ROOT / "examples/own_file.py"
    monkeypatch.setattr(sys, "argv", [str(script), "reviews.csv", "tiny"])
    runpy.run_path(str(script), run_name="__main__")
    assert "lora" in capsys.readouterr().out


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


def preferences(path: Path) -> None:
    """Prompts with a short answer that is preferred to a long one."""
    rows = [{"prompt": f"say {i}", "chosen": f"it is {i}.", "rejected": f"{i} " * 5} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rated(folder: Path) -> None:
    """Labelled sentences, and the same with labels that were shown and what they were worth."""
    frame = pd.read_csv(folder / "reviews.csv")
    random = np.random.default_rng(0)
    shown = random.choice(sorted(set(frame["label"])), len(frame))
    frame.to_csv(folder / "labelled.csv", index=False)
    frame = frame.assign(shown=shown, reward=(shown == frame["label"]).astype(float), propensity=0.5)
    frame.drop(columns="label").to_csv(folder / "rated.csv", index=False)
    frame.to_csv(folder / "feedback.csv", index=False)


@pytest.mark.slow
def test_the_commands_of_rlhf_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In their order; capital words are what a reader puts in."""
    language_model(place / "policy")
    preferences(place / "preferences.jsonl")
    rated(place)
    found = [
        shlex.split(line) for block in blocks(ROOT / "docs/rlhf.md", "bash") for line in block.splitlines()
    ]
    assert [words[1] for words in found].count("compare") == 2
    for words in found:
        model = "policy" if {"prefer", "align"} & set(words) else "tiny"
        bundles = {
            "BUNDLE": next(place.glob("out/classifier/runs/*/bundle"), None),
            "REWARD": next(place.glob("out/label-reward/runs/*/bundle"), None),
            "MODEL": model,
        }
        for name, put in bundles.items():
            words = [word.replace(name, str(put)) for word in words]
        words = words[1:]
        if words[0] in ("run", "compare"):
            words += ["train.epochs=1", "data.folds=0", *([] if "--model" in words else ["--model", model])]
        if words[0] == "compare":
            words += ["search.trials=1", "--seeds", "1"]
        monkeypatch.setattr(sys, "argv", ["tunelab", *words])
        assert code_of(main) == 0, f"{words}: {capsys.readouterr().err}"
    assert (place / "out/feedback/report.html").is_file()
    assert 'id="policies"' in (place / "out/study/report.html").read_text(encoding="utf-8")
