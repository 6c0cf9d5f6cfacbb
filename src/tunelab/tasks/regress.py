"""Regression: one number for a text, or for two."""

from dataclasses import replace

from tunelab.data.read import GROUP, SCORE, SECOND, TEXT
from tunelab.tasks._numbers import Numbers

__all__ = ["Regress"]


class Regress(Numbers):
    """One text (or two, where `text_pair` is named), one number."""

    name = "regress"
    summary = "one text (or two), one number (a rating, a price, a similarity)"
    paper = "Devlin et al., BERT, 2019, arXiv:1810.04805, section 4.1 (STS-B)"
    columns = (TEXT, replace(SECOND, required=False), SCORE, GROUP)
