"""Rows written and read again are the same, or what changed is told."""

from pathlib import Path

import pandas as pd
import pytest

from tunelab.data.write import write_frame

FRAME = pd.DataFrame(
    {
        "id": [1, "two", 3.5, None],
        "text": ["plain", "with\x07bell and\x0bmore", "中文", 'quo"te, and\nline'],
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
    expected = FRAME["text"].tolist()
    if ending == "xlsx":
        expected[1] = "with" + "bell and" + "more"
        assert notes == ["2 control characters that XLSX cannot hold were taken out"]
    elif ending == "parquet":
        assert notes == ["columns of mixed types were written as text: id"]
    else:
        assert notes == []
    assert found["text"].tolist() == expected
