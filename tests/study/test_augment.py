"""Augmentation in studies: which rows may enter a training, what moves along, and what is said of it."""

import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from sklearn.metrics import f1_score
from tiny import BAD, GOOD, PLACES, THINGS, make_model_folder, sentences, write_sentences
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from typer.testing import CliRunner

import tunelab
from tunelab import tasks
from tunelab.cli import app
from tunelab.config import AugmentConfig, DataConfig, ModelConfig, RunConfig
from tunelab.data.table import Table
from tunelab.errors import ConfigError
from tunelab.measure.pairs import compare_pair, holm
from tunelab.measure.statistics import class_f1, score_function
from tunelab.study.agreement import agreeing
from tunelab.study.augmented import _key, augmented, uses_of
from tunelab.study.effect import effects_of
from tunelab.study.predictions import Judged
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.recipes import RECIPES
from tunelab.study.search import read_curve

QUICK = {"train.epochs": 2, "train.batch_size": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny")


def swapped_words(seed: int) -> pd.DataFrame:
    """Two or three words a row: what one row becomes, another one already is, but for a capital letter."""
    rng = random.Random(seed)
    texts = []
    for first, second in itertools.product(PLACES[:6], THINGS[:6]):
        texts += [f"{first} {second}", f"{second.title()} {first}!"]
        if rng.random() < 0.3:
            texts.append(f"{first} {second} {rng.choice(GOOD + BAD)}")
    rng.shuffle(texts)
    return pd.DataFrame({"text": texts, "label": [rng.choice(["good", "bad"]) for _ in texts]})


def letters(text: str) -> str:
    """A text as a reader who overlooks case, spaces and marks would have it."""
    return re.sub(r"[\W_]", "", text).casefold()


@pytest.mark.parametrize("folds", [0, 3], ids=["holdout", "folds"])
@pytest.mark.parametrize("seed", range(4))
def test_no_copy_of_a_row_that_is_judged_is_learnt_from(
    folds: int, seed: int, model: Path, tmp_path: Path
) -> None:
    """By origin (file and row, which a copy has from its original) and by text, in every fold and share."""
    path = tmp_path / "data.csv"
    swapped_words(seed).to_csv(path, index=False)
    data = DataConfig(folds=folds, split_seed=seed, valid_ratio=0.15, test_ratio=0.2)
    plain = prepare((str(path),), "classify", data, ModelConfig(name=str(model)))
    config = AugmentConfig(recipe=("swap", "slips"), copies=3, share=0.5, seed=seed)
    uses = uses_of(len(plain.splits), (25, 60))
    assert len(uses) == (10 if folds else 3)
    found = augmented(plain, config, "classify", uses)
    assert found.copies is not None
    assert len(found.copies) > 100
    frame = found.table.frame
    place = {
        (f, r): i for i, (f, r) in enumerate(zip(frame["file"][: plain.own], frame["row"], strict=False))
    }
    origin = [place[f, r] for f, r in zip(frame["file"], frame["row"], strict=True)]
    near_misses = 0
    for use in uses:
        split, learnt = found.split(*use), found.training(*use)
        assert np.array_equal(split.train, plain.split(*use).train)
        rows, copies = learnt[learnt < plain.own], learnt[learnt >= plain.own]
        assert np.array_equal(rows, split.train)
        assert len(copies) > 0
        judged = {*split.valid.tolist(), *split.test.tolist()}
        assert {origin[i] for i in copies} <= set(split.train.tolist())
        assert not {origin[i] for i in copies} & judged
        said = {letters(frame["text"][i]) for i in judged}
        assert not said & {letters(frame["text"][i]) for i in copies}
        others = [i for i in range(plain.own, len(frame)) if origin[i] in set(split.train.tolist())]
        near_misses += len(others) - len(copies)
        labels = frame["label"].to_numpy()
        assert all(labels[i] == labels[origin[i]] for i in copies)
    assert near_misses > 0 or not folds  # with one split they are refused before they become rows
    assert folds or found.copies.lost["held_out"] > 0
    assert found.notes[: len(plain.notes)] == plain.notes
    judge = found.task(RunConfig(files=("x",), data=data), 0)
    assert judge.as_dict() == plain.task(RunConfig(files=("x",), data=data), 0).as_dict()


def test_the_same_copies_every_time(model: Path, tmp_path: Path) -> None:
    """To the byte: made twice, in another order of the files' rows' neighbours, and read back from a folder."""
    path = write_sentences(tmp_path / "data.csv", 60)
    plain = prepare((str(path),), "classify", DataConfig(folds=2), ModelConfig(name=str(model)))
    config = AugmentConfig(
        recipe=tuple(n for n in RECIPES if n not in ("masked", "back_translation", "synonyms"))
    )
    uses = uses_of(2)
    made = [augmented(plain, config, "classify", uses, folder) for folder in (None, tmp_path / "kept", None)]
    (kept,) = (tmp_path / "kept").iterdir()
    before = (kept / "copies.parquet").read_bytes()
    frame = pd.read_parquet(kept / "copies.parquet")
    frame.loc[0, "text"] = "read from the folder"
    frame.to_parquet(kept / "copies.parquet", index=False)
    again = augmented(plain, config, "classify", uses, tmp_path / "kept")
    assert again.table.frame["text"][plain.own] == "read from the folder"
    (kept / "copies.parquet").write_bytes(before)
    made.append(augmented(plain, config, "classify", uses, tmp_path / "kept"))
    assert len({(each.digest, each.token_digest) for each in made}) == 1
    assert made[0].digest != plain.digest
    other = augmented(plain, config.model_copy(update={"seed": 1}), "classify", uses, tmp_path / "kept")
    assert other.digest != made[0].digest
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_copies_of_a_table_with_another_column_are_others(model: Path, tmp_path: Path) -> None:
    """A group column is no part of what rows say, so of their digest, but it is one of the copies' columns."""
    path = write_sentences(tmp_path / "data.csv", 60)
    frame = pd.read_csv(path).assign(user=[f"u{i}" for i in range(60)])
    frame.to_csv(path, index=False)
    config, columns = AugmentConfig(recipe=("swap",)), []
    for group in (None, "user", None):
        data = DataConfig(folds=2, group=group)
        plain = prepare((str(path),), "classify", data, ModelConfig(name=str(model)))
        made = augmented(plain, config, "classify", uses_of(2), tmp_path / "kept")
        columns.append("group" in made.table.frame)
    assert columns == [False, True, False]


def test_a_masked_model_that_was_trained_further_writes_other_copies(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sentences(tmp_path / "data.csv", 60)
    plain = prepare((str(path),), "classify", DataConfig(), ModelConfig(name=str(model)))
    folder = make_model_folder(tmp_path / "masked")
    monkeypatch.chdir(tmp_path)

    def key(name: str) -> str:
        return _key(plain, AugmentConfig(masked=name), "classify", ["masked"], np.arange(9))

    before = key(str(folder))
    assert key("masked") == before  # (the same folder)
    changed = bytearray((folder / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    (folder / "model.safetensors").write_bytes(changed)
    assert len({before, key("masked"), key("some/model-of-a-hub"), key("another/of-a-hub")}) == 4


# ---- what moves along ----------------------------------------------------------------------------


def of_task(task: str, rows: int = 40) -> list[dict]:
    rng = np.random.default_rng(0)
    found = []
    for i in range(rows):
        place, thing, word = (str(rng.choice(some)) for some in (PLACES, THINGS, GOOD + BAD))
        text = f"my {thing} from the {place} is {word} and the {word} one was not number {i}"
        at = text.index(place)
        if task == "classify":
            found.append({"text": text, "label": "good" if word in GOOD else "bad"})
        if task == "match":
            found.append({"sentence1": text, "sentence2": f"a {thing} in my {place} {i}", "label": i % 2})
        if task == "tag":
            own = [text.index(thing), text.index(thing) + len(thing), "THING"]
            found.append({"text": text, "label": [own, [at, at + len(place), "PLACE"]]})
        if task == "answer":
            answers = {"text": [place], "answer_start": [at]}
            found.append(
                {"id": str(i), "question": f"where is the {thing} {i}", "context": text, "answers": answers}
            )
    return found


def prepared_of(task: str, model: Path, folder: Path, length: int = 16) -> Prepared:
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, of_task(task))), encoding="utf-8")
    own = ModelConfig(name=str(model), max_length=length)
    return prepare((str(path),), task, DataConfig(folds=2), own)


@pytest.mark.parametrize("task", ["classify", "match", "tag", "answer"])
def test_joined_rows_are_those_of_one_encoding(task: str, model: Path, tmp_path: Path) -> None:
    """Tokens, windows, parts and targets as if originals and copies had been in one file from the start."""
    plain = prepared_of(task, model, tmp_path, 24)
    config = AugmentConfig(recipe=("swap", "delete", "keyboard"), copies=2)
    found = augmented(plain, config, task, uses_of(2))
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    whole = tasks.find(task).encode(Table(found.table.frame, {}), tokenizer, 24)
    for name in ("ids", "starts", "seconds", "types"):
        for ours, theirs in ((found.encoded.tokens, whole.tokens), (found.encoded.whole, whole.whole)):
            np.testing.assert_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_equal(found.encoded.firsts, whole.firsts)
    assert (task in ("tag", "answer")) == (whole.units is not None)
    if whole.units is not None:
        assert len(found.tokens) > len(found.table)  # some have several windows
        for name in ("starts", "spans", "tokens", "owners"):
            np.testing.assert_equal(getattr(found.encoded.units, name), getattr(whole.units, name))
    labels = found.table.frame["label"].tolist()
    judge = found.task(RunConfig(files=("x",), task=task), 0)
    np.testing.assert_equal(judge.targets(labels, found.encoded), judge.targets(labels, whole))


@pytest.mark.parametrize("task", ["tag", "answer"])
def test_labels_point_at_the_same_words(task: str, model: Path, tmp_path: Path) -> None:
    plain = prepared_of(task, model, tmp_path, 64)
    found = augmented(plain, AugmentConfig(recipe=("auto",), copies=3), task, uses_of(2))
    assert found.copies is not None
    frame, moved = found.table.frame, 0
    column = "text" if task == "tag" else "text_pair"

    def surfaces(row: int) -> list[tuple[str, str]]:
        text, label = frame[column][row], json.loads(frame["label"][row])
        if task == "tag":
            return [(text[a:b], kind) for a, b, kind in label]
        return [(text[x["start"] : x["start"] + len(x["text"])], x["text"]) for x in label]

    for number, origin in enumerate(found.copies.origins.tolist()):
        row = plain.own + number
        assert surfaces(row) == surfaces(origin)
        assert all(len(words) > 2 for words, _ in surfaces(row))
        moved += frame["label"][row] != frame["label"][origin]
    assert moved > 10


# ---- recipes -------------------------------------------------------------------------------------


def test_labels_that_do_not_survive(model: Path, tmp_path: Path) -> None:
    """`lovely` and `broken` decide; a copy that says the opposite is refused, but no copy of a row that is
    labelled against its own word, which the classifier gets wrong both times."""
    rng = np.random.default_rng(0)
    words = ["lovely" if i % 2 else "broken" for i in range(200)]
    frame = pd.DataFrame({"text": [f"{rng.choice(PLACES)} {w} {i}" for i, w in enumerate(words)]})
    frame["label"] = ["good" if w == "lovely" else "bad" for w in words]
    frame.loc[7, "label"] = "bad"
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    plain = prepare((str(path),), "classify", DataConfig(folds=0), ModelConfig(name=str(model)))
    opposite = {"lovely": "broken", "broken": "lovely"}
    turned = [text.replace(w, opposite[w]) for text, w in zip(frame["text"], words, strict=True)]
    texts = [*turned, *frame["text"]]
    new = pd.DataFrame({"text": texts, "label": [*frame["label"]] * 2, "origin": [*range(200)] * 2})
    kept = agreeing(plain, new, plain.split(0).train)
    inside = np.isin(np.arange(200), plain.split(0).train)
    assert kept[200:].all()
    assert kept[:200][~inside].all()  # of other rows nothing is asked
    assert inside[7]
    assert np.flatnonzero(kept[:200] & inside).tolist() == [7]  # what is said of it now fits its label


def told_apart(model: Path, folder: Path, task: str, rows: list[dict]) -> Prepared:
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return prepare((str(path),), task, DataConfig(folds=0), ModelConfig(name=str(model)))


def agreed(prepared: Prepared, task: str, **columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(whether each training row's copy survived, the training rows), of one copy a row."""
    rows = np.arange(prepared.own)
    new = prepared.table.frame.assign(**columns, origin=rows)
    kept, train = agreeing(prepared, new, prepared.split(0).train, task), prepared.split(0).train
    assert kept[np.setdiff1d(rows, train)].all()  # of other rows nothing is asked
    return kept[train], train


def test_a_label_among_several_that_does_not_survive(model: Path, tmp_path: Path) -> None:
    """`late` and `dear` each decide one label: the word lost or put in, the copy is refused; another word
    changed, it is not."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(240):
        labels = [name for name in ("late", "dear") if rng.random() < 0.5]
        rows.append({"text": " ".join([str(rng.choice(PLACES)), *labels, f"n{i}"]), "labels": labels})
    plain = told_apart(model, tmp_path, "multilabel", rows)
    texts = plain.table.frame["text"].tolist()
    turned = [t.replace(" late", "") if " late" in t else t.replace(" n", " late n", 1) for t in texts]
    kept, _ = agreed(plain, "multilabel", text=turned)
    assert kept.mean() < 0.05
    kept, _ = agreed(plain, "multilabel", text=[f"{t} {PLACES[0]}" for t in texts])
    assert kept.mean() > 0.95


def test_a_pair_that_does_not_match_any_more(model: Path, tmp_path: Path) -> None:
    """Both texts name the same thing or two; where the second one's is turned so that it says the opposite, the
    copy is refused, and where its place is changed, it is not."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(400):
        own, other = (str(thing) for thing in rng.choice(THINGS, 2, replace=False))
        places = rng.choice(PLACES, 3)
        label = "same" if i % 2 else "other"
        second = f"{own if i % 2 else other} {places[2]}"
        rows.append({"sentence1": f"{own} {places[0]} {places[1]}", "sentence2": second, "label": label})
    plain = told_apart(model, tmp_path, "match", rows)
    frame = plain.table.frame
    owns = [text.split()[0] for text in frame["text"]]
    things, places = zip(*(text.split() for text in frame["text_pair"]), strict=True)
    kept, _ = agreed(plain, "match", text_pair=[f"{thing} {PLACES[0]}" for thing in things])
    assert kept.mean() > 0.9
    others = [next(t for t in THINGS if t != own) for own in owns]
    opposite = [o if thing == own else own for own, thing, o in zip(owns, things, others, strict=True)]
    turned = [f"{thing} {place}" for thing, place in zip(opposite, places, strict=True)]
    kept, _ = agreed(plain, "match", text_pair=turned)
    assert kept.mean() < 0.1


def test_a_number_that_does_not_survive(model: Path, tmp_path: Path) -> None:
    """A word is worth its place among eight, and rows are spread by 1.5 around it, which is then about the first
    classifier's error: a word four places off is refused, one beside it is not."""
    rng = np.random.default_rng(0)
    worth = rng.integers(0, 8, 400)
    rows = [
        {"text": f"{rng.choice(PLACES)} w{'abcdefgh'[w]}", "score": round(float(w + rng.normal(0, 1.5)), 3)}
        for w in worth
    ]
    plain = told_apart(model, tmp_path, "regress", rows)
    texts = plain.table.frame["text"].tolist()
    words = [int("abcdefgh".index(t[-1])) for t in texts]
    far = [f"{t[:-1]}{'abcdefgh'[(w + 4) % 8]}" for t, w in zip(texts, words, strict=True)]
    near = [f"{t[:-1]}{'abcdefgh'[w + 1 if w < 7 else w - 1]}" for t, w in zip(texts, words, strict=True)]
    kept, _ = agreed(plain, "regress", text=far)
    assert kept.mean() < 0.2
    kept, _ = agreed(plain, "regress", text=near)
    assert kept.mean() > 0.8


def test_the_check_is_told_where_it_is_not_made(model: Path, tmp_path: Path) -> None:
    plain = prepared_of("tag", model, tmp_path, 64)
    config = AugmentConfig(recipe=("swap",), check="always")
    notes = augmented(plain, config, "tag", uses_of(2)).notes
    assert any("is asked in classify, multilabel, match, regress, not in tag" in note for note in notes)


def test_a_study_leaves_names_alone(tmp_path: Path) -> None:
    """Through `augmented`, as a study goes: Chinese rows about one person, whom every copy still names."""
    pytest.importorskip("jieba", reason="jieba is not installed")
    rng = random.Random(0)
    words = ["房间", "早餐", "服务", "价格", "位置", "前台", "环境", "热情"]
    texts = ["王小明说" + "".join(rng.sample(words, 4)) + f"都很好{i}号" for i in range(60)]
    path = tmp_path / "data.csv"
    pd.DataFrame({"text": texts, "label": ["good", "bad"] * 30}).to_csv(path, index=False)
    plain = prepare((str(path),), "classify", DataConfig(folds=0), ModelConfig(name="mini-zh"))
    config = AugmentConfig(recipe=("swap", "delete", "look_alikes", "slips"), copies=3, share=0.5)
    found = augmented(plain, config, "classify", uses_of(1))
    copies = found.table.frame["text"].tolist()[plain.own :]
    assert len(copies) > 60
    assert all("王小明" in text for text in copies)


def test_texts_that_a_model_writes(model: Path, tmp_path: Path) -> None:
    """Back-translation by two local models and words of a masked one, by their folders' names."""
    vocabulary = ["<pad>", "</s>", "<unk>", "[MASK]", *sorted({*GOOD, *BAD, *THINGS, *PLACES})]
    words = Tokenizer(models.WordLevel({t: i for i, t in enumerate(vocabulary)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="</s>", mask_token="[MASK]"
    )
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng():
        for seed, name in enumerate(("there", "back", "fills")):
            torch.manual_seed(seed)
            if name == "fills":
                config = transformers.BertConfig(vocab_size=len(vocabulary), **sizes)
                made = transformers.BertForMaskedLM(config)
            else:
                config = transformers.T5Config(vocab_size=len(vocabulary), decoder_start_token_id=0, **shape)
                made = transformers.T5ForConditionalGeneration(config)
                made.generation_config.forced_eos_token_id = 1
            made.save_pretrained(tmp_path / name)
            tokenizer.save_pretrained(tmp_path / name)
    path = write_sentences(tmp_path / "data.csv", 40)
    plain = prepare((str(path),), "classify", DataConfig(folds=2), ModelConfig(name=str(model)))
    config = AugmentConfig(
        recipe="masked,back_translation",
        masked=str(tmp_path / "fills"),
        translators=f"{tmp_path / 'there'},{tmp_path / 'back'}",
        check="never",
    )
    found = augmented(plain, config, "classify", uses_of(2))
    assert found.copies is not None
    assert found.copies.recipe == ("masked", "back_translation")
    assert len(found.copies) > 5
    checked = augmented(plain, config.model_copy(update={"check": "auto"}), "classify", uses_of(2))
    assert len(checked.training(0)) <= len(found.training(0))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"recipe": "synonym"}, "unknown augmentation 'synonym'; did you mean 'synonyms'"),
        ({"recipe": "auto,swap"}, "auto chooses by itself; leave out swap"),
        ({"recipe": "synonyms"}, "needs a lexicon"),
        ({"recipe": "back_translation"}, "needs two models"),
        ({"recipe": "swap", "synonyms": "words.jsonl"}, "augment.synonyms is given, but not used"),
        ({"recipe": "swap", "translators": "a"}, "translators must be two"),
        ({"recipe": "masked"}, "comes without the head of a masked language model"),
        ({"recipe": "swap", "copys": 2}, "did you mean 'copies'"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict, said: str, model: Path, tmp_path: Path) -> None:
    data = write_sentences(tmp_path / "data.csv", 40)
    with pytest.raises(ConfigError, match=re.escape(said)):
        tunelab.compare(
            data, methods=["head"], model=str(model), folds=0, settings={"augment": settings},
            out=tmp_path / "out", progress=False,
        )  # fmt: skip


# ---- what is said of it --------------------------------------------------------------------------


def judged(name: str, right_SN: np.ndarray) -> Judged:
    scores = tuple(
        score_function("accuracy", right.astype(int), np.ones(len(right), int)) for right in right_SN
    )
    return Judged(name, scores, 1.0 - right_SN, right_SN, None, None, ())


def test_effects_against_their_parts() -> None:
    """Each method's is the pair's own; together the mean; Holm over the methods that have both."""
    rng = np.random.default_rng(0)
    easy = rng.random(400) < 0.8

    def runs(better: float) -> np.ndarray:
        return np.array([easy ^ (rng.random(400) < 0.15 - better) for _ in range(3)])

    found = [judged(n, runs(b)) for n, b in (("a", 0), ("b", 0), ("a+", 0.02), ("b+", 0.12), ("c+", 0))]
    overall, effects = effects_of({"a+": "a", "b+": "b", "c+": "c"}, found, None)
    tests = [compare_pair(found[i + 2].scores, found[i].scores, 400) for i in (0, 1)]
    assert [(e.plain, e.augmented, e.difference.value, e.p) for e in effects] == [
        (plain, f"{plain}+", test.value, test.p) for plain, test in zip("ab", tests, strict=True)
    ]
    assert [e.p_holm for e in effects] == holm([test.p for test in tests])
    assert effects[1].different
    assert overall is not None
    assert overall.difference.value == pytest.approx(np.mean([test.value for test in tests]))
    assert overall.difference.low < overall.difference.value < overall.difference.high
    alone, one = effects_of({"a+": "a"}, found, None)
    assert alone is None
    assert one[0].p_holm == one[0].p
    assert effects_of({}, found, None) == (None, ())


def test_a_class_that_no_item_has_is_no_test() -> None:
    """Of three classes one has no item and is never said: Holm's correction is for the other two."""
    truth_N = np.array([0, 1] * 100)
    found = []
    for name, wrong in (("a", 60), ("a+", 20)):
        said_N = np.where(np.arange(200) < wrong, 1 - truth_N, truth_N)
        scores = (score_function("accuracy", said_N, truth_N),)
        parts = ({label: class_f1(said_N, truth_N, code) for code, label in enumerate("abn")},)
        wrong_SN = (said_N != truth_N)[None].astype(float)
        found.append(Judged(name, scores, wrong_SN, said_N[None], None, None, (), parts))
    _, (effect,) = effects_of({"a+": "a"}, found, None)
    assert [own.label for own in effect.classes] == ["a", "b"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, model: Path):
    folder = tmp_path_factory.mktemp("study")
    return tunelab.compare(
        write_sentences(folder / "data.csv", 90),
        methods=["full", "lora"],
        model=str(model),
        folds=2,
        seeds=1,
        augment="auto",
        out=folder / "out",
        settings={**QUICK, "search.trials": 1, "baselines": False},
        progress=False,
    )


@pytest.mark.slow
def test_a_study_compares_with_and_without(study) -> None:
    """Four rows with equal numbers of runs, steps and validations: trainings differ in their rows alone."""
    names = ["full", "full+augment", "lora", "lora+augment"]
    methods = {r.name: r for r in study.record.results}
    assert sorted(methods) == names
    folders = {name: [study.folder / "runs" / run for run in methods[name].runs] for name in names}
    assert {len(own) for own in folders.values()} == {2}
    every = [folder for own in folders.values() for folder in own]
    assert {json.loads((f / "result.json").read_text())["training"]["steps"] for f in every} == {6}
    assert {len(read_curve(f, study.record.deciding)) for f in every} == {2}
    for name, own in folders.items():
        told = [json.loads((f / "result.json").read_text())["provenance"]["training"] for f in own]
        assert all(("made from them (swap, delete, slips)" in t) == ("+augment" in name) for t in told)
    assert study.winner in names
    assert tunelab.load(study.bundle).predict(["office lamp lovely"])[0] in ("good", "bad")


def predictions(study, name: str) -> pd.DataFrame:
    result = next(r for r in study.record.results if r.name == name)
    folders = [study.folder / "runs" / run for run in result.runs]
    return pd.concat([pd.read_parquet(f / "predictions.parquet") for f in folders]).sort_values("item")


def test_what_it_says_is_what_the_predictions_say(study) -> None:
    """Differences of accuracy, and F1 by class as scikit-learn has it, from the predictions alone."""
    found = study.record.augmentation
    assert found.recipe == ("swap", "delete", "slips")
    assert [effect.plain for effect in found.effects] == ["full", "lora"]
    differences = []
    for effect in found.effects:
        plain, new = (predictions(study, name) for name in (effect.plain, effect.augmented))
        assert plain["item"].tolist() == new["item"].tolist() == list(range(90))
        right = [float((frame["label"] == frame["prediction"]).mean()) for frame in (plain, new)]
        assert effect.difference.value == pytest.approx(right[1] - right[0])
        differences.append(right[1] - right[0])
        for one in effect.classes:
            scores = [
                f1_score(f["label"] == one.label, f["prediction"] == one.label, zero_division=0)
                for f in (plain, new)
            ]
            assert (one.plain_score.value, one.augmented_score.value) == pytest.approx(scores)
            assert one.difference.value == pytest.approx(scores[1] - scores[0])
            assert one.p_holm >= 0.05 or one.different
    assert {one.label for effect in found.effects for one in effect.classes} == {"good", "bad"}
    assert found.overall.difference.value == pytest.approx(np.mean(differences))
    assert 0 < found.copies <= found.rows
    originals = set(sentences(90)["text"])
    assert len(found.examples) == 5
    assert all(e.original in originals and e.changed not in originals for e in found.examples)
    page = study.report.read_text(encoding="utf-8")
    assert "Whether new training rows helped" in page
    assert "数据增强是否有用" in page


def test_a_study_goes_on_with_the_same_copies(study) -> None:
    before = {p: p.read_bytes() for p in (study.folder / "runs").glob("*/result.json")}
    again = tunelab.compare(study.folder, progress=False)
    assert {p: p.read_bytes() for p in (study.folder / "runs").glob("*/result.json")} == before
    assert again.record.augmentation == study.record.augmentation


def test_a_recipe_without_copies_changes_nothing(model: Path, tmp_path: Path) -> None:
    """The same predictions, to the bit, in a folder of its own; and with copies others, after as many steps."""
    data = write_sentences(tmp_path / "data.csv", 60)
    lexicon = tmp_path / "words.jsonl"
    lexicon.write_text('{"word": "unheard", "pos": "a", "synonyms": ["of"]}', encoding="utf-8")
    common = {"method": "lora", "model": str(model), "out": tmp_path / "out", "progress": False}
    plain = tunelab.run(data, settings=QUICK, **common)
    none = tunelab.run(
        data, augment="synonyms", settings={**QUICK, "augment.synonyms": str(lexicon)}, **common
    )
    words = [
        "run",
        str(data),
        "--model",
        str(model),
        "--augment",
        "swap,keyboard",
        "--out",
        str(tmp_path / "out"),
    ]
    made = CliRunner().invoke(
        app, [*words, "augment.copies=2", *(f"{k}={v}" for k, v in QUICK.items()), "-q"]
    )
    assert made.exit_code == 0, made.output
    (third,) = {p.parent for p in (tmp_path / "out/runs").glob("*/result.json")} - {plain.folder, none.folder}
    assert none.folder != plain.folder
    names = ("predictions.parquet", "bundle/adapter_model.safetensors")
    same, other = ([(run / name).read_bytes() for name in names] for run in (none.folder, third))
    assert same == [(plain.folder / name).read_bytes() for name in names]
    assert other[1] != same[1]
    record = json.loads((third / "result.json").read_text())
    assert record["training"]["steps"] == plain.record["training"]["steps"]
    told = re.match(r"48 rows and (\d+) made from them \(swap, keyboard\)", record["provenance"]["training"])
    assert told is not None
    assert 80 < int(told[1]) <= 96
