"""Rows written and read again are the same, or what changed is told."""

from pathlib import Path

import pandas as pd
import pytest

from tunelab.data import write
from tunelab.data.write import write_frame
from tunelab.errors import OutputError

FRAME = pd.DataFrame(
    {
        "id": [1, "two", 3.5, None],
        "text": ["plain", "with\x07bell and\x0bmore", "中文", 'quo"te, and\nline'],
        "sum": ["=1+1", "+1", "-", "@x"],
        "p": [0.1234567890123456, 1 / 3, 1e-12, 1.0],
    },
    dtype=object,
).astype({"p": float})


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet", "xlsx"])
def test_every_format_holds_rows_of_mixed_types(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{ending}"
    notes = write_frame(FRAME, path)
    readers = {
        "csv": pd.read_csv,
        "tsv": lambda p: pd.read_csv(p, sep="\t"),
        "json": lambda p: pd.read_json(p, precise_float=True),
        "jsonl": lambda p: pd.read_json(p, lines=True, precise_float=True),
        "parquet": pd.read_parquet,
        "xlsx": pd.read_excel,
    }
    found = readers[ending](path)
    assert found["p"].tolist() == pytest.approx(FRAME["p"].tolist(), rel=1e-12)
    assert [str(v) for v in found["id"][:3]] == ["1", "two", "3.5"]
    assert found["sum"].tolist() == FRAME["sum"].tolist(), "a text that begins with = is no formula"
    expected = FRAME["text"].tolist()
    if ending == "xlsx":
        expected[1] = "with" + "bell and" + "more"
        assert notes == ["control characters that XLSX cannot hold were taken out: 2"]
    elif ending == "parquet":
        assert notes == ["columns of mixed types were written as text: id"]
    else:
        assert notes == []
    assert found["text"].tolist() == expected


def test_parquet_changes_only_what_it_cannot_hold(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "text": ["a", None, ""],  # a text that is missing is no other type
            "number": [1, 2.5, None],
            "gap": [1, "", 3],  # an empty cell among numbers, as read from a spreadsheet
            "lists": [["a"], ["b", "c"], []],
            "meta": [{}, {}, {}],
            "tags": [["a", 1], "b", None],
        },
        dtype=object,
    )
    path = tmp_path / "out.parquet"
    assert write_frame(frame, path) == ["columns of mixed types were written as text: meta, tags"]
    found = pd.read_parquet(path)
    assert found["text"].isna().tolist() == [False, True, False]
    assert found["number"].tolist()[:2] == [1.0, 2.5]
    assert found["gap"].isna().tolist() == [False, True, False]
    assert found["gap"].tolist()[::2] == [1, 3]
    assert [list(value) for value in found["lists"]] == [["a"], ["b", "c"], []]
    assert found["meta"].tolist() == ["{}"] * 3
    assert found["tags"].tolist()[:2] == ['["a", 1]', "b"]


def test_what_a_sheet_cannot_hold_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header with a control character, a text above 32,767 characters, more rows than a sheet has."""
    path = tmp_path / "out.xlsx"
    notes = write_frame(pd.DataFrame({"te\x01xt": ["x" * 40_000, "y"]}), path)
    assert notes == [
        "control characters that XLSX cannot hold were taken out: 1",
        "texts longer than the 32,767 characters of an XLSX cell were cut: 1",
    ]
    assert [len(text) for text in pd.read_excel(path)["text"]] == [32_767, 1]
    monkeypatch.setattr(write, "_XLSX_ROWS", 3)
    with pytest.raises(OutputError, match=r"XLSX holds 2 rows, these are 3; give a name that ends in \.csv"):
        write_frame(pd.DataFrame({"text": ["a", "b", "c"]}), path)
