"""A task's answers as a policy writes them: how they are drawn, what they are worth, how far they have gone.

Every held-out item is answered once, with random numbers that belong to its place, and so is it by the
untouched model: what differs between two models is the models. A reward reads texts, never token ids.
"""

# N items, T tokens of the longest answer

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from tunelab.config import Section
from tunelab.data.templates import stop_tokens
from tunelab.measure.reward import hacking_flags, reward_scores
from tunelab.rlhf.online import frozen_reference
from tunelab.rlhf.rewards import Row, score
from tunelab.rlhf.rollout import Rollout, RolloutSettings, rollout
from tunelab.tasks.base import Inquiry

__all__ = [
    "COLUMNS",
    "PolicySettings",
    "asked_of",
    "draw",
    "drawing_of",
    "flags",
    "respond",
    "row_of",
    "written_scores",
]

#: What `respond` gives of an item.
COLUMNS = (
    *("prediction", "untouched", "reward", "untouched_reward", "trained_reward", "untouched_trained_reward"),
    *("kl", "tokens", "untouched_tokens", "ended"),
)
_SEED = 20_000
_ROWS = 64  # drawn at once


class PolicySettings(Section):
    """How answers are drawn and what they are worth."""

    reward: str = Field(
        "",
        description="what an answer is worth: FOLDER or FOLDER:LABEL of a bundle, file.py:function, "
        "exact_match, number_at_end, regex:PATTERN, length:WORDS or length:NUMBERcharacters; 0.5*A + B for "
        "several. It also decides the comparison",
    )
    judge: str = Field("", description="the held-out reward that decides, written alike; empty: the reward")
    max_new_tokens: int = Field(
        64, ge=1, le=32768, description="tokens of an answer that is written, at most"
    )
    temperature: float = Field(1.0, gt=0, le=10, description="of the drawing, in training and in judging")


def drawing_of(
    settings: PolicySettings, tokenizer: Any, answers: int = 1, rows: int = _ROWS
) -> RolloutSettings:
    """How this tokenizer's model draws."""
    return RolloutSettings(
        eos_ids=tuple(stop_tokens(tokenizer)),
        pad_id=int(tokenizer.pad_token_id),
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        answers=answers,
        batch_rows=max(rows, answers),
    )


def asked_of(cell: str) -> str:
    """A prompt's messages as a reward reads them: of one message its text."""
    messages = json.loads(cell)
    if len(messages) == 1:
        text: str = messages[0]["content"]
        return text
    return "\n".join(f"{own['role']}: {own['content']}" for own in messages)


def row_of(item: dict[str, Any]) -> Row:
    """The row of the data that a prompt came from, for rewards that read it."""
    given = json.loads(item["given"]) if item.get("given") else {}
    kept = ("text", "chosen", "rejected", "file", "row")
    return {**{k: str(item[k]) for k in kept if item.get(k) not in (None, "")}, **given}


def draw(settings: PolicySettings, model: Any, asked: Inquiry) -> tuple[Rollout, RolloutSettings]:
    """One answer to each item, and how it was drawn."""
    rows = len(asked.prompts) if asked.at_once else _ROWS
    drawing = drawing_of(settings, asked.tokenizer, rows=rows)
    with asked.context(model):
        return rollout(model, asked.prompts, drawing, _SEED), drawing


def respond(settings: PolicySettings, model: Any, asked: Inquiry) -> np.ndarray:
    """See `COLUMNS`, [N, K] object."""
    drawn, drawing = draw(settings, model, asked)
    with asked.untouched(model) as plain, asked.context(plain):
        logps_NT = frozen_reference(plain, settings.temperature, drawing.batch_rows)(drawn)
        other_NT = asked.remember(f"{drawing}", lambda: _ids(rollout(plain, asked.prompts, drawing, _SEED)))
    kl_N = ((drawn.logps_BT - logps_NT) * drawn.mask_BT).sum(1).double().cpu().numpy()
    assert len(other_NT) == len(asked.prompts), "remembered of other items"
    texts, others = (_texts(asked.tokenizer, ids_NT) for ids_NT in (_ids(drawn), other_NT))
    worth = _Worth(asked)
    judge = settings.judge or settings.reward
    columns = [
        texts,
        others,
        worth.of(judge, texts),
        worth.untouched(judge, others),
        worth.of(settings.reward, texts),
        worth.untouched(settings.reward, others),
        kl_N,
        drawn.lengths_B.cpu().numpy(),
        (other_NT >= 0).sum(1),
        drawn.ended_B.cpu().numpy().astype(float),
    ]
    found = np.empty((len(texts), len(columns)), dtype=object)
    for i, column in enumerate(columns):
        found[:, i] = list(column)
    return found


class _Worth:
    """Rewards of answers to the items that are asked."""

    def __init__(self, asked: Inquiry) -> None:
        self.asked = asked
        items = [{str(k): v for k, v in item.items()} for item in asked.items.to_dict("records")]
        self.prompts = [asked_of(item["text"]) for item in items]
        self.rows = [row_of(item) for item in items]
        self.known: dict[str, np.ndarray] = {}

    def of(self, name: str, texts: Sequence[str]) -> np.ndarray:
        key = f"{name} {_digest(texts)}"
        if key not in self.known:  # (the judge may be the reward itself)
            found = score(self.asked.rewards[name], name, self.prompts, texts, self.rows)
            self.known[key] = found.double().numpy()
        return self.known[key]

    def untouched(self, name: str, texts: Sequence[str]) -> np.ndarray:
        given = _digest([*texts, *self.prompts, *(json.dumps(dict(row)) for row in self.rows)])
        return self.asked.remember(f"worth {name} {given}", lambda: self.of(name, texts))


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def _ids(drawn: Rollout) -> np.ndarray:
    """Token ids of the answers, -1 where there is none."""
    ids: np.ndarray = drawn.completion_ids_BT.masked_fill(~drawn.mask_BT, -1).cpu().numpy()
    return ids


def _texts(tokenizer: Any, ids_NT: np.ndarray) -> list[str]:
    return [tokenizer.decode(ids[ids >= 0].tolist(), skip_special_tokens=True) for ids in ids_NT]


def written_scores(outputs: np.ndarray) -> dict[str, float]:
    """Of what `respond` gave; the deciding one first."""
    frame = pd.DataFrame(outputs, columns=list(COLUMNS))
    values = {name: frame[name].to_numpy(np.float64) for name in COLUMNS[2:]}
    found = reward_scores(
        values["reward"], values["untouched_reward"], values["kl"], values["tokens"], values["ended"]
    )
    if not np.array_equal(values["reward"], values["trained_reward"]):
        found["trained_reward"] = float(values["trained_reward"].mean())
        found["untouched_trained_reward"] = float(values["untouched_trained_reward"].mean())
    return found


def flags(predictions: pd.DataFrame) -> list[str]:
    """See `hacking_flags`; predictions: with the columns that `respond` gave."""
    said = {name: predictions[name].to_numpy(np.float64) for name in COLUMNS[2:]}
    return hacking_flags(
        predictions["prediction"].tolist(),
        predictions["untouched"].tolist(),
        (float(said["tokens"].mean()), float(said["untouched_tokens"].mean())),
        (said["trained_reward"], said["untouched_trained_reward"]),
        (said["reward"], said["untouched_reward"]),
    )
