"""Findings and notes in Chinese: templates against the sentences that the code says."""

import ast
import re
from pathlib import Path

import pytest

from tunelab.report import translate
from tunelab.report.phrases_findings import FINDINGS
from tunelab.report.phrases_notes import NOTES
from tunelab.report.phrases_tasks import TASKS
from tunelab.report.texts import Text
from tunelab.report.translate import PLACE, in_both, in_chinese

SOURCE = Path(translate.__file__).parents[1]
TEMPLATES = [*FINDINGS, *TASKS, *NOTES]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def said_in_code() -> str:
    """What stands in every string of the product but the report's own, a line each."""
    found = []
    for path in SOURCE.rglob("*.py"):
        if "report" not in path.relative_to(SOURCE).parts[:1]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value.replace("\n", " "))
    return "\n".join(found)


def sentences_of_findings() -> list[tuple[str, str]]:
    """(file, piece between values) of every title and advice: what `found` is given, and what variables of
    these names are."""
    pieces = []
    for folder, names in (("data", "check*.py"), ("tasks", "*.py")):
        for path in sorted((SOURCE / folder).glob(names)):
            said: list[ast.AST] = []
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "found":
                    said += node.args[3:4] + node.args[5:6]
                    said += [word.value for word in node.keywords if word.arg == "advice"]
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    said += [node.value] if node.targets[0].id in ("title", "advice") else []
            for value in said:
                for node in ast.walk(value):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        pieces.append((path.name, node.value.strip()))
    return pieces


@pytest.mark.parametrize(
    ("said", "chinese"),
    [
        ("None of the 1 row has a label.", "1 条数据都没有标签。"),
        ("None of the 1,234 rows has a label.", "1,234 条数据都没有标签。"),
        (
            "1 row (< 0.1 %) repeats an earlier row: same text, same label. (In 50,000 rows drawn by chance.)",
            "1 条（不到 0.1%）与前面的数据重复：文本和标签都相同。（随机抽取 50,000 条检查。）",
        ),
        ("lora.rank=8 was stopped by the race", "lora.rank=8 在赛跑中被提前淘汰"),
        (
            "left out 4 rows with an empty text (a row 7.csv row 1, a row 7.csv row 5, …)",
            "剔除 4 条文本为空的数据（a row 7.csv 第 1 行、a row 7.csv 第 5 行、…）",
        ),
        ("what nobody has a template for", ""),
        ("None of the 2 rows has a label. Nobody knows why.", ""),  # all of it, or none
    ],
)
def test_sentences_are_known_by_their_templates(said: str, chinese: str) -> None:
    assert in_chinese(said) == chinese
    both = in_both(said)
    assert both == said if not chinese else isinstance(both, Text)
    if isinstance(both, Text):
        assert (both.plain("en"), both.plain("zh")) == (said, chinese)


def test_users_words_are_escaped_and_stay_as_they_are() -> None:
    """Braces, markup and words of other templates in a user's own text."""
    both = in_both("<script>{0} was stopped by the race was stopped by the race")
    assert isinstance(both, Text)
    assert both.plain("zh") == "<script>{0} was stopped by the race 在赛跑中被提前淘汰"
    assert "<script>" not in both.markup("zh")
    assert "&lt;script&gt;{0}" in both.markup("zh")


@pytest.mark.parametrize(("english", "chinese"), TEMPLATES)
def test_a_template_says_what_the_code_says(english: str, chinese: str) -> None:
    """Every longer piece between its places stands in some string of the code, and its Chinese uses only
    what it holds."""
    places = [place[1] for place in PLACE.finditer(english)]
    used = re.findall(r"\{(\w+)", chinese)
    assert set(used) <= set(filter(None, places))
    assert CHINESE.search(chinese)
    pieces = PLACE.sub("\0", english).split("\0")
    assert max(map(len, map(str.strip, pieces))) >= 6, "too little to be known by"
    for piece in pieces:
        if len(piece.strip()) >= 6:
            assert piece.strip() in CODE, piece


CODE = said_in_code()


def test_no_template_hides_another() -> None:
    """No sentence in English is there twice."""
    english = [template for template, _ in TEMPLATES]
    assert len(english) == len(set(english))


def test_every_finding_has_its_templates() -> None:
    """What a title or an advice says between its values stands in some template."""
    known = "\n".join(PLACE.sub("\n", english) for english, _ in TEMPLATES)
    pieces = [piece for piece in sentences_of_findings() if len(piece[1]) >= 12]
    assert len(pieces) > 100
    assert [piece for piece in pieces if piece[1] not in known] == []
