"""The model card of a bundle (Mitchell et al. 2019, arXiv:1810.03993; Hugging Face's front matter)."""

from collections.abc import Mapping
from typing import Any

import yaml

from tunelab.tasks.base import Task

__all__ = ["model_card"]


def model_card(manifest: Mapping[str, Any], task: Task) -> str:
    """README.md: what it is, how it was trained and judged, how to use it."""
    base = manifest["base"]
    front = {
        "library_name": "peft" if manifest["weights"] == "peft" else "transformers",
        "pipeline_tag": task.pipeline[0],
        "base_model": base["name"],
        "tags": ["tunelab", manifest["method"]],
    }
    scores = "\n".join(f"| {name} | {value:.4f} |" for name, value in manifest["scores"].items())
    settings = ", ".join(f"{k}={v}" for k, v in manifest["settings"].items()) or "none"
    about = "\n".join(
        f"- {name.replace('_', ' ')}: {value}"
        for name, value in manifest.items()
        if name in {"data", "data_digest", "split", "seed", "training"}
    )
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()}
---

# {manifest["method"]} on {base["name"]}

{task.told()}{" It reads two texts at a time." if manifest.get("pairs") else ""}

Method: {manifest["method"]} ({settings}); base model fingerprint {base["fingerprint"][:16]}.

{about}

## Scores on the {manifest.get("judged_on", "test rows")}

| score | value |
|---|---|
{scores}

## Use

```python
import tunelab

specialist = tunelab.load("path/to/this/folder"{", trust_remote_code=True" if task.runs else ""})
specialist.predict([{_example(manifest, task)}])
```
{_elsewhere(manifest, task)}
## Limits

The scores hold for texts like those it was trained and tested on. Texts longer than
{manifest["model"]["max_length"]} tokens are {"read in windows" if task.windowed else "cut"}.
"""


def _example(manifest: Mapping[str, Any], task: Task) -> str:
    first, second = task.said_as
    return f'("{first}", "{second}")' if manifest.get("pairs") else f'"{first}"'


def _elsewhere(manifest: Mapping[str, Any], task: Task) -> str:
    if task.own_head:
        return f"\nIt has {task.own_head}: only tunelab puts it on.\n"
    if manifest["weights"] == "transformers":
        return f"""
Without tunelab:

```python
{task.plain_use(bool(manifest.get("pairs")))}
```
"""
    if manifest["weights"] == "peft":
        count = task.model_options().get("num_labels")
        labels = f",\n    num_labels={count},\n" if count else "\n"
        return f"""
Without tunelab:

```python
from peft import PeftModel
from transformers import {task.model_class}

base = {task.model_class}.from_pretrained(
    "{manifest["base"]["name"]}"{labels})
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""
    return "\nOnly tunelab attaches this kind of adapter; `transformers` and `peft` have no class for it.\n"
