"""Language modelling: pretraining goes on with the user's texts, so that a later study starts from a model
that knows their language.

    causal     foretells each token from those before it            decoders (Llama, Qwen, GPT-2)
    masked     foretells hidden tokens from both sides              encoders (BERT, XLM-R, ModernBERT)
Masking as in Devlin et al. 2019, arXiv:1810.04805, section 3.1: 15 % of a row's tokens are asked for; of
those 80 % are hidden, 10 % replaced by any token, 10 % left; drawn anew at every step (Liu et al. 2019,
arXiv:1907.11692, section 4.1), and where a row is judged always the same, by its tokens. Gururangan et al.
2020, "Don't Stop Pretraining", arXiv:2004.10964, is why one does it.

Documents are cut into windows that do not overlap. Where the tokenizer puts nothing before a text, BOS or EOS
stands there (as GPT-2 was pretrained), so that every token of the text is foretold. Deciding score: minus the
loss a token; of causal models also bits a byte of the text, which can be compared between tokenizers.
"""

# B batch, T tokens, V vocabulary, W rows (windows), N items

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.batch import IGNORED, Examples
from tunelab.data.documents import encode_documents
from tunelab.data.findings import Finding, Patient, found, rows_of
from tunelab.data.layout import Encoded, Units
from tunelab.data.read_texts import read_texts
from tunelab.data.table import Table
from tunelab.errors import ConfigError
from tunelab.tasks._tokens import Foretelling, after

__all__ = ["Language", "LanguageSettings", "Masked"]

_FEW_IN_ALL = 20


class LanguageSettings(Section):
    """Settings of language."""

    objective: Literal["auto", "causal", "masked"] = Field(
        "auto", description="what is foretold; auto: the next token by decoders, hidden tokens by encoders"
    )
    masked_ratio: float = Field(
        0.15, gt=0, lt=1, description="masked: share of the tokens that are asked for"
    )


@dataclass(frozen=True)
class Masked(Examples):
    """Rows some of whose tokens are hidden. `targets`: every token that may be asked for, flat.

    mask_id: the token that hides one; vocabulary: how many tokens there are; anew: drawn from torch's random
    state at every batch (which a checkpoint holds), else from the row's own tokens.
    """

    mask_id: int = 0
    vocabulary: int = 1
    ratio: float = 0.15
    anew: bool = False
    replaces = True

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], Tensor]:
        inputs, targets_BT = super().batch(which, "cpu")
        for ids_T, targets_T, row in zip(inputs["input_ids"], targets_BT, self.rows[which], strict=True):
            self._hide(ids_T, targets_T, int(row))
        return {name: tensor.to(device) for name, tensor in inputs.items()}, targets_BT.to(device)

    def _hide(self, ids_T: Tensor, targets_T: Tensor, row: int) -> None:
        """Hides tokens of one row, in place."""
        seed = (
            int(torch.randint(2**62, ())) if self.anew else zlib.crc32(self.tokens.row(row, 2**62).tobytes())
        )
        random = np.random.default_rng(seed)
        places = (targets_T != IGNORED).nonzero().squeeze(1).numpy()
        count = max(1, round(self.ratio * len(places))) if len(places) else 0
        asked = np.sort(random.choice(places, count, replace=False)) if count else places
        how = random.random(count)
        others = torch.from_numpy(random.integers(self.vocabulary, size=count))
        kept = torch.full_like(targets_T, IGNORED)
        kept[asked] = targets_T[asked]
        targets_T.copy_(kept)
        hidden, replaced = how < 0.8, (how >= 0.8) & (how < 0.9)
        ids_T[asked[hidden]] = self.mask_id
        ids_T[asked[replaced]] = others[replaced]


class Language(Foretelling):
    """Texts whose tokens are foretold."""

    name = "language"
    layouts = "text files, or a column of texts"
    summary = (
        "plain text: pretraining goes on, so that a later study starts from a model that knows the domain"
    )
    paper = "Gururangan et al., Don't Stop Pretraining, 2020, arXiv:2004.10964"
    model_class = "AutoModelForCausalLM"
    Settings = LanguageSettings
    read_by = ("objective", "masked_ratio")
    windowed = True
    settings: LanguageSettings

    def __init__(self, loss: LossConfig, settings: Section) -> None:
        super().__init__(loss, settings)
        if self.masked:
            self.model_class = "AutoModelForMaskedLM"
            self.pipeline = ("fill-mask", "")

    @property
    def masked(self) -> bool:
        """Whether hidden tokens are foretold, not next ones."""
        return self.settings.objective == "masked"

    @classmethod
    def settle(cls, settings: Section, head: str, name: str) -> Section:
        """What "auto" means for this model.

        Raises:
            ConfigError: the model cannot learn this.
        """
        assert isinstance(settings, LanguageSettings)
        if settings.objective == "causal" and head == "masked":
            raise ConfigError(
                f"language.objective=causal: {name} is an encoder, which sees the tokens after the one it "
                "would foretell; leave it out (masked)"
            )
        if settings.objective == "masked" and head == "causal":
            raise ConfigError(
                f"language.objective=masked: {name} is a decoder, which sees nothing behind a hidden token; "
                "leave it out (causal)"
            )
        if settings.objective == "auto" and head not in ("causal", "masked"):
            raise ConfigError(
                f"{name} comes without a language model's head, so nothing it knows foretells tokens. Take "
                "a model that has one (bert-base-uncased, bert-base-chinese, xlm-roberta-base; "
                "Qwen/Qwen3-0.6B), or, for an encoder, train a new one with language.objective=masked (its "
                "loss begins near that of guessing)"
            )
        return settings if settings.objective != "auto" else settings.model_copy(update={"objective": head})

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        return read_texts(files, chosen)

    @classmethod
    def encode(cls, table: Table, tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
        return encode_documents(table.frame["text"].tolist(), tokenizer, max_length, cache)

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        rows = np.flatnonzero(patient.usable)
        if len(rows) >= _FEW_IN_ALL:
            return []
        title = f"Only {rows_of(len(rows))} of text; a comparison needs at least {_FEW_IN_ALL} paragraphs."
        advice = "Paragraphs are told by blank lines, or one a line; a single long line is one paragraph."
        return [
            found(patient.table, "too-few-rows", "error", title, advice=advice, count=len(rows), examples=())
        ]

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """The next token of the text; of a masked model the token itself, wherever it may be hidden."""
        assert encoded is not None
        assert encoded.units is not None
        learnt = encoded.units.owners >= 0
        if not self.masked:
            return after(encoded.tokens, learnt)
        return np.where(learnt, encoded.tokens.ids, IGNORED).astype(np.int64)

    def examples(
        self, encoded: Encoded, rows: np.ndarray, targets: np.ndarray, max_length: int, pad_id: int
    ) -> Examples:
        if not self.masked:
            return super().examples(encoded, rows, targets, max_length, pad_id)
        assert encoded.mask is not None
        if encoded.mask[0] < 0:
            raise ConfigError(
                "language.objective=masked: this model's tokenizer has no token that hides others"
            )
        hidden, vocabulary = encoded.mask
        return Masked(
            encoded.tokens,
            targets,
            rows,
            max_length,
            pad_id,
            self.per_token,
            mask_id=hidden,
            vocabulary=vocabulary,
            ratio=self.settings.masked_ratio,
        )

    def for_training(self, examples: Examples) -> Examples:
        rows = super().for_training(examples)
        return replace(rows, anew=True) if isinstance(rows, Masked) else rows

    def _items(self, outputs: np.ndarray, units: Units | None) -> tuple[np.ndarray, np.ndarray | None]:
        assert units is not None
        assert len(units.spans) == len(outputs)
        sums_W = np.concatenate([np.zeros((1, 3)), np.cumsum(outputs.astype(np.float64), 0)])
        sums_N3 = sums_W[units.starts[1:]] - sums_W[units.starts[:-1]]
        if self.masked:
            return sums_N3, None
        bytes_W = np.concatenate([[0], np.cumsum(units.spans[:, 1] - units.spans[:, 0])])
        return sums_N3, bytes_W[units.starts[1:]] - bytes_W[units.starts[:-1]]

    def answers(self, predictions: pd.DataFrame) -> list[Any]:
        """Of each text the loss a token, perplexity and, of a causal model, bits a byte."""
        found_: list[Any] = []
        for _, row in predictions.iterrows():
            answer = {
                "loss": float(row["prediction"]),
                "perplexity": float(np.exp(min(row["prediction"], 700))),
            }
            if "bytes" in row:
                answer["bits_per_byte"] = float(row["loss_sum"] / np.log(2) / max(row["bytes"], 1))
            found_.append(answer)
        return found_

    def told(self) -> str:
        what = (
            f"hidden tokens ({self.settings.masked_ratio:.0%} of them)" if self.masked else "each next token"
        )
        return (
            f"It foretells {what} of texts such as it was trained on; as a base model for other tasks it "
            "knows their language."
        )
