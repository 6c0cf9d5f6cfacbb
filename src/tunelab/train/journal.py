"""What a run tells while it trains: `metrics.jsonl`, TensorBoard and other trackers, a progress line."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from tunelab.files import output_errors, write_atomically

__all__ = ["Journal"]

#: (kind, values) with kind "step", "evaluation" or "note".
Listener = Callable[[str, Mapping[str, Any]], None]


class Journal:
    """Writes every step's and evaluation's numbers; on a continued run, from the checkpoint's step on.

    One line of `metrics.jsonl`: {"kind": "step" | "evaluation" | "rows" | "note", "step": n, ...}. Lines wait
    in memory until the next evaluation, note or checkpoint. As a context manager it closes however the run
    ends, so that a run that fails keeps the lines that say why.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, listener: Listener | None = None) -> None:
        self.path = folder / "metrics.jsonl"
        self._accelerator = accelerator
        self._listener = listener
        self._lines: list[str] = []
        self._closed = False
        self.notes: list[str] = []

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resume(self, step: int) -> None:
        """Forgets what was written after `step` (it will be done again)."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the line that was being written when the run was killed
                continue
            if entry["step"] <= step:
                kept.append(line)
                if entry["kind"] == "note":
                    self.notes.append(entry["note"])
        with output_errors(self.path):
            write_atomically(self.path, "".join(line + "\n" for line in kept).encode("utf-8"))

    def told(self, step: int, values: Mapping[str, float]) -> None:
        """What the rows say of themselves when an epoch begins (nothing: no line)."""
        if values:
            self._write("rows", step, values)

    def step(self, step: int, total: int, loss: float, rate: float, norm: float) -> None:
        """One optimizer step: mean loss, share of the peak learning rate, gradient norm before clipping."""
        self._write("step", step, {"loss": loss, "rate": rate, "norm": norm})
        self._tell("step", {"step": step, "total": total, "loss": loss})

    def evaluation(self, step: int, total: int, scores: Mapping[str, float]) -> None:
        """Scores on the validation rows."""
        self._write("evaluation", step, {f"valid/{name}": value for name, value in scores.items()})
        self.flush()
        self._tell("evaluation", {"step": step, "total": total, **scores})

    def note(self, step: int, text: str) -> None:
        """Something the user should know; it also goes into the record."""
        self.notes.append(text)
        self._lines.append(json.dumps({"kind": "note", "step": step, "note": text}, ensure_ascii=False))
        self.flush()
        self._tell("note", {"note": text})

    def flush(self) -> None:
        """Puts what is waiting on disk."""
        if not self._lines:
            return
        with output_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in self._lines))
        self._lines.clear()

    def close(self) -> None:
        """Flushes and closes the trackers, once."""
        self.flush()
        if not self._closed:
            self._closed = True
            self._accelerator.end_training()

    def _write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        self._lines.append(json.dumps({"kind": kind, "step": step, **values}))
        with output_errors(self.path):  # (trackers write too)
            self._accelerator.log(dict(values), step=step)

    def _tell(self, kind: str, values: Mapping[str, Any]) -> None:
        if self._listener is not None:
            self._listener(kind, values)
