"""What a study and a single run both begin with: the lock on their folder, and trackers that exist."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from tunelab.config import TrainConfig
from tunelab.errors import ConfigError, OutputError, did_you_mean
from tunelab.files import check_writable
from tunelab.study.prepare import Prepared

__all__ = ["check_trackers", "locked", "model_bytes"]


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


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Two tunelabs in one folder would write over each other."""
    check_writable(root)
    lock = filelock.FileLock(root / ".lock", timeout=0)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise OutputError(
            f"another tunelab is at work in {root}; wait for it, or give another folder with --out"
        ) from None


def model_bytes(prepared: Prepared) -> int:
    """Size of the pretrained weights on disk."""
    return sum(path.stat().st_size for path in prepared.base.folder.glob("*.safetensors"))
