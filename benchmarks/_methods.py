"""The methods in transformers and peft alone: what both benchmarks put beside tunelab. Nothing of tunelab is
imported here, so that a process of the other side is what its users have.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback


def level(model: Any, name: str) -> int:
    """0: embeddings; 1 to L: a layer's parameter, from the bottom; L + 1: pooler and classifier. Of an
    encoder, whose layers have no norm above them."""
    inside = re.search(r"\.(?:layers?|h|block)\.(\d+)\.", name)
    if inside:
        return 1 + int(inside[1])
    trunk = name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name
    return 0 if trunk else int(model.config.num_hidden_layers) + 1


def attach(
    method: str, settings: Mapping[str, Any], model: Any, steps: int
) -> tuple[Any, list[TrainerCallback]]:
    """The model made ready, and what must happen during the training."""
    depth = int(model.config.num_hidden_layers)
    moves: dict[str, Callable[[str], bool]] = {
        "full": lambda name: True,
        "layer_decay": lambda name: True,
        "gradual": lambda name: True,
        "head": lambda name: level(model, name) > depth,
        "top_layers": lambda name: level(model, name) > depth - settings["layers"],
        "bitfit": lambda name: level(model, name) > depth or name.endswith(".bias"),
    }
    if method not in moves:
        import peft

        with warnings.catch_warnings():  # peft 0.21 reads what transformers 5.23 has renamed
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            model = peft.get_peft_model(model, peft_config(method, settings, model, steps))
        return model, [_AdaLora(model)] if method == "adalora" else []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(moves[method](name))
    return model, [_Gradual(model, settings["until"])] if method == "gradual" else []


def peft_config(method: str, settings: Mapping[str, Any], model: Any, steps: int) -> Any:
    """The pooler is trained with the classifier, as in a study: left out, as it is by default, a pooler that
    the pretrained model has no weights for would stay random."""
    import peft

    pooler = ["pooler"] if getattr(model.base_model, "pooler", None) is not None else []
    common: dict[str, Any] = {"task_type": "SEQ_CLS", "modules_to_save": pooler}
    if method in ("lora", "dora", "rslora", "adalora"):
        common |= {"lora_alpha": settings["alpha"], "lora_dropout": settings["dropout"]}
        common |= {"target_modules": _targets(settings["targets"])}
    if method in ("lora", "dora", "rslora"):
        kinds = {"use_dora": method == "dora", "use_rslora": method == "rslora"}
        return peft.LoraConfig(r=settings["rank"], **kinds, **common)
    if method == "adalora":
        first, last = (int(settings[f"{name}_ratio"] * steps) for name in ("warmup", "final"))
        return peft.AdaLoraConfig(
            init_r=settings["init_rank"],
            target_r=settings["target_rank"],
            tinit=first,
            tfinal=last,
            deltaT=max(1, min(settings["interval"], (steps - first - last) // 10)),
            orth_reg_weight=settings["orthogonal_weight"],
            total_step=steps,
            **common,
        )
    if method == "ia3":
        return peft.IA3Config(**common)
    tokens = settings["num_virtual_tokens"]
    if method == "prompt":
        return peft.PromptTuningConfig(num_virtual_tokens=tokens, **common)
    if method == "p_tuning":
        width = settings["hidden_size"] or model.config.hidden_size
        return peft.PromptEncoderConfig(num_virtual_tokens=tokens, encoder_hidden_size=width, **common)
    if method == "prefix":
        return peft.PrefixTuningConfig(num_virtual_tokens=tokens, **common)
    raise NotImplementedError(f"no counterpart of {method} is written here")


def _targets(wanted: Any) -> Any:
    """None: what peft itself takes for this architecture (BERT's queries and values)."""
    names = {"query_value": None, "all_linear": "all-linear"}
    if wanted == "attention":
        raise NotImplementedError("peft has no name for all of attention; give the modules' names")
    return names[wanted] if isinstance(wanted, str) and wanted in names else wanted


def param_groups(
    method: str, settings: Mapping[str, Any], model: Any, rate: float, weight_decay: float
) -> list[dict[str, Any]] | None:
    """AdamW's groups where parts of the model learn at different rates; None: Trainer's own."""
    if method == "layer_decay":
        top = int(model.config.num_hidden_layers) + 1
        rates = {n: rate * settings["decay"] ** (top - level(model, n)) for n, _ in model.named_parameters()}
    elif "head_ratio" in settings:  # virtual tokens want a rate that is too high for the head
        rates = {
            name: rate * (1.0 if name.startswith("prompt_encoder.") else settings["head_ratio"])
            for name, _ in model.named_parameters()
        }
    else:
        return None
    groups: dict[tuple[float, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:  # biases and norms do not decay, as in Trainer's own groups
            groups.setdefault((rates[name], parameter.ndim >= 2), []).append(parameter)
    return [
        {"params": parameters, "lr": own, "weight_decay": weight_decay if decays else 0.0}
        for (own, decays), parameters in groups.items()
    ]


class _Gradual(TrainerCallback):
    """Unfreezes from the top: after step s of S, floor((L + 1) s / (until S)) levels below the head move.
    Trainer makes its optimizer of all parameters first; one without a gradient is left alone."""

    def __init__(self, model: Any, until: float) -> None:
        self._model = model
        self._until = until

    def on_train_begin(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        self._unfreeze(0.0)

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        self._unfreeze(state.global_step / state.max_steps)

    def _unfreeze(self, share: float) -> None:
        top = self._model.config.num_hidden_layers + 1
        lowest = top - min(top, int(top * share / self._until + 1e-9))
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(level(self._model, name) >= lowest)


class _AdaLora(TrainerCallback):
    """peft wants to be told of every step while its gradients are there."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def on_optimizer_step(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        self._model.base_model.update_and_allocate(state.global_step + 1)
