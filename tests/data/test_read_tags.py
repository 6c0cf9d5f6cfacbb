"""Sentences with entities: every layout gives the same hand-written truth; real counts are the data's own table."""

import json
from collections import Counter
from pathlib import Path

import pytest

import tunelab
from tunelab.data.read_tags import read_tags
from tunelab.data.table import Table
from tunelab.errors import DataError

WORDS = [("Ann", "B-PER"), ("Lee", "I-PER"), ("saw", "O"), ("Rome", "B-LOC"), (".", "O")]
TEXT = "Ann Lee saw Rome ."
TRUTH = [[0, 7, "PER"], [12, 16, "LOC"]]
UNITS = [[0, 3], [4, 7], [8, 11], [12, 16], [17, 18]]


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def lines(folder: Path, items: list[object], name: str = "a.jsonl") -> Path:
    return write(folder, name, "\n".join(json.dumps(item, ensure_ascii=False) for item in items))


def refusal(path: Path, **chosen: str) -> str:
    with pytest.raises(DataError) as caught:
        read_tags([path], chosen)
    return str(caught.value)


def told(table: Table, *words: str) -> bool:
    return any(all(word in note for word in words) for note in table.notes)


def entities(table: Table, row: int = 0) -> list[list[object]]:
    found: list[list[object]] = json.loads(table.frame["label"][row])
    return found


def rows(columns: str, separator: str) -> str:
    """The sentence in any order of columns: i index, w word, p part of speech, c chunk, t tag."""
    cells = [
        {
            "i": str(i),
            "w": word,
            "p": "NNP" if tag != "O" else "X",
            "c": "B-NP" if tag != "O" else "O",
            "t": tag,
        }
        for i, (word, tag) in enumerate(WORDS, 1)
    ]
    return "".join(separator.join(cell[c] for c in columns) + "\n" for cell in cells)


@pytest.mark.parametrize("separator", ["\t", " ", "   "])
@pytest.mark.parametrize("columns", ["wt", "tw", "wpct", "iwpt", "tpw", "wtc"])
def test_columns_in_any_order(tmp_path: Path, columns: str, separator: str) -> None:
    """Chunks (B-NP) look like tags and are none; indices and parts of speech are no words."""
    table = read_tags(
        [write(tmp_path, "a.txt", rows(columns, separator) + "\n" + rows(columns, separator))], {}
    )
    assert table.frame["text"].tolist() == [TEXT] * 2
    assert entities(table) == entities(table, 1) == TRUTH
    assert json.loads(table.frame["units"][0]) == UNITS
    assert table.frame["row"].tolist() == [1, 7]
    assert table.columns == {"text": str(columns.index("w") + 1), "label": str(columns.index("t") + 1)}
    assert all(type(cell) is str for c in ("text", "label", "units", "split") for cell in table.frame[c])


def test_what_stands_between_sentences(tmp_path: Path) -> None:
    """Document marks, comments and blank lines with a tab are told; "#" with a tag is a word."""
    text = "-DOCSTART- O\n\n# id a b\nAnn B-PER\n# O\n\t\n\r\n# 2\nRome B-LOC\r\n"
    table = read_tags([write(tmp_path, "a.conll", text)], {})
    assert table.frame["text"].tolist() == ["Ann #", "Rome"]
    assert table.frame["row"].tolist() == [4, 9]
    assert told(table, "-DOCSTART-", "1 (row 1)")
    assert told(table, "comment lines", "2 (rows 3, 8)")


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("B-P M-P E-P S-L O", "BMES"),
        ("B-P I-P E-P S-L O", "IOBES"),
        ("B-P I-P L-P U-L O", "BILOU"),
        ("B-P I-P I-P B-L O", "BIO"),
        ("I-P I-P I-P I-L O", "IOB1"),
        ("P P P L O", "IOB1"),
    ],
)
def test_schemes(tmp_path: Path, tags: str, scheme: str) -> None:
    pairs = zip("abcde", tags.split(), strict=True)
    table = read_tags([write(tmp_path, "a.txt", "".join(f"{w} {t}\n" for w, t in pairs))], {})
    assert entities(table) == [[0, 5, "P"], [6, 7, "L"]]
    assert told(table, f"scheme {scheme}")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("我 在 北 京 用 I B M 1 3 。", "我在北京用IBM13。"),  # characters: so are the letters between them
        ("我 在 北京 用 iPhone 13 。", "我在北京用iPhone 13。"),  # words
        ("He said 好 twice", "He said好twice"),
        ("서울 에 간다", "서울 에 간다"),  # Korean has spaces
    ],
)
def test_text_is_joined_by_script(tmp_path: Path, words: str, text: str) -> None:
    content = "".join(f"{word}\tO\n" for word in words.split()) + "\nX\tB-A\n"
    table = read_tags([write(tmp_path, "a.txt", content)], {})
    assert table.frame["text"][0] == text
    assert [text[a:b] for a, b in json.loads(table.frame["units"][0])] == words.split()


def test_odd_words_stay(tmp_path: Path) -> None:
    """Zero-width, ideographic and line-separating characters are words; offsets stay exact."""
    odd = ["\u200b", "\u3000", "\x85", "\u2028", "a\u00a0b"]
    content = "".join(f"{word}\tO\n" for word in odd) + "x\tB-A\n\tO\n"
    table = read_tags([write(tmp_path, "a.txt", content)], {})
    text = table.frame["text"][0]
    assert [text[a:b] for a, b in json.loads(table.frame["units"][0])] == [*odd, "x"]
    assert told(table, "no word, left out", "1 (row 7)")


def test_missing_blank_lines_are_told(tmp_path: Path) -> None:
    table = read_tags([write(tmp_path, "a.txt", "Ann B-PER\nsaw O\n" * 200)], {})
    assert len(table) == 1
    assert told(table, "no blank line ends a sentence")


def test_several_tags_on_a_word(tmp_path: Path) -> None:
    """WNUT 17's raw test file: what each annotator said, divided by commas."""
    table = read_tags([write(tmp_path, "a.conll", "Big\tB-G,B-P\nBen\tI-P\nran\tO\n")], {})
    assert entities(table) == [[0, 3, "G"], [0, 7, "P"]]
    assert told(table, "several tags", "1 (row 1)")
    assert told(table, "overlap", "1 (row 1)")


def test_broken_tags_are_a_finding(tmp_path: Path) -> None:
    """An I- after O, and one after another type, among 22 sentences without fault; both are read as B-."""
    good = "".join(f"w{i} O\nAnn{i} B-PER\nLee I-PER\n\n" for i in range(22))  # lines 1 to 88
    content = good + "It O\nis O\nnot O\nAnn I-PER\nLee I-PER\n\nAnn B-PER\nRome I-LOC\nx O\n"
    table, findings = tunelab.check(write(tmp_path, "a.conll", content), task="tag")
    assert [entities(table, 22), entities(table, 23)] == [[[10, 17, "PER"]], [[0, 3, "PER"], [4, 8, "LOC"]]]
    (finding,) = [f for f in findings if f.code == "broken-tags"]
    assert (finding.severity, finding.count, finding.rows) == ("warning", 2, (22, 23))
    assert finding.share == pytest.approx(2 / 24)
    assert finding.title.endswith("tags that break the rules of their scheme (2 I- read as B-).")
    assert finding.examples == (
        "a.conll row 89: … O O I-PER→B-PER I-PER",
        "a.conll row 95: B-PER I-LOC→B-LOC O",
    )
    tunelab.api.write_fixed(table, tmp_path / "mended.jsonl", "tag")
    mended, findings = tunelab.check(tmp_path / "mended.jsonl", task="tag")
    assert mended.frame["label"].tolist() == table.frame["label"].tolist()
    assert "broken-tags" not in {f.code for f in findings}


def test_json_layouts_agree(tmp_path: Path) -> None:
    surfaces = {"PER": {"Ann Lee": [[0, 6]]}, "LOC": {"Rome": [[12, 15]]}}
    objects = [{"start": 0, "end": 7, "label": "PER"}, {"start_offset": 12, "end_offset": 16, "label": "LOC"}]
    tokens, tags = map(list, zip(*WORDS, strict=True))
    for item, units in (
        ({"text": TEXT, "label": surfaces}, ""),
        ({"text": TEXT, "label": [[0, 7, "PER"], [12, 16, "LOC"]]}, ""),
        ({"id": 1, "text": TEXT, "entities": objects, "relations": []}, ""),
        ({"text": TEXT, "entities": json.dumps(objects)}, ""),
        ({"tokens": tokens, "ner_tags": tags}, json.dumps(UNITS)),
    ):
        for name in ("a.jsonl", "a.txt"):
            table = read_tags([lines(tmp_path, [item, item], name)], {})
            assert table.frame["text"].tolist() == [TEXT] * 2
            assert entities(table, 1) == TRUTH
            assert table.frame["units"][0] == units


def test_inclusive_or_exclusive(tmp_path: Path) -> None:
    """Decided by texts, by what would be empty or too long, by words cut in two; else asked for."""

    def ends(sentence: str, **span: object) -> Table:
        return read_tags([lines(tmp_path, [{"text": sentence, "entities": [{"label": "X", **span}]}])], {})

    assert entities(ends("我爱北京啊", start=2, end=3, text="北京")) == [[2, 4, "X"]]
    assert entities(ends("我爱北京啊", start=2, end=4, text="北京")) == [[2, 4, "X"]]
    assert entities(ends("我爱京啊", start=2, end=2)) == [[2, 3, "X"]]
    assert entities(ends("我爱北京", start=2, end=4)) == [[2, 4, "X"]]
    assert entities(ends("In Rome now", start=3, end=6)) == [[3, 7, "X"]]
    table = ends("In Rome now", start=3, end=7)
    assert entities(table) == [[3, 7, "X"]]
    assert told(table, "ends of entities are exclusive")
    open_ = lines(tmp_path, [{"text": "我爱北京啊", "entities": [{"start": 2, "end": 3, "label": "LOC"}]}])
    message = refusal(open_)
    assert "'北京' or '北'" in message
    assert "data.ends=inclusive" in message
    assert entities(read_tags([open_], {"ends": "inclusive"})) == [[2, 4, "LOC"]]
    assert entities(read_tags([open_], {"ends": "exclusive"})) == [[2, 3, "LOC"]]
    doccano = lines(tmp_path, [{"text": "我爱北京啊", "label": [[2, 4, "LOC"]]}])
    assert told(read_tags([doccano], {}), "exclusive", "doccano")


def test_one_convention_for_all_files(tmp_path: Path) -> None:
    """The test file alone would be open; it follows the training file. One that contradicts is refused."""
    train = lines(
        tmp_path, [{"text": "我爱京", "entities": [{"start": 2, "end": 2, "label": "L"}]}], "train.jsonl"
    )
    test = lines(
        tmp_path, [{"text": "我爱北京啊", "entities": [{"start": 2, "end": 3, "label": "L"}]}], "test.jsonl"
    )
    assert entities(read_tags([train, test], {}), 1) == [[2, 4, "L"]]
    lines(
        tmp_path,
        [{"text": "我爱北京啊", "entities": [{"start": 2, "end": 4, "label": "L", "text": "北京"}]}],
        "test.jsonl",
    )
    with pytest.raises(DataError, match=r"test\.jsonl: its ends are exclusive .* were to be inclusive"):
        read_tags([train, test], {})


def test_wrong_places(tmp_path: Path) -> None:
    """Two of three agree; the third is moved to its nearest place. A text that is nowhere is refused."""
    right = {"text": "ab cd ab", "entities": [{"start": 0, "end": 2, "label": "X", "text": "ab"}]}
    wrong = {"text": "ab cd ab", "entities": [{"start": 5, "end": 7, "label": "X", "text": "ab"}]}
    table = read_tags([lines(tmp_path, [right, right, wrong])], {})
    assert entities(table, 2) == [[6, 8, "X"]]
    assert told(table, "moved to the nearest place", "1 (row 3)")
    lost = {"text": "ab", "entities": [{"start": 0, "end": 2, "label": "X", "text": "zz"}]}
    assert "row 3: the entity 'zz' is not in the text" in refusal(lines(tmp_path, [right, right, lost]))
    assert "not at their places: 0 of 1" in refusal(lines(tmp_path, [lost]))


BROKEN = {
    "prose.txt": (
        "It rained.\nNobody came to the old house that day.\n",
        "does not hold one word and its tag",
    ),
    "untagged.txt": ("Ann\nsaw\nRome\n", "does not hold one word and its tag"),
    "pos.txt": ("Ann NNP\nsaw VBD\n", "no column holds tags"),
    "two.txt": ("Ann B-PER B-A\nsaw O O\nRome B-LOC O\n", "several columns could be the tags"),
    "short.txt": ("Ann B-PER\nsaw O\nRome\nis O\nbig O\nand O\n", r"row 3: 'Rome'.* mend these lines"),
    "zero.txt": ("Ann B-PER\n" + "is O\n" * 12 + "saw 0\n", r"row 14: 'saw | 0'"),
    "mixed.txt": ("a B-X\nb M-X\nc I-X\nd O\n", "mix the letters"),
    "keys.jsonl": ('{"text": "a", "foo": 1}', r"--label NAME\); it has text, foo\. Known layouts"),
    "far.jsonl": (
        '{"text": "ab", "label": [[0, 9, "X"]]}',
        "row 1: the X from 0 to 9 is not within the text",
    ),
    "float.jsonl": ('{"text": "ab", "label": [[0.5, 1, "X"]]}', "not whole numbers"),
    "type.jsonl": ('{"text": "ab", "label": [[0, 1, ""]]}', "type is '', not a name"),
    "end.jsonl": (
        '{"text": "ab", "entities": [{"start": 1, "label": "X"}]}',
        "no 'end' .its keys: start, label",
    ),
    "cluener.jsonl": ('{"text": "ab", "label": {"X": [[0, 1]]}}', "entities of 'X'"),
    "number.jsonl": ('{"text": 3, "label": []}', "the sentence is 3, not a text"),
    "sizes.jsonl": ('{"tokens": ["a", "b"], "tags": ["O"]}', "they have 2 and 1"),
    "ids.jsonl": ('{"tokens": ["a"], "tags": [3]}', "numbers say no types"),
    "empty.txt": ("\n\n", "is empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(tmp_path: Path, name: str) -> None:
    content, words = BROKEN[name]
    with pytest.raises(DataError, match=words.replace("|", r"\|")):
        read_tags([write(tmp_path, name, content)], {})


def test_choices(tmp_path: Path) -> None:
    two = write(tmp_path, "two.txt", "Ann B-PER B-A\nsaw O O\nRome B-LOC O\n")
    assert entities(read_tags([two], {"label": "3"})) == [[0, 3, "A"]]
    assert "give its number, 1 to 3" in refusal(two, label="tag")
    assert "both name column 2" in refusal(two, label="2", text="2")
    assert "no column 'group'" in refusal(two, group="1")
    assert "did you mean 'inclusive'" in refusal(two, ends="inclusiv")
    headed = write(tmp_path, "headed.txt", "word\ttag\nAnn\tB-PER\nsaw\tO\n")
    table = read_tags([headed], {"label": "tag"})
    assert table.frame["text"].tolist() == ["Ann saw"]
    assert told(table, "row 1 is a header")


# Real data ------------------------------------------------------------------------------------------------

SIZES = {  # folder -> split -> (sentences, words, entities): the counts of the data's README
    "wnut17": {
        "train": (
            3394,
            62730,
            "person:660 location:548 group:264 corporation:221 product:142 creative-work:140",
        ),
        "valid": (
            1009,
            15733,
            "person:470 product:114 creative-work:105 location:74 group:39 corporation:34",
        ),
        "test": (
            1287,
            23394,
            "person:429 group:165 location:150 creative-work:142 product:127 corporation:66",
        ),
    },
    "resume_ner": {
        "train": (3821, 124099, "TITLE:6308 ORG:4611 NAME:952 EDU:858 PRO:287 CONT:260 RACE:115 LOC:47"),
        "valid": (463, 13890, "TITLE:690 ORG:523 NAME:110 EDU:106 CONT:33 PRO:18 RACE:15 LOC:2"),
        "test": (477, 15100, "TITLE:772 ORG:553 NAME:112 EDU:112 PRO:33 CONT:28 RACE:14 LOC:6"),
    },
    "msra_ner": {
        "train": (8000, 343213, "LOC:5903 ORG:3270 PER:2999"),
        "valid": (3000, 142980, "LOC:2414 ORG:1394 PER:1203"),
        "test": (3442, 172601, "LOC:2886 PER:1973 ORG:1331"),
    },
    "cluener": {
        "train": (
            *(10748, 0),
            "name:3755 organization:3210 position:3141 company:2980 address:2891 game:2376 government:1835 "
            "scene:1521 book:1139 movie:1123",
        ),
        "valid": (
            *(1343, 0),
            "name:465 position:433 company:378 address:373 organization:367 game:295 government:247 scene:209 "
            "book:154 movie:151",
        ),
    },
}
#: Entities whose B tag is missing: the README counts B and S tags, conlleval (and tunelab) the entities.
WITHOUT_BEGINNING = {("msra_ner", "train"): {"PER": 2}, ("resume_ner", "train"): {"ORG": 2}}


def wnut17(shared_data: Path, folder: Path) -> list[Path]:
    """The files under names that say which is which."""
    names = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}
    for split, name in names.items():
        (folder / f"{split}.conll").symlink_to(shared_data / "wnut17" / name)
    return [folder / f"{split}.conll" for split in names]


@pytest.mark.real_data
@pytest.mark.parametrize("name", SIZES)
def test_real_data(shared_data: Path, tmp_path: Path, name: str) -> None:
    files = wnut17(shared_data, tmp_path) if name == "wnut17" else [shared_data / name]
    table = read_tags(files, {})
    for split, (sentences, words, counts) in SIZES[name].items():
        frame = table.frame[table.frame["split"] == split]
        assert len(frame) == sentences
        assert sum(len(json.loads(units)) for units in frame["units"] if units) == words
        expected = Counter({k: int(n) for k, n in (pair.split(":") for pair in counts.split())})
        expected.update(WITHOUT_BEGINNING.get((name, split), {}))
        assert Counter(kind for label in frame["label"] for *_, kind in json.loads(label)) == expected
    if name != "cluener":
        follow_the_lines(table)


def follow_the_lines(table: Table) -> None:
    """Every unit is the first cell of its line, from the sentence's row on."""
    for path in table.source:
        cells = [line.replace("\t", " ").split(" ")[0] for line in Path(path).read_text("utf-8").split("\n")]
        for _, row in table.frame[table.frame["file"] == Path(path).name].iterrows():
            units = json.loads(row["units"])
            start = row["row"] - 1
            assert [row["text"][a:b] for a, b in units] == cells[start : start + len(units)]


@pytest.mark.real_data
def test_real_traps(shared_data: Path) -> None:
    raw = read_tags([shared_data / "wnut17" / "emerging.test.conll"], {})
    assert len(raw) == 1287
    row = raw.frame.index[raw.frame["row"] == 201][0]  # its word Gurez is B-corporation,B-person,B-location
    gurez = [(raw.frame["text"][row][a:b], kind) for a, b, kind in entities(raw, row)][1:]
    assert gurez == [("Gurez", "corporation"), ("Gurez", "person"), ("Gurez sector", "location")]
    resume = read_tags([shared_data / "resume_ner"], {})
    assert told(resume, "scheme BMES")
    assert " " not in resume.frame["text"][0]
    cluener = read_tags([shared_data / "cluener"], {})
    assert told(cluener, "inclusive", "23,971 of 23,971")
    source = list(
        map(json.loads, (shared_data / "cluener" / "dev.jsonl").read_text("utf-8").strip().split("\n"))
    )
    dev = cluener.frame[cluener.frame["split"] == "valid"]
    for item, text, label in zip(source, dev["text"], dev["label"], strict=True):
        assert item["text"] == text
        expected = [
            (s, e + 1, k) for k, own in item["label"].items() for places in own.values() for s, e in places
        ]
        assert sorted(expected) == [tuple(entity) for entity in json.loads(label)]
