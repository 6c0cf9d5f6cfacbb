"""Python files of the user's that settings name: `classify.head=mine.py:H`, `align.reward=0.5*mine.py:f`.

A study must be the same from any working directory: its file keeps their whole paths, and what tells its runs
apart is what stands in them, not where they lie.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["in_settings", "in_variant", "named", "resolved"]

#: A weight, the file, what it is asked for.
_NAMED = re.compile(r"(\s*(?:[-+]?\d+(?:\.\d+)?\s*\*\s*)?)(.+\.py)(:\w+\s*)")


def resolved(value: str) -> str:
    """With the whole path of every FILE.py:NAME that is there; everything else as it is.

    >>> resolved("length:40 + 2*no_such_file.py:f")
    'length:40 + 2*no_such_file.py:f'
    """
    return _changed(value, lambda file: str(Path(file).resolve()) if Path(file).is_file() else file)


def named(value: str) -> str:
    """With the name alone of every FILE.py:NAME, wherever it lies.

    >>> named("length:40 + 2*/home/me/mine.py:f")
    'length:40 + 2*mine.py:f'
    """
    return _changed(value, lambda file: Path(file).name)


def _changed(value: str, change: Callable[[str], str]) -> str:
    parts = []
    for part in value.split(" + "):
        match = _NAMED.fullmatch(part)
        parts.append(f"{match[1]}{change(match[2])}{match[3]}" if match else part)
    return " + ".join(parts)


def in_settings(change: Callable[[str], str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A task's settings, with `change` made to each that is a text."""
    return {name: change(value) if isinstance(value, str) else value for name, value in settings.items()}


def in_variant(change: Callable[[str], str], variant: str) -> str:
    """A variant, with `change` made to each value that it sets.

    >>> in_variant(named, "full,classify.head=heads/mine.py:H,train.ema=0.9")
    'full,classify.head=mine.py:H,train.ema=0.9'
    """
    words = (word.partition("=") for word in re.split(r",(?=\w+\.\w+=)", variant))
    return ",".join(f"{name}{equals}{change(value)}" for name, equals, value in words)
