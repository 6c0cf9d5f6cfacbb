"""What a study and a single run both begin with: the lock on their folder, and trackers that exist."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import torch

from tunelab.config import ModelConfig, TrainConfig
from tunelab.errors import ConfigError, InputError, OutputError, did_you_mean
from tunelab.files import check_writable
from tunelab.study.prepare import Prepared
from tunelab.train.precision import choose

__all__ = ["check_attention", "check_trackers", "locked", "model_bytes"]


def check_trackers(config: TrainConfig) -> None:
    """Raises `ConfigError` for a tracker that `accelerate` does not know or whose package is missing."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    ready = {str(getattr(name, "value", name)) for name in get_available_trackers()}
    known = {str(getattr(name, "value", name)) for name in LOGGER_TYPE_TO_CLASS}
    for name in config.trackers:
        if name not in known:
            raise ConfigError(
                f"setting 'train.trackers': unknown tracker {name!r}; {did_you_mean(name, known)}"
            )
        if name not in ready:
            raise ConfigError(f"setting 'train.trackers': {name!r} needs its package: pip install {name}")


def check_attention(model: ModelConfig, train: TrainConfig, device: str) -> None:
    """Raises `ConfigError` where FlashAttention is asked for and cannot be used: it wants a GPU, a package,
    and a training in bfloat16."""
    if model.attention != "flash_attention_2":
        return
    setting = "setting 'model.attention': flash_attention_2"
    if torch.device(device).type != "cuda":
        raise ConfigError(
            f"{setting} works on a GPU alone, and this training is on {device}; leave it out (auto takes the "
            "faster attention), or give --device cuda"
        )
    precision = choose(train.precision, device)
    if precision.name != "bfloat16":
        raise ConfigError(
            f"{setting} has no float32, and train.precision is float32 here ({precision.reason}); set "
            "model.attention=sdpa, or train.precision=bfloat16 where the GPU has it"
        )
    if not any(importlib.util.find_spec(name) for name in ("flash_attn", "kernels")):
        raise ConfigError(
            f"{setting} needs its package: pip install flash-attn; without it set model.attention=sdpa, "
            "which has a kernel of the same kind"
        )


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Two tunelabs in one folder would write over each other. A folder that was made for what is then refused
    is gone again."""
    made = not root.exists()
    check_writable(root)
    lock = filelock.FileLock(root / ".lock", timeout=0)
    try:
        with lock:
            try:
                yield
            except InputError:
                if made and [path.name for path in root.iterdir()] == [".lock"]:
                    shutil.rmtree(root, ignore_errors=True)
                raise
    except filelock.Timeout:
        raise OutputError(
            f"another tunelab is at work in {root}; wait for it, or give another folder with --out"
        ) from None


def model_bytes(prepared: Prepared) -> int:
    """Size of the pretrained weights on disk."""
    return sum(path.stat().st_size for path in prepared.base.folder.glob("*.safetensors"))
