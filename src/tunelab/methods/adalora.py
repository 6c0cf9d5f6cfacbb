"""AdaLoRA: low-rank updates in singular-value form; unimportant directions are given up during training.

Paper: Zhang et al., "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", 2023,
arXiv:2303.10512, section 3.
    h = W x + (alpha / R) · P Λ Q x       P: [D_out, R], Λ: R singular values from zero, Q: [R, D_in]
    extra loss = γ · mean over P and Q of ‖PᵀP − I‖, ‖QQᵀ − I‖      (Frobenius norm)
    budget b(s): R·n until share t_i; then cubic to r·n at share 1 − t_f; then fixed     n targets
    importance of a direction: smoothed |w · ∇w|, times its smoothed uncertainty
Trains R · (D_in + D_out + 1) numbers per target, and the head; at the end r·n directions are left, the
others have Λ = 0. Λ starts at zero, so step 0 equals the base.
Differs from the paper: PEFT's implementation, where the extra loss is a mean over matrices of norms (the
paper sums their squares); the saved adapter keeps all R directions, those given up with Λ = 0, so that a
checkpoint from the middle of the training is exact too.
Learning rate: the paper takes 5e-4 to 2.2e-3 for DeBERTa-v3-base (table 8); a small encoder in few steps
takes more (measured: 2e-3 gave 0.72, 5e-3 gave 0.85; docs/LOG.md).
Search: 5e-4 to 2e-2; from the paper's lowest to ten times its highest: few steps want more, as the ranks
are cut while it learns.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from tunelab.config import Section
from tunelab.methods._peft import PeftMethod, PeftTuned, stored_transposed
from tunelab.methods.base import Tuned
from tunelab.methods.structure import Structure

__all__ = ["AdaLora", "AdaLoraSettings"]

#: What PEFT's rank allocator keeps of every matrix: importance, and its smoothed mean and uncertainty.
KINDS = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class AdaLoraSettings(Section):
    """Settings of AdaLoRA."""

    init_rank: int = Field(12, ge=2, le=1024, description="rank R at the start; 1.5 times target_rank")
    target_rank: int = Field(8, ge=1, le=1024, description="mean rank r at the end, below init_rank")
    alpha: int = Field(16, ge=1, le=10_000, description="scale of the update, see the formula")
    dropout: float = Field(
        0.05, ge=0, lt=1, description="share of the update's inputs set to zero in training"
    )
    targets: str | tuple[str, ...] = Field(
        "query_value",
        description="query_value, attention, all_linear, or endings of module names (as in [query, value])",
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=0.5, description="t_i: share of the steps before the first cut")
    final_ratio: float = Field(0.3, ge=0, lt=0.5, description="t_f: share of the steps after the last cut")
    interval: int = Field(10, ge=1, description="steps between two cuts (1 where the training is short)")
    orthogonal_weight: float = Field(0.1, ge=0, le=10, description="γ: weight of the extra loss")

    @model_validator(mode="after")
    def _ranks(self) -> "AdaLoraSettings":
        if self.target_rank >= self.init_rank:
            raise ValueError(
                f"target_rank ({self.target_rank}) must be below init_rank ({self.init_rank}): "
                "AdaLoRA gives up directions; without that, use lora"
            )
        return self


class AdaLoraTuned(PeftTuned):
    """PEFT's AdaLoRA, its schedule in shares of the training and its state seen by checkpoints."""

    def __init__(self, model: Any, settings: AdaLoraSettings) -> None:
        super().__init__(model)
        self._settings = settings

    @property
    def _allocator(self) -> Any:
        return self.model.base_model.rankallocator

    def on_progress(self, step: int, total_steps: int) -> None:
        self._schedule(total_steps)
        resumed = all(p.grad is None for n, p in self.model.named_parameters() if ".lora_E." in n)
        if step > 0 and not resumed:
            self.model.base_model.update_and_allocate(step)

    def _schedule(self, total_steps: int) -> None:
        config = self.model.peft_config["default"]
        config.total_step = total_steps
        config.tinit = int(self._settings.warmup_ratio * total_steps)
        config.tfinal = int(self._settings.final_ratio * total_steps)
        cutting = total_steps - config.tinit - config.tfinal
        config.deltaT = max(1, min(self._settings.interval, cutting // 10))

    def extra_loss(self) -> Tensor | None:
        if self._settings.orthogonal_weight == 0:
            return None
        distances: list[Tensor] = []
        for name, weight in self.model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                gram = weight @ weight.T if ".lora_A." in name else weight.T @ weight
                identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
                distances.append(torch.linalg.matrix_norm(gram - identity))
        return self._settings.orthogonal_weight * torch.stack(distances).mean()

    def progress_state(self) -> dict[str, Any]:
        smoothed = {f"{kind}/{n}": t for kind in KINDS for n, t in getattr(self._allocator, kind).items()}
        return {"rank_pattern": self.model.peft_config["default"].rank_pattern, **smoothed}

    def load_progress_state(self, state: Mapping[str, Any]) -> None:
        self.model.peft_config["default"].rank_pattern = state["rank_pattern"]
        self._allocator.reset_ipt()
        device = self.model.device
        for path, tensor in state.items():
            kind, _, name = path.partition("/")
            if kind in KINDS:
                getattr(self._allocator, kind)[name] = tensor.detach().clone().to(device)

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "rank_pattern": None}  # see "Differs": all directions are kept

    def adapter_tensors(self) -> dict[str, Tensor]:
        config = self.model.peft_config["default"]
        pattern, config.rank_pattern = config.rank_pattern, None
        try:
            return super().adapter_tensors()
        finally:
            config.rank_pattern = pattern


class AdaLora(PeftMethod):
    """Low-rank updates whose ranks are allotted during training."""

    name = "adalora"
    summary = "LoRA that gives its ranks to the weights that need them, during training"
    paper = "Zhang et al., AdaLoRA, 2023, arXiv:2303.10512"
    Settings = AdaLoraSettings
    learning_rate = 5e-3
    learning_rates = (5e-4, 2e-2)
    peft_type = "ADALORA"
    settings: AdaLoraSettings

    def config(self, structure: Structure, head: list[str]) -> Any:
        from peft import AdaLoraConfig

        targets = structure.targets(self.settings.targets, "adalora.targets")
        return AdaLoraConfig(
            init_r=self.settings.init_rank,
            target_r=self.settings.target_rank,
            lora_alpha=self.settings.alpha,
            lora_dropout=self.settings.dropout,
            target_modules=targets,
            modules_to_save=head or None,
            fan_in_fan_out=stored_transposed(structure, targets, "adalora.targets"),
            orth_reg_weight=self.settings.orthogonal_weight,
            total_step=1,  # unknown before the training; set in `on_progress`
        )

    def tuned(self, model: Any) -> Tuned:
        return AdaLoraTuned(model, self.settings)
