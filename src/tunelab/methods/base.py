"""The contract every fine-tuning method keeps.

A method decides which parameters move, and how. It never sees data, task or loop: it gets a
pretrained model with a task head, and gives back a `Tuned`.

What "the head" is, for every method alike: whatever lies above the last layer of the trunk, that
is, every parameter outside the base model and the base model's pooler. It is always trained;
a method only decides what moves besides.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tunelab.config import Section, build
from tunelab.errors import CannotMerge

__all__ = ["Method", "NoSettings", "Tuned", "split_by_decay"]


class NoSettings(Section):
    """A method without settings of its own."""


class Tuned(ABC):
    """A model made ready by a method: what the loop trains and the bundle keeps.

    Every parameter that may ever move has `requires_grad` at some time of the training; all others
    are bitwise unchanged by it.
    """

    #: The module the loop calls: `model(input_ids=, attention_mask=, ...)` -> outputs with `.logits`.
    model: nn.Module
    #: How many layers, from the bottom, can never change in this phase (the embeddings count as
    #: layer 0, so 0 means even the embeddings may change or need a gradient through them). The loop
    #: runs them in evaluation mode, so that what they give is the same at every step.
    frozen_depth: int = 0
    #: Whether keys and values of the tokens before may be kept from one generated token to the next.
    caches: bool = True

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """All parameters that may ever move, in AdamW's groups; biases and norms do not decay."""
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        return split_by_decay(named, learning_rate, weight_decay)

    def frozen_modules(self) -> list[nn.Module]:
        """Modules that the loop keeps in evaluation mode (the lowest `frozen_depth` layers)."""
        return []

    def on_progress(self, step: int, total_steps: int) -> None:  # noqa: B027 (most methods need nothing)
        """Called before the first step with 0 and after each optimizer step with how many are done,
        while the gradients of that step are still there; on resuming, once with how many were done,
        without gradients and before `load_progress_state`."""

    def extra_loss(self) -> Tensor | None:
        """A term added to the mean loss of each optimizer step, or None."""
        return None

    @abstractmethod
    def merge(self) -> nn.Module:
        """The plain pretrained class with the change folded in; the outputs are the same.

        The weights are changed in place, not copied: this `Tuned` is spent afterwards, so save it first.

        Raises:
            CannotMerge: with the reason, where the change is not one of weights.
        """

    def state(self) -> dict[str, Tensor]:
        """Every tensor that may have changed since `attach`: what a checkpoint must hold."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}

    def judged_state(self) -> dict[str, Tensor]:
        """What is judged, and kept where it is the best: the state itself, unless it is averaged."""
        return self.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave; names and shapes must be the same."""
        own = self.state()
        assert own.keys() == state.keys(), sorted(own.keys() ^ state.keys())
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def progress_state(self) -> dict[str, Any]:
        """What `on_progress` keeps between steps besides parameters: by name a tensor or a JSON value."""
        return {}

    def load_progress_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (as above)
        """Put back what `progress_state` gave."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights and their configuration, readable by `Method.restore` (and, as
        `Method.weights` says, by `transformers` or `peft`)."""


class Method(ABC):
    """A way of fine-tuning; one instance holds its settings and can be attached to any model."""

    name: ClassVar[str]
    #: One line for `tunelab methods`.
    summary: ClassVar[str]
    #: Author, title, year, arXiv number.
    paper: ClassVar[str]
    #: The method's own settings.
    Settings: ClassVar[type[Section]] = NoSettings
    #: AdamW's peak learning rate when none is given, with its source in the method's docstring.
    learning_rate: ClassVar[float]
    #: (low, high) of AdamW's peak rate: the range the tuning searches, log-uniform, `learning_rate` inside
    #: it, with the reason or source in the method's docstring ("Search: LOW to HIGH; ...").
    learning_rates: ClassVar[tuple[float, float]]
    #: The bundle's weights: "transformers", a plain model that `from_pretrained` reads; "peft", an
    #: adapter in PEFT's format that `PeftModel.from_pretrained` reads; "adapter", the same two files
    #: as PEFT writes, but of a kind that only tunelab can attach.
    weights: ClassVar[Literal["transformers", "peft", "adapter"]]
    #: Whether the untrained method gives the pretrained model's outputs; if not, why.
    changes_at_start: ClassVar[str | None] = None
    #: Why `merge` is impossible; None where it is possible.
    no_merge: ClassVar[str | None] = None

    def __init__(self, settings: Section | None = None) -> None:
        self.settings = settings if settings is not None else self.Settings()

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> "Method":
        """The method with settings from a mapping; raises `ConfigError` with the nearest name."""
        return cls(build(cls.Settings, values, where=cls.name))

    def check(self, model_class: str) -> None:  # noqa: B027 (most methods need nothing)
        """Before a model is loaded. model_class: the class of `transformers` that will load it.

        Raises:
            ConfigError: no model of this class has what the method needs.
        """

    @abstractmethod
    def attach(self, model: nn.Module) -> Tuned:
        """Freeze and add what the method needs, in place; the caller has set the seed.

        Raises:
            ConfigError: a target named in the settings matches nothing in this model, or the model
                lacks what the method needs (the message says which methods work instead).
        """

    @abstractmethod
    def restore(self, model: nn.Module, folder: Path) -> Tuned:
        """The trained method from what `Tuned.save` wrote, on a freshly loaded base model (for
        `weights == "transformers"` the model already is the loaded folder)."""

    def cannot_merge(self) -> CannotMerge:
        """The error `merge` raises where `no_merge` gives a reason."""
        return CannotMerge(f"{self.name} cannot be merged into the model: {self.no_merge}")


def split_by_decay(
    named: list[tuple[str, nn.Parameter]],
    learning_rate: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Parameters in at most two AdamW groups: with decay, and without (biases, norms, vectors).

    Every parameter of one dimension (biases, norm scales, IA3 vectors) is left undecayed, the
    practice since BERT's original code (Devlin et al. 2019, arXiv:1810.04805).
    """
    assert named, "nothing to train"
    decayed = [p for _, p in named if p.ndim >= 2]
    plain = [p for _, p in named if p.ndim < 2]
    groups = [
        {"params": decayed, "lr": learning_rate, "weight_decay": weight_decay},
        {"params": plain, "lr": learning_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
