"""Tagging: entities in a text, as labels of its words or characters.

Head: `AutoModelForTokenClassification`; each unit (word or character) is labelled at its first token, as in
Devlin et al. 2019, section 5.3. `tag.head=crf` puts a linear-chain CRF above it, with the scheme's forbidden
transitions. Deciding score: F1 of entities, strict (their very borders and type), over all types.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from tunelab.config import LossConfig, Section
from tunelab.data.batch import IGNORED, Examples
from tunelab.data.check_tags import check_fit, check_tags, entities_in, split_units
from tunelab.data.findings import Finding, Patient
from tunelab.data.layout import Encoded, Units, align, encode_spans
from tunelab.data.read_tags import read_tags
from tunelab.data.table import Table
from tunelab.data.tags import (
    Entity,
    entities_of,
    entities_over_units,
    forbidden,
    labels_of,
    tags_of,
)
from tunelab.errors import ConfigError, DataError
from tunelab.measure.entities import count_entities, entity_score_function, entity_scores
from tunelab.measure.metrics import softmax
from tunelab.measure.statistics import RunScore
from tunelab.objectives.classification import cross_entropy, focal
from tunelab.objectives.crf import crf_loss, forbid, max_marginals, viterbi
from tunelab.objectives.divergence import classes_divergence
from tunelab.tasks._chain import NAME, Chain, chain_of
from tunelab.tasks._own import OwnLoss, kept, loss_of, made_from, source_of
from tunelab.tasks._parts import load_part
from tunelab.tasks.base import Keep, Objective, Task

__all__ = ["Tag", "TagSettings"]


class TagSettings(Section):
    """Settings of tag."""

    head: Literal["softmax", "crf"] = Field(
        "softmax", description="each unit's label by itself, or a chain of labels (CRF)"
    )
    scheme: Literal["BIO", "IOBES", "BMES", "BILOU"] = Field(
        "BIO", description="how entities become labels of units; files are read in any scheme"
    )
    objective: str = Field(
        "",
        description="FILE.py:FUNCTION or MODULE:FUNCTION, a loss of your own: (logits, targets) of the units",
    )


class Tag(Task):
    """Entities of these types, learnt in a scheme."""

    name = "tag"
    layouts = "CoNLL (any columns, BIO, IOB1, BMES, BILOU), or JSON with spans"
    summary = "entities in a text (names, products, places), by words or characters"
    paper = "Devlin et al., BERT, 2019, arXiv:1810.04805, section 5.3; Lample et al., 2016, arXiv:1603.01360"
    model_class = "AutoModelForTokenClassification"
    pipeline = ("token-classification", ', aggregation_strategy="first"')
    Settings = TagSettings
    windowed = True
    exact = True
    held = MappingProxyType({"label": "entities", "units": "places"})
    per_token = True
    baselines = ("dictionary",)

    def __init__(self, types: Sequence[str], loss: LossConfig, settings: TagSettings) -> None:
        self.types = tuple(types)
        self.loss = loss
        self.settings = settings
        self.tags = tuple(labels_of(self.types, settings.scheme))
        self._number = {tag: i for i, tag in enumerate(self.tags)}
        self._code: dict[str, str] = {}
        self._own_loss: OwnLoss | None = None
        self._check_loss()

    def _check_loss(self) -> None:
        kind = self.loss.kind
        if self.settings.objective and (self.loss != LossConfig() or self.settings.head == "crf"):
            raise ConfigError(
                "tag.objective is the whole loss: leave out tag.head=crf, loss.kind and the other settings "
                "of loss"
            )
        if kind not in ("auto", "cross_entropy", "focal"):
            raise ConfigError(
                f"loss.kind={kind} is for numbers; tag learns classes: give cross_entropy or focal"
            )
        if self.loss.class_weights != "none":
            raise ConfigError(
                "loss.class_weights is for whole texts; with tag leave it out (focal is offered)"
            )
        if self.settings.head == "crf" and (kind == "focal" or self.loss.label_smoothing):
            raise ConfigError("tag.head=crf has a likelihood of its own: leave out focal and label smoothing")

    @classmethod
    def own_code(cls, settings: Section) -> dict[str, str]:
        assert isinstance(settings, TagSettings)
        named = settings.objective
        return {kept("objective", named): source_of(named, "tag.objective")} if named else {}

    def take_code(self) -> None:
        self._code = self.own_code(self.settings)
        if named := self.settings.objective:
            function = made_from(self._code[kept("objective", named)], named, "tag.objective")
            targets = torch.arange(4) % len(self.tags)
            self._own_loss = loss_of(function, len(self.tags), targets, "tag.objective")

    def for_training(self, examples: Examples) -> Examples:
        rows = super().for_training(examples)
        return replace(rows, one_more=None) if self._own_loss is not None and self._own_loss.whole else rows

    @property
    def code(self) -> dict[str, str]:
        return {name: text for name, text in self._code.items() if name.endswith(".py")}

    @classmethod
    def read(cls, files: Sequence[str], chosen: Mapping[str, str]) -> Table:
        return read_tags(files, chosen)

    @classmethod
    def encode(cls, table: Table, tokenizer: Any, max_length: int, cache: bool = True) -> Encoded:
        texts = table.frame["text"].tolist()
        units = [
            [(int(a), int(b)) for a, b in json.loads(own)] if own else split_units(text, "pieces")
            for own, text in zip(table.frame["units"], texts, strict=True)
        ]
        whole, places = encode_spans(texts, tokenizer, cls.name)
        return align(whole, places, units, max_length)

    @classmethod
    def form(cls, table: Table) -> dict[str, Any]:
        return {"units": _unit_rule(table.frame["units"].tolist())}

    @classmethod
    def asked(cls, texts: Sequence[str], pairs: Sequence[str] | None, form: Mapping[str, Any]) -> Table:
        table = super().asked(texts, None, form)
        rule = str(form.get("units", "pieces"))
        return replace(table, frame=table.frame.assign(units=[_json(split_units(t, rule)) for t in texts]))

    @classmethod
    def check_encoded(cls, table: Table, encoded: Encoded) -> list[Finding]:
        return check_fit(table, encoded)

    @classmethod
    def fit(
        cls,
        labels: Sequence[str],
        train_labels: Sequence[str],
        loss: LossConfig,
        settings: Section | None = None,
    ) -> Self:
        own = settings or TagSettings()
        assert isinstance(own, TagSettings)
        types = sorted({kind for label in labels for _, _, kind in entities_in(label)})
        if not types:
            raise DataError("no entity is marked in any row: there is nothing to learn")
        return cls(types, loss, own)

    @classmethod
    def check_labels(cls, patient: Patient) -> list[Finding]:
        return check_tags(patient)

    @classmethod
    def strata(cls, labels: Sequence[str]) -> list[str]:
        """The rarest type of each row, so that every part gets its share of it."""
        kinds = [{kind for _, _, kind in entities_in(label)} for label in labels]
        rows = Counter(kind for own in kinds for kind in own)
        return [min(own, key=lambda kind: (rows[kind], kind)) if own else "" for own in kinds]

    @property
    def deciding(self) -> str:
        return "f1"

    def model_options(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.tags),
            "id2label": dict(enumerate(self.tags)),
            "label2id": dict(self._number),
        }

    def equip(self, model: Any, folder: Path | None = None) -> Any:
        if self.settings.head == "crf":
            chain = Chain(len(self.tags)).to(model.device)
            if folder is not None:
                load_part(chain, NAME, folder)
            model.add_module(NAME, chain)
        return model

    def targets(self, labels: Sequence[str], encoded: Encoded | None = None) -> np.ndarray:
        """The label of the unit that each token speaks for. An entity that a window's edge cuts begins anew
        there: every row then spells whole entities, which the CRF's rules ask for."""
        assert encoded is not None
        assert encoded.units is not None
        assert encoded.firsts is not None
        units, tokens = encoded.units, encoded.tokens
        targets = self.blank(encoded)
        for item, label in enumerate(labels):
            entities = entities_in(label)
            if not entities:
                continue
            which = units.of(item)
            spans = [(int(a), int(b)) for a, b in units.spans[which]]
            taken, _ = entities_over_units(entities, spans)
            for row in range(int(encoded.firsts[item]), int(encoded.firsts[item + 1])):
                inside = slice(int(tokens.starts[row]), int(tokens.starts[row + 1]))
                self._label(targets[inside], units.owners[inside] - which.start, taken)
        return targets

    def _label(self, targets_T: np.ndarray, units_T: np.ndarray, entities: Sequence[Entity]) -> None:
        """Writes the labels of one row, whose tokens speak for these units (below 0: for none)."""
        known = np.flatnonzero(targets_T != IGNORED)
        place = {int(unit): i for i, unit in enumerate(units_T[known])}
        here = []
        for start, end, kind in entities:
            inside = [place[unit] for unit in range(start, end) if unit in place]
            if inside:
                here.append((inside[0], inside[-1] + 1, kind))
        names = tags_of(here, len(known), self.settings.scheme)
        targets_T[known] = [self._number[name] for name in names]

    def blank(self, encoded: Encoded) -> np.ndarray:
        assert encoded.units is not None
        return np.where(encoded.units.owners >= 0, 0, IGNORED).astype(np.int64)

    def objective(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        known = targets != IGNORED
        if self._own_loss is not None:
            return self._own_loss(logits[known], targets[known])
        smoothing = self.loss.label_smoothing
        if self.loss.kind == "focal":
            return focal(
                logits[known], targets[known], gamma=self.loss.focal_gamma, label_smoothing=smoothing
            )
        return cross_entropy(logits[known], targets[known], label_smoothing=smoothing)

    def objective_of(self, model: Any) -> Objective:
        if self.settings.head == "softmax":
            return self.objective
        chain = chain_of(model)

        def objective(logits_BTC: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
            order_BU, mask_BU = _together(targets_BT)
            emissions_BUC = _taken(logits_BTC, order_BU)
            return crf_loss(emissions_BUC, targets_BT.gather(1, order_BU), mask_BU, *self._scores(chain))

        return objective

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        if self.settings.head == "crf":
            raise ConfigError(
                "train.r_drop compares each unit's labels by themselves, and tag.head=crf weighs sentences: "
                "leave one of them out"
            )
        return classes_divergence(first, second)

    def keep_of(self, model: Any) -> Keep | None:
        """Of a CRF, how far below the best path the best one through each label is: the largest is Viterbi's
        label."""
        if self.settings.head == "softmax":
            return None
        chain = chain_of(model)

        def keep(logits_BTC: Tensor, targets_BT: Tensor) -> Tensor:
            order_BU, mask_BU = _together(targets_BT)
            found_BUC = max_marginals(_taken(logits_BTC, order_BU), mask_BU, *self._scores(chain))
            index_BUC = order_BU[:, :, None].expand_as(found_BUC)
            return torch.zeros_like(logits_BTC, dtype=torch.float32).scatter(1, index_BUC, found_BUC)

        return keep

    def _scores(self, chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
        rules = forbidden(self.tags, self.settings.scheme)
        scores = zip(chain(), (rules.transitions_CC, rules.starts_C, rules.ends_C), strict=True)
        moves, start, end = (
            forbid(values, torch.from_numpy(rule).to(values.device)) for values, rule in scores
        )
        return moves, start, end

    def truth(self, labels: Sequence[str]) -> list[list[Entity]]:
        return [entities_in(label) for label in labels]

    def decode(self, outputs: np.ndarray, items: pd.DataFrame, units: Units | None = None) -> pd.DataFrame:
        assert units is not None
        found = self._entities(outputs, units)
        return pd.DataFrame(
            {
                "prediction": [_json([[a, b, kind] for a, b, kind, _ in own]) for own in found],
                "confidence": [_json([round(share, 4) for *_, share in own]) for own in found],
            }
        )

    def _entities(self, outputs: np.ndarray, units: Units) -> list[list[tuple[int, int, str, float]]]:
        """Of each item, [start, end) in characters, type, and the mean over its units of the label's share
        (softmax of the outputs: with a CRF of how far each label's best path is below the best one).

        Units in one token are one here, and those without a token none, as in `targets`."""
        firsts_V, lasts_V = units.spoken()
        chosen = outputs[units.tokens[firsts_V]]
        best = chosen.argmax(1)
        bounds = np.searchsorted(firsts_V, units.starts).tolist()
        if self.settings.head == "crf":
            self._joined(best, chosen, bounds)
        sure = softmax(chosen).max(1)
        begins, ends = units.spans[firsts_V, 0].tolist(), units.spans[lasts_V, 1].tolist()
        found = []
        for a, b in pairwise(bounds):
            entities = entities_of([self.tags[label] for label in best[a:b]], self.settings.scheme)
            found.append(
                [
                    (begins[a + start], ends[a + end - 1], kind, float(sure[a + start : a + end].mean()))
                    for start, end, kind in entities
                ]
            )
        return found

    def _joined(self, best_V: np.ndarray, chosen_VC: np.ndarray, bounds: Sequence[int]) -> None:
        """Mends, in place, items whose windows' paths break a rule where they meet: the best path that does
        not, by each unit's outputs. bounds: where each item begins, and the end."""
        rules = forbidden(self.tags, self.settings.scheme)
        moves, start, end = (
            forbid(torch.zeros(rule.shape), torch.from_numpy(rule))
            for rule in (rules.transitions_CC, rules.starts_C, rules.ends_C)
        )
        broken_V = rules.transitions_CC[best_V[:-1], best_V[1:]]
        for a, b in pairwise(bounds):
            if broken_V[a : max(b - 1, a)].any():
                emissions = torch.from_numpy(chosen_VC[a:b].astype(np.float32))[None]
                mask = torch.ones(emissions.shape[:2], dtype=torch.bool)
                best_V[a:b] = viterbi(emissions, mask, moves, start, end)[0].numpy()

    def scores(self, outputs: np.ndarray, truth: Any, units: Units | None = None) -> dict[str, float]:
        assert units is not None
        predicted = [[(a, b, kind) for a, b, kind, _ in own] for own in self._entities(outputs, units)]
        return entity_scores(count_entities(predicted, truth, self.types))

    def run_score(self, predictions: pd.DataFrame) -> RunScore:
        return entity_score_function(self.deciding, count_entities(*_both(predictions), self.types))

    def part_scores(self, predictions: pd.DataFrame) -> dict[str, RunScore]:
        counts = count_entities(*_both(predictions), self.types)
        return {kind: entity_score_function("f1", counts.only(kind)) for kind in self.types}

    def errors(self, predictions: pd.DataFrame) -> np.ndarray:
        """Entities missed and entities that are none."""
        pairs = zip(*_both(predictions), strict=True)
        return np.array([len(set(ours) ^ set(gold)) for ours, gold in pairs], dtype=np.float64)

    def answers(self, predictions: pd.DataFrame) -> list[Any]:
        """Of each text the entities: start, end (after the last character), type and confidence."""
        return [
            [
                {"start": start, "end": end, "type": kind, "confidence": share}
                for (start, end, kind), share in zip(entities_in(said), json.loads(sure), strict=True)
            ]
            for said, sure in zip(predictions["prediction"], predictions["confidence"], strict=True)
        ]

    def shown(self, label: str, text: str = "") -> str:
        return ", ".join(f"{text[start:end]} ({kind})" for start, end, kind in entities_in(label)) or "–"

    def told(self) -> str:
        types = ", ".join(f"`{kind}`" for kind in self.types)
        chain = (
            " A chain (CRF) chooses among the labels; `transformers` alone takes each unit's best one."
            if self.settings.head == "crf"
            else ""
        )
        scheme = self.settings.scheme
        return f"It finds entities: {types}. Units are labelled at their first token ({scheme}).{chain}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "types": list(self.types),
            "loss": self.loss.model_dump(),
            "settings": self.settings.model_dump(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(values["types"], LossConfig(**values["loss"]), TagSettings(**values["settings"]))


def _unit_rule(given: Sequence[str]) -> str:
    """How `split_units` cuts a text as the units in these rows were cut."""
    spans = [json.loads(own) for own in given[:200] if own]
    if not spans:
        return "pieces"
    return "characters" if all(b - a == 1 for own in spans for a, b in own) else "words"


def _together(targets_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Places of each row's units, those first, [B, U], and which of them are units."""
    known_BT = targets_BT != IGNORED
    width = max(1, int(known_BT.sum(1).max()))
    order_BT = torch.argsort((~known_BT).to(torch.uint8), dim=1, stable=True)
    return order_BT[:, :width], known_BT.gather(1, order_BT)[:, :width]


def _taken(logits_BTC: Tensor, order_BU: Tensor) -> Tensor:
    return logits_BTC.gather(1, order_BU[:, :, None].expand(-1, -1, logits_BTC.shape[2]))


def _both(predictions: pd.DataFrame) -> tuple[list[list[Entity]], list[list[Entity]]]:
    found = [[entities_in(text) for text in predictions[name]] for name in ("prediction", "label")]
    return found[0], found[1]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
