"""Prompt tuning: a few trained vectors are read before every text; the trunk is frozen.

Paper: Lester, Al-Rfou and Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", 2021,
arXiv:2104.08691, section 2.
    hidden = trunk([P; E(x)])             P: [N, E] trained, E(x): the text's word embeddings
Trains N · E numbers, and the head. P starts as the embeddings of randomly drawn words (the
paper: better than random numbers).
Differs from the paper: the words are drawn from the whole vocabulary, not the 5,000 most frequent; the
answer comes from a trained head, not from generated words.
Learning rate: the paper takes 0.3 with Adafactor; AdamW's steps do not scale with the vector's
length, so a tenth. The head takes `head_ratio` of it.
Search: 3e-3 to 3e-1; up to the paper's 0.3, and as far below the default (measured there alone: 0.76;
docs/LOG.md).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from tunelab.methods._virtual import VirtualMethod, VirtualSettings, VirtualTokens, vocabulary_rows
from tunelab.methods.structure import Structure

__all__ = ["Prompt", "PromptSettings"]


class PromptSettings(VirtualSettings):
    """Settings of prompt tuning."""

    init: Literal["vocabulary", "random"] = Field(
        "vocabulary", description="start from words of the vocabulary, or from random numbers of their size"
    )


class Prompt(VirtualMethod):
    """Trained vectors before the text."""

    name = "prompt"
    summary = "trained vectors are read before every text, the trunk frozen"
    paper = "Lester et al., Prompt Tuning, 2021, arXiv:2104.08691"
    Settings = PromptSettings
    learning_rate = 3e-2
    learning_rates = (3e-3, 3e-1)
    kind = "TUNELAB_PROMPT"
    settings: PromptSettings

    def encoder(self, structure: Structure) -> nn.Module:
        count = self.settings.num_virtual_tokens
        if self.settings.init == "vocabulary":
            return VirtualTokens(vocabulary_rows(structure, count))
        table = structure.word_embeddings.weight.detach()
        return VirtualTokens(float(table.float().std()) * torch.randn(count, table.shape[1]))
