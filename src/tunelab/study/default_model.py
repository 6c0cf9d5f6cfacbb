"""The packaged model that a study takes where its user names none: the one that can read the texts."""

from typing import TypeVar

from tunelab import tasks
from tunelab.config import RunConfig, StudyConfig
from tunelab.models import PACKAGED
from tunelab.study.languages import packaged_for
from tunelab.study.prepare import read_table

__all__ = ["with_model"]

C = TypeVar("C", RunConfig, StudyConfig)


def with_model(config: C) -> tuple[C, tuple[str, ...]]:
    """The configuration with a model that can read the texts, where none was named, and what to tell of it.

    Raises:
        DataError: the files cannot be read.
    """
    if "name" in config.model.model_fields_set or (isinstance(config, StudyConfig) and config.models):
        return config, ()
    table = read_table(config.files, tasks.find(config.task), config.data)
    name = packaged_for(table.texts, config.task)
    if name == config.model.name:
        return config, ()
    note = (
        f"the texts are Chinese, so model {name} reads them: {PACKAGED[name].summary}. --model names another"
    )
    return config.model_copy(update={"model": config.model.model_copy(update={"name": name})}), (note,)
