"""Augmentation: offsets that survive, seeds that decide, rows that may not enter; against counts of its own."""

import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from tunelab.data.augment.base import Augmenter, EditAugmenter, Item, OneOf, augment
from tunelab.data.augment.edits import Edit, Span, apply, move, move_units
from tunelab.data.augment.items import KINDS, items_of, put
from tunelab.data.augment.perturb import Delete, Insert, Swap
from tunelab.data.augment.protect import negations, protected
from tunelab.data.augment.synonyms import Synonyms
from tunelab.data.augment.typos import Case, Keyboard, LookAlikes, Punctuation, Scanned, Slips
from tunelab.data.augment.words import characters

SENTENCE = "the film was good although its ending felt slow and every actor seemed tired of clever lines"
ENGLISH = SENTENCE.split()
CHINESE = "房间很大服务员热情早餐一般离地铁站近价格便宜下次还会再来住晴天请问未来"
NEGATORS = ["not", "never", "don't", "isn’t", "CANNOT", "不", "没", "无"]
FIXED = ["3.5", "20%", "https://a.org/b?c=1", "@ann", "2024年", "第三", "x@y.org"]
LEXICON = {"film": ("movie", "picture"), "good": ("fine",), "服": ("装",), "住": ("留", "停"), "大": ("巨",)}


def every_rule() -> list[EditAugmenter]:
    """All augmenters that need no further package, at a rate that changes much."""
    words = [Swap(share=0.3, cut=characters), Delete(share=0.3, cut=characters)]
    words += [Insert(share=0.3, cut=characters, lexicon=LEXICON)]
    letters = [Slips(share=0.2), Keyboard(share=0.2), Scanned(share=0.2), LookAlikes(share=0.2)]
    return [Synonyms(LEXICON, 0.5, characters), *words, *letters, Case(share=0.5), Punctuation(share=0.5)]


def make_text(rng: random.Random) -> str:
    """English words, Chinese characters, negations, numbers and addresses in any order."""
    pieces = []
    for _ in range(rng.randint(1, 30)):
        kind = rng.random()
        if kind < 0.5:
            pieces += [rng.choice(ENGLISH), rng.choice([" ", " ", ", ", ". ", "! "])]
        elif kind < 0.75:
            pieces += ["".join(rng.choices(CHINESE, k=rng.randint(1, 6))), rng.choice(["", "，", "。", " "])]
        else:
            pieces += [" ", rng.choice(NEGATORS if kind < 0.9 else FIXED), " "]
    return "".join(pieces)


def make_spans(rng: random.Random, text: str) -> tuple[Span, ...]:
    """Up to three stretches anywhere, within words too, perhaps one over another."""
    spans = set()
    for _ in range(rng.randint(0, 3)):
        start = rng.randrange(len(text))
        spans.add((start, rng.randint(start + 1, min(len(text), start + 9))))
    return tuple(sorted(spans))


def table(
    texts: list[str], labels: list[str] | None = None, split: list[str] | None = None, **more
) -> pd.DataFrame:
    columns = {
        "text": texts,
        "label": labels or ["a"] * len(texts),
        "split": split or [""] * len(texts),
        **more,
    }
    numbers = [str(row) for row in range(2, len(texts) + 2)]
    return pd.DataFrame({**columns, "file": ["x.csv"] * len(texts), "row": numbers}).astype("str")


# ---- edits ---------------------------------------------------------------------------------------


def test_spans_move_as_the_characters_they_cover():
    """Each character of a text of distinct ones is marked by itself: it must be found where `move` says."""
    rng = random.Random(1)
    text = "".join(chr(0x4E00 + i) for i in range(40))
    for _ in range(300):
        cuts = sorted(rng.sample(range(41), 8))
        edits = [Edit(a, b, "x" * rng.randint(0, 4)) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]
        edits = [edit if rng.random() < 0.7 else Edit(edit.start, edit.start, "yy") for edit in edits]
        new = apply(text, edits)
        stay = [i for i in range(40) if not any(edit.start <= i < edit.end for edit in edits)]
        moved = move([(i, i + 1) for i in stay], edits)
        assert [new[start:end] for start, end in moved] == [text[i] for i in stay]


@pytest.mark.parametrize("edits", [[Edit(3, 6, ""), Edit(5, 8, "")], [Edit(5, 6, ""), Edit(1, 2, "")]])
def test_edits_that_overlap_or_are_out_of_order_are_refused(edits):
    with pytest.raises(AssertionError, match="overlap or are not sorted"):
        apply("abcdefghij", edits)


@pytest.mark.parametrize("single", [True, False])
def test_units_go_on_covering_the_text(single: bool):
    """Units that covered all that is not a space still do, one after the other, whatever was edited."""
    rng = random.Random(2)
    for _ in range(300):
        if single:
            text = "".join(rng.choices(CHINESE, k=rng.randint(2, 20)))
            units = [(i, i + 1) for i in range(len(text))]
        else:
            text = " ".join(rng.choices(ENGLISH, k=rng.randint(2, 12)))
            units = [match.span() for match in re.finditer(r"\S+", text)]
        for rule in every_rule():
            new = rule.one(
                Item(text, "[]", "tag", (), tuple(units)), np.random.default_rng(rng.randrange(99))
            )
            if new is None:
                continue
            assert "".join(new.text[a:b] for a, b in new.units) == "".join(new.text.split()), rule
            assert all(b - a == 1 for a, b in new.units) or not single
            assert all(b <= c for (_, b), (c, _) in zip(new.units, new.units[1:], strict=False))


def test_untouched_units_stay_as_they_are():
    """The units are a user's own cut (a word and its stop apart): only what is edited is cut again."""
    text, units = "Anna saw films.", ((0, 4), (5, 8), (9, 14), (14, 15))
    edits = [Edit(5, 8, "has seen")]
    assert move_units(units, edits, apply(text, edits)) == ((0, 4), (5, 8), (9, 13), (14, 19), (19, 20))
    assert move_units(units, [Edit(9, 14, "")], "Anna saw .") == ((0, 4), (5, 8), (9, 10))


# ---- what must survive ---------------------------------------------------------------------------


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: rule.name)
def test_spans_negations_and_numbers_survive(rule: EditAugmenter):
    """Over random texts in both languages; what must stay is found by a plain search, not by our patterns."""
    rng = random.Random(rule.name)
    made = 0
    for trial in range(400):
        text = make_text(rng)
        if not text.strip():
            continue
        item = Item(text, "[]", "tag", make_spans(rng, text))
        new = rule.one(item, np.random.default_rng(trial))
        if new is None:
            continue
        made += 1
        assert new.text != text
        assert [new.text[a:b] for a, b in new.spans] == [text[a:b] for a, b in item.spans]
        for piece in (*NEGATORS, *FIXED):
            if piece not in text:
                continue
            if piece in "不没无" or piece in FIXED:
                assert new.text.count(piece) == text.count(piece), (rule.name, piece, text, new.text)
        assert Counter(word for word in words_of(new.text) if word in NEGATORS) == Counter(
            word for word in words_of(text) if word in NEGATORS
        )
    assert made > 100


def words_of(text: str) -> list[str]:
    return re.findall(r"[A-Za-z’']+", text)


def test_protected_pieces_by_hand():
    def found(text: str) -> list[str]:
        return [text[start:end] for start, end in protected(text)]

    assert found("I can't say no to note-taking in Notting Hill") == ["can't", "no"]
    assert found("nothing works without 4G, dont ask") == ["nothing", "without", "4G", "dont"]
    assert found("非常好，特别喜欢，别人也说不错") == ["不"]
    assert found("别去！并非没有更好的") == ["别", "非", "没"]
    assert found("iPhone很not好") == ["not"]
    assert found("花了三百元，第2次，两个人") == ["三百", "2", "次", "两"]
    assert found("ask @小明 at a.b@c.org or https://x.cn/好") == ["@小明", "a.b@c.org", "https://x.cn/"]
    assert found("<b>#话题# [哈哈] {name}</b>") == ["<b>", "#话题#", "[哈哈]", "{name}", "</b>"]
    assert negations("Never say never") == {"never": 2}


# ---- rows ----------------------------------------------------------------------------------------


def test_a_tag_row_keeps_its_entities_and_types():
    text = "Anna flew to New York"
    row = table(
        [text],
        [json.dumps([[0, 4, "PER"], [13, 21, "LOC"]])],
        units=[json.dumps([[0, 4], [5, 9], [10, 12], [13, 16], [17, 21]])],
    )
    made = augment(row, [0], Synonyms({"flew": ("travelled quickly",)}, 1.0), 1, 0, kind="tag").frame.iloc[0]
    assert made["text"] == "Anna travelled quickly to New York"
    assert json.loads(made["label"]) == [[0, 4, "PER"], [26, 34, "LOC"]]
    assert json.loads(made["units"]) == [[0, 4], [5, 14], [15, 22], [23, 25], [26, 29], [30, 34]]


def test_an_answer_moves_with_its_context():
    context = "The film opened in May 1999 in Rome."
    answers = [{"text": "May 1999", "start": 19}, {"text": "May 1999 in Rome", "start": 19}]
    frame = table(["When?"], [json.dumps(answers)], text_pair=[context])
    rule = Synonyms({"film": ("movie",), "opened": ("started",)}, 1.0)
    rows = augment(frame, [0], rule, 6, 0, kind="answer").frame
    assert list(rows["text_pair"]) == [
        "The movie started in May 1999 in Rome."
    ]  # the question has no synonym
    moved = json.loads(rows["label"].iloc[0])
    assert moved == [{"text": "May 1999", "start": 21}, {"text": "May 1999 in Rome", "start": 21}]


def test_an_answer_at_a_wrong_offset_leaves_only_the_question():
    row = {"text": "Where is it now", "text_pair": "It is in Rome", "label": '[{"text": "Rome", "start": 3}]'}
    assert [item.column for item in items_of(row, "answer")] == ["text"]


def test_the_users_last_message_is_edited():
    messages = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "a good film"},
    ]
    row = {"text": json.dumps([*messages, {"role": "assistant", "content": "good"}]), "label": ""}
    (item,) = items_of(row, "instruct")
    assert item.text == "a good film"
    changed = json.loads(put(row, item, Item("a fine film", "", "instruct"))["text"])
    assert [message["content"] for message in changed] == ["old", "b", "a fine film", "good"]


def test_every_task_is_known():
    assert set(KINDS) == {
        "classify",
        "multilabel",
        "regress",
        "match",
        "tag",
        "answer",
        "rewrite",
        "instruct",
        "prefer",
        "language",
    }
    with pytest.raises(AssertionError, match="not 'translate'"):
        items_of({"text": "a", "label": ""}, "translate")


def test_names_are_asked_for_once_a_text():
    """Two questions of one context, three copies each: three texts."""
    frame = table(["what film", "which film"], ["[]", "[]"], text_pair=["good film, good plot"] * 2)
    asked: list[str] = []

    def names_of(text: str) -> list[Span]:
        asked.append(text)
        return [(11, 15)] if len(text) > 15 else []

    rule = Synonyms({"good": ("fine",)}, 1.0)
    rows = augment(frame, [0, 1], rule, 3, 0, kind="answer", names_of=names_of).frame
    assert set(rows["text_pair"]) == {"fine film, good plot"}
    assert sorted(asked) == sorted({*frame["text"], *frame["text_pair"]})


# ---- which rows, and by which seed ---------------------------------------------------------------


def random_frame(rows: int, seed: int) -> pd.DataFrame:
    rng = random.Random(seed)
    return table(
        [f"{make_text(rng)} {rng.choice(ENGLISH)} w{i}" for i in range(rows)],
        [f"l{i % 3}" for i in range(rows)],
    )


def test_a_row_does_not_depend_on_the_others():
    frame = random_frame(40, 3)
    rule = OneOf(tuple(every_rule()))
    whole = augment(frame, range(40), rule, 3, 7).frame
    again = augment(frame, range(39, -1, -1), rule, 3, 7).frame
    pd.testing.assert_frame_equal(whole, again)
    part = augment(frame, [5, 17], rule, 3, 7).frame
    pd.testing.assert_frame_equal(part, whole[whole["origin"].isin([5, 17])].reset_index(drop=True))
    fewer = augment(
        frame, range(40), rule, 2, 7
    ).frame  # the first copies are the same when more are asked for
    assert set(fewer["text"]) < set(whole["text"])
    other = augment(frame, range(40), rule, 3, 8).frame
    assert set(other["text"]).isdisjoint(whole["text"]) or set(other["text"]) != set(whole["text"])


def test_new_rows_remember_their_origin():
    frame = random_frame(30, 4)
    made = augment(frame, range(30), Swap(cut=characters), 2, 0)
    new = made.frame
    assert new["origin"].dtype == np.int64
    assert list(new["origin"]) == sorted(new["origin"])
    for row in new.to_dict("records"):
        old = frame.iloc[row["origin"]]
        assert (row["label"], row["file"], row["row"]) == (old["label"], old["file"], old["row"])
        assert row["split"] == "train"
        assert row["text"].rsplit(" w", 1)[-1] == old["text"].rsplit(" w", 1)[-1]  # its number, which is kept
    assert {str(dtype) for name, dtype in new.dtypes.items() if name != "origin"} == {"str"}
    assert made.asked == 60 == len(new) + made.could_not + made.repeats + made.held_out


def test_only_training_rows_are_augmented():
    frame = table(["a b", "c d", "e f", "g h"], split=["train", "valid", "test", "train"])
    for wrong in ([0, 1], [2], [0, 4], [-1]):
        with pytest.raises(AssertionError, match=r"validation or test rows|positions from 0 to 3"):
            augment(frame, wrong, Swap(), 1, 0)
    assert set(augment(frame, [0, 3], Swap(), 3, 0).frame["origin"]) <= {0, 3}


@dataclass(frozen=True)
class Says(Augmenter):
    """Gives what it is told to give, copy by copy."""

    texts: tuple[str | None, ...]
    name: ClassVar[str] = "says"

    def many(self, items, randoms):
        said = [self.texts[item.copy] for item in items]
        return [
            None if text is None else Item(text, item.label, item.kind)
            for text, item in zip(said, items, strict=True)
        ]


def test_repeats_and_held_out_texts_are_dropped_and_counted():
    frame = table(["one", "two", "The test row!"], split=["train", "train", "test"])
    rule = Says(("new", "two", " two ", None, "the  TEST row", "new", "Two"))
    made = augment(frame, [0, 1], rule, 7, 0)
    assert list(made.frame["text"]) == ["new", "Two"]
    assert list(made.frame["origin"]) == [0, 0]
    counts = (made.asked, made.could_not, made.repeats, made.held_out)
    # of row 0: "two" twice, "new" again; of row 1: all five
    assert counts == (14, 2, 3 + 5, 2)
    assert made.notes == (
        "augmentation made 2 rows of 14 asked for",
        "2 new rows could not be made (nothing in the text could be changed)",
        "8 new rows were left out because they repeat a training row or one another",
        "2 new rows were left out because they equal a validation or test row",
    )


def test_a_pair_is_a_repeat_only_as_a_whole():
    frame = table(["q", "q"], text_pair=["a", "b"])
    made = augment(frame, [0], Says(("q2", "q")), 2, 0, kind="match")
    assert [*zip(made.frame["text"], made.frame["text_pair"], strict=True)] == [("q2", "a")]
    assert made.repeats == 1


def test_nothing_to_do_gives_an_empty_frame():
    frame = table(["", "42"])
    made = augment(frame, [0, 1], Swap(), 2, 0)
    assert (len(made.frame), made.could_not) == (0, 4)
    assert [*made.frame.columns] == [*frame.columns, "origin"]
    assert made.frame.dtypes.drop("origin").equals(frame.dtypes)


# ---- real data -----------------------------------------------------------------------------------


@pytest.mark.real_data
def test_entities_of_real_sentences_survive(shared_data: Path):
    """cluener, 400 sentences: every entity's characters are where the new label says."""
    texts, labels, names = [], [], []
    for line in (shared_data / "cluener/train.jsonl").read_text(encoding="utf-8").splitlines()[:400]:
        row = json.loads(line)
        places = sorted(
            (start, end + 1, kind)
            for kind, found in row["label"].items()
            for at in found.values()
            for start, end in at
        )
        texts.append(row["text"])
        labels.append(json.dumps(places))
        names.append([(row["text"][start:end], kind) for start, end, kind in places])
    made = augment(table(texts, labels), range(400), OneOf(tuple(every_rule())), 3, 0, kind="tag")
    assert len(made.frame) > 600
    for row in made.frame.to_dict("records"):
        found = [(row["text"][start:end], kind) for start, end, kind in json.loads(row["label"])]
        assert found == names[row["origin"]]


@pytest.mark.real_data
@pytest.mark.parametrize("path", ["cmrc2018/cmrc2018_dev.json", "xquad_en/xquad.en.json"])
def test_answers_in_real_contexts_survive(shared_data: Path, path: str):
    data = json.loads((shared_data / path).read_text(encoding="utf-8"))["data"]
    questions, contexts, labels = [], [], []
    for paragraph in [paragraph for entry in data for paragraph in entry["paragraphs"]][:150]:
        for qa in paragraph["qas"][:2]:
            questions.append(qa["question"])
            contexts.append(paragraph["context"])
            answers = [{"text": answer["text"], "start": answer["answer_start"]} for answer in qa["answers"]]
            labels.append(json.dumps(answers, ensure_ascii=False))
    frame = table(questions, labels, text_pair=contexts)
    made = augment(frame, range(len(frame)), OneOf(tuple(every_rule())), 1, 0, kind="answer").frame
    moved = 0
    for row in made.to_dict("records"):
        old, answers = frame.iloc[row["origin"]], json.loads(row["label"])
        assert [a["text"] for a in answers] == [a["text"] for a in json.loads(old["label"])]
        if row["text_pair"] != old["text_pair"]:
            assert all(row["text_pair"][a["start"] :].startswith(a["text"]) for a in answers)
            moved += row["label"] != old["label"]
        else:
            assert row["label"] == old["label"]
    assert moved > 20
