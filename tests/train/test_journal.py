"""The journal: what a run wrote survives however the run ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunelab.train.journal import Journal


class Trackers:
    """Stands for `accelerate`'s trackers: notes what it is told."""

    def __init__(self) -> None:
        self.logged: list[int] = []
        self.ended = 0

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append(step)

    def end_training(self) -> None:
        self.ended += 1


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_fails_keeps_its_last_lines(error: type[BaseException], tmp_path: Path) -> None:
    trackers: Any = Trackers()

    def run() -> None:
        with Journal(tmp_path, trackers) as journal:
            journal.step(1, 9, loss=0.5, rate=1.0, norm=2.0)
            journal.step(2, 9, loss=float("inf"), rate=1.0, norm=3.0)
            assert not journal.path.exists(), "steps wait in memory"
            raise error("the loss is not finite")

    with pytest.raises(error):
        run()
    assert [entry["loss"] for entry in lines(tmp_path)] == [0.5, float("inf")]
    assert trackers.ended == 1


def test_closing_twice_writes_nothing_twice(tmp_path: Path) -> None:
    trackers: Any = Trackers()
    with Journal(tmp_path, trackers) as journal:
        journal.step(1, 9, loss=0.5, rate=1.0, norm=2.0)
        journal.close()
    assert len(lines(tmp_path)) == 1
    assert trackers.ended == 1


def test_resuming_forgets_later_steps_and_half_a_line(tmp_path: Path) -> None:
    first: Any = Trackers()
    with Journal(tmp_path, first) as journal:
        journal.step(1, 9, loss=3.0, rate=1.0, norm=1.0)
        journal.note(1, "memory was out")
        journal.step(2, 9, loss=2.0, rate=1.0, norm=1.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    second: Any = Trackers()
    with Journal(tmp_path, second) as journal:
        journal.resume(1)
        assert journal.notes == ["memory was out"]
        journal.step(2, 9, loss=1.0, rate=1.0, norm=1.0)
    assert [(e["kind"], e["step"], e.get("loss")) for e in lines(tmp_path)] == [
        ("step", 1, 3.0),
        ("note", 1, None),
        ("step", 2, 1.0),
    ]
