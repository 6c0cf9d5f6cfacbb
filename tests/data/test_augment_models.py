"""Augmentation by models: the mechanics, on tiny random models made from a configuration."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from tunelab.data.augment.back_translation import BackTranslation, Translator
from tunelab.data.augment.base import Item
from tunelab.data.augment.masked import Masked
from tunelab.data.augment.words import characters
from tunelab.errors import ModelError

SENTENCE = "the a film was good fine lovely great not never paris plot in slow very long and it is"
WORDS = SENTENCE.split()
NO = ("not", "never")
HAN = "房间很大服务员热情早餐不好吃酒店宾馆"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wordpiece() -> PreTrainedTokenizerFast:
    """BERT's tokenizer over a few words, single Chinese characters and pieces of words."""
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        ".",
        ",",
        "3",
        *WORDS,
        *dict.fromkeys(HAN),
        "##ly",
        "##ness",
    ]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="[MASK]", model_max_length=32, **names
    )


def masked_model(tokenizer: PreTrainedTokenizerFast, liked: Sequence[str] = ()) -> BertForMaskedLM:
    """A random BERT that finds the liked tokens likeliest everywhere, the first one most."""
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **shape))
    with torch.no_grad():
        for place, token in enumerate(liked):
            model.cls.predictions.bias[tokenizer.convert_tokens_to_ids(token)] = 500.0 - 2 * place
    return model.eval()


def fill(rule: Masked, text: str, seed: int = 0, spans=()) -> str | None:
    (new,) = rule.many([Item(text, "", spans=tuple(spans))], [np.random.default_rng(seed)])
    return None if new is None else new.text


# ---- masked language model -----------------------------------------------------------------------


def test_a_word_becomes_the_likeliest_that_is_new_and_whole():
    """Liked in this order: the original, a negation, a piece, a special token, a character; then "fine"."""
    tokenizer = wordpiece()
    model = masked_model(tokenizer, ["good", "not", "##ness", "[SEP]", "房", "3", "fine", "lovely"])
    rule = Masked(model, tokenizer, share=1.0, top=1)
    assert fill(rule, "Good") == "Fine"
    assert fill(rule, "not good, 3") == "not fine, 3"
    assert fill(rule, "it was GOOD.", spans=[(0, 6)]) == "it was FINE."
    two = {fill(Masked(model, tokenizer, share=1.0, top=2), "good", seed) for seed in range(200)}
    assert two == {"fine", "lovely"}


def test_chinese_words_are_filled_character_by_character():
    """Liked: 不 (a negation, never), 酒, 店, 宾. 酒店 itself is refused only at its last character, where
    the next best after 酒 (酒酒) is new; a word of one character skips itself at once."""
    tokenizer = wordpiece()
    model = masked_model(tokenizer, ["不", "good", "酒", "店", "宾"])

    def whole(run: str) -> list[str]:
        return [run]

    rule = Masked(model, tokenizer, share=1.0, top=1, cut=whole)
    assert fill(rule, "服务") == "酒酒"
    assert fill(rule, "酒酒") == "酒店"
    assert fill(rule, "酒") == "店"
    assert fill(rule, "酒，宾馆房间", spans=[(2, 6)]) == "店，宾馆房间"
    assert fill(rule, "房间很大的早餐") is None  # seven characters: too long to be filled


def test_masks_are_filled_where_they_stand():
    """The likeliest word at each place, against a loop over token ids whose places are known by hand."""
    tokenizer = wordpiece()
    model = masked_model(tokenizer)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # or one word would be the likeliest everywhere
            parameter.data.mul_(10.0)
    model.bert.embeddings.position_embeddings.weight.data.mul_(10.0)
    tokens = ["good", "酒", "店", "film", ",", "服", "务", "slow"]
    groups = [[1], [2, 3], [4], [6, 7], [8]]  # places of the words' tokens after [CLS]
    allowed = {
        True: list(dict.fromkeys(HAN.replace("不", ""))),
        False: [w for w in WORDS if w not in NO and len(w) > 1],
    }
    ids = torch.tensor([[2, *([4] * 4), tokenizer.convert_tokens_to_ids(","), *([4] * 3), 3]])
    for piece in range(2):
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0]
        for group in groups:
            if piece < len(group):
                old = tokens[group[piece] - 1]
                among = [w for w in allowed[len(group) == 2] if piece == 1 or len(group) == 2 or w != old]
                ids[0, group[piece]] = max(
                    tokenizer.convert_tokens_to_ids(among), key=logits[group[piece]].tolist().__getitem__
                )
    good, han1, han2, film, _, han3, han4, slow = tokenizer.convert_ids_to_tokens(ids[0, 1:-1].tolist())
    rule = Masked(
        model, tokenizer, share=1.0, top=1, cut=lambda run: [run[:2], run[2:]] if len(run) > 2 else [run]
    )
    assert fill(rule, "good 酒店 film, 服务 slow") == f"{good} {han1}{han2} {film}, {han3}{han4} {slow}"
    assert len({good, film, slow, han1, han2, han3, han4}) > 4


def test_the_draw_follows_the_models_probabilities():
    """Three words at logits 2, 1, 0 over a floor: e²:e:1 of the draws, by a chi-square of 2 degrees."""
    tokenizer = wordpiece()
    model = masked_model(tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for token, logit in (("fine", 102.0), ("great", 101.0), ("lovely", 100.0)):
            model.cls.predictions.bias[tokenizer.convert_tokens_to_ids(token)] = logit
    rule = Masked(model, tokenizer, share=1.0, top=3)
    items = [Item("good", "")] * 3000
    made = Counter(
        new.text for new in rule.many(items, [np.random.default_rng(i) for i in range(3000)]) if new
    )
    expected = 3000 * np.exp([2, 1, 0]) / np.exp([2, 1, 0]).sum()
    found = np.array([made["fine"], made["great"], made["lovely"]])
    assert found.sum() == 3000
    assert ((found - expected) ** 2 / expected).sum() < 13.8  # p = 0.001


def test_rows_in_a_batch_do_not_disturb_one_another():
    tokenizer = wordpiece()
    rule = Masked(masked_model(tokenizer), tokenizer, share=0.5, top=5, cut=characters, batch_size=4)
    rng = random.Random(0)
    items = []
    for _ in range(30):
        text = (
            " ".join(rng.choices(WORDS, k=rng.randint(1, 9)))
            + " "
            + "".join(rng.choices(HAN, k=rng.randint(0, 6)))
        )
        items.append(Item(text, "", spans=((0, rng.randint(1, len(text))),)))
    together = rule.many(items, [np.random.default_rng(i) for i in range(30)])
    alone = [rule.many([item], [np.random.default_rng(i)])[0] for i, item in enumerate(items)]
    assert together == alone
    assert sum(new is not None for new in together) > 10
    for old, new in zip(items, together, strict=True):
        if new is not None:
            assert [new.text[a:b] for a, b in new.spans] == [old.text[a:b] for a, b in old.spans]
            assert new.text.count("不") == old.text.count("不")
            assert [w for w in new.text.split() if w in ("not", "never")] == [
                w for w in old.text.split() if w in ("not", "never")
            ]


def test_words_beyond_the_models_length_stay():
    """32 tokens are read, [CLS] and [SEP] among them: words from the 31st on are never changed."""
    tokenizer = wordpiece()
    rule = Masked(masked_model(tokenizer, ["fine"]), tokenizer, share=1.0, top=1)
    new = fill(rule, " ".join(["good"] * 50))
    assert new == " ".join(["fine"] * 30 + ["good"] * 20)


def test_the_model_is_given_back_as_it_was_and_masks_in_the_text_are_left_alone():
    tokenizer = wordpiece()
    model = masked_model(tokenizer, ["fine"]).train()
    rule = Masked(model, tokenizer, share=1.0)
    assert fill(rule, "a [MASK] film") is None
    assert fill(rule, "good") is not None
    assert model.training


def test_a_tokenizer_without_a_mask_is_refused():
    tokenizer = wordpiece()
    tokenizer.mask_token = None
    with pytest.raises(ModelError, match="mask token"):
        Masked(masked_model(tokenizer), tokenizer)


# ---- back-translation ----------------------------------------------------------------------------

LONGEST = 12


def word_level() -> PreTrainedTokenizerFast:
    vocabulary = ["<pad>", "</s>", "<unk>", ".", "!", ",", "3", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


def translator(seed: int, ends: bool = True, **settings) -> Translator:
    """A tiny random T5; ends: every output is closed after at most `LONGEST` tokens."""
    tokenizer = word_level()
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    config = T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, dropout_rate=0.0, **shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config).eval()
        for parameter in model.parameters():
            parameter.data.mul_(3.0)
    options = {"forced_eos_token_id": 1} if ends else {"suppress_tokens": [1]}
    return Translator(model, tokenizer, options=options, longest=LONGEST, **settings)


def test_translation_is_the_models_own_greedy_search():
    """One beam, against a loop of arg-max by hand, each text on its own."""
    made = translator(1)
    texts = ["the film was good", "not", "it is a very long and slow film .", "the film was good"]
    found = made.translate(texts, beams=1)
    for text, outputs in zip(texts, found, strict=True):
        ids = made.tokenizer(text, return_tensors="pt")["input_ids"]
        out = [0]
        while len(out) < LONGEST and (len(out) == 1 or out[-1] != 1):
            with torch.inference_mode():
                logits = made.model(input_ids=ids, decoder_input_ids=torch.tensor([out])).logits
            out.append(int(logits[0, -1].argmax()))
        expected = made.tokenizer.decode(out, skip_special_tokens=True).strip()
        assert outputs == ((expected,) if expected else ())
    assert any(found)


def test_translations_are_cached_by_content(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    texts = ["the film was good", "a slow plot"]
    first = translator(1).translate(texts, 2, 2)
    (path,) = (own_cache / "translations").iterdir()

    def forbidden(*args, **more):
        raise AssertionError("asked again")

    again = translator(1)
    monkeypatch.setattr(again.model, "generate", forbidden)
    assert again.translate(texts[::-1], 2, 2) == first[::-1]
    with pytest.raises(AssertionError, match="asked again"):
        again.translate(["good"], 2, 2)
    for other in (translator(2), translator(1, prefix="very "), translator(1, ends=False)):
        monkeypatch.setattr(other.model, "generate", forbidden)
        with pytest.raises(AssertionError, match="asked again"):
            other.translate(texts, 2, 2)
    path.write_bytes(path.read_bytes()[:-9])  # killed while it wrote
    assert translator(1).translate(texts, 2, 2) == first
    assert "1 damaged lines" in caplog.text
    assert again.translate(texts, 2, 2) == first  # what was appended after the damage is read


def test_what_does_not_end_or_is_too_long_is_no_translation():
    assert translator(1, ends=False).translate(["the film was good"], 1) == [()]
    long = " ".join(["good"] * LONGEST)  # and </s>: one token too many
    short = " ".join(["good"] * (LONGEST - 1))
    found = translator(1).translate([long, short], 1)
    assert found[0] == ()
    assert found[1]


def test_a_start_that_looks_like_an_end_is_none():
    """BART and M2M begin their outputs with the token that ends them."""
    made = translator(1)
    assert not made._ends([1, 5, 6])
    assert made._ends([1, 5, 1, 0])
    made.model.generation_config.eos_token_id = [6, 7]
    assert made._ends([0, 7])
    assert not made._ends([0, 1])


def test_back_translation_of_random_models_runs_through():
    rule = BackTranslation(translator(1), translator(2), beams=3)
    texts = ["the film was good. a slow plot!", "the film was good. it is very long", "3", "房间"]
    items = [Item(text, "", copy=copy) for text in texts for copy in range(2)]
    randoms = [np.random.default_rng(0)] * len(items)
    made = rule.many(items, randoms)
    assert made == rule.many(items, randoms)
    assert any(new is not None for new in made)
    for old, new in zip(items, made, strict=True):
        if new is not None:
            assert new.text != old.text
            assert new.label == old.label


class Dictionary:
    """A translator that looks up, and remembers what it was asked."""

    def __init__(self, entries: dict[str, tuple[str, ...]]) -> None:
        self.entries, self.asked = entries, []

    def translate(self, texts: Sequence[str], beams: int, wanted: int = 1) -> list[tuple[str, ...]]:
        self.asked += texts
        return [self.entries.get(text, ())[:wanted] for text in texts]


def test_copies_take_the_next_best_faithful_way():
    there = Dictionary({"I don't like it.": ("Mag ich nicht.",), "It cost 3.50.": ("Es kostete 3.50.",)})
    ways = ("I don't like it.", "I like it.", "I do not like it.", "It is not for me.")
    back = Dictionary({"Mag ich nicht.": ways, "Es kostete 3.50.": ("It was 3.", "It was 3.50.")})
    rule = BackTranslation(there, back, beams=4)  # type: ignore[arg-type]
    text = "I don't like it. It cost 3.50. Anna stays."
    items = [Item(text, "", "tag", spans=((31, 35),), copy=copy) for copy in range(3)]
    made = rule.many(items, [np.random.default_rng(0)] * 3)
    assert [new.text for new in made if new] == [
        "I do not like it. It was 3.50. Anna stays.",
        "It is not for me. It was 3.50. Anna stays.",
        "It is not for me. It was 3.50. Anna stays.",  # no third way: `augment` drops the repeat
    ]
    assert [new.text[a:b] for new in made if new for a, b in new.spans] == ["Anna"] * 3
    assert there.asked == ["I don't like it.", "It cost 3.50."]  # each once, and no sentence with an entity


def test_lone_surrogates_and_damaged_lines_do_no_harm(own_cache: Path):
    made = translator(1)
    first = made.translate(["good film"], 1)
    (path,) = (own_cache / "translations").iterdir()
    path.write_text(path.read_text() + "\n[1]\n" + json.dumps({"text": "x"}))
    assert made.translate(["good film"], 1) == first
