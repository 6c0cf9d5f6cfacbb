"""What a model answers to items of a study: its outputs for their rows, or what it writes."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from tunelab.data.batch import Examples
from tunelab.errors import DataError
from tunelab.models import load_tokenizer
from tunelab.study.prepare import Prepared
from tunelab.study.rewarding import check_rewards, label_reward, rewards_of, stamp
from tunelab.study.untouched import key_of, shared, untouched_model
from tunelab.tasks.base import Inquiry, Task
from tunelab.train.evaluate import predict_logits
from tunelab.train.precision import Precision

__all__ = ["Asker", "check_asking"]


def check_asking(task: Task, prepared: Prepared, device: str) -> None:
    """Before anything is trained: every reward that the task names gives a number for a few answers, and
    every prompt leaves room for its answer. Does nothing for a task whose answers are not written.

    Raises:
        ConfigError, DataError: say what is wrong and what to do.
    """
    settings: Any = getattr(task, "settings", None)
    if task.online and not task.written:
        label_reward(settings.reward, device)
    if not task.written:
        return
    items = np.arange(prepared.own)
    prompts = [len(ids) for ids in task.prompts_of(prepared.encoded, items)]
    longest = int(np.argmax(prompts))
    most, room = prepared.positions, task.room
    if most is not None and prompts[longest] + room > most:
        raise DataError(
            f"the prompt of {prepared.table.where(longest)} has {prompts[longest]:,} tokens, and with "
            f"{task.name}.max_new_tokens={room} that is more than the {most:,} positions of "
            f"{prepared.base.name}: shorten it, or lower {task.name}.max_new_tokens or model.max_length"
        )
    check_rewards(task, prepared.table.frame, device)


#: The untouched model that was asked for last, and what tells it from others: one copy serves all askers.
_last: dict[tuple[str, ...], Any] = {}


def _plain(task: Task, prepared: Prepared, device: str) -> Any:
    model = prepared.model.model_dump_json()
    key = (prepared.model_digest, model, task.model_class, repr(task.model_options()), device)
    if key not in _last:
        _last.clear()
        _last[key] = untouched_model(task, prepared, device)
    return _last[key]


class Asker:
    """Asks models for their answers to the same items, as often as one likes."""

    def __init__(self, task: Task, prepared: Prepared, items: np.ndarray, precision: Precision) -> None:
        self.task = task
        self.prepared = prepared
        self.items = items
        self.precision = precision
        self._asked: Inquiry | None = None
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, model: Any, examples: Examples, at_once: bool = False) -> np.ndarray:
        """What `task.scores` and `task.decode` read: of a task whose answers are written what `respond`
        gives; else `predict_logits` of `examples`, the items' rows (as a lever may have changed them)."""
        if not self.task.written:
            return predict_logits(
                model, examples, self.precision, whole=at_once, keep=self.task.keep_of(model)
            )
        if self._asked is None:
            self._asked = self.inquiry(at_once)
        return self.task.respond(model, self._asked)

    def inquiry(self, at_once: bool = False) -> Inquiry:
        """The items as a model is asked for them, where answers are written."""
        prepared = self.prepared
        tokenizer, _ = load_tokenizer(prepared.base, prepared.model)
        self.task.dress(tokenizer, prepared.settings)
        return Inquiry(
            items=prepared.table.frame.iloc[self.items],
            prompts=[ids.tolist() for ids in self.task.prompts_of(prepared.encoded, self.items)],
            tokenizer=tokenizer,
            untouched=self.untouched,
            remember=self._remember,
            context=self.precision,
            device=self.precision.device,
            rewards=rewards_of(self.task, self.precision.device),
            at_once=at_once,
        )

    @contextlib.contextmanager
    def untouched(self, model: Any) -> Iterator[Any]:
        """The pretrained model as it was: the trained one with its adapter off, where that is all it has;
        else one of its own."""
        if hasattr(model, "disable_adapter"):
            with model.disable_adapter():
                yield model
            return
        yield _plain(self.task, self.prepared, self.precision.device)

    def _remember(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """All runs of a study share it, through a file where they have a folder for such."""
        if name not in self._known:
            parts = (
                name,
                *map(stamp, self.task.rewards()),
                self.prepared.model_digest,
                self.prepared.token_digest,
                self.prepared.model.model_dump_json(exclude={"name"}),
                hashlib.sha256(np.ascontiguousarray(self.items, dtype=np.int64).data).hexdigest(),
                self.precision.name,
                torch.device(self.precision.device).type,
                torch.get_num_threads(),
            )
            file = f"asked-{key_of(*parts)}"
            self._known[name], _ = shared(self.prepared.features, file, lambda: (compute(), 0.0))
        return self._known[name]
