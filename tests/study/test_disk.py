"""Room on the disk: reckoned by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunelab.errors import OutputError
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
