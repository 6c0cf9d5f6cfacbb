"""From a file's bytes to its text: one encoding for the whole file, decoded strictly.

The encoding is decided in this order, and never guessed among the world's hundreds:
    a byte-order mark;
    UTF-8;
    UTF-16 without a mark, seen by its NUL bytes;
    GB18030 or Big5, where what comes out is mostly everyday Chinese;
    Windows-1252 (or Latin-1), where ASCII letters outnumber all others.
A file that fits none of them is refused with the place of its first bad byte: words read in a wrong
encoding would be trained on without anybody noticing.
"""

import codecs
import difflib
import gzip
import io
import re
import string
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tunelab.errors import DataError

__all__ = ["container", "decode", "file_bytes", "must_exist"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8 with a byte-order mark"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Excel workbook (.xls) or one with a password; save it as .xlsx without a password",
    ),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it first"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV"),
    (b"ARROW1", "an Arrow file; save it as Parquet"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x80\x04\x95", "a Python pickle; save the data as CSV or Parquet"),
    (b"\x80\x05\x95", "a Python pickle; save the data as CSV or Parquet"),
)
_FILLED = re.compile(rb"[^\0 \t\r\n]")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
_HIGH = bytes(range(128, 256))
#: Characters that make up about a third of any Chinese text, simplified or traditional.
_FREQUENT = frozenset(
    "的一是不了在有人我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可"
    "她里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三"
    "这來個國說們為時著會過學對裡後麼沒於還發當無開見經頭動兩長這很新高业业分法与及性研究"
)


def file_bytes(path: Path) -> bytes:
    """All bytes of a file, unpacked where it is gzip.

    Raises:
        DataError: it cannot be read, is empty, or is damaged gzip.
    """
    must_exist(path)
    try:
        data = path.read_bytes()
    except PermissionError:
        raise DataError(
            f"{path} cannot be read: permission denied; ask its owner, or change its rights"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path.name} is damaged gzip ({error}); fetch or pack it again") from None
    if not _FILLED.search(data) or data in {mark for mark, _, _ in _MARKS}:
        raise DataError(f"{path.name} is empty ({len(data)} bytes): there is nothing to learn from")
    return data


def must_exist(path: Path) -> None:
    """Raises `DataError`, naming the nearest file, where there is neither a file nor a folder."""
    try:
        if path.is_file() or path.is_dir():
            return
        exists = path.exists()
        here = path.parent.is_dir()
        names = [other.name for other in path.parent.iterdir()] if here else []
    except PermissionError:
        raise DataError(
            f"{path} cannot be read: permission denied; ask its owner, or change its rights"
        ) from None
    if exists:
        raise DataError(f"{path} is neither a file nor a folder; give a file with data")
    if not here:
        raise DataError(f"{path} does not exist: there is no folder {path.parent}")
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.55)
    hint = f"did you mean {near[0]!r}?" if near else _some(sorted(n for n in names if not n.startswith(".")))
    raise DataError(f"{path} does not exist; {hint}")


def _some(names: Sequence[str]) -> str:
    if not names:
        return "its folder is empty"
    return f"its folder holds {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"


def container(data: bytes) -> str:
    """ "parquet", "xlsx", "" for what may be text, or a sentence's end that says what else it is."""
    if data[:4] == b"PAR1":
        return "parquet"
    if data[:4] == b"PK\x03\x04":
        return _zip(data)
    if data[:4] == b"BZh9" and data[4:10] == b"1AY&SY":
        return "a bzip2 archive; unpack it first"
    return next((what for magic, what in _MAGIC if data.startswith(magic)), "")


def _zip(data: bytes) -> str:
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error):
        return "a damaged zip archive or workbook; fetch or save it again"
    if "xl/workbook.xml" in names:
        return "xlsx"
    if "word/document.xml" in names:
        return "a Word document; save its table as CSV"
    return f"a zip archive; unpack it first (it holds {', '.join(names[:5]) or 'nothing'})"


def decode(data: bytes, name: str) -> tuple[str, list[str]]:
    """The text of a file, without a byte-order mark, and notes about its encoding.

    >>> decode("评论,标签".encode("utf-8"), "a.csv")
    ('评论,标签', [])

    Raises:
        DataError: no allowed encoding fits, or the bytes are not text.
    """
    for mark, codec, title in _MARKS:
        if data.startswith(mark):
            return _strict(data, codec, name, len(mark)), [f"{name}: encoding is {title}"]
    codec = _utf16(data)
    if codec:
        return _strict(data, codec, name), [f"{name}: encoding is UTF-16 without a byte-order mark"]
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls > max(3, len(data) // 50):
        raise DataError(
            f"{name} is not text: {controls} of its {len(data)} bytes are control characters. It is damaged, "
            "or another format under this name: open it in the program that wrote it and save it as CSV in "
            "UTF-8"
        )
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        return _legacy(data, name)


def _utf16(data: bytes) -> str:
    """The byte order whose high bytes are mostly NUL, as in any Western text."""
    sample = data[:65536]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if min(even, odd) > len(sample) // 100 or max(even, odd) < len(sample) // 5 or len(sample) < 4:
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _legacy(data: bytes, name: str) -> tuple[str, list[str]]:
    repaired = data.decode("utf-8", "replace")
    good, bad = _beyond_ascii(repaired), repaired.count("\ufffd")
    if good - bad >= bad:  # well-formed sequences do not come by chance so often
        _strict(data, "utf-8", name)
    text = _chinese(data, name)
    if text is not None:
        return text
    high = len(data) - len(data.translate(None, _HIGH))
    letters = len(data) - len(data.translate(None, string.ascii_letters.encode()))
    if high > 0.4 * (high + letters):
        _strict(data, "utf-8", name)
    try:
        return data.decode("cp1252"), [_told(name, "Windows-1252 (Western European)")]
    except UnicodeDecodeError:
        return data.decode("latin-1"), [_told(name, "Latin-1 (ISO-8859-1)")]


def _chinese(data: bytes, name: str) -> tuple[str, list[str]] | None:
    """The text where GB18030 or Big5 gives mostly everyday Chinese; raises where it nearly does."""
    shares = {codec: _everyday(data.decode(codec, "replace"), codec) for codec in ("gb18030", "cp950")}
    best = max(shares, key=lambda codec: shares[codec])
    if shares[best] < 0.5:
        return None
    title = "GB18030 (GBK)" if best == "gb18030" else "Big5"
    return _strict(data, best, name), [_told(name, title)]


def _everyday(text: str, codec: str) -> float:
    """Share of the non-ASCII characters that are in the encoding's first, everyday plane.

    Korean in EUC-KR would pass as Chinese by its code points; its characters would not be the ones
    that are frequent in Chinese.
    """
    counts = Counter(text)
    beyond = {c: n for c, n in counts.items() if c > "\x7f"}
    total = sum(beyond.values())
    if not total or sum(beyond.get(c, 0) for c in _FREQUENT) < 0.03 * total - 2:
        return 0.0
    return sum(n for c, n in beyond.items() if c in _plane(codec)) / total


@cache
def _plane(codec: str) -> frozenset[str]:
    low = range(0xA1, 0xFF)
    if codec == "gb18030":
        leads, trails = [0xA1, 0xA3, *range(0xB0, 0xD8)], list(low)
    else:
        leads, trails = [0xA1, *range(0xA4, 0xC7)], [*range(0x40, 0x7F), *low]
    found = (bytes([lead, trail]).decode(codec, "ignore") for lead in leads for trail in trails)
    return frozenset(c for c in found if len(c) == 1)


def _strict(data: bytes, codec: str, name: str, start: int = 0) -> str:
    try:
        return data[start:].decode(codec)
    except UnicodeDecodeError as error:
        at = error.start + start
        line = data[start:at].decode(codec, "replace").count("\n") + 1
        raise DataError(
            f"{name} line {line}: byte 0x{data[at]:02x} at byte offset {at} is not "
            f"{codec.upper()} text, and no "
            "other encoding fits (UTF-8, UTF-16, GB18030, Big5, Windows-1252); mend that place, or save the "
            "file as UTF-8"
        ) from None


def _told(name: str, title: str) -> str:
    return f"{name}: encoding is {title}, not UTF-8; if letters look wrong, save the file as UTF-8"


def _beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))
