"""The model card of a bundle (Mitchell et al. 2019, arXiv:1810.03993; Hugging Face's front matter)."""

from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["model_card"]


def model_card(manifest: Mapping[str, Any]) -> str:
    """README.md: what it is, how it was trained and judged, how to use it."""
    task, base = manifest["task"], manifest["base"]
    front = {
        "library_name": "peft" if manifest["weights"] == "peft" else "transformers",
        "pipeline_tag": "text-classification",
        "base_model": base["name"],
        "tags": ["tunelab", manifest["method"]],
    }
    labels = ", ".join(f"`{label}`" for label in task["labels"])
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

Labels: {labels}

Method: {manifest["method"]} ({settings}); base model fingerprint {base["fingerprint"][:16]}.

{about}

## Scores on the {manifest.get("judged_on", "test rows")}

| score | value |
|---|---|
{scores}

## Use

```python
import tunelab

specialist = tunelab.load("path/to/this/folder")
specialist.predict(["a text"])
```
{_elsewhere(manifest)}
## Limits

The scores hold for texts like those it was trained and tested on. Texts longer than
{manifest["model"]["max_length"]} tokens are cut.
"""


def _elsewhere(manifest: Mapping[str, Any]) -> str:
    if manifest["weights"] == "transformers":
        return """
Without tunelab:

```python
from transformers import pipeline

pipeline("text-classification", model="path/to/this/folder")("a text")
```
"""
    if manifest["weights"] == "peft":
        count = len(manifest["task"]["labels"])
        return f"""
Without tunelab:

```python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

base = AutoModelForSequenceClassification.from_pretrained(
    "{manifest["base"]["name"]}", num_labels={count}
)
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""
    return "\nOnly tunelab attaches this kind of adapter; `transformers` and `peft` have no class for it.\n"
