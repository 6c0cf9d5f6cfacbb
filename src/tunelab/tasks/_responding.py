"""Answers that a model writes: what it is asked, what it may write, and what that is worth."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tunelab.data.layout import Encoded
from tunelab.data.table import Table
from tunelab.rlhf.rewards import Reward
from tunelab.tasks._judging import Judging

__all__ = ["Inquiry", "Responding"]


@dataclass(frozen=True)
class Inquiry:
    """Items whose answers a model is to write.

    items: their columns, as far as the task reads them; prompts: token ids of what each answer goes on from
    (of an encoder-decoder: of what the encoder reads), without padding; untouched: the context in which the
    pretrained model is to be had as it was before this one was trained; remember: gives what a function
    computes, once for all that are asked the same (a name tells apart what is computed); context: in which a
    model runs in the precision that is wanted; rewards: those that the task's settings name; at_once: all in
    one batch.
    """

    items: pd.DataFrame
    prompts: Sequence[Sequence[int]]
    tokenizer: Any
    untouched: Callable[[Any], AbstractContextManager[Any]]
    remember: Callable[[str, Callable[[], np.ndarray]], np.ndarray]
    context: Callable[[Any], AbstractContextManager[Any]]
    device: str = "cpu"
    rewards: Mapping[str, Reward] = field(default_factory=dict)
    at_once: bool = False


class Responding(Judging):
    """The part of a task's contract that is about written answers; most tasks have none."""

    #: Of pairs of a prompt and an answer it judges the answer; to prompts alone it writes one.
    answers_too: ClassVar[bool] = False

    @property
    def written(self) -> bool:
        """Whether it is judged by what a model writes (`respond`), not by what it makes of given rows."""
        return False

    @property
    def room(self) -> int:
        """Tokens among a model's positions that a written answer takes, at most."""
        return 0

    def rewards(self) -> tuple[str, ...]:
        """Names of the rewards by which answers are judged or improved (see study/rewarding.py)."""
        return ()

    @property
    def continues(self) -> bool:
        """Whether an answer goes on with the text of its prompt."""
        return False

    def prompts_of(self, encoded: Encoded, items: np.ndarray) -> list[np.ndarray]:
        """Token ids of what the answers to these items go on from, where answers are written."""
        raise NotImplementedError

    def respond(self, model: Any, asked: Inquiry) -> np.ndarray:
        """What the model writes and what is to be said of it, one row an item, [N, K] object: `decode` and
        `scores` read it in the place of outputs. Equal for equal weights; draws on no global generator."""
        raise NotImplementedError

    def write(self, model: Any, asked: Inquiry) -> None:
        """The same as far as the model has a part in it: what is timed."""
        self.respond(model, asked)

    @property
    def writes(self) -> int:
        """How many tokens an answer has at most that the model writes; 0: it writes none."""
        return 0

    @property
    def beams(self) -> int:
        """Of the search for what it writes; 1: the likeliest token each time."""
        return 1

    def prompts(self, table: Table, tokenizer: Any) -> list[list[int]]:
        """Token ids of what the model is to go on from, one an item."""
        raise NotImplementedError

    def halves(self, text: str, label: str) -> tuple[str, str]:
        """Of an item what the model is given and what it is to write, as a person reads them."""
        return text, self.shown(label)

    def stops(self, tokenizer: Any) -> list[int]:
        """Ids of tokens that end what it writes."""
        raise NotImplementedError
