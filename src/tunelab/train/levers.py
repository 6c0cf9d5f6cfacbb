"""What makes a training faster, put on a model for as long as it trains.

Each lever is a context of its own in a file of its own, says there what it changes, and is switched by one
setting. The loop knows none of them.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunelab.config import SpeedConfig
from tunelab.data.batch import PASS, Examples
from tunelab.methods.base import Tuned
from tunelab.train.asked import asked_only
from tunelab.train.attention import NAME, register, supports
from tunelab.train.dropout import fast_dropout
from tunelab.train.first_token import first_token_only
from tunelab.train.packing import packed
from tunelab.train.precision import Precision
from tunelab.train.trunk import cached_trunk
from tunelab.train.unpadded import unpadded
from tunelab.train.vocabulary import compact_vocabulary

__all__ = ["Faster", "faster", "faster_judging"]


#: What one more pass takes there, in tokens: a small model takes as long for a few as for thousands. Not
#: measured.
_PASS_ON_GPU = 4096
_MOST_PASS = 1024
_WIDE = 384


@dataclass(frozen=True)
class Faster:
    """The rows to train and to validate on, as the levers want them read.

    told: what each lever did, for the record; trunk_seconds: to compute what frozen layers give, once for
    all runs that share it.
    """

    train: Examples
    valid: Examples
    trunk_seconds: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def faster(
    tuned: Tuned,
    train: Examples,
    valid: Examples,
    others: Examples,
    config: SpeedConfig,
    precision: Precision,
    features: Path | None,
    key: str,
    token_by_token: bool = False,
) -> Iterator[Faster]:
    """The context in which `tuned` is trained and validated.

    others: rows that other runs of the study train or validate on, so that they find them.
    features: folder that the runs of a study share for what frozen layers give (None: not shared); key: what
    decides that besides rows, layers and precision. token_by_token: see `Task.token_by_token`.
    """
    with contextlib.ExitStack() as stack:
        told: dict[str, Any] = {}
        if config.attention:
            told["attention"] = stack.enter_context(_cpu_attention(tuned.model))
        seconds, ordinary = 0.0, train
        if train.one_more:
            train = replace(train, one_more=_pass_tokens(tuned.model, precision.device))
        if config.packing and not (config.trunk_cache and tuned.frozen_depth > 1):
            told["packing"] = stack.enter_context(packed(tuned.model, train, precision))
            if told["packing"]:
                train = replace(train, padded=False, one_more=None)
        if config.unpadded and told.get("attention") and not told.get("packing"):
            told["unpadded"] = stack.enter_context(unpadded(tuned.model, train))
        if config.trunk_cache and not told.get("packing"):
            trunk = stack.enter_context(cached_trunk(tuned, [train, valid, others], precision, features, key))
            train, valid, _ = trunk.examples
            seconds = trunk.seconds
            told["trunk_cache"] = trunk.told()
        if config.first_token:
            told["first_token"] = stack.enter_context(first_token_only(tuned.model, ordinary))
        if config.compact_vocabulary:
            told["vocabulary"] = stack.enter_context(compact_vocabulary(tuned, [train, valid]))
        if config.asked_tokens and token_by_token:
            train, told["asked_tokens"] = stack.enter_context(asked_only(tuned.model, train))
        if told.get("unpadded") and (told.get("asked_tokens") or not _foretells(tuned.model)):
            train = replace(train, padded=False, one_more=None)
        if config.fast_dropout:
            stack.enter_context(fast_dropout(tuned.model))
        yield Faster(train, valid, seconds, told)


@contextlib.contextmanager
def faster_judging(
    tuned: Tuned,
    examples: Examples,
    config: SpeedConfig,
    precision: Precision,
    features: Path | None,
    key: str,
) -> Iterator[tuple[Examples, float]]:
    """The context in which `tuned` gives its logits for `examples`: the rows as they are read there, and the
    seconds that an earlier run has spent on them for this one."""
    with contextlib.ExitStack() as stack:
        ordinary, spared = examples, 0.0
        if config.attention:
            stack.enter_context(_cpu_attention(tuned.model))
        if config.trunk_cache and features is not None:  # (for one run alone it is the same work)
            began = time.monotonic()
            trunk = stack.enter_context(cached_trunk(tuned, [examples], precision, features, key))
            (examples,) = trunk.examples
            waited = time.monotonic() - began  # for another run that is just computing it
            spared = 0.0 if trunk.built else max(0.0, trunk.seconds - waited)
        if config.first_token:
            stack.enter_context(first_token_only(tuned.model, ordinary))
        yield examples, spared


def _foretells(model: Any) -> bool:
    """Whether logits are as wide as a vocabulary: those of padding are dear."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return plain.get_output_embeddings() is not None


def _pass_tokens(model: Any, device: str) -> int:
    """What one more pass takes, in tokens: it has the same number of operations whatever the width, a token's
    products grow with its square. (Reckoned from the packaged encoder, not measured at other widths.)"""
    if device != "cpu":
        return _PASS_ON_GPU
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    width = int(getattr(plain.config.get_text_config(), "hidden_size", 0) or _WIDE)
    return int(min(_MOST_PASS, max(1.0, PASS * (_WIDE / width) ** 2)))


@contextlib.contextmanager
def _cpu_attention(model: Any) -> Iterator[bool]:
    """Our attention on a CPU, for models that let one choose and need nothing else of it; gives whether it is
    used. (Not where a method has put its own in its place, as prefix does.)"""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = getattr(plain.config, "_attn_implementation", None)
    on_cpu = {parameter.device.type for parameter in plain.parameters()} == {"cpu"}
    if before not in ("eager", "sdpa") or not on_cpu or not supports(plain):
        yield False
        return
    register()
    plain.set_attn_implementation(NAME)
    try:
        yield True
    finally:
        plain.set_attn_implementation(before)
