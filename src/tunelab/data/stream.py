"""Lines of a long text file, read one by one: its bytes and its text are never held together.

The encoding is decided by the file's beginning, as `decode` does; where that turns out wrong later on, the
whole file is decoded instead, which either finds the right one or names the first bad byte.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tunelab.data.decode import container, decode, file_bytes, must_exist
from tunelab.errors import DataError

__all__ = ["Lines", "open_lines", "whole_lines"]

_HEAD = 1 << 20  # bytes looked at to tell encoding and layout
_CODECS = ("utf-8-sig", "gb18030", "cp950", "cp1252", "latin-1")


@dataclass(frozen=True)
class Lines:
    """A file's lines without their ends, anew each time they are asked for.

    head: the first lines (about a million bytes). codec: its encoding, for Python; "" where head is all of
    it. notes: what the user should know of it.
    """

    path: Path
    codec: str
    head: list[str]
    notes: tuple[str, ...]

    def __iter__(self) -> Iterator[str]:
        if not self.codec:
            yield from self.head
            return
        with _open(self.path) as file:
            text = io.TextIOWrapper(file, encoding=self.codec, errors="strict", newline="\n")
            try:
                for line in text:
                    yield line.rstrip("\r\n").replace("\ufeff", "")
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(
                    f"{self.path.name} is damaged gzip ({error}); fetch or pack it again"
                ) from None


def open_lines(path: Path) -> Lines:
    """A text file's lines; of a long one, nothing but its beginning is read yet.

    Iterating over them raises `UnicodeDecodeError` where the beginning misled about the encoding: then
    `whole_lines` decides by all of it.

    Raises:
        DataError: it cannot be read, is empty, or is no text in a known encoding.
    """
    must_exist(path)
    try:
        with _open(path) as file:
            data = file.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return whole_lines(path)  # which says what is wrong
    head = data[: data.rfind(b"\n") + 1]
    if len(data) < _HEAD or not head or b"\0" in data[:4096]:  # UTF-16 cannot be cut at a byte
        return whole_lines(path)
    text, notes = _text(head, path)
    codec = next(codec for codec in _CODECS if _gives(head, codec, text))
    return Lines(path, codec, _split(text), tuple(notes))


def whole_lines(path: Path) -> Lines:
    """A text file's lines, all of them read.

    Raises:
        DataError: it cannot be read, is empty, or is no text in a known encoding.
    """
    text, notes = _text(file_bytes(path), path)
    return Lines(path, "", _split(text), tuple(notes))


def _split(text: str) -> list[str]:
    lines = [line.rstrip("\r") for line in text.replace("\ufeff", "").split("\n")]
    return lines if lines[-1] else lines[:-1]


def _text(data: bytes, path: Path) -> tuple[str, list[str]]:
    found = container(data)
    if found:
        raise DataError(
            f"{path.name} is {found}, not text; give .txt, .md, or a table with a column of texts"
        )
    return decode(data, path.name)


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _gives(data: bytes, codec: str, text: str) -> bool:
    try:
        return data.decode(codec) == text
    except UnicodeDecodeError:
        return False
