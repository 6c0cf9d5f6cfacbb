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

{_answers(task)}{" It reads two texts at a time." if manifest.get("pairs") else ""}

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
specialist.predict([{'("a text", "another one")' if manifest.get("pairs") else '"a text"'}])
```
{_elsewhere(manifest)}
## Limits

The scores hold for texts like those it was trained and tested on. Texts longer than
{manifest["model"]["max_length"]} tokens are cut.
"""


def _answers(task: Mapping[str, Any]) -> str:
    if "labels" in task:
        return "Labels: " + ", ".join(f"`{label}`" for label in task["labels"]) + "."
    return (
        f"It answers with a number. Its raw output is in standard deviations ({task['deviation']:g}) from "
        f"the mean ({task['mean']:g}) of the training rows: number = {task['mean']:g} + "
        f"{task['deviation']:g} × output, which tunelab does by itself."
    )


def _elsewhere(manifest: Mapping[str, Any]) -> str:
    if manifest["weights"] == "transformers":
        if "labels" not in manifest["task"]:
            given = 'pipeline("text-classification", model="path/to/this/folder", function_to_apply="none")'
        else:
            given = 'pipeline("text-classification", model="path/to/this/folder")'
        text = '{"text": "a text", "text_pair": "another one"}' if manifest.get("pairs") else '"a text"'
        return f"""
Without tunelab:

```python
from transformers import pipeline

{given}({text})
```
"""
    if manifest["weights"] == "peft":
        count = len(manifest["task"].get("labels", "1"))
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
