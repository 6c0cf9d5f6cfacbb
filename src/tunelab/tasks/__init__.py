"""What is learnt: one file a task, and the contract they share (base.py)."""

from tunelab.errors import ConfigError, did_you_mean
from tunelab.tasks.align import Align
from tunelab.tasks.answer import Answer
from tunelab.tasks.base import Task
from tunelab.tasks.classify import Classify
from tunelab.tasks.feedback import Feedback
from tunelab.tasks.instruct import Instruct
from tunelab.tasks.language import Language
from tunelab.tasks.match import Match
from tunelab.tasks.multilabel import Multilabel
from tunelab.tasks.prefer import Prefer
from tunelab.tasks.regress import Regress
from tunelab.tasks.rewrite import Rewrite
from tunelab.tasks.tag import Tag

__all__ = ["TASKS", "Task", "find"]

TASKS: dict[str, type[Task]] = {
    "classify": Classify,
    "multilabel": Multilabel,
    "regress": Regress,
    "match": Match,
    "tag": Tag,
    "answer": Answer,
    "rewrite": Rewrite,
    "feedback": Feedback,
    "prefer": Prefer,
    "align": Align,
    "instruct": Instruct,
    "language": Language,
}


def find(name: str) -> type[Task]:
    """The task of this name; raises `ConfigError` with the nearest one."""
    if name not in TASKS:
        raise ConfigError(f"unknown task {name!r}; {did_you_mean(name, TASKS)}")
    return TASKS[name]
