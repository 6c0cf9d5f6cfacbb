"""Everything tunelab raises on purpose, drawn as one tree.

    TunelabError                        exit code
    ├── InputError                      2   what the user gave cannot be used; nothing was trained
    │   ├── ConfigError                 2   a setting: unknown, misspelt, out of range
    │   ├── DataError                   2   a file, column, row or label
    │   ├── ModelError                  2   the pretrained model or its tokenizer
    │   ├── OutputError                 2   where results should go: unwritable, full
    │   └── BundleError                 2   a saved bundle that cannot be read or trusted
    ├── TrainingError                   1   a run that had begun and cannot go on
    │   ├── NotFiniteError              1   loss or gradient became NaN or infinite
    │   └── CheckpointError             1   no usable checkpoint where one was needed
    ├── CannotMerge                     1   the method's change cannot be folded into the weights
    └── Stopped                       130   stopped on request; the same command goes on from there

A message says what was wrong, where, what was got, what is allowed and what to do next.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "BundleError",
    "CannotMerge",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "InputError",
    "ModelError",
    "NotFiniteError",
    "OutputError",
    "Stopped",
    "TrainingError",
    "TunelabError",
    "did_you_mean",
]


class TunelabError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(TunelabError):
    """What the user gave cannot be used; raised before any training."""

    exit_code = 2


class ConfigError(InputError):
    """A setting is unknown, misspelt, of the wrong type or out of range."""


class DataError(InputError):
    """A file, column, row or label cannot be used."""


class ModelError(InputError):
    """The pretrained model or its tokenizer cannot be found, trusted or used for the task."""


class OutputError(InputError):
    """Results cannot be written where they should go."""


class BundleError(InputError):
    """A saved bundle is missing, damaged or of another kind."""


class TrainingError(TunelabError):
    """A run that had begun cannot go on."""


class NotFiniteError(TrainingError):
    """The loss or its gradient became NaN or infinite."""


class CheckpointError(TrainingError):
    """No usable checkpoint where one was needed."""


class CannotMerge(TunelabError):
    """The method's change cannot be folded into the model's weights; the message is the reason."""


class Stopped(TunelabError):
    """Stopped on request (Ctrl-C); what is needed to go on is on disk.

    before_seconds: what the run had spent before its first step, where that is known.
    """

    exit_code = 130
    before_seconds = 0.0


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known name and lists all of them.

    >>> did_you_mean("rnk", ["rank", "alpha"])
    "did you mean 'rank'? (known: alpha, rank)"
    >>> did_you_mean("zzz", ["rank", "alpha"])
    'known: alpha, rank'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.55)
    listing = f"known: {', '.join(names)}"
    if not close:
        return listing
    best = next(n for n in names if n.lower() == close[0])
    return f"did you mean {best!r}? ({listing})"
