"""Names stay letter by letter, negations too, whatever way a copy is made in, over many seeds."""

import json
from pathlib import Path

import numpy as np
import pytest

from tunelab.config import AugmentConfig, ModelConfig
from tunelab.data.augment.back_translation import BackTranslation
from tunelab.data.augment.base import EditAugmenter
from tunelab.data.augment.items import Item
from tunelab.data.augment.names import names_in
from tunelab.data.augment.perturb import Delete, Insert, Swap
from tunelab.data.augment.protect import phrases
from tunelab.data.augment.synonyms import Synonyms, read_words
from tunelab.data.augment.typos import Case, Homophones, Keyboard, LookAlikes, Punctuation, Scanned, Slips
from tunelab.errors import DataError
from tunelab.models import Located
from tunelab.study.recipes import Base, augmenter_of

WORDS = [Swap(share=0.6), Delete(share=0.6), Insert(share=0.6), Synonyms({"said": ("told",)}, 1.0)]
LETTERS = [Slips(share=0.5), Keyboard(share=0.5), Scanned(share=0.5), Case(share=0.9), Punctuation(share=0.9)]
CHINESE = [*WORDS, *LETTERS, LookAlikes(share=0.9), Homophones(share=0.9)]

#: Texts, the names in them and the words that negate.
ZH = [
    ("昨天王小明和李娜没有去北京大学听马云讲课，房间不大", ["王小明", "李娜", "北京大学", "马云"], "没不"),
    ("周杰伦的新歌非常好听，上海人都喜欢看《晴天的请求》", ["周杰伦", "上海", "《晴天的请求》"], ""),
    ("诺基亚手机比三星差，无法开机，约翰·史密斯很生气", ["诺基亚", "三星", "约翰", "史密斯"], "无"),
]
EN = [
    ("yesterday Anna Lee said NASA will not visit New York again", ["Anna Lee", "NASA", "New York"], "not"),
    ("Bank of America was closed. We never liked the iPhone, said Dr. Bell", ["Bank of America", "iPhone"], "never"),
    ("Kindle很好用，我同事说Apple手表没用", ["Kindle", "Apple"], "没"),
]  # fmt: skip


def copies(rule: EditAugmenter, text: str, names, seeds: int = 60) -> list[str]:
    item = Item(text, "", names=tuple(names))
    made = (rule.one(item, np.random.default_rng(seed)) for seed in range(seeds))
    return [new.text for new in made if new is not None]


@pytest.mark.parametrize("rule", CHINESE, ids=lambda rule: rule.name)
def test_chinese_names_and_negations_stay(rule: EditAugmenter) -> None:
    pytest.importorskip("jieba", reason="jieba is not installed")
    pytest.importorskip("pypinyin", reason="pypinyin is not installed")
    for text, names, negations in ZH:
        for new in copies(rule, text, names_in(text)):
            assert [new.count(name) for name in names] == [text.count(name) for name in names], new
            assert [new.count(sign) for sign in negations] == [text.count(sign) for sign in negations], new


def test_without_their_places_names_would_not_stay() -> None:
    """What the test above would look like if it could not fail."""
    pytest.importorskip("pypinyin", reason="pypinyin is not installed")
    text, (name, *_), _ = ZH[0]
    assert any(name not in new for new in copies(Homophones(share=0.9), text, ()))
    assert any(name not in new for new in copies(Slips(share=0.5), text, ()))


@pytest.mark.parametrize("rule", WORDS, ids=lambda rule: rule.name)
def test_names_with_capitals_stay_where_words_move(rule: EditAugmenter) -> None:
    pytest.importorskip("jieba", reason="jieba is not installed")
    made = 0
    for text, names, negation in EN:
        for new in copies(rule, text, names_in(text)):
            assert [new.count(name) for name in names] == [text.count(name) for name in names], new
            assert new.count(negation) == text.count(negation), new
            made += 1
    assert made > 20


def test_people_mistype_names_with_capitals() -> None:
    """A slip in a name is what people make; it is the one thing in this text that could be mistyped."""
    text = "so I met Jonathan"
    assert names_in(text) == [(9, 17)]
    assert {new[:9] for new in copies(Slips(), text, names_in(text))} == {"so I met "}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The film was good. It ended well", []),
        ("Ask Dr. Bell. She knows J. Smith", ["Ask", "Dr", "Bell", "J", "Smith"]),
        ("I'm sure I’ve seen it, I think", []),
        ("John Smith left. The Beatles stayed; john", ["John Smith", "Beatles"]),
        ("Anna came. We like Anna", ["Anna", "Anna"]),
        ("IT WAS A GOOD FILM", []),
        ("eBay and the BBC", ["eBay and the BBC"]),
        ("«Привет», сказал Иван", ["Иван"]),
        ("\nMovie night", []),
        ("", []),
    ],
)
def test_names_with_capitals_by_hand(text: str, names: list[str]) -> None:
    found = [text[start:end] for start, end in names_in(text)]
    assert " ".join(found).split() == " ".join(names).split()


class Dictionary:
    """A translator that looks up."""

    def __init__(self, entries: dict[str, tuple[str, ...]]) -> None:
        self.entries = entries

    def translate(self, texts, beams: int, wanted: int = 1) -> list[tuple[str, ...]]:
        return [self.entries.get(text, ())[:wanted] for text in texts]


def test_a_way_back_that_spells_a_name_differently_is_not_taken() -> None:
    text = "yesterday we met Jon Smyth."
    there = Dictionary({text: ("gestern",)})
    back = Dictionary({"gestern": ("we met John Smith yesterday.", "we met Jon Smyth yesterday.")})
    item = Item(text, "", names=tuple(names_in(text)))
    rule = BackTranslation(there, back)  # type: ignore[arg-type]
    (new,) = rule.many([item], [np.random.default_rng(0)])
    assert new is not None
    assert new.text == "we met Jon Smyth yesterday."
    strict = BackTranslation(there, back, keep=phrases(["met Jon"]))  # type: ignore[arg-type]
    assert strict.many([item], [np.random.default_rng(0)])[0] is not None
    other = BackTranslation(there, back, keep=phrases(["yesterday we"]))  # type: ignore[arg-type]
    assert other.many([item], [np.random.default_rng(0)]) == [None]


# ---- words of one's own --------------------------------------------------------------------------


def test_words_of_a_file_stay(tmp_path: Path) -> None:
    """Every way that a recipe builds is told: a name that no tagger knows, and a negation of one's own."""
    pytest.importorskip("jieba", reason="jieba is not installed")
    pytest.importorskip("pypinyin", reason="pypinyin is not installed")
    first, second = tmp_path / "names.txt", tmp_path / "negations.txt"
    first.write_text("携程\nsuper cheap\n", encoding="utf-8")
    second.write_text("\ufeff乏善可称\tn\n休想\tv\n", encoding="utf-8")
    lexicon = tmp_path / "words.jsonl"
    lexicon.write_text(json.dumps({"word": "hotel", "pos": "n", "synonyms": ["super cheap", "inn"]}))
    ways = ("swap", "delete", "insert", "synonyms", "slips", "homophones", "look_alikes", "case")
    config = AugmentConfig(recipe=ways, keep=f"{first},{second}", synonyms=str(lexicon), share=0.6, seed=0)  # type: ignore[arg-type]
    base = Base(Located("none", tmp_path), ModelConfig(), "")
    rule = augmenter_of(ways, config, base, "cpu")
    text = "在携程订的 Super cheap hotel 早餐乏善可称，休想让我再来，服务员态度很冷淡"
    item = Item(text, "")
    made = rule.many([item] * 300, [np.random.default_rng(seed) for seed in range(300)])
    texts = [new.text for new in made if new is not None]
    assert len(texts) > 200
    assert any("inn" in new for new in texts)
    for new in texts:
        assert all(new.count(word) == 1 for word in ("携程", "Super cheap", "乏善可称", "休想")), new
        assert new.casefold().count("super cheap") == 1  # nor may another one come in


def test_a_file_without_words_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"empty\.txt holds no words; expected one a line"):
        read_words(tmp_path / "empty.txt")
    with pytest.raises(DataError, match=r"word list .*none\.txt cannot be read"):
        read_words(tmp_path / "none.txt")


# ---- real names ----------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_chinese_names_are_found(shared_data: Path) -> None:
    """cluener: of names that people marked by hand, how many lie wholly in what is left alone."""
    pytest.importorskip("jieba", reason="jieba is not installed")
    given: dict[str, list[bool]] = {}
    for line in (shared_data / "cluener/dev.jsonl").read_text(encoding="utf-8").splitlines()[:300]:
        row = json.loads(line)
        kept = {at for start, end in names_in(row["text"]) for at in range(start, end)}
        for kind, entities in row["label"].items():
            for start, last in (span for spans in entities.values() for span in spans):
                given.setdefault(kind, []).append(set(range(start, last + 1)) <= kept)
    found = {kind: sum(hits) / len(hits) for kind, hits in given.items()}
    assert found["name"] > 0.7  # some are written in Latin letters
    assert found["address"] > 0.65
    assert found["organization"] > 0.6
    assert found["movie"] > 0.6  # mostly in 《》
