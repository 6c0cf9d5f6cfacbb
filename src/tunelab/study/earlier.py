"""A second study in the folder of a first: what the first one said is told before its place is taken."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunelab import methods
from tunelab.config import StudyConfig
from tunelab.study.own_files import in_settings, in_variant, named

__all__ = ["replaced"]

#: What a study may have more of than an earlier one, and still hold its whole table.
_ADDED = ("methods", "variants")


def replaced(root: Path, config: StudyConfig) -> tuple[str, ...]:
    """A note, where `root` holds the verdict of another study of these files: one that this study does not
    merely add methods or variants to."""
    try:
        record = json.loads((root / "study.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # (no study was ever finished here)
        return ()
    changed = _changed(record.get("config"), config)
    if not changed:
        return ()
    names = (str(result["name"]) for result in record.get("results", []) if not result.get("baseline"))
    rows = [repr(name) if "," in name else name for name in names]
    return (
        f"this takes the place of the verdict of an earlier study in {root} (methods {', '.join(rows)}; "
        f"effort {record.get('effort')}), which differs in {', '.join(changed)}: its runs stay, and the same "
        "command brings it back; --out keeps both",
    )


def _changed(before: Any, config: StudyConfig) -> list[str]:
    """Settings in which an earlier study differs; not those that it merely had less of."""
    try:
        old = _deciding(StudyConfig.model_validate(before))
    except ValidationError:
        return ["settings that this version does not know"]
    new = _deciding(config)
    less = [name for name in _ADDED if not set(old[name]) <= set(new[name])]
    return less + [name for name in new if name not in _ADDED and new[name] != old[name]]


def _deciding(config: StudyConfig) -> dict[str, Any]:
    """What decides a study's verdict besides its files. Models and the user's own files go by their names: an
    earlier study's paths may be those of another working directory."""
    values = config.model_dump(mode="json", exclude={"files", "keep", "workers"})
    values["methods"] = config.methods or tuple(methods.METHODS)
    values["variants"] = [in_variant(named, variant) for variant in config.variants]
    values["task_settings"] = in_settings(named, config.task_settings)
    values["models"] = [Path(name).name for name in config.models or (config.model.name,)]
    del values["model"]["name"], values["train"]["checkpoint_seconds"]
    new = values["augment"]
    for part in ("synonyms", "translators", "keep"):
        new[part] = [Path(name).name for name in new[part]]
    new["masked"] = Path(new["masked"]).name if new["masked"] else None
    return values
