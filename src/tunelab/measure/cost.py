"""What a run needs of the disk."""

import shutil
from pathlib import Path

from tunelab.errors import OutputError

__all__ = ["check_disk"]

#: A run at work may hold two checkpoints and a third being written, each of parameters, the best
#: parameters and AdamW's two moments, and the bundle.
_COPIES = 13


def check_disk(folder: Path, model_bytes: int, workers: int) -> None:
    """Raises `OutputError` where the disk has too little room for the largest run at work.

    model_bytes: of the pretrained model in float32; workers: runs side by side.
    """
    free = shutil.disk_usage(folder).free
    needed = model_bytes * _COPIES * workers
    if free < needed:
        raise OutputError(
            f"the disk of {folder} has {free / 1e9:.1f} GB free, but training this model may need "
            f"{needed / 1e9:.1f} GB for checkpoints and bundles. "
            "Free some space, give another folder with --out, or fewer runs side by side with --workers"
        )
