"""An adapter's two files, named as PEFT names them: what it is (JSON), and its tensors (safetensors)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tunelab.errors import BundleError

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "read_adapter", "write_adapter"]

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def write_adapter(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files; the same content gives the same bytes."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    own = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    save_file(own, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    text = json.dumps(config, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def read_adapter(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors; kind: the `peft_type` it must have.

    Raises:
        BundleError: a file is missing or damaged, or the adapter is of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise BundleError(f"the adapter in {folder} cannot be read: {error}") from None
    found = config.get("peft_type") if isinstance(config, dict) else None
    if found != kind:
        raise BundleError(f"{folder} holds an adapter of kind {found!r}; {kind!r} is needed here")
    return config, tensors
