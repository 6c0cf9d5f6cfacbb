"""What a study has settled, for whoever goes on with it: its settings from any folder, its device,
the methods of its verdict."""

import json
from pathlib import Path
from typing import Any

from tunelab.config import StudyConfig
from tunelab.study.own_files import in_settings, in_variant, resolved

__all__ = ["device_of", "from_anywhere", "judged_in"]


def from_anywhere(config: StudyConfig) -> dict[str, Any]:
    """All settings, with whole paths: what `study.yaml` holds, and what a budget was kept for."""
    values: dict[str, Any] = config.model_dump(mode="json")
    values["files"] = [str(Path(f).resolve()) for f in config.files]
    values["model"]["name"] = _resolved(config.model.name)
    values["models"] = [_resolved(name) for name in config.models]
    values["task_settings"] = in_settings(resolved, values["task_settings"])
    values["variants"] = [in_variant(resolved, variant) for variant in config.variants]
    new = values["augment"]
    new["synonyms"] = [str(Path(f).expanduser().resolve()) for f in config.augment.synonyms]
    new["keep"] = [str(Path(f).expanduser().resolve()) for f in config.augment.keep]
    new["translators"] = [_resolved(name) for name in config.augment.translators]
    new["masked"] = _resolved(config.augment.masked) if config.augment.masked else None
    return values


def device_of(study: Path) -> str:
    """Where its runs were made, "auto" if unknown: runs of elsewhere are other runs."""
    try:
        return str(json.loads((study / "plan.json").read_text(encoding="utf-8"))["device"])
    except (OSError, ValueError, KeyError):
        return "auto"


def judged_in(study: Path) -> list[str]:
    """Methods of its verdict; none where it has none."""
    try:
        found = json.loads((study / "study.json").read_text(encoding="utf-8"))
        return [result["name"] for result in found["results"] if not result["baseline"]]
    except (OSError, ValueError, KeyError):
        return []


def _resolved(model: str) -> str:
    """A local model's folder from anywhere; other names as they are."""
    path = Path(model).expanduser()
    return str(path.resolve()) if path.is_dir() else model
