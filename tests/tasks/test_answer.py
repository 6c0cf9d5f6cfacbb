"""Answers to questions: windows and decoding by brute force, the loss against transformers, what is told."""

import json
import random
import string
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import BAD, GOOD, PLACES, THINGS, make_model_folder
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

import tunelab
from tunelab.cli import app
from tunelab.config import DataConfig, LossConfig, ModelConfig
from tunelab.data.check_answers import answers_in, first_place
from tunelab.data.layout import Encoded
from tunelab.data.table import Table
from tunelab.errors import ConfigError, DataError, InputError
from tunelab.study.prepare import examine, prepare
from tunelab.tasks.answer import Answer, AnswerSettings, best_spans

LENGTH = 40
WORDS = [*THINGS, *PLACES, *GOOD, *BAD, "is", "his", "O'Neil's", "a-b,", "xyz!"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(base: Path):
    return AutoTokenizer.from_pretrained(base)


def drawn(rows: int, seed: int = 0) -> Table:
    """Random contexts of up to 150 words; the answer is one to four of them, every fifth question has none."""
    dice, found = random.Random(seed), []
    for row in range(rows):
        words = [dice.choice(WORDS) for _ in range(dice.randint(1, 150))]
        places = [len(" ".join(words[:i])) + (i > 0) for i in range(len(words))]
        context = " ".join(words)
        first = dice.randrange(len(words))
        last = min(first + dice.randint(0, 3), len(words) - 1)
        text = context[places[first] : places[last] + len(words[last])]
        label = [] if row % 5 == 0 else [{"text": text, "start": places[first]}]
        found.append((f"where is the {dice.choice(THINGS)}", context, json.dumps(label)))
    frame = pd.DataFrame(found, columns=["text", "text_pair", "label"])
    return Table(frame.assign(split="", file="d.json", row=range(1, rows + 1)), {})


def fitted(table: Table, **settings: object) -> Answer:
    labels = table.frame["label"].tolist()
    return Answer.fit(labels, labels, LossConfig(), AnswerSettings(**settings))


def test_windows_show_every_token_and_the_whole_question(tokenizer) -> None:
    """Against the tokenizer itself: no row is longer than allowed, each begins with the question and ends as a
    pair does, the context's tokens are all there, and two neighbours share at least ten of them."""
    table = drawn(60)
    encoded = Answer.encode(table, tokenizer, LENGTH)
    tokens, units = encoded.tokens, encoded.units
    assert int(tokens.lengths.max()) <= LENGTH
    assert len(tokens) > 110
    texts = zip(table.frame["text"], table.frame["text_pair"], strict=True)
    for item, (question, context) in enumerate(texts):
        asked = tokenizer(question)["input_ids"]
        told = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
        ids_of = dict(zip(told["offset_mapping"], told["input_ids"], strict=True))
        parts = [tuple(span) for span in units.spans[units.of(item)].tolist()]
        borders = [i for i, span in enumerate(parts) if span == (-1, -1)]
        shown = [set(parts[a + 1 : b]) for a, b in zip(borders, [*borders[1:], len(parts)], strict=True)]
        assert set().union(*shown) == set(told["offset_mapping"])
        assert all(len(one & other) >= 10 for one, other in pairwise(shown))
        for row, spans in zip(range(encoded.firsts[item], encoded.firsts[item + 1]), shown, strict=True):
            inner = [ids_of[span] for span in sorted(spans)]
            assert tokens.row(row, LENGTH).tolist() == [*asked, *inner, asked[-1]]


@pytest.mark.parametrize("unknown", [False, True])
def test_targets_decode_to_the_answers(tokenizer, unknown: bool) -> None:
    """One-hot outputs of the targets say the gold answers of random contexts in windows, and score 1."""
    table = drawn(120)
    labels = table.frame["label"].tolist()
    encoded = Answer.encode(table, tokenizer, LENGTH)
    task = fitted(table, max_tokens=24)
    task.unanswerable = unknown
    targets = task.targets(labels, encoded)
    outputs = np.log(np.stack([(targets & 1) > 0, (targets & 2) > 0], axis=1) + 1e-6)
    items = np.arange(120)
    units = encoded.units_of(items)
    found = task.decode(outputs, table.frame, units)
    for label, context, said, start, end in zip(
        labels, table.frame["text_pair"], found["prediction"], found["start"], found["end"], strict=True
    ):
        gold = answers_in(label)
        if gold:
            assert (said, start) == gold[0]
            assert context[start:end] == said
        elif unknown:
            assert (said, start, end) == ("", -1, -1)
    scores = task.scores(outputs, task.truth_of(table.frame), units)
    assert scores["f1(answer)"] == scores["exact_match(answer)"] == 1
    assert scores["f1(no answer)"] == float(unknown)
    assert (task.errors(pd.concat([found, table.frame["label"]], axis=1)) == 0).mean() == (
        1.0 if unknown else 0.8
    )


def test_the_best_span_is_the_best(tokenizer) -> None:
    """Against every span of every window, and "no answer" against its threshold."""
    table = drawn(25)
    encoded = Answer.encode(table, tokenizer, LENGTH)
    numbers = np.random.default_rng(0)
    rows, tokens = np.arange(len(encoded.tokens)), encoded.tokens
    logits = torch.from_numpy(numbers.normal(0, 2, (len(tokens.ids), 2)).astype(np.float32))
    parts = [logits[tokens.starts[r] : tokens.starts[r + 1]].log_softmax(0) for r in rows]
    outputs = torch.cat(parts).numpy()
    best = best_spans(outputs, encoded.units, 5)
    for item in range(len(table)):
        wanted = (-np.inf, None)
        nulls = []
        for row in range(encoded.firsts[item], encoded.firsts[item + 1]):
            own = parts[row].numpy().astype(np.float64)
            nulls.append(own[0].sum())
            context = range(int(tokens.seconds[row]), len(own) - 1)
            for i in context:
                for j in range(i, min(i + 5, context.stop)):
                    if own[i, 0] + own[j, 1] > wanted[0]:
                        wanted = (own[i, 0] + own[j, 1], (tokens.starts[row] + i, tokens.starts[row] + j))
        assert best.score[item] == pytest.approx(wanted[0])
        assert best.null[item] == pytest.approx(min(nulls))
        units = encoded.units.tokens
        assert (units[best.first[item]], units[best.last[item]]) == wanted[1]
    for threshold in (-2.0, 0.0, 3.0):
        said = fitted(table, max_tokens=5, null_threshold=threshold).decode(
            outputs, table.frame, encoded.units
        )
        assert ((said["start"] < 0) == (best.null - best.score > threshold)).all()


def test_a_subset_of_items_decodes_the_same(tokenizer) -> None:
    table = drawn(30)
    encoded, task = Answer.encode(table, tokenizer, LENGTH), fitted(table)
    outputs = np.random.default_rng(1).normal(size=(len(encoded.tokens.ids), 2)).astype(np.float32)
    whole = task.decode(outputs, table.frame, encoded.units)
    items = np.array([17, 3, 4, 29])
    flat = np.concatenate(
        [np.arange(encoded.tokens.starts[r], encoded.tokens.starts[r + 1]) for r in encoded.rows(items)]
    )
    part = task.decode(outputs[flat], table.frame.iloc[items], encoded.units_of(items))
    pd.testing.assert_frame_equal(part, whole.iloc[items].reset_index(drop=True))


def batch_of(encoded: Encoded, task: Answer, labels: list[str], rows: np.ndarray):
    examples = task.examples(encoded, rows, task.targets(labels, encoded), LENGTH, 0)
    return examples.batch(np.arange(len(rows)), "cpu")


def test_the_loss_is_that_of_transformers(base: Path, tokenizer) -> None:
    """On rows of one length; padding changes nothing; a row that cannot be learnt from counts nothing."""
    table = drawn(80)
    labels = table.frame["label"].tolist()
    encoded, task = Answer.encode(table, tokenizer, LENGTH), fitted(table)
    rows = np.flatnonzero(encoded.tokens.lengths == LENGTH)[:90]
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_pretrained(base).eval()
    inputs, targets = batch_of(encoded, task, labels, rows)
    starts = ((targets & 1) > 0).long().argmax(1)
    ends = ((targets & 2) > 0).long().argmax(1)
    learnt = ((targets & 1) > 0).any(1)
    assert 3 < int((starts > 0).sum()) < len(rows)
    with torch.no_grad():
        wanted = model(
            **{name: each[learnt] for name, each in inputs.items()},
            start_positions=starts[learnt],
            end_positions=ends[learnt],
        ).loss
        model = task.equip(model)
        loss, count = task.objective(model(**inputs).logits, targets)
        assert int(count) == int(learnt.sum())
        assert float(loss / count) == pytest.approx(float(wanted), rel=1e-5)
        short = np.flatnonzero(encoded.tokens.lengths < LENGTH)[:5]
        alone = [
            task.objective(model(**i).logits, t)
            for i, t in (batch_of(encoded, task, labels, short[k : k + 1]) for k in range(5))
        ]
        inputs, targets = batch_of(encoded, task, labels, np.concatenate([short, rows[:1]]))
        kept = task.keep_of(model)(model(**inputs).logits, targets)
        together, _ = task.objective(model(**inputs).logits[:5], targets[:5])
    assert float(together) == pytest.approx(sum(float(part) for part, _ in alone), rel=1e-4)
    assert torch.allclose(kept.exp().sum(1), torch.ones(6, 2))
    nowhere = json.dumps([{"text": "gone", "start": -1}])
    targets = task.targets([nowhere] * 80, encoded)
    assert not targets.any()
    loss, count = task.objective(
        torch.zeros(2, LENGTH, 2, requires_grad=True), torch.zeros(2, LENGTH, dtype=torch.int64)
    )
    assert (float(loss.detach()), int(count)) == (0.0, 0)


def test_a_tokenizer_that_cannot_align_is_refused() -> None:
    with pytest.raises(DataError, match="SimpleNamespace does not say which characters"):
        Answer.encode(drawn(2), SimpleNamespace(is_fast=False), LENGTH)


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(ConfigError, match="answer learns places"):
        Answer.fit(["[]"], ["[]"], LossConfig(kind="focal"))
    with pytest.raises(DataError, match="no question has an answer"):
        Answer.fit(["[]"], ["[]"], LossConfig())


def test_language_and_unanswerable_are_those_of_the_data() -> None:
    chinese, english = '[{"text": "1998年成立的学校", "start": 3}]', '[{"text": "the school", "start": 3}]'
    assert Answer.fit([chinese, "[]"], [chinese], LossConfig()).as_dict()["chinese"] is True
    task = Answer.fit([chinese, english, english, "[]"], [english, "[]"], LossConfig())
    assert (task.chinese, task.unanswerable) == (False, True)
    assert Answer.from_dict(task.as_dict()).as_dict() == task.as_dict()


# ---- whole studies -------------------------------------------------------------------------------


def squad(contexts: int, each: int = 3, none: bool = True) -> dict:
    """What stands in a room, asked by the room; every fifth question is about a room that is not there."""
    dice, articles = random.Random(0), []
    for number in range(contexts):
        rooms = dice.sample(PLACES, 5)
        things = dice.sample(THINGS, 5)
        noise = "".join(dice.choice("abcdefgh ") for _ in range(dice.choice([10, 60])))
        said = [
            f"in the {room} is a {dice.choice(GOOD)} {thing}."
            for room, thing in zip(rooms, things, strict=True)
        ]
        context = f"{noise} {' '.join(said)} {number}"
        qas = []
        for k in range(each):
            absent = none and (number * each + k) % 5 == 0
            room = dice.choice([p for p in PLACES if p not in rooms]) if absent else rooms[k]
            answers = [] if absent else [{"text": things[k], "answer_start": context.index(f"{things[k]}.")}]
            qas.append(
                {
                    "id": f"{number}-{k}",
                    "question": f"{room} {number}",
                    "answers": answers,
                    "is_impossible": absent,
                }
            )
        articles.append({"title": "t", "paragraphs": [{"context": context, "qas": qas}]})
    return {"version": "v2.0", "data": articles}


def write(path: Path, data: dict) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_no_context_is_on_two_sides(base: Path, tmp_path: Path) -> None:
    """Nor is one that differs by a word; in folds, in one split, and in the refit of the winner."""
    data = squad(50)
    data["data"] += json.loads(json.dumps(data["data"][:10]))
    for article in data["data"][-10:]:
        article["paragraphs"][0]["context"] += " now"
    file = write(tmp_path / "q.json", data)
    for folds in (0, 3):
        ready = prepare(
            (str(file),), "answer", DataConfig(folds=folds), ModelConfig(name=str(base), max_length=64)
        )
        contexts = ready.table.frame["text_pair"].str.removesuffix(" now").to_numpy()
        for split in (*ready.splits, ready.refit):
            sides = [set(contexts[part]) for part in (split.train, split.valid, split.test)]
            assert not sides[0] & sides[1]
            assert not (sides[0] | sides[1]) & sides[2]
        codes = {finding.code for finding in ready.findings}
        assert "contexts" in codes
        assert not codes & Answer.usual


def test_the_doctor(base: Path, tmp_path: Path) -> None:
    """Each trap by its code, count and severity: moved answers are told by the reader."""
    data = squad(30, none=False)
    qas = [own for article in data["data"] for own in article["paragraphs"][0]["qas"]]
    for own in qas[:4]:
        own["answers"][0]["answer_start"] += 2
    for own in qas[4:9]:
        own["answers"][0]["text"] = "submarine"
    for own in qas[9:11]:
        own["answers"][0]["text"] = own["answers"][0]["text"][1:]
        own["answers"][0]["answer_start"] += 1
    qas[11]["answers"] = []
    table, findings = examine(
        (str(write(tmp_path / "q.json", data)),),
        "answer",
        DataConfig(),
        ModelConfig(name=str(base), max_length=64),
    )
    assert any("not at their offset, moved" in note and "4" in note for note in table.notes)
    told = {finding.code: finding for finding in findings}
    assert (told["answer-not-in-context"].severity, told["answer-not-in-context"].count) == ("warning", 5)
    assert (told["answer-within-token"].severity, told["answer-within-token"].count) == ("info", 2)
    assert (told["unanswerable"].severity, told["unanswerable"].count) == ("info", 1)
    assert told["contexts"].count == 30
    qas[20]["question"] = "kitchen " * 40
    with pytest.raises(DataError, match="longer than half a window"):
        prepare(
            (str(write(tmp_path / "q.json", data)),),
            "answer",
            DataConfig(),
            ModelConfig(name=str(base), max_length=64),
        )


def test_answers_that_no_window_holds_stop_the_study(base: Path, tmp_path: Path) -> None:
    """Answers of 60 words, windows of 40 tokens: a model would learn to say that there is never an answer."""
    words = [WORDS[i % len(WORDS)] for i in range(90)]
    paragraphs = []
    for i in range(30):
        own = [f"n{i}", *words[i:], *words[:i]]
        answer = {"text": " ".join(own[5:65]), "answer_start": len(" ".join(own[:5])) + 1}
        asked = {"id": str(i), "question": f"what is said {i}", "answers": [answer]}
        paragraphs.append({"context": " ".join(own), "qas": [asked]})
    path = write(tmp_path / "long.json", {"data": [{"paragraphs": [each]} for each in paragraphs]})
    model = ModelConfig(name=str(base), max_length=40)
    told = {f.code: f for f in examine((str(path),), "answer", DataConfig(), model)[1]}
    assert (told["answer-not-whole"].severity, told["answer-not-whole"].count) == ("error", 30)


def test_a_context_on_two_sides_of_a_given_split_is_told(base: Path, tmp_path: Path) -> None:
    data, test = squad(30), squad(4)
    folder = tmp_path / "given"
    folder.mkdir()
    write(folder / "train.json", data)
    test["data"][1]["paragraphs"][0]["context"] += " other"
    for article in test["data"]:
        for own in article["paragraphs"][0]["qas"]:
            own["question"] += " again"
    write(folder / "test.json", test)
    _, findings = examine((str(folder),), "answer", DataConfig(), None)
    told = {finding.code: finding for finding in findings}
    assert (told["test-context-in-train"].count, told["test-context-in-train"].severity) == (9, "warning")


def test_a_study(base: Path, tmp_path: Path) -> None:
    """From a file to a verdict, verified bundles, a page, and answers to new questions."""
    file = write(tmp_path / "q.json", squad(60))
    study = tunelab.compare(
        file,
        task="answer",
        methods=["full", "lora", "head", "adapter", "prefix", "prompt"],
        model=str(base),
        folds=0,
        seeds=1,
        out=tmp_path / "out",
        settings={
            "train.epochs": 1,
            "train.batch_size": 16,
            "search.trials": 1,
            "model.max_length": 48,
            "answer.max_tokens": 6,
        },
        progress=False,
    )
    record = study.record
    assert not record.failures
    assert record.deciding == "f1"
    assert not record.baselines
    assert len(record.results) == 6
    assert all(r.score.low <= r.score.value <= r.score.high for r in record.results)
    assert {"exact_match", "f1(answer)", "f1(no answer)"} <= set(record.results[0].scores)
    page = study.report.read_text(encoding="utf-8")
    assert "Confusion matrix" not in page
    context = "in the kitchen is a lovely lamp."
    for run in study.folder.glob("runs/*/bundle"):
        (found,) = tunelab.load(run).predict([("kitchen 3", context)])
        assert found["text"] == ("" if found["start"] is None else context[found["start"] : found["end"]])
        assert 0 <= found["score"] <= 1
    specialist = tunelab.load(study.bundle)
    with pytest.raises(InputError, match="longer than half a window"):
        specialist.predict([("kitchen " * 60, context * 9)])
    asked, out = tmp_path / "asked.csv", tmp_path / "said.csv"
    pd.DataFrame({"context": [f"  {context}", context * 9], "question": ["kitchen 3", "hall 4"]}).to_csv(
        asked, index=False
    )
    runner = CliRunner()
    done = runner.invoke(app, ["predict", str(study.bundle), "--file", str(asked), "--out", str(out)])
    assert done.exit_code == 0, done.output
    said = pd.read_csv(out, keep_default_na=False)
    wanted = specialist.predict([("kitchen 3", f"  {context}"), ("hall 4", context * 9)])
    assert said["prediction"].tolist() == [each["text"] for each in wanted]
    assert said["start"].tolist() == [-1 if each["start"] is None else each["start"] for each in wanted]
    words = ["predict", str(study.bundle), "--text", "kitchen 3", "--text-pair", context]
    assert runner.invoke(app, words).exit_code == 0


def chinese_tokenizer(texts: list[str]):
    """Every character of these texts is a token."""
    characters = sorted(set("".join(texts).lower()) - set(string.whitespace))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *characters, *(f"##{c}" for c in characters)]
    made = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        cls_token="[CLS]",
        pad_token="[PAD]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


@pytest.mark.real_data
def test_real_chinese_questions_come_back(shared_data: Path) -> None:
    """CMRC 2018 in windows of 128: what its answers' places say is its answers, all that are in the context."""
    file = shared_data / "cmrc2018" / "cmrc2018_trial.json"
    table = Answer.read([str(file)], {})
    frame = table.frame.head(250)
    labels = frame["label"].tolist()
    tokenizer = chinese_tokenizer([*frame["text"], *frame["text_pair"]])
    table = replace(table, frame=frame)
    encoded = Answer.encode(table, tokenizer, 128)
    tokens = encoded.tokens
    inside = np.arange(len(tokens.ids)) - np.repeat(tokens.starts[:-1], tokens.lengths)
    assert (tokens.types == (inside >= np.repeat(tokens.seconds, tokens.lengths))).all()
    assert len(encoded.tokens) > 1000
    task = Answer.fit(labels, labels, LossConfig(), AnswerSettings(max_tokens=100))
    assert task.chinese
    assert not task.unanswerable
    targets = task.targets(labels, encoded)
    outputs = np.log(np.stack([(targets & 1) > 0, (targets & 2) > 0], axis=1) + 1e-6)
    units = encoded.units_of(np.arange(250))
    found = pd.concat([task.decode(outputs, frame, units), frame["label"]], axis=1)
    begins, ends = np.array([first_place(answers_in(label)) for label in labels]).T
    short = (begins >= 0) & (ends - begins <= 30)  # (so many tokens are whole in one window)
    assert short.sum() > 150
    assert (task.errors(found)[short] == 0).all()
