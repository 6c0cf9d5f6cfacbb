"""How a model is fine-tuned: one file a method, and the contract they share (base.py)."""

from tunelab.errors import ConfigError, did_you_mean
from tunelab.methods.adalora import AdaLora
from tunelab.methods.adapter import Adapter
from tunelab.methods.base import Method
from tunelab.methods.bitfit import BitFit
from tunelab.methods.dora import Dora
from tunelab.methods.full import Full
from tunelab.methods.gradual import Gradual
from tunelab.methods.head import Head
from tunelab.methods.ia3 import Ia3
from tunelab.methods.layer_decay import LayerDecay
from tunelab.methods.lora import Lora
from tunelab.methods.p_tuning import PTuning
from tunelab.methods.prefix import Prefix
from tunelab.methods.prompt import Prompt
from tunelab.methods.rslora import RsLora
from tunelab.methods.top_layers import TopLayers

__all__ = ["METHODS", "Method", "find"]

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "head": Head,
    "top_layers": TopLayers,
    "gradual": Gradual,
    "layer_decay": LayerDecay,
    "bitfit": BitFit,
    "lora": Lora,
    "dora": Dora,
    "rslora": RsLora,
    "adalora": AdaLora,
    "ia3": Ia3,
    "prompt": Prompt,
    "p_tuning": PTuning,
    "prefix": Prefix,
    "adapter": Adapter,
}


def find(name: str) -> type[Method]:
    """The method of this name.

    >>> find("lora").summary
    'low-rank updates of the attention weights, the trunk frozen'

    Raises:
        ConfigError: there is none; the message has the nearest name.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}; {did_you_mean(name, METHODS)}")
    return METHODS[name]
