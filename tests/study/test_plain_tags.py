"""The list of known entities finds what a person with the training sentences in hand would mark."""

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import make_model_folder

from tunelab.config import RunConfig
from tunelab.study.baselines import baselines_of, run_baseline
from tunelab.study.prepare import prepare

# word/TYPE marks an entity, word/TYPE word/-TYPE one of two words.
TRAIN = [
    "Ann/PER Lee/-PER sells lamp",
    "Ford/PER runs in Paris/LOC",
    "Ford/ORG sells great lamp",  # of two types: never in the list
    "lamp in New/LOC York/-LOC works",
    "New/LOC York/-LOC Times/-LOC sells",
    "good/LOC lamp works",  # an entity once in four
    "good battery in hall",
    "good phone works",
    "good screen runs",
    *(
        f"number {word} of this list"
        for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    ),
]
VALID = ["good lamp works in Paris/LOC", "good lamp breaks", "Ann/PER Lee/-PER runs"]
#: Sentence, and what the list says of it.
TEST = [
    ("Ann/PER Lee/-PER runs in York", [(0, 7, "PER")]),
    ("Ford/PER sells great New/LOC York/-LOC Times/-LOC", [(17, 31, "LOC")]),
    ("New/LOC York/-LOC works good/LOC", [(0, 8, "LOC")]),
    ("Ann/PER sells lamp in Paris", [(18, 23, "LOC")]),
]


def conll(sentences: list[str]) -> str:
    lines: list[str] = []
    for sentence in sentences:
        for word in sentence.split():
            text, _, mark = word.partition("/")
            tag = "O" if not mark else f"I{mark}" if mark.startswith("-") else f"B-{mark}"
            lines.append(f"{text}\t{tag}")
        lines.append("")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "settings", [{}, {"head": "crf", "scheme": "BMES"}, {"head": "softmax", "scheme": "BILOU"}]
)
def test_known_entities(settings: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    parts = {"train": TRAIN, "valid": VALID, "test": [sentence for sentence, _ in TEST]}
    for name, sentences in parts.items():
        (folder / f"{name}.conll").write_text(conll(sentences), encoding="utf-8")
    config = RunConfig.model_validate(
        {
            "files": (str(folder),),
            "task": "tag",
            "method": "full",
            "model": {"name": str(make_model_folder(tmp_path / "model")), "max_length": 16},
            "task_settings": settings,
        }
    )
    prepared = prepare(config.files, config.task, config.data, config.model, config.task_settings)
    task = prepared.task(config)
    assert baselines_of(task) == ("dictionary",)
    record = run_baseline("dictionary", config, prepared, tmp_path / "list", "cpu")
    frame = pd.read_parquet(tmp_path / "list/predictions.parquet").sort_values("row")
    said = [[tuple(entity) for entity in json.loads(text)] for text in frame["prediction"]]
    assert said == [own for _, own in TEST]
    # Found: Ann Lee, New York Times, New York. Not: Ford, good, Ann. Wrong: Paris.
    assert record["scores"]["precision"] == pytest.approx(3 / 4)
    assert record["scores"]["recall"] == pytest.approx(3 / 6)
    assert record["scores"]["f1"] == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert record["settings"]["phrases"] == 4  # without "good", which validation speaks against
