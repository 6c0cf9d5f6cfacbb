"""What runs need of the disk, told before any of them."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.errors import OutputError
from tunelab.models import configuration
from tunelab.study.common import model_bytes
from tunelab.study.estimate import Family, family_of
from tunelab.study.prepare import Prepared

__all__ = ["Share", "check_disk", "float32_bytes", "share_of"]

#: A run at work may hold two checkpoints and a third being written, each of what is trained, its best state
#: and AdamW's two moments.
_COPIES = 12
#: What is trained by default, rather too much than too little, as a share of the model.
_SHARES: Mapping[Family, float] = {"all": 1.0, "top": 0.5, "head": 0.05, "inside": 0.05}


class Share(NamedTuple):
    """What a method trains and what its bundle holds, as shares of the model."""

    trained: float
    written: float


def check_disk(folder: Path, shares: Sequence[Share], size: int, workers: int, kept: int = 1) -> None:
    """Raises `OutputError` where the disk has too little room for the largest runs at work and the bundles.

    shares: of each row of the table; size: the model's bytes in float32; workers: runs side by side; kept:
    bundles that are kept of each row. Those in the folder need no room any more.
    """
    there = sum(path.stat().st_size for path in folder.glob("runs/*/bundle/*.safetensors"))
    bundles = max(0.0, size * kept * sum(share.written for share in shares) - there)
    at_work = sorted(_COPIES * share.trained + share.written for share in shares)
    free, needed = shutil.disk_usage(folder).free, size * sum(at_work[-workers:]) + bundles
    if free < needed:
        raise OutputError(
            f"the disk of {folder} has {free / 1e9:.1f} GB free, but training this model may need "
            f"{needed / 1e9:.1f} GB for checkpoints and bundles. Free some space, give another folder with "
            "--out, fewer runs side by side with --workers, or methods that train less of the model (lora)"
        )


def share_of(method: str, settings: Mapping[str, Any], prepared: Prepared) -> Share:
    """A method's, rather too much than too little: two matrices of rank R in the place of one are 2 R / width
    of it; a bundle is a whole model, but of what is put inside."""
    family = family_of(method)
    if family == "top" and "layers" in settings:
        return Share(1.0, 1.0)
    given = (value for name, value in settings.items() if name.endswith("rank"))
    rank = max((value for value in given if isinstance(value, int)), default=0)
    values = configuration(prepared.base.folder)
    width = (values.get("text_config") or values).get("hidden_size") or 768
    trained = float(min(1.0, max(_SHARES[family], 2 * rank / width)))
    return Share(trained, trained if family == "inside" else 1.0)


def float32_bytes(prepared: Prepared) -> int:
    """The pretrained weights as they are trained."""
    values = configuration(prepared.base.folder)
    half = str(values.get("dtype") or values.get("torch_dtype")) in ("bfloat16", "float16")
    return model_bytes(prepared) * (2 if half else 1)
