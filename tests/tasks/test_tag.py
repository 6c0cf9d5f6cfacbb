"""Entities go in and come out, through windows too; the CRF's outputs are Viterbi's; scores are the measure's."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import dropping_tokenizer, make_model_folder
from torch.nn import functional
from transformers import AutoModelForTokenClassification, AutoTokenizer

from tunelab.config import LossConfig
from tunelab.data.batch import IGNORED
from tunelab.data.check import check
from tunelab.data.check_tags import split_units
from tunelab.data.findings import part_of
from tunelab.data.layout import Encoded
from tunelab.data.read_tags import read_tags
from tunelab.data.table import Table
from tunelab.data.tags import forbidden
from tunelab.errors import ConfigError, DataError
from tunelab.objectives.crf import crf_loss, forbid, viterbi
from tunelab.tasks._chain import chain_of
from tunelab.tasks.tag import Tag, TagSettings

WORDS = ["lamp", "Ann", "Lee", "Paris", "runs", "in", "x", ",", "."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny")


def sentences(rows: int, given: bool = True) -> Table:
    """Random words; some runs of them are entities. Every tenth is long."""
    random, found = np.random.default_rng(1), []
    for row in range(rows):
        words = random.choice(WORDS, 60 if row % 10 == 0 else int(random.integers(2, 12)))
        text = " ".join(words)
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        spans = [(int(end) - len(word), int(end)) for word, end in zip(words, ends, strict=True)]
        entities, at = [], 0
        while at < len(words):
            size = int(random.integers(1, 4))
            if random.random() < 0.3 and at + size <= len(words):
                kind = str(random.choice(["PER", "LOC"]))
                entities.append([spans[at][0], spans[at + size - 1][1], kind])
                at += size
            at += 1
        found.append((text, json.dumps(entities), json.dumps(spans) if given else ""))
    frame = pd.DataFrame(found, columns=["text", "label", "units"])
    return Table(frame.assign(split="", file="a.conll", row=range(1, rows + 1)), {})


def made(folder: Path, table: Table, **settings: str) -> tuple[Tag, Encoded]:
    labels = table.frame["label"].tolist()
    task = Tag.fit(labels, labels, LossConfig(), TagSettings(**settings))  # type: ignore[arg-type]
    return task, Tag.encode(table, AutoTokenizer.from_pretrained(folder), 40)


def gold(task: Tag, table: Table, encoded: Encoded, items: np.ndarray) -> np.ndarray:
    """Outputs of a model that knows every label of every row."""
    targets = task.targets(table.frame["label"].tolist(), encoded)
    rows = encoded.rows(items)
    own = [targets[encoded.tokens.starts[row] : encoded.tokens.starts[row + 1]] for row in rows]
    flat = np.concatenate(own)
    outputs = np.zeros((len(flat), len(task.tags)), dtype=np.float32)
    outputs[np.arange(len(flat)), np.where(flat == IGNORED, 0, flat)] = 9.0
    return outputs


@pytest.mark.parametrize("scheme", ["BIO", "IOBES"])
@pytest.mark.parametrize("given", [True, False])
def test_entities_go_in_and_come_out(folder: Path, scheme: str, given: bool) -> None:
    table = sentences(30, given)
    task, encoded = made(folder, table, scheme=scheme)
    assert len(encoded.tokens) > len(table)  # some are cut into windows
    items = np.array([3, 0, 10, 7])
    truth = task.truth(table.frame["label"].iloc[items].tolist())
    scores = task.scores(gold(task, table, encoded, items), truth, encoded.units_of(items))
    assert scores["f1"] > 0.97  # an entity over a window's edge may begin anew
    whole = np.array([i for i in range(len(table)) if i % 10])
    outputs, units = gold(task, table, encoded, whole), encoded.units_of(whole)
    frame = table.frame.iloc[whole].reset_index(drop=True)
    said = task.decode(outputs, frame, units)
    assert [json.loads(text) for text in said["prediction"]] == [json.loads(t) for t in frame["label"]]
    both = pd.concat([frame, said], axis=1)
    assert task.run_score(both)(np.ones((1, len(both)))).tolist() == [1.0]
    assert not task.errors(both).any()
    first = task.answers(both)[0]
    assert [[e["start"], e["end"], e["type"]] for e in first] == json.loads(frame["label"][0])


#: Characters labelled one by one, an entity among them, and why it cannot be found ("": it can). The tokens are
#: 我爱 北京 天安门, without ℃.
IN_TOKENS = [
    ("我爱北京天安门", [2, 7], ""),
    ("我爱北京", [2, 4], ""),
    ("天安门", [0, 3], ""),
    ("我爱北京天安门", [1, 4], "entity-within-token"),
    ("我爱北京", [2, 3], "entity-within-token"),
    ("℃北京", [0, 3], "entity-not-tokenized"),
    ("北京℃", [0, 3], "entity-not-tokenized"),
    ("北京℃我爱", [0, 5], ""),
    ("℃北京℃我爱", [4, 6], ""),
]


@pytest.mark.parametrize("settings", [{"scheme": "BIO"}, {"scheme": "IOBES"}, {"head": "crf"}])
def test_units_that_share_a_token_are_one(settings: dict[str, str]) -> None:
    """What a model that knows every label says; the doctor counts just the entities that are then missed."""
    rows = [
        (text, json.dumps([[*span, "LOC"]]), json.dumps([[i, i + 1] for i in range(len(text))]))
        for text, span, _ in IN_TOKENS
    ]
    frame = pd.DataFrame(rows, columns=["text", "label", "units"])
    table = Table(frame.assign(split="", file="a.conll", row=range(1, len(rows) + 1)), {})
    labels = frame["label"].tolist()
    task = Tag.fit(labels, labels, LossConfig(), TagSettings(**settings))  # type: ignore[arg-type]
    encoded, items = Tag.encode(table, dropping_tokenizer(), 40), np.arange(len(rows))
    said = task.decode(gold(task, table, encoded, items), frame, encoded.units_of(items))["prediction"]
    assert [a == b for a, b in zip(said, labels, strict=True)] == [not why for *_, why in IN_TOKENS]
    findings = {finding.code: finding for finding in Tag.check_encoded(table, encoded)}
    for code in ("entity-within-token", "entity-not-tokenized"):
        assert findings[code].rows == tuple(i for i, (*_, why) in enumerate(IN_TOKENS) if why == code)
        assert (findings[code].count, findings[code].severity) == (2, "warning")
        assert findings[code].title.startswith("2 of 9 entities (22 %) begin or end with")
    (bad,) = Tag.check_encoded(
        part := part_of(table, np.array([3, 3, 0])), Tag.encode(part, dropping_tokenizer(), 40)
    )
    assert (bad.code, bad.severity) == ("entity-within-token", "error")


@pytest.mark.real_data
def test_a_tokenizer_whose_tokens_cross_words(shared_data: Path) -> None:
    """Of tinystories-656k "saw▁a▁big▁" is one token, and ` is none. Of the entities of wnut17's training file, in
    sentences without what it drops, it can find all but those of which the doctor tells. Where its tokens stand
    is not always told after what it drops: such rows are refused."""
    folder = shared_data.parent / "models/tinystories-656k"
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    whole = read_tags([shared_data / "wnut17/wnut17train.conll"], {})
    with pytest.raises(DataError, match=r"drops characters that it does not know \('#', .*--model"):
        Tag.encode(whole, tokenizer, 1024)
    plain = [bool(re.fullmatch(r"[A-Za-z0-9 .,:;!?'-]+", text)) for text in whole.frame["text"]]
    table = part_of(whole, np.flatnonzero(plain))
    labels = table.frame["label"].tolist()
    task = Tag.fit(labels, labels, LossConfig())
    encoded, items = Tag.encode(table, tokenizer, 1024), np.arange(len(table))
    said = task.decode(gold(task, table, encoded, items), table.frame, encoded.units_of(items))["prediction"]
    lost = [
        row
        for row, (found, truth) in enumerate(zip(said.map(json.loads), map(json.loads, labels), strict=True))
        for entity in truth
        if entity not in found
    ]
    (finding,) = Tag.check_encoded(table, encoded)
    assert (finding.code, finding.severity) == ("entity-within-token", "warning")
    assert finding.count == len(lost) > 0
    assert set(finding.rows) == set(lost)


def test_every_row_spells_whole_entities(folder: Path) -> None:
    table = sentences(30)
    task, encoded = made(folder, table)
    targets = task.targets(table.frame["label"].tolist(), encoded)
    rules = forbid(torch.zeros(len(task.tags), len(task.tags)), torch.zeros(5, 5, dtype=torch.bool))
    assert rules.shape == (5, 5)
    for row in range(len(encoded.tokens)):
        own = targets[encoded.tokens.starts[row] : encoded.tokens.starts[row + 1]]
        names = [task.tags[t] for t in own if t != IGNORED]
        for before, after in zip(["O", *names], names, strict=False):
            assert not after.startswith("I-") or before[2:] == after[2:]


def test_softmax_loss_is_torchs_over_units(folder: Path) -> None:
    task, _ = made(folder, sentences(20))
    logits = torch.randn(3, 5, len(task.tags), generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, -100, 0, 4, -100], [0, 0, 0, 0, 0], [-100, -100, 2, -100, -100]])
    total, count = task.objective(logits, targets)
    wanted = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="mean")
    assert count == (targets != IGNORED).sum()
    torch.testing.assert_close(total / count, wanted)


def test_crf_learns_and_predicts_over_units_alone(folder: Path) -> None:
    task, _ = made(folder, sentences(20), head="crf")
    model = task.equip(AutoModelForTokenClassification.from_pretrained(folder, **task.model_options()))
    chain = chain_of(model)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.copy_(0.01 * torch.randn(parameter.shape, generator=random))
    logits = torch.randn(2, 6, len(task.tags), generator=random)
    targets = torch.tensor([[-100, 1, -100, 2, 0, -100], [0, -100, 3, 4, -100, -100]])
    emissions = torch.stack([logits[0, [1, 3, 4]], logits[1, [0, 2, 3]]])
    tags, mask = torch.tensor([[1, 2, 0], [0, 3, 4]]), torch.ones(2, 3).bool()
    scores = task._scores(chain)
    total, count = task.objective_of(model)(logits, targets)
    wanted, units = crf_loss(emissions, tags, mask, *scores)
    torch.testing.assert_close((total, count), (wanted, units))
    total.backward()
    assert chain.transitions.grad is not None
    keep = task.keep_of(model)
    assert keep is not None
    kept = keep(logits, targets)
    best = viterbi(emissions, mask, *scores)
    assert kept[0, [1, 3, 4]].argmax(-1).tolist() == best[0].tolist()
    assert kept[1, [0, 2, 3]].argmax(-1).tolist() == best[1].tolist()
    assert not kept[0, [0, 2, 5]].any()


def test_where_two_windows_meet_no_rule_is_broken(folder: Path) -> None:
    """Random outputs of items of five units, against all 5^5 sequences; those that break nothing stay."""
    task, _ = made(folder, sentences(20), head="crf")
    rules = forbidden(task.tags, task.settings.scheme)
    random, count, length = np.random.default_rng(0), 40, 5
    outputs_UC = random.normal(size=(count * length, len(task.tags))).astype(np.float32)
    plain_U = outputs_UC.argmax(1)
    mended_U = plain_U.copy()
    task._joined(mended_U, outputs_UC, range(0, count * length + 1, length))
    every = np.array(list(itertools.product(range(len(task.tags)), repeat=length)))
    inner = ~rules.transitions_CC[every[:, :-1], every[:, 1:]].any(1)
    allowed = every[inner & ~rules.starts_C[every[:, 0]] & ~rules.ends_C[every[:, -1]]]
    changed = 0
    for item in range(count):
        own = slice(item * length, (item + 1) * length)
        if rules.transitions_CC[plain_U[own][:-1], plain_U[own][1:]].any():
            sums = outputs_UC[own][np.arange(length), allowed].sum(1)
            assert mended_U[own].tolist() == allowed[sums.argmax()].tolist()
            changed += 1
        else:
            assert mended_U[own].tolist() == plain_U[own].tolist()
    assert 5 < changed < count


def test_losses_that_do_not_fit() -> None:
    label = ['[[0, 1, "A"]]']
    for loss, settings in [
        (LossConfig(kind="mse"), TagSettings()),
        (LossConfig(class_weights="balanced"), TagSettings()),
        (LossConfig(kind="focal"), TagSettings(head="crf")),
        (LossConfig(label_smoothing=0.1), TagSettings(head="crf")),
    ]:
        with pytest.raises(ConfigError):
            Tag.fit(label, label, loss, settings)
    with pytest.raises(DataError, match="no entity"):
        Tag.fit(["[]"], ["[]"], LossConfig())


def codes(table: Table) -> dict[str, str]:
    return {finding.code: finding.title for finding in check(table, labels=Tag.labels_check())}


def test_what_the_doctor_says_of_entities(folder: Path) -> None:
    table = sentences(40)
    assert not {code for code in codes(table) if "entit" in code or "type" in code}
    frame = table.frame.copy()
    frame.loc[1, "label"] = '[[0, 6, "PER"], [3, 9, "LOC"]]'
    frame.loc[2, "label"] = json.dumps([[0, frame["text"][2].index(" ") + 1, "PER"]])
    frame.loc[3, "label"] = '[[0, 1, "RARE"]]'
    found = codes(Table(frame, {}))
    assert {"overlapping-entities", "entity-at-blank", "rare-type"} <= set(found)
    bare = frame.assign(label="[]")
    assert "no-entities" in codes(Table(bare, {}))
    parts = frame.assign(split=["test" if i == 3 else "train" for i in range(len(frame))])
    assert "unseen-type" in codes(Table(parts, {}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    fitting = {f.code for f in Tag.check_encoded(table, Tag.encode(table, tokenizer, 16))}
    assert not fitting
    cut = Table(
        frame.assign(label=['[[0, 1, "PER"]]' if len(t.split()[0]) > 1 else "[]" for t in frame["text"]]), {}
    )
    assert "entity-cuts-word" in {f.code for f in Tag.check_encoded(cut, Tag.encode(cut, tokenizer, 16))}


def test_texts_are_cut_as_the_training_ones_were() -> None:
    frame = sentences(5).frame
    assert Tag.form(Table(frame, {})) == {"units": "words"}
    assert Tag.form(Table(frame.assign(units=""), {})) == {"units": "pieces"}
    assert Tag.form(Table(frame.assign(units="[[0, 1], [1, 2]]"), {})) == {"units": "characters"}
    assert [(a, b) for a, b in split_units("a-b 北京", "words")] == [(0, 3), (4, 5), (5, 6)]
    asked = Tag.asked(["a-b"], None, {"units": "pieces"})
    assert json.loads(asked.frame["units"][0]) == [[0, 1], [1, 2], [2, 3]]
