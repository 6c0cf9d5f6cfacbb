"""The report against the record it shows: every number, both languages, nothing from outside, nothing run."""

import json
import re
import string
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.examples import (
    METHODS,
    NASTY,
    banking_record,
    example_record,
    small_record,
    sure_record,
    unbeaten_record,
)
from rich.console import Console

from tunelab.errors import ConfigError
from tunelab.measure.answers import answer_scores
from tunelab.measure.entities import count_entities, entity_scores
from tunelab.measure.generation import generation_scores
from tunelab.measure.language import language_scores
from tunelab.measure.metrics import classification_scores
from tunelab.measure.multilabel import decision_scores, multilabel_scores
from tunelab.measure.preference import preference_scores
from tunelab.measure.regression import regression_scores
from tunelab.measure.reward import reward_scores
from tunelab.records import Interval, PartScore, StudyRecord
from tunelab.report import advice_text, language_names, render, warnings_text, write_report
from tunelab.report.locales import TEXTS
from tunelab.report.page import _shown_score
from tunelab.report.score_names import NOT_SHARES
from tunelab.report.wording import score_name, untuned_text
from tunelab.tasks import find
from tunelab.terminal import results_table

RECORDS = {
    "rich": example_record,
    "small": small_record,
    "banking": banking_record,
    "sure": sure_record,
    "unbeaten": lambda: unbeaten_record(0.004, different=False),
}
#: Keys of names that Chinese has from English.
SAME_NAME = {"p_holm", *(f"score_{name}" for name in ("f1", "rouge1", "rouge2", "rougeL", "bleu", "chrf"))}
VOID = {"meta", "link", "br", "input"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of those that name a source; hidden languages too."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.sourced: list[tuple[str, str]] = []
        self._open: list[tuple[str, str | None, list[str]]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("data-source"), []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        opened, source, texts = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        if source is not None:
            self.sourced.append((source, "".join(texts)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        for _, _, texts in self._open:
            texts.append(data)


@pytest.fixture(scope="module", params=list(RECORDS))
def shown(request: pytest.FixtureRequest) -> tuple[StudyRecord, str, Page]:
    record = RECORDS[request.param]()
    html = render(record)
    return record, html, Page(html)


def field(record: StudyRecord, path: str) -> Any:
    """What a `data-source` names: dots and [keys] through the record; results[name] by the row's name."""
    at: Any = record
    for name, key in re.findall(r"\.?([^.\[\]]+)|\[([^\]]*)\]", path):
        if isinstance(at, dict):
            rest = path[path.index(name or key) :]
            at = at[rest] if rest in at else at[name or key]
            if rest != (name or key) and not isinstance(at, (dict, list)):
                return at
        elif name:
            at = getattr(at, name)
        elif key.isdigit():
            at = at[int(key)]
        else:
            at = next(row for row in at if row.name == key)
    return at


UNITS = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600, "%": 0.01, "B": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS |= {f"{p}B": UNITS[p] for p in "kMGT"}


def read_number(text: str) -> tuple[float, float]:
    """(value, half of its last digit) of a number as a person would read it."""
    text = text.replace("−", "-").replace(",", "").replace("%", " %").lstrip("+")
    value, digit, sign = 0.0, 0.0, -1 if text.startswith("-") else 1
    parts = re.findall(r"([\d.]+(?:e-?\d+)?)\s*([A-Za-z%]*)", text)
    assert parts, text
    for number, unit in parts:
        factor = UNITS[unit] if unit else 1
        mantissa, _, power = number.partition("e")
        decimals = len(mantissa.partition(".")[2]) - int(power or 0)
        value, digit = value + float(number) * factor, 10.0**-decimals * factor
    return sign * value, digit / 2


def test_every_number_is_its_field_of_the_record(shown: tuple[StudyRecord, str, Page]) -> None:
    """Numbers are read back from the page and compared with the field that `data-source` names, to the last
    digit shown; scores are points of 100."""
    record, _, page = shown
    checked = 0
    for source, text in page.sourced:
        value = field(record, source)
        if isinstance(value, bool) or value is None or isinstance(value, (dict, list)):
            assert json.loads(text) == value
        elif isinstance(value, str):
            assert text == (value if source != "created" else value[:16].replace("T", " "))
        elif isinstance(value, tuple):
            assert int(text.replace(",", "")) == len(value), source
        elif isinstance(value, (int, float)):
            if "<" in text:
                assert value < float(text.partition("<")[2])
            else:
                read, half = read_number(text.partition("=")[2] or text)
                points = re.search(r"score|difference|gain|behind|spread|\]\.valid$", source)
                raw = re.search(r"\[(loss|mcc)\]$", source)
                factor = 100 if points and not raw else 1
                assert abs(read - factor * value) <= half * 1.001, (source, text, value)
            checked += 1
    assert checked > 30


def test_the_table_has_every_field_of_every_method(shown: tuple[StudyRecord, str, Page]) -> None:
    record, _, page = shown
    known = {source for source, _ in page.sourced}
    for result in record.results:
        at = f"results[{result.name}]"
        wanted = [f"{at}.score.{part}" for part in ("value", "low", "high")]
        cost = result.cost.model_dump(exclude={"test_seconds"}, exclude_none=True)
        wanted += [f"{at}.cost.{name}" for name, value in cost.items() if value]
        wanted += [f"{at}.spread"] if result.spread is not None else []
        wanted += [f"{at}.forgetting.value"] if result.forgetting else []
        assert set(wanted) <= known
    for i in range(len(record.pairs)):
        assert f"pairs[{i}].difference.value" in known


def test_user_text_stays_text() -> None:
    html = render(example_record())
    page = Page(html)
    assert "<script>alert" not in html
    assert "</script><script>" not in html
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert sum(NASTY in text for text in page.texts) > 10
    assert 'reviews "A&B" <b>评论</b>.csv' in page.texts
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    labels = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg" and "aria-label" in attrs]
    assert len(labels) >= 2 + 15 + 2 * 15


def test_names_with_quotes_and_brackets_survive() -> None:
    """A method's name goes into attributes, ids, links and SVG."""
    name = """lora.targets="a'b"><img src=x onerror=alert(1)>"""
    text = example_record().model_dump_json().replace('"lora"', json.dumps(name)).replace('"runs/', '"runs/')
    record = StudyRecord.model_validate_json(text)
    page = Page(render(record, "zh"))
    assert "img" not in {tag for tag, _ in page.tags}
    assert name in page.texts


def test_nothing_comes_from_outside(shown: tuple[StudyRecord, str, Page]) -> None:
    _, html, page = shown
    assert "://" not in html
    assert "@import" not in html
    assert "url(" not in html
    for tag, attrs in page.tags:
        assert "src" not in attrs, tag
        link = attrs.get("href")
        assert link is None or link.startswith(("#", "runs/", "data:,")), link
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_links_inside_the_page_lead_somewhere(shown: tuple[StudyRecord, str, Page]) -> None:
    _, _, page = shown
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for _, a in page.tags if (a.get("href") or "").startswith("#")}
    assert wanted <= set(ids)


def test_both_languages_say_the_same_things() -> None:
    assert list(language_names) == ["en", "zh"]
    for key, (english, chinese) in TEXTS.items():
        holes = [{h for _, h, _, _ in string.Formatter().parse(text) if h} for text in (english, chinese)]
        assert holes[0] == holes[1], key
        assert not re.search(r"[\u4e00-\u9fff]", english), key
        assert key in SAME_NAME or re.search(r"[\u4e00-\u9fff]", chinese), key


def test_both_languages_are_on_the_page(shown: tuple[StudyRecord, str, Page]) -> None:
    record, _, page = shown
    tags = [attrs.get("lang") for _, attrs in page.tags]
    assert tags.count("en") - 1 == tags.count("zh-CN") > 90  # one more: the page itself
    assert render(record, "zh").startswith('<!doctype html>\n<html lang="zh-CN">')


@pytest.mark.parametrize("name", list(RECORDS))
def test_less_than_a_megabyte(name: str, tmp_path: Path) -> None:
    path = write_report(RECORDS[name](), tmp_path, "zh")
    assert path == tmp_path / "report.html"
    assert path.stat().st_size < 1_000_000
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_tied_methods_are_not_called_better() -> None:
    first, second = advice_text(example_record(), "en")
    assert first == (
        "Take lora. On these 1,821 test rows it cannot be told apart from the best, full (difference 0.3 points, "
        "95 % interval −0.9 to 1.5), and costs 37 % of its tuning and training time."
    )
    assert second == (
        "About 2,340 more test rows would separate the first two, full and lora, if the measured difference is "
        "the true one."
    )
    chinese, more = advice_text(example_record(), "zh")
    assert "没有显著差异" in chinese
    assert "37%" in chinese
    assert "2,340" in more


def test_a_group_stands_in_one_piece_though_a_member_scores_below_a_later_group() -> None:
    record = example_record()
    swapped = {"dora": 2, "adapter": 1}  # seeds of adapter that lie far apart
    results = tuple(r.model_copy(update={"group": swapped.get(r.name, r.group)}) for r in record.results)
    record = record.model_copy(update={"results": results})
    console = Console(width=120)
    with console.capture() as captured:
        console.print(results_table(record))
    rows = re.findall(r"^(\d?)\s+★?\s*([a-z_]+) .* – ", captured.get(), re.MULTILINE)
    assert [name for _, name in rows][:6] == ["full", "lora", "layer_decay", "adapter", "dora", "rslora"]
    assert [number for number, _ in rows if number] == ["1", "2", "3", "4", "5", "6"]
    page = re.findall(r'data-source="results\[(\w+)\]\.score\.value"', render(record, "en"))
    assert page.index("adapter") < page.index("dora")


def test_the_best_of_a_tied_group_is_not_called_better() -> None:
    record = example_record()
    advice = record.advice.model_copy(
        update={"method": "full", "gap": 0.0, "cost_share": 1.0, "more_items": None}
    )
    first, second = advice_text(record.model_copy(update={"advice": advice}), "en")
    assert "cannot be told apart from lora, layer_decay and dora" in first
    assert "better" not in first
    assert second.startswith("No number of further test rows")


def test_a_sure_winner_is_named_with_its_evidence() -> None:
    first, second = advice_text(sure_record(), "en")
    assert first == (
        "Take full. On these 1,821 test rows it is better than head: 8.8 points of accuracy (95 % interval 8.0 to "
        "9.6, p < 0.001)."
    )
    assert "separated already" in second


def test_a_pair_recorded_the_other_way_round_changes_its_sign() -> None:
    record = sure_record()
    pair = record.pairs[0]
    d = pair.difference
    turned = pair.model_copy(
        update={
            "first": pair.second,
            "second": pair.first,
            "difference": d.model_copy(update={"value": -d.value, "low": -d.high, "high": -d.low}),
        }
    )
    assert advice_text(record.model_copy(update={"pairs": (turned,)}), "en") == advice_text(record, "en")


@pytest.mark.parametrize(
    ("difference", "different", "said", "number"),
    [
        (0.004, False, "is not surely better than the baseline tfidf", "difference 0.4 points"),
        (-0.004, False, "is not surely better than the baseline tfidf", "difference −0.4 points"),
        (-0.05, True, "the baseline tfidf is better than the best method, full", "by 5.0 points"),
    ],
)
def test_an_unbeaten_baseline_comes_first(difference: float, different: bool, said: str, number: str) -> None:
    record = unbeaten_record(difference, different)
    first, second = advice_text(record, "en")
    assert said in first
    assert number in first
    assert second.startswith("If you fine-tune nonetheless: Take lora.")
    assert any("tfidf" in warning for warning in warnings_text(record, "en"))


def test_warnings_are_all_told() -> None:
    assert [w[:24] for w in warnings_text(small_record(), "en")] == [
        "Every method was trained",
        "There are only 40 test r",
        "an_unknown_code",
    ]
    failures, raced = warnings_text(example_record(), "zh")
    assert "1 次训练失败" in failures
    assert "0.07%" in raced
    assert len(METHODS) == 15


def test_test_rows_that_hang_together_are_not_counted_as_many() -> None:
    record = small_record()
    advice = record.advice.model_copy(update={"warnings": ("few_groups",), "units": 12})
    (said,) = warnings_text(record.model_copy(update={"advice": advice}), "en")
    assert said.startswith("The 40 test rows count as 12 only")


@pytest.mark.parametrize(
    ("train", "search", "effort", "said"),
    [
        ({"learning_rate": 3e-4}, {}, "standard", "took the learning rate that was given, 3e-4"),
        ({}, {"budget": "30m"}, "standard", "a budget of 30m left room for one trial only"),
        ({}, {"budget": "30m"}, "quick", "--effort standard"),
        ({}, {"trials": 1, "budget": "30m"}, "standard", "search.trials=4"),
        ({}, {}, "quick", "--effort standard"),
    ],
)
def test_why_nothing_was_tuned(train: dict[str, Any], search: dict[str, Any], effort: str, said: str) -> None:
    record = example_record()
    config = {**record.config, "train": train, "search": search}
    assert said in untuned_text(record.model_copy(update={"config": config, "effort": effort})).plain("en")


def test_every_score_has_a_name_in_both_languages_and_its_own_unit() -> None:
    """All that is measured somewhere, against the names; what is no share is not shown as one."""
    two, p = np.ones(2), np.array([[0.9, 0.1], [0.2, 0.8]])
    entities = count_entities([[(0, 2, "PER")], []], [[(0, 2, "PER")], []])
    votes = np.array([0.75, 1.0])
    found = {
        **classification_scores(p, np.array([0, 1]), ["a", "b"]),
        **multilabel_scores(p > 0.5, p > 0.5, ["a", "b"]),
        **decision_scores(p, p > 0.5, p > 0.5),
        **regression_scores(np.array([1.0, 9.0]), np.array([3.0, 4.0])),
        **generation_scores(["a cat"], [["a cat"]], chinese=False),
        **answer_scores(["cat", ""], [["cat"], []], chinese=False),
        **entity_scores(entities),
        **language_scores(40 * two, two, two),
        **preference_scores(np.array([3.0, -1.0]), votes, two, probabilities=True),
        **reward_scores(-7 * two, -8 * two, 9 * two, 30 * two, two),
        **find("align")
        .from_dict({"settings": {}})
        .scores(np.full((2, 6), -1.25, np.float32), np.ones((2, 1))),
    }
    parts = {name for name in found if re.match(r"(f1|precision|recall)\((PER|a|b)\)", name)}
    for name, value in found.items():
        if name not in parts:
            said = score_name(name).plain("zh")
            assert re.search(r"[\u4e00-\u9fff]", said) or f"score_{name}" in SAME_NAME, name
            assert -1 <= value <= 1 or name in NOT_SHARES, name
    assert score_name("exact_match(no answer)").plain("zh") == "完全匹配率（无答案）"
    assert _shown_score("chosen_log_probability", -1.2341) == "−1.234"


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown language 'de'"):
        render(example_record(), "de")


def test_f1_by_class_is_shown_with_its_interval_where_the_record_has_one() -> None:
    for record in (example_record(), banking_record()):
        page = Page(render(record))
        known = {source for source, _ in page.sourced}
        for result in record.results:
            at = f"results[{result.name}]"
            for place, part in enumerate(result.parts):
                own = {f"{at}.parts[{place}].score.{name}" for name in ("value", "low", "high")}
                assert own <= known
                assert f"{at}.scores[f1({part.label})]" not in known
            plain = [source for source in known if source.startswith(f"{at}.scores[f1(")]
            assert bool(plain) == (not result.parts and not result.baseline)
    text = " ".join(page.texts)
    assert "The 20 weakest of 77" in text
    assert "Intervals are given for the advised method" in text


def test_the_record_of_an_older_study_still_makes_a_page() -> None:
    """One from before there were intervals of F1 and a front for latency: two plots, no word of either."""
    values = json.loads(example_record().model_dump_json())
    del values["pareto_latency"]
    for result in values["results"]:
        del result["parts"]
    record = StudyRecord.model_validate(values)
    page = Page(render(record))
    assert not [source for source, _ in page.sourced if ".parts[" in source]
    assert "results[lora].scores[f1(negative)]" in {source for source, _ in page.sourced}
    text = " ".join(page.texts)
    assert "Score against peak memory" in text
    assert "Score against latency" not in text
    assert "Intervals are given" not in text


def test_the_fronts_are_drawn_and_listed() -> None:
    """Three plots with a mark for each method that was measured; the table has the union of the fronts, the best
    first, a sign where the method is on that front."""
    record = example_record()
    html = render(record)
    trade = html[html.index('<section id="trade">') : html.index('<section id="pairs">')]
    untimed = "gradual"
    for name in METHODS:
        assert trade.count(f'<g data-source="results[{name}]">') == (2 if name == untimed else 3), name
    assert trade.count('<path class="front" d="M') == 3 + 1  # and the legend's
    assert f"Not measured: {untimed}." in trade
    fronts = (record.pareto_time, record.pareto_memory, record.pareto_latency)
    listed = re.findall(r'scope="row".*?</span></th>.*?data-source="results\[(\w+)\]', trade, re.DOTALL)
    assert listed == [name for name in METHODS if any(name in front for front in fronts)]
    assert trade.count('<span class="on-front">') == sum(map(len, fronts))
    assert "得分与推理延迟" in trade


def test_precision_and_recall_stand_beside_the_f1_of_their_type() -> None:
    """Of entities each type has all three; they are no rows of the table of scores."""
    record = small_record()
    scores = {"f1": 0.5, "f1(人名)": 0.4, "precision(人名)": 0.5, "recall(人名)": 0.3333}
    parts = (PartScore(label="人名", score=Interval(value=0.4, low=0.2, high=0.6)),)
    update = {"scores": scores, "parts": parts, "confusion": (), "calibration": ()}
    result = record.results[0].model_copy(update=update)
    page = Page(render(record.model_copy(update={"results": (result,), "labels": (), "task": "tag"})))
    shown = dict(page.sourced)
    assert shown["results[lora].scores[recall(人名)]"] == "33.3"
    assert shown["results[lora].parts[0].score.high"] == "60.0"
    assert "precision(人名)" not in page.texts
