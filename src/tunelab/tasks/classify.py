"""Text classification: one text, one label out of several."""

from tunelab.data.read import GROUP, LABEL, TEXT
from tunelab.tasks._classes import Classes

__all__ = ["Classify"]


class Classify(Classes):
    """One text, one label."""

    name = "classify"
    summary = "one text, one label (sentiment, topic, intent)"
    paper = "Devlin et al., BERT, 2019, arXiv:1810.04805, section 4.1"
    columns = (TEXT, LABEL, GROUP)
