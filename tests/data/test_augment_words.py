"""Lexicons, EDA and errors of writing: real files against a count of our own, examples by hand."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tunelab.data.augment import words as words_module
from tunelab.data.augment.base import Item
from tunelab.data.augment.look_alikes import PAIRS, alike
from tunelab.data.augment.names import names_in
from tunelab.data.augment.perturb import Delete, Insert, Swap
from tunelab.data.augment.protect import is_negation, negations, phrases
from tunelab.data.augment.synonyms import Synonyms, read_cilin, read_english, read_words
from tunelab.data.augment.typos import Case, Homophones, Keyboard, LookAlikes, Punctuation, Scanned, Slips
from tunelab.data.augment.words import characters, jieba_words
from tunelab.errors import ConfigError, DataError

EN, ZH = "en_synonyms_oewn/en_synonyms.jsonl", "zh_synonym_guotong/dict_synonym.txt"
NEGATIVE = "zh_synonym_guotong/dict_negative.txt"


def every(rule, text: str, draws: int = 200) -> Counter[str | None]:
    """What a rule makes of a text, over many draws, names left alone."""
    item = Item(text, "", names=tuple(names_in(text, chinese=False)))
    made = (rule.one(item, np.random.default_rng(seed)) for seed in range(draws))
    return Counter(None if item is None else item.text for item in made)


# ---- lexicons ------------------------------------------------------------------------------------


def test_an_english_lexicon_by_hand(tmp_path: Path):
    entries = [
        ("movie", "n", ["film", "flick", "movie"]),
        ("sack", "n", ["bag", "poke"]),
        ("sack", "v", ["fire"]),
        ("have", "v", ["own"]),
        ("full", "a", ["nonempty", "without end", "whole"]),
        ("sad", "a", ["not happy"]),
        ("run", "v", [f"w{i}" for i in range(9)]),
    ]
    path = tmp_path / "en.jsonl"
    path.write_text(
        "\n".join(json.dumps({"word": w, "pos": p, "synonyms": s}) for w, p, s in entries) + "\n\n"
    )
    assert read_english(path) == {"movie": ("film", "flick"), "full": ("nonempty", "whole")}
    whole = read_english(path, every_sense=True)
    assert whole["sack"] == ("bag", "poke", "fire")
    assert len(whole["run"]) == 9
    assert "have" not in whole


def test_cilin_by_hand(tmp_path: Path):
    path = tmp_path / "zh.txt"
    lines = [
        "Aa01A01= 人士 人物 士",
        "Bb01A01= 旅馆 宾馆 无名客栈 大旅馆",
        "Ea01A01# 高 矮子",
        "Ka01A01= 非常 十分",
    ]
    lines += ["Bc01A01@ 台灯", "Dn01A01= 一百 二百", "Eb01A01= 差劲 不好 糟糕", "Ec01A01= 人物 角色"]
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    read = read_cilin(path)
    assert read["旅馆"] == ("宾馆", "大旅馆")  # 无名客栈 negates
    assert read["差劲"] == ("糟糕",)
    assert read["人士"] == ("人物",)
    assert not {"人物", "士", "高", "非常", "台灯", "一百"} & set(read)
    whole = read_cilin(path, every_sense=True)
    assert whole["人物"] == ("人士", "士", "角色")
    assert not {"高", "非常", "一百"} & set(whole)


def test_a_damaged_lexicon_names_file_and_row(tmp_path: Path):
    path = tmp_path / "bad.txt"
    path.write_text('{"word": "a", "pos": "n", "synonyms": ["b"]}\n{"word": 3}\n')
    with pytest.raises(DataError, match=r"bad\.txt row 2 is no entry"):
        read_english(path)
    with pytest.raises(DataError, match=r"bad\.txt row 1 is no line of Cilin"):
        read_cilin(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_english(tmp_path / "none.jsonl")


@pytest.mark.real_data
def test_the_real_english_lexicon(shared_data: Path):
    """Against a plain count over the file's lines."""
    lines = [json.loads(line) for line in (shared_data / EN).read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 48_123
    words = Counter(line["word"] for line in lines)
    read = read_english(shared_data / EN)
    assert len(read) > 30_000
    assert read["movie"] == ("film", "flick", "pic", "picture")
    by_word = {line["word"]: line["synonyms"] for line in lines}
    for word, synonyms in read.items():
        assert words[word] == 1
        assert set(synonyms) <= set(by_word[word]) - {word}
        assert not any(is_negation(other) for other in synonyms)
    assert "never" not in {other for synonyms in read.values() for other in synonyms}
    assert set(read_english(shared_data / EN, every_sense=True)) > set(read)


@pytest.mark.real_data
def test_the_real_chinese_lexicon(shared_data: Path):
    lines = [line.split() for line in (shared_data / ZH).read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 17_817
    together = {word: set(rest) for code, *rest in lines if code[-1] == "=" for word in rest}
    read = read_cilin(shared_data / ZH)
    assert len(read) > 20_000
    assert read["早餐"] == ("早饭",)
    often = Counter(word for _, *rest in lines for word in set(rest))
    for word, synonyms in read.items():
        assert often[word] == 1
        assert set(synonyms) < together[word]
        assert not any("不" in other or "没" in other for other in synonyms)
    negators = read_words(shared_data / NEGATIVE)
    assert {"不", "没有", "乏善可称"} <= negators
    assert len(negators) == 1_510


@pytest.mark.real_data
def test_synonyms_in_real_sentences(shared_data: Path):
    pytest.importorskip("jieba", reason="jieba is not installed")
    lexicon = {**read_english(shared_data / EN), **read_cilin(shared_data / ZH)}
    rule = Synonyms(lexicon, 0.9, keep=phrases(read_words(shared_data / NEGATIVE)))
    text = "酒店的早餐不好吃，服务员乏善可称。"
    found = every(rule, text, 50)
    assert any("早饭不好吃" in new for new in found)
    assert all("不好吃" in new and "乏善可称" in new for new in found)  # a negator of the list only
    english = every(rule, "A movie without a single boring moment.", 50)
    assert {"A film without", "A flick without"} <= {" ".join(new.split()[:3]) for new in english}


# ---- synonyms ------------------------------------------------------------------------------------


def test_synonyms_keep_capitals_names_and_articles():
    lexicon = {"movie": ("film", "epic"), "will": ("volition",), "bank": ("shore",)}
    rule = Synonyms(lexicon, 1.0, characters)
    assert set(every(rule, "Movie night.")) == {"Film night.", "Epic night."}
    assert set(every(rule, "MOVIE IT IS")) == {"FILM IT IS", "EPIC IT IS"}
    assert set(every(rule, "see MOVIE, it is")) == {None}  # a name, for all that one can tell
    assert set(every(rule, "I met Will at Deutsche Bank")) == {None}
    assert set(every(rule, "an movie, a movie")) == {"an epic, a film"}
    assert set(every(rule, "\nMovie")) == {
        "\nFilm",
        "\nEpic",
    }  # banking77 has texts that begin with a line break
    assert set(every(rule, "movies at movie's end")) == {None}  # not the exact form


def test_the_share_counts_words_as_eda_does():
    """20 words, share 0.1: max(1, floor(2.0)) = 2 are replaced."""
    rule = Synonyms({"good": ("fine",)}, 0.1, characters)
    assert {new.split().count("fine") for new in every(rule, " ".join(["good"] * 20))} == {2}
    with pytest.raises(ConfigError, match="share is 0"):
        Synonyms({}, 0.0)


def test_chinese_words_are_those_of_jieba():
    pytest.importorskip("jieba", reason="jieba is not installed")
    assert jieba_words("服务员非常热情") == ["服务员", "非常", "热情"]
    lexicon = {"服务员": ("侍者",), "服务": ("劳务",), "热情": ("热心",)}
    assert set(every(Synonyms(lexicon, 1.0), "服务员非常热情")) == {"侍者非常热心"}


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    words_module._jieba.cache_clear()
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ConfigError, match=r"needs the package jieba.*pip install jieba"):
        every(Swap(), "房间很大", 1)
    assert every(Swap(), "good words", 1) == {"words good": 1}  # no Chinese: not needed
    words_module._jieba.cache_clear()


# ---- swap, delete, insert ------------------------------------------------------------------------


def test_swap_moves_words_and_loses_none():
    text = "alpha beta not gamma 42 delta"
    for new in every(Swap(), text):
        assert Counter(new.split()) == Counter(text.split())
        assert (new.split()[2], new.split()[4]) == ("not", "42")  # where they were
        assert sum(a != b for a, b in zip(new.split(), text.split(), strict=True)) == 2  # one swap of 4 words


def test_delete_takes_words_and_a_space_each():
    """Of four words all 14 choices that take neither none nor all, each with its one proper spacing."""
    found = every(Delete(share=0.5), "a b, c d", 2000)
    one = {"b, c d", "a, c d", "a b, d", "a b, c"}
    two = {", c d", "a b,", "b, d", "b, c", "a, d", "a, c"}
    assert set(found) == {*one, *two, ", d", ", c", "b,", "a,"}
    assert set(every(Delete(share=1.0), "x y z", 50)) == {"x", "y", "z"}  # one stays
    assert len(every(Delete(share=0.001), "x y z", 50)) == 3  # one goes
    assert set(every(Delete(share=0.5), "only")) == {None}


def test_delete_takes_each_word_with_probability_share():
    """30 words, p = 0.2, 400 texts: 2400 ± 44 go (binomial); four standard deviations allowed."""
    text = " ".join(f"{chr(97 + i)}x" for i in range(26)) + " ya yb yc yd"
    gone = sum(times * (30 - len(new.split())) for new, times in every(Delete(share=0.2), text, 400).items())
    assert abs(gone - 2400) < 176


def test_insert_puts_in_a_synonym_before_a_word():
    rule = Insert(share=0.1, cut=characters, lexicon={"good": ("fine",)})
    assert set(every(rule, "good film")) == {"fine good film", "good fine film"}
    assert set(every(Insert(cut=characters), "房大")) == {"房房大", "大房大", "房大大"}


def test_words_are_not_glued():
    """A Chinese word between two others of an alphabet: whatever goes or comes, they stay two."""
    for rule in (
        Delete(share=0.9, cut=characters),
        Insert(share=0.9, cut=characters),
        Swap(share=0.9, cut=characters),
    ):
        for new in every(rule, "abc好def", 100):
            assert new is None or ("abcdef" not in new and "defabc" not in new)


# ---- errors of writing ---------------------------------------------------------------------------


def test_slips_keep_first_and_last_letters():
    for new in every(Slips(), "wonderful"):
        assert (new[0], new[-1]) == ("w", "l")
        assert abs(len(new) - 9) <= 1
    assert set(every(Slips(how=("swap",)), "word")) == {"wrod"}
    assert set(every(Slips(), "the cat")) == {None}
    assert set(every(Slips(how=("swap",)), "电影院")) == {"影电院", "电院影"}


def test_keyboard_errors_are_neighbours():
    """Around s on a QWERTY keyboard: a and d beside it, w and e above, z and x below."""
    assert set(every(Keyboard(), "s")) == set("adwezx")
    assert set(every(Keyboard(), "P", 50)) == {"O", "L"}
    assert set(every(Keyboard(), "电影")) == {None}


def test_no_error_makes_a_negation():
    """i lies beside o: what would read "not" is not made at all."""
    found = every(Keyboard(), "nit", 400)
    assert {"nut", "nkt", "njt", None} <= set(found)
    assert "not" not in found


def test_scanned_errors_by_hand():
    assert set(every(Scanned(), "rn")) == {"m", "rri"}
    assert set(every(Scanned(), "x l")) == {"x 1", "x I", "x i"}


def test_look_alikes_are_pairs_of_chinese_characters():
    assert len({frozenset(pair) for pair in PAIRS}) == len(PAIRS) >= 150
    for pair in PAIRS:
        assert len(pair) == 2
        assert pair[0] != pair[1]
        assert all("\u4e00" <= character <= "\u9fff" and not is_negation(character) for character in pair)
        assert pair[1] in alike(pair[0])
        assert pair[0] in alike(pair[1])
    assert set(every(LookAlikes(), "晴")) == {"睛", "请", "清"}


def test_homophones_sound_alike():
    """In 银行 the second character is háng, in 行人 xíng; both lists by hand from GB 2312's order by sound."""
    pytest.importorskip("pypinyin", reason="pypinyin is not installed")
    bank = {new[1] for new in every(Homophones(), "银行", 400) if new[0] == "银"}
    walker = {new[0] for new in every(Homophones(), "行人", 400) if new[1] == "人"}
    assert bank == {"杭", "航"}
    assert walker == {"型", "刑", "形", "邢"}
    assert {new[3:] for new in every(Homophones(), "at 银行", 400) if new[3] == "银"} == {"银杭", "银航"}
    assert all(negations(new) == {"不": 1} for new in every(Homophones(share=1.0), "房间不大"))


def test_case_and_punctuation():
    assert set(every(Case(), "Good")) == {"good", "GOOD"}
    assert set(every(Case(), "not 电影")) == {None}
    assert set(every(Punctuation(), "well, yes")) == {"well yes", "well,, yes", "well， yes"}
    assert set(every(Punctuation(), "a,b 3.5")) == {"a,,b 3.5", "a，b 3.5"}  # no two words glued
    assert set(every(Punctuation(), "好。")) == {"好", "好。。", "好."}
