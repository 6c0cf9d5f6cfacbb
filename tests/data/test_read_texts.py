"""Running text: wrapped lines against Python's own wrapper, blocks and lines by hand, streams, real books."""

import gzip
import random
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelab.data import stream
from tunelab.data.read_texts import read_texts
from tunelab.data.table import Table
from tunelab.errors import DataError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path) -> list[str]:
    found: list[str] = read_texts([path], {}).frame["text"].tolist()
    return found


def told(table: Table, *words: str) -> bool:
    return any(all(word in note for word in words) for note in table.notes)


_WORDS = "the old house stood alone beside a wide and silent river which nobody had ever crossed in winter"


def english(count: int) -> list[str]:
    rng = random.Random(0)
    words = _WORDS.split()
    return [" ".join(rng.choices(words, k=rng.randint(5, 90))).capitalize() + "." for _ in range(count)]


def chinese(count: int) -> list[str]:
    rng = random.Random(1)
    signs = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"
    return ["".join(rng.choices(signs, k=rng.randint(10, 300))) + "。" for _ in range(count)]


def fold(text: str, width: int) -> str:
    """Chinese wrapped at `width` characters, indented; no line begins with a full stop."""
    text = "\u3000\u3000" + text
    lines = [text[i : i + width] for i in range(0, len(text), width)]
    if len(lines) > 1 and lines[-1] == "。":
        lines[-2:] = [lines[-2] + "。"]
    return "\n".join(lines)


@pytest.mark.parametrize("width", [60, 72, 79])
def test_wrapped_english(tmp_path: Path, width: int) -> None:
    paragraphs = english(60)
    path = write(tmp_path, "a.txt", "\n\n".join(textwrap.fill(p, width) for p in paragraphs))
    assert texts(path) == paragraphs
    assert told(read_texts([path], {}), "lines wrapped at", "60 paragraphs")


@pytest.mark.parametrize("width", [30, 36])
def test_wrapped_chinese(tmp_path: Path, width: int) -> None:
    """Without blank lines: an indent begins a paragraph; lines join without a space."""
    paragraphs = chinese(60)
    path = write(tmp_path, "a.txt", "\n".join(fold(p, width) for p in paragraphs))
    assert texts(path) == paragraphs


def test_verse_in_a_wrapped_book(tmp_path: Path) -> None:
    """A short line ends its paragraph, the verse stays apart."""
    body = [fold(p, 36) for p in chinese(60)]
    path = write(
        tmp_path,
        "a.txt",
        "\n".join([*body, "\u3000\u3000诗云：", "满纸荒唐言，一把辛酸泪。", "都云作者痴，谁解其中味！"]),
    )
    assert texts(path)[-3:] == ["诗云：", "满纸荒唐言，一把辛酸泪。", "都云作者痴，谁解其中味！"]


def test_blocks_keep_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "\n\nFirst Citizen:\nSpeak.\n\n \t\nAll:\r\n  Speak, speak.\r\n")
    table = read_texts([path], {})
    assert table.frame["text"].tolist() == ["First Citizen:\nSpeak.", "All:\n  Speak, speak."]
    assert table.frame["row"].tolist() == [3, 7]
    assert table.frame["label"].tolist() == ["", ""]
    assert told(table, "blank lines divide the paragraphs")


def test_lines_are_paragraphs(tmp_path: Path) -> None:
    """A stray blank line does not make blocks of the other two hundred."""
    reviews = [f"review {i} " + "good " * (i % 37) for i in range(200)]
    path = write(tmp_path, "a.txt", "\n".join([*reviews[:100], "", *reviews[100:]]))
    table = read_texts([path], {})
    assert table.frame["text"].tolist() == [review.strip() for review in reviews]
    assert table.frame["row"].tolist() == [*range(1, 101), *range(102, 202)]
    assert told(table, "every line is a paragraph")


def test_markdown(tmp_path: Path) -> None:
    """Code keeps its blank lines; lists keep their lines, in wrapped text, too."""
    code = "```python\na = 1\n\nb = 2\n```"
    listing = "* one\n* two\n* three"
    path = write(tmp_path, "a.md", f"# Title\n\n{code}\n\n{listing}\n")
    assert texts(path) == ["# Title", code, listing]
    paragraphs = english(40)
    path = write(tmp_path, "b.md", "\n\n".join([*(textwrap.fill(p, 72) for p in paragraphs), listing, code]))
    assert texts(path) == [*paragraphs, listing, code]
    path = write(tmp_path, "c.md", "one\n\n```\ntwo\n\nthree\n\nfour\n")
    assert texts(path) == ["one", "```\ntwo", "three", "four"]


def test_several_files(tmp_path: Path) -> None:
    for name in ("one.txt", "two.md", "three.txt", "README.md", "picture.png"):
        write(tmp_path / "books", name, f"This is {name}.\n")
    table = read_texts([tmp_path / "books"], {})
    assert set(table.frame["text"]) == {"This is one.txt.", "This is two.md.", "This is three.txt."}
    assert set(table.frame["split"]) == {""}
    assert told(table, "left out of the folder books: README.md, picture.png")
    assert told(table, "3 files are one collection")
    for name in ("train.txt", "test.txt", "notes.txt"):
        write(tmp_path / "split", name, f"This is {name}.\n")
    table = read_texts([tmp_path / "split"], {})
    assert dict(zip(table.frame["text"], table.frame["split"], strict=True)) == {
        "This is train.txt.": "train",
        "This is test.txt.": "test",
    }


def test_tables(tmp_path: Path) -> None:
    table = read_texts([write(tmp_path, "a.jsonl", '{"text": "one"}\n{"text": "two"}\n')], {})
    assert table.frame["text"].tolist() == ["one", "two"]
    assert table.frame["label"].tolist() == ["", ""]
    path = write(tmp_path, "b.csv", "id,body_\n1,one\n2,two\n")
    assert read_texts([path], {"text": "body_"}).frame["text"].tolist() == ["one", "two"]


# Streams --------------------------------------------------------------------------------------------------

ENCODERS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "bom": lambda text: text.encode("utf-8-sig"),
    "gb18030": lambda text: text.encode("gb18030"),
    "utf-16": lambda text: text.encode("utf-16"),
    "gzip": lambda text: gzip.compress(text.encode()),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_stream_reads_what_the_whole_gives(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paragraphs = chinese(300)
    path = write(tmp_path, "a.txt", ENCODERS[name]("\n".join(paragraphs)))
    assert texts(path) == paragraphs
    monkeypatch.setattr(stream, "_HEAD", 4096)
    assert texts(path) == paragraphs
    if name != "utf-16":  # which cannot be cut at a byte
        assert len(stream.open_lines(path).head) < 300


def test_a_beginning_that_misleads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """English first, then Chinese in GB18030: the whole file decides. Bytes of no encoding are named."""
    monkeypatch.setattr(stream, "_HEAD", 1000)
    lines = [f"line {i} in English" for i in range(100)]
    path = write(tmp_path, "a.txt", ("\n".join([*lines, *chinese(300)])).encode("gb18030"))
    assert texts(path) == [*lines, *chinese(300)]
    path = write(tmp_path, "b.txt", "\n".join([*lines, *chinese(20)]).encode() + b"\nbad \xff\n")
    with pytest.raises(DataError, match=r"b\.txt line 121: byte 0xff"):
        texts(path)


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty.txt": (b" \n\n", "is empty"),
    "image.txt": (b"\x89PNG\r\n" + b"x" * 50, "is a PNG image, not text"),
    "damaged.txt.gz": (gzip.compress(b"text\n" * 1000)[:40], "is damaged gzip"),
    "control.txt": (bytes(range(1, 9)) * 50, "is not text"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(tmp_path: Path, name: str) -> None:
    content, words = BROKEN[name]
    with pytest.raises(DataError, match=words):
        texts(write(tmp_path, name, content))


def test_refusals(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one\n")
    with pytest.raises(DataError, match=r"running text without columns: --text has no meaning"):
        read_texts([path], {"text": "1"})
    with pytest.raises(DataError, match=r"b\.txt does not exist"):
        read_texts([tmp_path / "b.txt"], {})
    with pytest.raises(DataError, match="given twice"):
        read_texts([path, path], {})
    with pytest.raises(DataError, match="is a table, and the files beside it are running text"):
        read_texts([path, write(tmp_path, "c.csv", "text\nx\ny\n")], {})


# Real data ------------------------------------------------------------------------------------------------


def letters(text: str) -> str:
    return re.sub(r"\s", "", text.replace("\ufeff", ""))


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["tinyshakespeare", "zh_hongloumeng", "zh_reviews_text", "zh_d2l_text"])
def test_nothing_is_lost(shared_data: Path, name: str) -> None:
    """Whatever the layout: every character but space is there, in order, and rows lead to their lines."""
    table = read_texts([shared_data / name], {})
    lines = Path(table.source[0]).read_bytes().decode().split("\n")
    assert letters("".join(table.frame["text"])) == letters("".join(lines))
    for text, row in zip(table.frame["text"][::50], table.frame["row"][::50], strict=True):
        assert letters(text).startswith(letters(lines[row - 1]))


@pytest.mark.real_data
def test_real_layouts(shared_data: Path) -> None:
    """Speeches keep their lines; the novel's 2,349 indents begin paragraphs; the reviews are one a line."""
    shakespeare = read_texts([shared_data / "tinyshakespeare"], {})
    source = Path(shakespeare.source[0]).read_text("utf-8")
    assert shakespeare.frame["text"].tolist() == [s.strip() for s in source.split("\n\n") if s.strip()]
    novel = read_texts([shared_data / "zh_hongloumeng"], {})
    assert told(novel, "lines wrapped at 72 columns")
    lines = Path(novel.source[0]).read_text("utf-8").split("\n")
    indented = {i for i, line in enumerate(lines, 1) if line.startswith("\u3000\u3000") and line.strip()}
    assert indented <= set(novel.frame["row"])
    assert not novel.frame["text"].str.contains("\n").any()
    assert len(novel) < 3300  # of 25,087 lines
    reviews = read_texts([shared_data / "zh_reviews_text"], {})
    assert len(reviews) == 42557
