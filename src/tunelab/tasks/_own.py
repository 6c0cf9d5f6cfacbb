"""A head or a loss of one's own, from a Python file: `classify.head=my_head.py:MyHead`,
`classify.objective=my_loss.py:my_loss`; or from a module that can be imported, `my_package.heads:MyHead`.
Of `tag` a row is a word or a character.

    class MyHead(nn.Module):
        def __init__(self, config): ...                 or (self, hidden_size, num_labels)
        def forward(self, hidden_BTD, mask_BT): ...     logits, [B, config.num_labels]

    def my_loss(logits, targets): ...                   one loss a row, their sum, or their mean

A file must stand alone. Both are tried out before any training: shapes, finite values, a gradient. A bundle
keeps files, and of a module the name: its package must be installed there, too. Opened, it runs the head's
code only where that is allowed (`trust_remote_code`), and never anything from a path that it names itself.
"""

# B batch, T tokens, D hidden, C outputs

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from tunelab.errors import BundleError, ConfigError, did_you_mean

__all__ = [
    "NAME",
    "OwnLoss",
    "build_head",
    "in_file",
    "kept",
    "load_head",
    "loss_of",
    "made_from",
    "put_on",
    "source_of",
]

NAME = "own_head"
#: (logits, targets) -> summed loss and count.
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def in_file(named: str) -> bool:
    """Whether it is FILE.py:NAME, not MODULE:NAME.

    >>> [in_file(named) for named in ("my_head.py:MyHead", "my_package.heads:MyHead")]
    [True, False]
    """
    return named.rpartition(":")[0].endswith(".py")


def kept(role: str, named: str) -> str:
    """What a bundle calls the file of a head or a loss; without .py a module, which it does not keep."""
    return f"{role}.py" if in_file(named) else role


def source_of(named: str, setting: str) -> str:
    """The text of the file in FILE.py:NAME, or of the module's in MODULE:NAME ("" where it has none); what
    else a module imports is not in it.

    Raises:
        ConfigError: it is not of this form, cannot be read, or no such module is installed.
    """
    path, _, name = named.rpartition(":")
    parts = path.split(".")
    if not name.isidentifier() or not (in_file(named) or all(part.isidentifier() for part in parts)):
        raise ConfigError(
            f"setting {setting!r} must be FILE.py:NAME, as in my_head.py:MyHead, or MODULE:NAME, as in "
            f"my_package.heads:MyHead; got {named!r}"
        )
    if not in_file(named):
        path = _file_of(path, setting)
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"setting {setting!r}: {path} cannot be read: {reason}") from None


def _file_of(module: str, setting: str) -> str:
    """The Python file of a module that can be imported; "" where it is no Python file."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # (a package above it)
        found = None
    except Exception as error:  # whatever the code of a package above it raises
        raise ConfigError(f"setting {setting!r}: {module} cannot be imported: {_said(error)}") from error
    if found is None:
        raise ConfigError(
            f"setting {setting!r}: no module {module!r} can be imported here: install its package into this "
            f"Python, or give a file, as in {module.rpartition('.')[2]}.py:NAME"
        )
    return found.origin if found.origin is not None and found.origin.endswith(".py") else ""


def made_from(source: str, named: str, setting: str) -> Any:
    """What has the name of FILE.py:NAME in this text, which is run for it; MODULE:NAME is imported.

    Raises:
        ConfigError: the code fails, or nothing in it has the name.
    """
    path, _, name = named.rpartition(":")
    module = _run(source, path, setting) if in_file(named) else _imported(path, setting)
    if name not in vars(module):
        known = [own for own in vars(module) if not own.startswith("_")]
        raise ConfigError(f"setting {setting!r}: {path} has no {name!r}; {did_you_mean(name, known)}")
    return vars(module)[name]


def _imported(path: str, setting: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except Exception as error:  # whatever their code raises, the user needs to know which module it was
        raise ConfigError(f"setting {setting!r}: {path} cannot be imported: {_said(error)}") from error


def _run(source: str, path: str, setting: str) -> ModuleType:
    module = ModuleType(f"tunelab_own_{hashlib.sha256(source.encode()).hexdigest()[:16]}")
    sys.modules[module.__name__] = module  # (dataclasses look their module up there)
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except Exception as error:  # whatever their code raises, the user needs to know which file it was
        raise ConfigError(f"setting {setting!r}: {path} cannot be run: {_said(error)}") from error
    return module


# Heads ------------------------------------------------------------------------------------------------------


def build_head(kind: Any, config: Any, setting: str) -> nn.Module:
    """The head for a model of this configuration, tried out.

    Raises:
        ConfigError: it is no `nn.Module` class, cannot be built, or does not give what a head must.
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ConfigError(f"setting {setting!r}: {kind!r} is no class of torch.nn.Module")
    needed = [
        p
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) not in (1, 2):
        raise ConfigError(
            f"setting {setting!r}: {kind.__name__} must be built with (config) or (hidden_size, num_labels); "
            f"it takes ({', '.join(p.name for p in needed)})"
        )
    given = (config,) if len(needed) == 1 else (config.hidden_size, config.num_labels)
    try:
        head: nn.Module = kind(*given)
    except Exception as error:  # theirs
        raise ConfigError(f"setting {setting!r}: {kind.__name__} cannot be built: {_said(error)}") from error
    _try_head(head, config, f"setting {setting!r}: {kind.__name__}")
    return head


def _try_head(head: nn.Module, config: Any, who: str) -> None:
    """A batch of three rows of five tokens, the last two of one row padding."""
    random = torch.Generator().manual_seed(0)
    hidden_BTD = torch.randn(3, 5, config.hidden_size, generator=random)
    mask_BT = torch.ones(3, 5, dtype=torch.int64)
    mask_BT[2, 3:] = 0
    head.eval()
    try:
        with torch.random.fork_rng():
            logits = head(hidden_BTD, mask_BT)
    except Exception as error:  # theirs
        raise ConfigError(
            f"{who} fails on hidden states [3, 5, {config.hidden_size}] and a mask [3, 5]: {_said(error)}"
        ) from error
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (3, config.num_labels):
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigError(f"{who} must give logits [3, {config.num_labels}] for 3 rows; it gave {got}")
    if not torch.isfinite(logits).all():
        raise ConfigError(
            f"{who} gives numbers that are not finite (a mask without any token, a division by 0?)"
        )
    moving = [p for p in head.parameters() if p.requires_grad]
    if not moving or not logits.requires_grad:
        raise ConfigError(f"{who} has nothing to learn: no parameter that its logits depend on")
    gradients = torch.autograd.grad((logits * logits).sum(), moving, allow_unused=True)
    known = [gradient for gradient in gradients if gradient is not None]
    if not known or not all(torch.isfinite(gradient).all() for gradient in known):
        raise ConfigError(f"{who} has no gradient, or one that is not finite")
    head.train()


def put_on(model: Any, head: nn.Module) -> Any:
    """The model with this head in the place of its own."""
    for name, module in list(model.named_children()):
        if name != model.base_model_prefix and any(True for _ in module.parameters()):
            setattr(model, name, nn.Identity())
    if "add_pooling_layer" in inspect.signature(type(model.base_model).__init__).parameters:
        model.base_model.pooler = None  # (counted as head, and no one reads it)
    model.add_module(NAME, head.to(model.device))
    model.__class__ = _with_head(type(model))
    return model


def _with_head(kind: type[Any]) -> type[Any]:
    """The class itself, but that its logits are the own head's. (No hook: PEFT calls a model's `forward` past
    its hooks.)"""
    from transformers.modeling_outputs import SequenceClassifierOutput

    def forward(self: Any, input_ids: Any = None, attention_mask: Any = None, **named: Any) -> Any:
        given = {k: v for k, v in named.items() if v is not None and k not in ("labels", "return_dict")}
        hidden_BTD = self.base_model(input_ids=input_ids, attention_mask=attention_mask, **given)[0]
        if attention_mask is None:
            attention_mask = torch.ones(hidden_BTD.shape[:2], dtype=torch.int64, device=hidden_BTD.device)
        return SequenceClassifierOutput(logits=getattr(self, NAME)(hidden_BTD, attention_mask))

    own = {"forward": functools.wraps(kind.forward)(forward), "__module__": kind.__module__}
    return type(kind.__name__, (kind,), own)


def load_head(head: nn.Module, folder: Path) -> None:
    """The weights of a saved model's head.

    Raises:
        BundleError: they are of another head.
    """
    stored: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            own = [name for name in file.keys() if name.startswith(f"{NAME}.")]  # noqa: SIM118
            stored |= {name.removeprefix(f"{NAME}."): file.get_tensor(name) for name in own}
    state = head.state_dict()
    here, there = ({n: list(t.shape) for n, t in part.items()} for part in (state, stored))
    differ = sorted(n for n in here.keys() | there.keys() if here.get(n) != there.get(n))
    if differ:
        name = differ[0]
        raise BundleError(
            f"the weights in {folder} are not of this head: {name} is {there.get(name, 'missing')} in the "
            f"file and {here.get(name, 'missing')} in {type(head).__name__}; was its code changed since?"
        )
    for name, tensor in state.items():
        tensor.copy_(stored[name])


# Losses -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnLoss:
    """A user's function as an objective: the sum over rows, and their number.

    whole: it is a ratio over the batch other than the mean of its rows, so that a batch in parts would be
    another loss.
    """

    function: Any
    scale: Callable[[Tensor, int], Tensor]
    whole: bool = False

    def __call__(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        count = len(targets)
        if not count:  # (a mean over nothing is no number)
            return logits.float().sum() * 0.0, torch.tensor(0.0, device=logits.device)
        found = self.scale(self.function(logits.float(), targets), count)
        return found, torch.tensor(float(count), device=logits.device)


def loss_of(function: Any, outputs: int, targets: Tensor, setting: str) -> OwnLoss:
    """The function as an objective, tried out on these targets.

    Raises:
        ConfigError: it is no function, fails, or does not give one loss a row, their sum or their mean.
    """
    who = f"setting {setting!r}: {getattr(function, '__name__', function)!r}"
    if not callable(function):
        raise ConfigError(f"{who} is no function")
    rows = len(targets)
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, outputs, generator=random).requires_grad_()
    found = _tried(function, logits, targets, who)
    if tuple(found.shape) == (rows,):
        return OwnLoss(function, lambda loss, count: loss.sum())
    if found.dim():
        raise ConfigError(
            f"{who} must give one loss a row [{rows}], or one number; it gave {list(found.shape)}"
        )
    twice = _tried(function, torch.cat([logits, logits]), torch.cat([targets, targets]), who)
    if torch.isclose(twice, 2 * found, rtol=1e-3):
        return OwnLoss(function, lambda loss, count: loss)
    if torch.isclose(twice, found, rtol=1e-3):
        whole = not _is_mean(function, logits, targets, found)
        return OwnLoss(function, lambda loss, count: loss * count, whole)
    raise ConfigError(
        f"{who} gives {float(found):.4g} for a batch and {float(twice):.4g} for the same rows twice: "
        "it is neither the sum over rows nor their mean; return one loss a row, [B]"
    )


def _is_mean(function: Any, logits: Tensor, targets: Tensor, found: Tensor) -> bool:
    """Whether two parts, with different targets as far as there are any, say the same as all rows."""
    order = targets.reshape(len(targets), -1)[:, 0].argsort(stable=True)
    parts = [part for part in order.chunk(2) if len(part)]
    try:
        losses = [_tried(function, logits[part], targets[part], "") for part in parts]
    except ConfigError:  # (of one class alone it may be no number)
        return False
    total = sum((len(part) * loss for part, loss in zip(parts, losses, strict=True)), torch.zeros(()))
    return bool(torch.isclose(total / len(targets), found, rtol=1e-3))


def _tried(function: Any, logits: Tensor, targets: Tensor, who: str) -> Tensor:
    shapes = f"logits {list(logits.shape)} and targets {list(targets.shape)} ({targets.dtype})"
    try:
        found = function(logits, targets)
    except Exception as error:  # theirs
        raise ConfigError(f"{who} fails on {shapes}: {_said(error)}") from error
    if not isinstance(found, Tensor) or not found.requires_grad:
        raise ConfigError(f"{who} must give a tensor with a gradient to the logits; it gave {found!r}")
    if not torch.isfinite(found).all():
        raise ConfigError(f"{who} gives a loss that is not finite on {shapes}")
    (gradient,) = torch.autograd.grad(found.sum(), logits, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all() or not gradient.any():
        raise ConfigError(f"{who} has no gradient to the logits, or one that is not finite, on {shapes}")
    return found.detach()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
