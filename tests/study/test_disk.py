"""Room on the disk: reckoned by hand."""

import json
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tiny import make_model_folder, write_sentences
from tokenizers import Tokenizer, models

import tunelab
from tunelab.errors import DataError, OutputError
from tunelab.files import output_errors
from tunelab.study import disk
from tunelab.study.disk import Share, check_disk, float32_bytes, share_of

GB = 1_000_000_000
Room = Callable[[float], None]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    def leave(free: float) -> None:
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    return leave


def model(folder: Path, size: int = 0, **values: Any) -> Any:
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "model.safetensors").write_bytes(bytes(size))
    return SimpleNamespace(base=SimpleNamespace(folder=folder))


def test_full_fine_tuning_needs_thirteen_of_the_model_and_a_bundle(tmp_path: Path, room: Room) -> None:
    room(14.01 * GB)
    check_disk(tmp_path, [Share(1, 1)], GB, 1)
    room(13.99 * GB)
    with pytest.raises(OutputError, match=r"14\.0 GB free, but .* 14\.0 GB .*--workers.*lora"):
        check_disk(tmp_path, [Share(1, 1)], GB, 1)


def test_the_largest_are_side_by_side_and_kept_bundles_count(tmp_path: Path, room: Room) -> None:
    """12 x (1 + 0.5) and two bundles of those at work; of three methods two bundles each: 2 x 2.05."""
    shares = [Share(1, 1), Share(0.05, 0.05), Share(0.5, 1)]
    room(24.2 * GB)
    check_disk(tmp_path, shares, GB, 2, kept=2)
    room(24.0 * GB)
    with pytest.raises(OutputError):
        check_disk(tmp_path, shares, GB, 2, kept=2)


def test_bundles_that_are_there_need_no_room(tmp_path: Path, room: Room) -> None:
    folder = tmp_path / "runs" / "full-s0" / "bundle"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(1000))
    room(13_000)
    check_disk(tmp_path, [Share(1, 1)], 1000, 1)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OutputError):
        check_disk(tmp_path, [Share(1, 1)], 1000, 1)


def test_what_a_method_trains_counts_and_not_the_model(tmp_path: Path) -> None:
    """At a width of 4,096 rank 8 and 64 are 0.4 and 3 %, and 512 is 25 %; layers of one's own may be all."""
    large = model(tmp_path, hidden_size=4096)
    assert share_of("full", {}, large) == (1, 1)
    assert share_of("head", {}, large) == (0.05, 1)  # (its bundle is a whole model)
    assert [share_of("lora", {"rank": rank}, large).trained for rank in (8, 64, 512)] == [0.05, 0.05, 0.25]
    assert share_of("lora", {"rank": 1024}, model(tmp_path, text_config={"hidden_size": 256})) == (1, 1)
    assert share_of("top_layers", {}, large).trained < share_of("top_layers", {"layers": 20}, large).trained


def test_weights_of_half_the_width_are_trained_in_float32(tmp_path: Path) -> None:
    assert float32_bytes(model(tmp_path, 1000, dtype="bfloat16")) == 2000
    assert float32_bytes(model(tmp_path, 1000, torch_dtype="float16")) == 2000
    assert (
        float32_bytes(model(tmp_path, 1000, torch_dtype="float32"))
        == float32_bytes(model(tmp_path, 1000))
        == 1000
    )


def by_safetensors(folder: Path) -> None:
    save_file({"a": torch.zeros(4000)}, folder / "a.safetensors")


def by_tokenizers(folder: Path) -> None:
    Tokenizer(models.WordLevel({str(i): i for i in range(2000)}, unk_token="0")).save(str(folder / "a.json"))


def by_parquet(folder: Path) -> None:
    pd.DataFrame({"a": range(5000)}).to_parquet(folder / "a.parquet")


def by_a_copied_tree(folder: Path) -> None:
    shutil.copytree(folder / "from", folder / "to")


@pytest.mark.parametrize("write", [by_safetensors, by_tokenizers, by_parquet, by_a_copied_tree])
def test_the_systems_error_is_known_in_every_librarys_words(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    """The system allows a file 1,000 bytes: two of the four tell its error in words alone."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(bytes(5000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large"), output_errors(tmp_path):
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_database_is_a_full_disk(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("create table rows (text)")
        database.execute("pragma max_page_count = 3")
        with pytest.raises(OutputError, match="disk is full"), output_errors(tmp_path):
            database.execute("insert into rows values (?)", ("x" * 100_000,))


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    """Also one that quotes the system's of a file that was read."""
    for error in (DataError("[Errno 13] of what was read"), ValueError("code: 28"), FileNotFoundError(2, "")):
        with pytest.raises(type(error)) as raised, output_errors(tmp_path):
            raise error
        assert raised.value is error


def test_a_folder_that_cannot_be_written_ends_the_study_and_costs_no_method_its_place(
    tmp_path: Path,
) -> None:
    """Where one run cannot write, none can: the study stops, says why, and goes on when it is mended."""

    def study() -> Any:
        return tunelab.compare(
            data,
            methods=["head", "lora"],
            model=str(model),
            folds=0,
            seeds=2,
            effort="quick",
            out=tmp_path / "out",
            settings={"train": {"epochs": 1}},
            progress=False,
        )

    data = write_sentences(tmp_path / "data.csv", 60)
    model = make_model_folder(tmp_path / "model")
    whole = study()
    (folder,) = (tmp_path / "out" / "runs").glob("lora-s0-*")
    before = (folder / "predictions.parquet").read_bytes()
    shutil.rmtree(folder)
    (folder / "predictions.parquet").mkdir(parents=True)
    with pytest.raises(OutputError, match=rf"{folder.name}.*cannot be written: Is a directory.*--out"):
        study()
    assert not (folder / "result.json").exists()
    (folder / "predictions.parquet").rmdir()
    again = study()
    assert (folder / "predictions.parquet").read_bytes() == before
    assert again.record.pairs == whole.record.pairs
    assert [result.failures for result in again.record.results if not result.baseline] == [{}, {}]
