"""What tests of the reader share: files, refusals and notes."""

from pathlib import Path

import pytest

from tunelab.data.read import GROUP, LABEL, TEXT, read
from tunelab.data.table import Table
from tunelab.errors import DataError

COLUMNS = (TEXT, LABEL, GROUP)
SMALL = "text,label\na,x\nb,y\n"


def pairs(table: Table) -> list[tuple[str, str]]:
    return list(zip(table.frame["text"].tolist(), table.frame["label"].tolist(), strict=True))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(paths: Path | list[Path], **chosen: str) -> str:
    with pytest.raises(DataError) as caught:
        read([paths] if isinstance(paths, Path) else paths, COLUMNS, chosen)
    return str(caught.value)


def told(table: Table, *words: str) -> bool:
    return any(all(word in note for word in words) for note in table.notes)
