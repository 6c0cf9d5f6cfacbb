"""Reading: the same hand-written rows through every format and encoding; every refusal by its words.

The truths are independent of the reader: cells and line numbers are written down by hand, files are made
by other libraries, and the counts of the real data sets stand in the table that came with them.
"""

import csv
import gzip
import io
import json
import re
from collections import Counter
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import COLUMNS, SMALL, pairs, refusal, told, write

from tunelab.data.columns import known_names
from tunelab.data.formats import load_grid
from tunelab.data.read import read
from tunelab.errors import DataError

# Text, label, and the line on which the row begins in a file with separators and a header.
ROWS = [
    ("房间很大，早餐也不错，下次还会来的", "正面", 2),
    ('他说："还行", 就这样 "了"', "中性", 3),
    ("第一行\n\n第三行，我们都不太喜欢", "负面", 4),
    ("NA", "null", 7),
    ("null, None; a|b\tc", "true", 8),
    ("nan", "007", 9),
    ('"', "1.0", 10),
    ("很好😀 Ünïtéd", "false", 11),
]
PAIRS = [(text, label) for text, label, _ in ROWS]
ENCODINGS = {  # name -> what the notes must say of it
    "utf-8": None,
    "utf-8-sig": "UTF-8 with a byte-order mark",
    "utf-16": "UTF-16",
    "utf-16-be-bom": "UTF-16",
    "utf-32": "UTF-32",
    "gb18030": "GB18030",
}


def encoded(text: str, encoding: str) -> bytes:
    if encoding == "utf-16-be-bom":
        return b"\xfe\xff" + text.encode("utf-16-be")
    return text.encode(encoding)


def delimited(separator: str, end: str = "\r\n") -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator=end)
    writer.writerow(["Review ", "LABEL"])
    writer.writerows(PAIRS)
    return buffer.getvalue()


def objects() -> list[dict[str, str]]:
    return [{"review": text, "label": label} for text, label in PAIRS]


# What must come through unchanged ---------------------------------------------------------------------

TEXT_FORMATS = {
    "a.csv": delimited(","),
    "semicolon.csv": delimited(";"),
    "pipe.csv": delimited("|", "\n"),
    "tab.tsv": delimited("\t", "\n"),
    "tab.txt": delimited("\t"),
    "noending": delimited(","),
    "list.json": json.dumps(objects(), ensure_ascii=False, indent=1),
    "escaped.json": json.dumps(objects(), indent=4),
    "under_a_key.json": json.dumps({"version": 1, "n": [1], "data": objects()}, ensure_ascii=False, indent=1),
    "lines.jsonl": "\n".join(json.dumps(item, ensure_ascii=False) for item in objects()),
    "lines.json": "\n".join(json.dumps(item) for item in objects()) + "\n",
    "jsonl_without_ending": "\n".join(json.dumps(item) for item in objects()),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_every_text_format_and_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    content = TEXT_FORMATS[name]
    if encoding == "gb18030" and content.isascii():
        pytest.skip("escaped JSON is ASCII in every encoding")
    table = read([write(tmp_path, name, encoded(content, encoding))], COLUMNS)
    assert pairs(table) == PAIRS
    assert list(table.columns) == ["text", "label"]
    assert [name.strip().lower() for name in table.columns.values()] == ["review", "label"]
    assert all(
        type(cell) is str for column in ("text", "label", "split", "file") for cell in table.frame[column]
    )
    if "json" not in name:
        assert table.frame["row"].tolist() == [line for *_, line in ROWS]
    title = ENCODINGS[encoding]
    assert title is None or told(table, name, title)
    assert title is not None or not told(table, "encoding")


def test_a_row_of_json_is_the_line_it_begins_on(tmp_path: Path) -> None:
    """With indent=1 an item of two keys takes four lines, after the line of "["."""
    path = write(tmp_path, "a.json", TEXT_FORMATS["list.json"])
    assert read([path], COLUMNS).frame["row"].tolist() == [2 + 4 * i for i in range(len(ROWS))]
    one_line = write(tmp_path, "b.json", json.dumps(objects()))
    table = read([one_line], COLUMNS)
    assert table.frame["row"].tolist() == list(range(1, len(ROWS) + 1))
    assert told(table, "counted by item")


@pytest.mark.parametrize("name", ["a.parquet", "a.xlsx", "a.csv.gz", "a.jsonl.gz", "xlsx_without_ending"])
def test_binary_formats(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(objects()), path)
    elif name.endswith(".gz"):
        text = TEXT_FORMATS["lines.jsonl" if "jsonl" in name else "a.csv"]
        path.write_bytes(gzip.compress(text.encode()))
    else:
        book = openpyxl.Workbook()
        book.active.append(["review", "label"])
        for pair in PAIRS:
            book.active.append(list(pair))
        book.save(tmp_path / "made.xlsx")
        (tmp_path / "made.xlsx").rename(path)
    assert pairs(read([path], COLUMNS)) == PAIRS


TYPED = [
    (7, "7"),
    (1.0, "1"),
    (2.5, "2.5"),
    (True, "true"),
    (False, "false"),
    (None, ""),
    ("007", "007"),
    ("NA", "NA"),
]


@pytest.mark.parametrize("name", ["a.json", "a.xlsx"])
def test_typed_cells_become_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.json":
        path.write_text(json.dumps([{"text": "x", "label": value} for value, _ in TYPED]))
    else:
        book = openpyxl.Workbook()
        for row in (["text", "label"], *(["x", value] for value, _ in TYPED)):
            book.active.append(row)
        book.save(path)
    assert read([path], COLUMNS).frame["label"].tolist() == [text for _, text in TYPED]


def test_whole_numbers_in_a_parquet_column_with_gaps(tmp_path: Path) -> None:
    """pandas stores a column of integers with a gap as floats."""
    pq.write_table(
        pa.table({"text": ["a", "b", "c"], "label": [1.0, None, float("nan")]}), tmp_path / "a.parquet"
    )
    assert read([tmp_path / "a.parquet"], COLUMNS).frame["label"].tolist() == ["1", "", ""]


def test_only_space_around_a_cell_goes(tmp_path: Path) -> None:
    content = 'label,review\n a ,\ufeff"quoted" 好\u3000\n\n,\nb\0,"  x  y\r\n "\n,the label is empty\n'
    table = read([write(tmp_path, "a.csv", content)], COLUMNS)
    assert pairs(table) == [('"quoted" 好', "a"), ("x  y", "b"), ("the label is empty", "")]
    assert table.frame["row"].tolist() == [2, 5, 7]
    assert told(table, "byte-order mark", "line 2")
    assert told(table, "separators only", "row 4")


def test_a_cell_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    long = "长 text, " * 40_000
    before = csv.field_size_limit()
    table = read([write(tmp_path, "a.csv", f'text,label\n"{long}",x\nb,y\n')], COLUMNS)
    assert table.frame["text"].tolist() == [long.strip(), "b"]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("encoding", "title"), [("cp1252", "Windows-1252"), ("latin-1", "Windows-1252"), ("big5", "Big5")]
)
def test_other_encodings(tmp_path: Path, encoding: str, title: str) -> None:
    western = [
        ("Überraschend gut für den Preis", "gut"),
        ("Schön, aber das Gerät wäre größer besser", "mäßig"),
    ]
    eastern = [("這個房間很大，早餐也不錯，下次還會來", "正面"), ("服務員的態度太差了，我不喜歡", "負面")]
    rows = eastern if encoding == "big5" else western
    content = "text,label\n" + "\n".join(f'"{text}",{label}' for text, label in rows)
    table = read([write(tmp_path, "a.csv", content.encode(encoding))], COLUMNS)
    assert pairs(table) == rows
    assert told(table, title)


def test_quotes_that_enclose_nothing(tmp_path: Path) -> None:
    """Tab-separated lines written without quoting: quotes are letters, and never join lines."""
    lines = ['"A" is good\tx', 'say "B\ty', '"C\tx', 'D"\ty', "plain text\tx", "more plain text\ty"]
    table = read([write(tmp_path, "a.tsv", "text\tlabel\n" + "\n".join(lines))], COLUMNS)
    assert table.frame["text"].tolist() == [line.split("\t")[0] for line in lines]
    assert told(table, "ordinary characters")
    escaped = 'text,label\n"he said \\"no, no\\", and left",x\n"b, c",y\n'
    table = read([write(tmp_path, "b.csv", escaped)], COLUMNS)
    assert table.frame["text"].tolist() == ['he said "no, no", and left', "b, c"]


def test_half_a_character_in_json_is_replaced_and_told(tmp_path: Path) -> None:
    content = r'[{"text": "a \ud83d b", "label": "\ud83d\ude00"}]'
    table = read([write(tmp_path, "a.json", content)], COLUMNS)
    assert pairs(table) == [("a \ufffd b", "😀")]
    assert told(table, "lone surrogates")


# Which column, which row is the header ----------------------------------------------------------------


def test_no_header_is_seen_by_labels_that_come_again(tmp_path: Path) -> None:
    content = "what a wonderful film\tgood\nthis was a waste of time\tbad\n" * 3
    lines = [f"{i} {line}" for i, line in enumerate(content.splitlines())]
    path = write(tmp_path, "a.tsv", "\n".join(lines))
    for chosen in ({}, {"text": "1", "label": "2"}):
        table = read([path], COLUMNS, chosen)
        assert table.columns == {"text": "1", "label": "2"}
        assert pairs(table)[0] == ("0 what a wonderful film", "good")
        assert table.frame["row"].tolist() == [1, 2, 3, 4, 5, 6]
        assert told(table, "no header")
    table = read(
        [write(tmp_path, "title.tsv", "\n".join(f"{line}\ttitle" for line in lines))],
        COLUMNS,
        {"text": "1", "label": "2"},
    )
    assert len(table) == 6, "a recognised name that comes again as a value is no header"


def test_columns_with_unknown_names_are_taken_by_unmistakable_content_only(tmp_path: Path) -> None:
    rows = [f"{i},Satz Nummer {i} ist ziemlich lang,{'ab'[i % 2]}" for i in range(8)]
    table = read([write(tmp_path, "a.csv", "\n".join(["nr,Inhalt,Klasse", *rows]))], COLUMNS)
    assert table.columns == {"text": "Inhalt", "label": "Klasse"}
    assert told(table, "Inhalt", "judged by its content")
    both = [f"Satz Nummer {i} ist lang,Antwort Nummer {i} ist lang" for i in range(8)]
    message = refusal(write(tmp_path, "b.csv", "\n".join(["Frage,Antwort", *both])))
    for word in (
        "b.csv",
        "no column is recognised",
        "'Frage'",
        "'Antwort'",
        "Satz Nummer 1 ist lang",
        "--text NAME",
        "--label NAME",
    ):
        assert word in message


def test_a_choice_between_recognised_columns_is_asked_and_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "cat,label,review\nbooks,1,good read\nfood,0,too salty\n")
    message = refusal(path)
    for word in ('\'cat\' (as in "books" and "food")', '\'label\' (as in "1" and "0")', "--label NAME"):
        assert word in message
    assert pairs(read([path], COLUMNS, {"label": "CAT"})) == [("good read", "books"), ("too salty", "food")]
    for name, words in {
        "sentimnt": ("no column 'sentimnt'", "known: cat, label, review"),
        "labels": ("did you mean 'label'?",),
        "review": ("--label", "--text", "both name column 'review'"),
    }.items():
        message = refusal(path, label=name, **({"text": "review"} if name == "review" else {}))
        assert all(word in message for word in words), message
    twice = write(tmp_path, "b.csv", "text,text,label\na,b,x\nc,d,y\n")
    assert "--text 1 or --text 2" in refusal(twice, text="text")
    assert read([twice], COLUMNS, {"text": "2"}).frame["text"].tolist() == ["b", "d"]


def test_group_is_used_only_when_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label,group\na,x,1\nb,y,2\n")
    table = read([path], COLUMNS)
    assert "group" not in table.frame
    assert told(table, "'group'", "--group group")
    assert read([path], COLUMNS, {"group": "group"}).frame["group"].tolist() == ["1", "2"]


def test_a_repeated_header_is_left_out_and_told(tmp_path: Path) -> None:
    table = read([write(tmp_path, "a.csv", "text,label\na,x\ntext,label\nb,y\n")], COLUMNS)
    assert table.frame["row"].tolist() == [2, 4]
    assert told(table, "repeating the header", "row 3")


def test_lines_with_the_label_in_front(tmp_path: Path) -> None:
    fasttext = write(tmp_path, "a.txt", "__label__体育 今天 的 比赛\n\n__label__财经 股市 上涨\n")
    table = read([fasttext], COLUMNS)
    assert pairs(table) == [("今天 的 比赛", "体育"), ("股市 上涨", "财经")]
    assert table.frame["row"].tolist() == [1, 3]
    trec = write(tmp_path, "b.label", "NUM:dist How far is it ?\nLOC:city Where: in Rome ?\n")
    assert pairs(read([trec], COLUMNS)) == [("How far is it ?", "NUM"), ("Where: in Rome ?", "LOC")]
    assert read([trec], COLUMNS, {"label": "fine"}).frame["label"].tolist() == ["NUM:dist", "LOC:city"]


def test_first_filled_sheet_and_its_row_numbers(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "cover"
    data, other = book.create_sheet("data"), book.create_sheet("old")
    for row, cells in {3: ("text", "label"), 4: ("a", "x"), 7: ("b", "y")}.items():
        for column, value in enumerate(cells, 2):
            data.cell(row, column, value)
    other["A1"] = "z"
    book.save(tmp_path / "a.xlsx")
    table = read([tmp_path / "a.xlsx"], COLUMNS)
    assert pairs(table) == [("a", "x"), ("b", "y")]
    assert table.frame["row"].tolist() == [4, 7]
    assert told(table, "'data'", "'old'")


# What cannot be read ----------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256))
ZIP = b"PK\x05\x06" + bytes(18)
KOREAN = ("댓글,분류\n" + "이 방은 아주 좋고 아침도 맛있어요,긍정\n" * 60).encode("euc-kr")
GBK = "评论,标签\n这个房间的环境很不错，我们都很喜欢,好\n".encode("gb18030")

BROKEN: dict[str, tuple[bytes | str, list[str]]] = {
    "empty.csv": (b"", ["empty.csv is empty (0 bytes)"]),
    "blank.csv": (b"\n \n", ["blank.csv is empty"]),
    "header.csv": ("text,label\n", ["header.csv has only a header (text, label)"]),
    "empty.json": ("[]", ["empty.json is empty"]),
    "image.csv": (PNG, ["image.csv is a PNG image", ".jsonl"]),
    "image": (PNG, ["a PNG image"]),
    "old.xls": (b"\xd0\xcf\x11\xe0" + bytes(600), ["format .xls", "save it as .xlsx"]),
    "old.xlsx": (b"\xd0\xcf\x11\xe0" + bytes(600), ["password"]),
    "junk.csv": (
        bytes((i * 193 + i // 7) % 256 for i in range(4096)),
        ["junk.csv is not text", "control characters"],
    ),
    "junk.parquet": (b"PAR1" + bytes(99), ["junk.parquet is damaged Parquet"]),
    "text.parquet": (SMALL, ["text.parquet ends in .parquet but does not hold such data"]),
    "text.xlsx": (SMALL, ["text.xlsx ends in .xlsx but does not hold such data"]),
    "cut.xlsx": (b"PK\x03\x04" + bytes(99), ["damaged zip"]),
    "cut.csv.gz": (gzip.compress(SMALL.encode())[:-9], ["cut.csv.gz is damaged gzip"]),
    "notes.docx": (b"text", ["format .docx", "known: .csv"]),
    "objects.csv": (
        '{"text": "a", "label": "x"}\n',
        ["objects.csv ends in .csv but holds JSON", "objects.jsonl"],
    ),
    "ragged.csv": (
        "text,label\n" + 'a,x\nb, c,x\n"d\ne",y\nf,g,h,x\ni\n',
        [
            "ragged.csv: 3 rows of 5",
            "the header has 2",
            "row 3 has 3: b | c | x",
            "row 6 has 4",
            "row 7 has 1",
            "unquoted comma",
        ],
    ),
    "quote.csv": (
        'text,label\na,x\n"b, b,y\nc,x\nd,y\n',
        ["quote.csv", "opens in row 3 is never closed", "begins: b, b,y"],
    ),
    "one_column.csv": (
        "text\na\nb\n",
        ["one_column.csv: no column is recognised as the labels", "one column only"],
    ),
    "bad_utf8.csv": (
        "text,label\n很好,x\n不好,y\n".encode() + b"a\xffb,x\n",
        ["bad_utf8.csv line 4", "byte 0xff", "byte offset 30", "UTF-8"],
    ),
    "bad_gbk.csv": (GBK + GBK[10:-1] + b"\xff,", ["bad_gbk.csv line 3", "GB18030"]),
    "cyrillic.csv": (
        "текст,метка\nочень хорошо,да\n".encode("cp1251"),
        ["cyrillic.csv line 1", "byte offset 0", "save the file as UTF-8"],
    ),
    "korean.csv": (KOREAN, ["korean.csv line 1", "byte offset 0", "save the file as UTF-8"]),
    "syntax.json": (
        '[\n {"text": "a", "label": "x"},\n {"text": "b" "label": "y"}\n]',
        ["syntax.json line 3 column 15", "not valid JSON"],
    ),
    "cut.json": ('[{"text": "a", "label": "x"}', ["cut.json line 1", "not valid JSON"]),
    "csv.json": (SMALL, ["csv.json line 1 column 1", "is it CSV"]),
    "syntax.jsonl": ('{"text": "a", "label": "x"}\n{"text": "b", label: "y"}\n', ["syntax.jsonl line 2"]),
    "words.json": ('["a", "b"]', ["words.json row 1", "expected an object", '"a"']),
    "lists.json": ('{"train": [{"text": "a"}], "test": [{"text": "b"}]}', ["several lists (train, test)"]),
    "lone.json": (
        '{"text": {"0": "a"}, "label": {"0": "x"}}',
        ["lone.json holds one object", "a list of objects"],
    ),
    "keys.jsonl": (
        '{"text": "a", "label": "x"}\n{"text": "b", "lable": "y"}\n{"text": "c", "label": "x"}\n',
        ["keys.jsonl row 2 has no 'label'", "its keys: text, lable", "1 of 3 items"],
    ),
    "many.jsonl": (
        '{"text": "a", "label": ["x", "y"]}\n',
        ["many.jsonl row 1", "list of labels", "--task multilabel"],
    ),
    "nested.jsonl": ('{"text": {"a": 1}, "label": "x"}\n', ["nested.jsonl row 1", "'text' holds an object"]),
    "many.txt": (
        "__label__a x y\n__label__b __label__c z\n",
        ["many.txt row 2", "list of labels", "'b', 'c'"],
    ),
    "deep.json": ("[" * 200_000, ["deep.json"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name_place_and_remedy(tmp_path: Path, name: str) -> None:
    content, words = BROKEN[name]
    message = refusal(write(tmp_path, name, content))
    assert all(re.search(re.escape(word), message, re.IGNORECASE) for word in words), message
    assert len(message) < 700


@pytest.mark.parametrize("name", ["a.csv", "list.json", "lines.jsonl", "a.parquet", "a.xlsx", "a.csv.gz"])
def test_damage_is_refused_or_read_but_never_a_traceback(tmp_path: Path, name: str) -> None:
    """Cut off, and with a byte changed, at 40 places; found once: zlib errors through openpyxl."""
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(objects()), path)
    elif name == "a.xlsx":
        book = openpyxl.Workbook()
        for row in (["review", "label"], *PAIRS):
            book.active.append(row)
        book.save(path)
    else:
        text = TEXT_FORMATS[name.removesuffix(".gz")].encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), len(whole) // 40 + 1):
        changed = whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :]
        for damaged in (whole[:place], changed):
            path.write_bytes(damaged)
            try:
                read([path], COLUMNS)
            except DataError:
                refused += 1
    assert refused > 10


def test_missing_files(tmp_path: Path) -> None:
    write(tmp_path, "reviews.csv", SMALL)
    assert "did you mean 'reviews.csv'?" in refusal(tmp_path / "review.csv")
    assert "its folder holds reviews.csv" in refusal(tmp_path / "zzz")
    assert f"there is no folder {tmp_path / 'nowhere'}" in refusal(tmp_path / "nowhere" / "a.csv")
    (tmp_path / "empty").mkdir()
    assert "has no data file (it holds nothing)" in refusal(tmp_path / "empty")
    with pytest.raises(DataError, match="no data file was given"):
        read([], COLUMNS)
    with pytest.raises(DataError, match="does not exist"):
        load_grid(tmp_path / "zzz", known_names(COLUMNS, {}))


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the superuser, whom tests may run as, is never denied."""
    path = write(tmp_path, "a.csv", SMALL)

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "permission denied" in refusal(path)
    monkeypatch.setattr(Path, "iterdir", denied)
    assert "permission denied" in refusal(tmp_path)


# Real files -------------------------------------------------------------------------------------------

# Copied from ../shared/data/README.md: rows, and how often each label occurs (all, or the first few).
REAL = {
    "sst2": (
        {"train": 6920, "valid": 872, "test": 1821},
        {"train": {"1": 3610, "0": 3310}, "valid": {"1": 444, "0": 428}, "test": {"0": 912, "1": 909}},
        {},
    ),
    "banking77": (
        {"train": 10003, "test": 3080},
        {
            "train": {"card_payment_fee_charged": 187, "cash_withdrawal_charge": 177},
            "test": {"card_arrival": 40},
        },
        {},
    ),
    "trec6": (
        {"train": 5452, "test": 500},
        {
            "train": {"ENTY": 1250, "HUM": 1223, "DESC": 1162, "NUM": 896, "LOC": 835, "ABBR": 86},
            "test": {"DESC": 138, "NUM": 113, "ENTY": 94, "LOC": 81, "HUM": 65, "ABBR": 9},
        },
        {},
    ),
    "weibo_senti": ({"": 2400}, {"": {"1": 1200, "0": 1200}}, {}),
    "chnsenticorp_htl": ({"": 7766}, {"": {"1": 5322, "0": 2444}}, {}),
    "csl_category": (
        {"train": 8000, "valid": 1000, "test": 1000},
        {
            "train": {"工学": 3536, "农学": 807, "经济学": 283},
            "valid": {"工学": 443, "经济学": 30},
            "test": {"工学": 443, "文学": 25},
        },
        {},
    ),
    "thucnews_titles/dev.txt": ({"": 10000}, {"": {str(i): 1000 for i in range(10)}}, {}),
    "online_shopping_10_cats": ({"": 10174}, {"": {"1": 5274, "0": 4900}}, {"label": "label"}),
    "codexglue_defect": ({"train": 1911, "valid": 410, "test": 410}, {}, {"text": "func"}),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_data(shared_data: Path, name: str) -> None:
    sizes, labels, chosen = REAL[name]
    table = read([shared_data / name], COLUMNS, chosen)
    assert Counter(table.frame["split"]) == sizes
    for split, counts in labels.items():
        found = Counter(table.frame["label"][table.frame["split"] == split])
        assert {label: found[label] for label in counts} == counts
    lines = {path: Path(path).read_bytes().split(b"\n") for path in table.source}
    for path, rows in table.frame.groupby("file", sort=False)["row"]:  # the row's number leads to its line
        source = next(lines[s] for s in table.source if Path(s).name == path)
        last = rows.index[-1]
        start = table.frame["text"][last][:12].encode("utf-8")
        assert start in source[rows.iloc[-1] - 1].replace(b'""', b'"'), table.where(last)


@pytest.mark.real_data
def test_real_traps(shared_data: Path) -> None:
    trec = read([shared_data / "trec6"], COLUMNS)
    assert told(trec, "train_5500.label", "Windows-1252")
    assert told(trec, "TREC_10.label is taken as the test file")
    pair = [shared_data / "trec6" / "train_5500.label", shared_data / "trec6" / "TREC_10.label"]
    assert pairs(read(pair, COLUMNS)) == pairs(trec)
    weibo = read([shared_data / "weibo_senti"], COLUMNS)
    assert weibo.frame["text"][0].startswith("更博了")
    assert told(weibo, "byte-order mark", "line 2")
    hotel = read([shared_data / "chnsenticorp_htl"], COLUMNS)
    assert (hotel.frame["text"] == "").sum() == 1
    assert told(read([shared_data / "banking77"], COLUMNS), "left out", "categories.json")
    similar = read([shared_data / "stsb_en"], COLUMNS, {"text": "6", "label": "5"})
    assert len(similar) == 5749 + 1500 + 1379
    assert told(similar, "sts-train.csv: 197 rows have 9 cells where the others have 7", "row 5553")
    message = refusal(shared_data / "thucnews_titles")
    assert "dev.txt looks like validation; test.txt looks like test" in message
