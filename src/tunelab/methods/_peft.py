"""What the methods carried by the `peft` library share: attaching, saving and loading in PEFT's format.

PEFT takes four seconds to import, so it is imported where it is used. Every adapter is called "default",
as PEFT's own examples call it. The head is trained too: PEFT copies the head's modules
(`modules_to_save`) and saves them beside the adapter.
"""

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from tunelab.config import Section
from tunelab.errors import BundleError, ConfigError
from tunelab.methods._files import read_adapter, write_adapter
from tunelab.methods.base import Method, Tuned, split_by_decay
from tunelab.methods.structure import Structure, find_structure, is_linear, task_type

__all__ = ["LowRankMethod", "LowRankSettings", "PeftMethod", "PeftTuned", "stored_transposed"]

#: Parameters that are vectors whatever their shape: weight decay would pull them from where they start.
VECTORS = (".ia3_l.", ".lora_E.", ".lora_magnitude_vector.")


class LowRankSettings(Section):
    """Settings of the low-rank methods."""

    rank: int = Field(8, ge=1, le=1024, description="rank R of the update of each weight matrix")
    alpha: int = Field(16, ge=1, le=10_000, description="scale of the update, see the formula")
    dropout: float = Field(
        0.05, ge=0, lt=1, description="share of the update's inputs set to zero in training"
    )
    targets: str | tuple[str, ...] = Field(
        "query_value",
        description="query_value, attention, all_linear, or endings of module names (as in [query, value])",
    )
    layers: int | None = Field(
        None, ge=1, le=1000, description="layers that are adapted, counted from the top; None: all"
    )


class PeftTuned(Tuned):
    """A `peft.PeftModel`."""

    model: Any
    #: What the loop keeps in evaluation mode.
    quiet: Sequence[nn.Module] = ()

    def frozen_modules(self) -> list[nn.Module]:
        return list(self.quiet)

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        vectors = [p for n, p in named if any(part in n for part in VECTORS) and p.ndim >= 2]
        kept = {id(p) for p in vectors}
        others = [(n, p) for n, p in named if id(p) not in kept]  # none, where a model has no head
        groups = split_by_decay(others, learning_rate, weight_decay) if others else []
        if vectors:
            groups.append({"params": vectors, "lr": learning_rate, "weight_decay": 0.0})
        return groups

    def merge(self) -> nn.Module:
        from peft.utils import ModulesToSaveWrapper

        # PEFT 0.21 cannot unload a head of several modules from IA3 (it asks for its `.weight`).
        base = self.model.get_base_model()
        for name, module in list(base.named_modules()):
            if isinstance(module, ModulesToSaveWrapper):
                parent, _, child = name.rpartition(".")
                setattr(base.get_submodule(parent), child, module.modules_to_save["default"])
        merged = self.model.merge_and_unload()
        assert isinstance(merged, nn.Module)
        return merged

    def adapter_tensors(self) -> dict[str, Tensor]:
        """The trained tensors under the names of PEFT's file."""
        from peft import get_peft_model_state_dict

        weights = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return dict(weights)

    def save(self, folder: Path) -> None:
        # Not `save_pretrained`: it asks the hub about the base model, and writes a model card of its own.
        write_adapter(folder, self._config(), self.adapter_tensors())

    def _config(self) -> dict[str, Any]:
        base = self.model.get_base_model()
        config = dict(self.model.peft_config["default"].to_dict())
        config["inference_mode"] = True
        config["base_model_name_or_path"] = getattr(base, "name_or_path", "") or None
        config["task_type"] = task_type(base)
        # Sets have no order of their own; the same run must write the same file.
        return {n: sorted(v) if isinstance(v, set | frozenset) else v for n, v in config.items()}


class PeftMethod(Method):
    """A method of the `peft` library."""

    weights = "peft"
    #: The value of `peft_type` in its saved configuration.
    peft_type: ClassVar[str]

    @abstractmethod
    def config(self, structure: Structure, head: list[str]) -> Any:
        """The `peft.PeftConfig` for this model; head: `modules_to_save`."""

    def tuned(self, model: Any) -> Tuned:
        """What `attach` and `restore` give back."""
        return PeftTuned(model)

    def attach(self, model: nn.Module) -> Tuned:
        from peft import get_peft_model

        structure = find_structure(model)
        with known_warnings():
            wrapped = get_peft_model(model, self.config(structure, structure.head_modules()))
        return self.tuned(wrapped)

    def restore(self, model: nn.Module, folder: Path) -> Tuned:
        from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

        _, tensors = read_adapter(folder, self.peft_type)
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = False
        config.task_type = None  # PEFT's plain wrapper: it hands every argument on unchanged
        try:
            with known_warnings():
                wrapped = get_peft_model(model, config)
            result: Any = set_peft_model_state_dict(wrapped, tensors)
        except (KeyError, RuntimeError, ValueError) as error:
            raise BundleError(f"{folder} does not fit {type(model).__name__}: {error}") from None
        trained = {n for n, p in wrapped.named_parameters() if p.requires_grad}
        missing = sorted(trained.intersection(result.missing_keys))
        if missing or result.unexpected_keys:
            raise BundleError(
                f"{folder} does not fit {type(model).__name__}: missing {missing[:3]}, "
                f"not in the model {sorted(result.unexpected_keys)[:3]}"
            )
        return self.tuned(wrapped)


class LowRankMethod(PeftMethod):
    """LoRA as PEFT has it, and its relatives, which differ by one of its options."""

    Settings = LowRankSettings
    peft_type = "LORA"
    #: What is not as in LoRA: options of `peft.LoraConfig`.
    use_dora: ClassVar[bool] = False
    use_rslora: ClassVar[bool] = False
    settings: LowRankSettings

    def attach(self, model: nn.Module) -> Tuned:
        structure, tuned = find_structure(model), super().attach(model)
        assert isinstance(tuned, PeftTuned)
        if self.settings.layers is not None:
            tuned.frozen_depth = structure.lowest(self.settings.layers, f"{self.name}.layers")
            tuned.quiet = structure.quiet_modules(tuned.frozen_depth)
        return tuned

    def config(self, structure: Structure, head: list[str]) -> Any:
        from peft import LoraConfig

        setting = f"{self.name}.targets"
        targets = self._targets(structure, setting)
        return LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,
            lora_dropout=self.settings.dropout,
            target_modules=targets,
            modules_to_save=head or None,
            fan_in_fan_out=stored_transposed(structure, targets, setting),
            use_dora=self.use_dora,
            use_rslora=self.use_rslora,
        )

    def _targets(self, structure: Structure, setting: str) -> list[str]:
        targets = structure.targets(self.settings.targets, setting)
        if self.settings.layers is None:
            return targets
        lowest = structure.lowest(self.settings.layers, f"{self.name}.layers")
        adapted = tuple(f"{layer.name}." for layer in structure.layers[lowest - 1 :])
        found = [name for name in targets if name.startswith(adapted)]
        if not found:
            raise ConfigError(
                f"setting {setting!r} names nothing in the top {self.settings.layers} layers "
                f"({self.name}.layers): {', '.join(targets[:3])}"
            )
        return found


@contextmanager
def known_warnings() -> Iterator[None]:
    """Silence what PEFT itself causes and no user can mend: PEFT 0.21 reads `is_gradient_checkpointing`,
    which transformers 5.23 has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def stored_transposed(structure: Structure, targets: list[str], setting: str) -> bool:
    """PEFT's `fan_in_fan_out`: whether the targets store their weight as (in, out), as GPT-2 does."""
    modules = [structure.model.get_submodule(name) for name in targets]
    assert all(is_linear(module) for module in modules)
    kinds = {isinstance(module, nn.Linear) for module in modules}
    if len(kinds) > 1:
        raise ConfigError(f"setting {setting!r} mixes linear layers of two kinds; name those of one kind")
    return kinds == {False}
