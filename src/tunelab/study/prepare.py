"""From the user's files to what every run of a study shares: rows, findings, splits, tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tunelab import tasks
from tunelab.config import AugmentConfig, DataConfig, ModelConfig, RunConfig, Section, StudyConfig, build
from tunelab.data.assign import spread
from tunelab.data.batch import Examples
from tunelab.data.check import NEAR_CHARACTERS, ORDER, Finding, check, drop_unusable, fix, stop_on_errors
from tunelab.data.encode import Tokens, facts
from tunelab.data.findings import drawn, found, of_drawn, part_of
from tunelab.data.layout import Encoded, Units
from tunelab.data.similar import duplicate_groups, near_groups
from tunelab.data.split import Split, final_split, make_splits
from tunelab.data.table import Table
from tunelab.errors import ConfigError, DataError
from tunelab.models import (
    Located,
    fingerprint,
    language_head,
    load_tokenizer,
    locate,
    model_settings,
    positions_of,
    settle_length,
)
from tunelab.study.copies import Copies
from tunelab.study.languages import packaged_for
from tunelab.tasks.base import NoSettings, Task

__all__ = ["Prepared", "chosen_of", "examine", "mended", "prepare", "read_table", "which"]

#: What a user may say of the file's columns (a task refuses what it does not have).
_ROLES = (
    "text",
    "text_pair",
    "label",
    "group",
    "ends",
    "chosen",
    "rejected",
    "votes",
    "margin",
    "input",
    "system",
    "history",
    "labels",
    "separator",
    "shown",
    "reward",
    "propensity",
)


@dataclass(frozen=True)
class Prepared:
    """All that the runs of a study share; it travels to the workers by pickle.

    splits: one, or one a fold; refit: all rows but a validation slice, for the winner after folds.
    model: its settings, with the length settled; digest: of texts and labels; model_digest: of the
    pretrained weights; token_digest: of what the tokenizer made of the texts; strata: [N] of which a share of
    the training rows gets its part; form: what a bundle keeps of the data's form.
    settings: the task's, with which the rows were read; head: which language model's head the model has.
    features: folder where the runs share what frozen layers give; None: each computes it for itself.
    untouched: what the untouched model says of rows, by their key (see untouched.py).
    positions: of the model, where it has a limit.
    copies: the table's last rows where they are no rows of the user's, but made from training rows.
    """

    table: Table
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    splits: tuple[Split, ...]
    refit: Split
    encoded: Encoded
    pad_id: int
    base: Located
    model: ModelConfig
    digest: str
    model_digest: str
    token_digest: str
    strata: tuple[str, ...]
    form: Mapping[str, Any]
    settings: Section = field(default_factory=NoSettings)
    head: str = ""
    reads: tuple[str, ...] = ()
    features: Path | None = None
    untouched: Mapping[str, np.ndarray] = field(default_factory=dict)
    copies: Copies | None = None
    positions: int | None = None

    @property
    def tokens(self) -> Tokens:
        """All rows of tokens."""
        return self.encoded.tokens

    @property
    def pairs(self) -> bool:
        """Whether an item is two texts."""
        return self.tokens.seconds is not None

    def rows(self, items: np.ndarray) -> np.ndarray:
        """The rows of tokens of these items."""
        return self.encoded.rows(items)

    def lengths(self, items: np.ndarray) -> np.ndarray:
        """Tokens of each of their rows after truncation; of rows that go together all, with their padding."""
        assert self.model.max_length is not None, "settled in prepare"
        lengths: np.ndarray = np.minimum(self.tokens.lengths[self.rows(items)], self.model.max_length)
        if not self.encoded.together:
            return lengths
        lengths_NS = lengths.reshape(len(items), -1)
        together: np.ndarray = lengths_NS.max(1) * lengths_NS.shape[1]
        return together

    def units(self, items: np.ndarray) -> Units | None:
        """The parts of these items that are labelled, see `Encoded.units_of`."""
        return self.encoded.units_of(items)

    def labels(self, items: np.ndarray) -> list[str]:
        """Their labels as read."""
        found: list[str] = self.table.frame["label"].iloc[items].tolist()
        return found

    def split(self, fold: int, share: float = 1.0) -> Split:
        """The split of a fold; -1 is the final refit on all rows.

        share: of the training rows that is kept, stratified; a smaller share's rows are among a larger's.
        """
        whole = self.refit if fold < 0 else self.splits[fold]
        if share == 1.0:
            return whole
        _, codes = np.unique(np.array(self.strata, dtype=object)[whole.train], return_inverse=True)
        order = spread(codes, np.random.default_rng(0).permutation(len(whole.train)))
        kept = np.sort(whole.train[order[: max(1, round(share * len(whole.train)))]])
        return replace(whole, train=kept, digest=f"{whole.digest}-{len(kept)}")

    def training(self, fold: int, share: float = 1.0) -> np.ndarray:
        """What a run learns from: the training rows of its split, and after them their copies where there are
        any. Everything else (the pace, the task's labels, what is judged) goes by the split alone."""
        rows = self.split(fold, share).train
        if self.copies is None:
            return rows
        return np.concatenate([rows, self.own + self.copies.of((fold, share), rows)])

    @property
    def own(self) -> int:
        """How many rows are the user's own; those after them are copies."""
        return len(self.table) - (len(self.copies) if self.copies is not None else 0)

    def trained_rows(self, fold: int) -> np.ndarray:
        """The rows that runs on this fold or, where there are several, on any fold train or validate on."""
        folds = range(len(self.splits)) if len(self.splits) > 1 else (fold,)
        parts = [part for at in folds for part in (self.training(at), self.split(at).valid)]
        return np.unique(np.concatenate(parts))

    def with_copies(self, task: str, frame: pd.DataFrame, copies: Copies) -> "Prepared":
        """The same study whose trainings also learn from copies; frame: their rows, as those of the table."""
        notes = (*self.notes, *copies.notes)
        if not len(copies):
            return replace(self, copies=copies, notes=notes)
        kind = tasks.find(task)
        tokenizer, _ = load_tokenizer(self.base, self.model)
        kind.dress(tokenizer, self.settings)
        new = replace(self.table, frame=frame[list(self.table.frame)].reset_index(drop=True))
        encoded = self.encoded.joined(_encode(new, kind, tokenizer, self.model, self.settings))
        whole = replace(self.table, frame=pd.concat([self.table.frame, new.frame], ignore_index=True))
        return replace(
            self,
            table=whole,
            encoded=encoded,
            digest=_digest(whole),
            token_digest=encoded.tokens.digest(),
            notes=notes,
            copies=copies,
        )

    def lean(self) -> "Prepared":
        """Without what only the baselines read: this is what travels to the workers."""
        kept = {"label", "split", "file", "row", *self.reads}
        lost = [name for name in self.table.frame if name not in kept]
        encoded = replace(self.encoded, whole=self.encoded.tokens)
        return replace(
            self, encoded=encoded, table=replace(self.table, frame=self.table.frame.drop(columns=lost))
        )

    def task(self, config: RunConfig | StudyConfig, fold: int = 0, share: float = 1.0) -> Task:
        """The task of these settings, fitted to this fold's training rows."""
        labels = self.table.frame["label"].iloc[: self.own]
        train = labels.iloc[self.split(fold, share).train]
        kind = tasks.find(config.task)
        settings = _settings(kind, config.task_settings, self.head, self.base.name)
        for name in kind.read_by:
            if getattr(settings, name) != getattr(self.settings, name):
                raise ConfigError(
                    f"setting '{kind.name}.{name}' decides how the rows are read or judged, so it is one for "
                    "a whole study; compare its values in two studies"
                )
        task = kind.fit(labels.tolist(), train.tolist(), config.loss, settings)
        task.take_code()
        if config.train.r_drop:  # (before any training, where the task cannot have it)
            task.divergence(torch.zeros(1, 1), torch.zeros(1, 1))
        return task

    def examples(self, items: np.ndarray, task: Task) -> Examples:
        """The rows of these items, ready for the loop."""
        assert self.model.max_length is not None, "settled in prepare"
        targets = task.targets(self.table.frame["label"].tolist(), self.encoded)
        examples = task.examples(self.encoded, self.rows(items), targets, self.model.max_length, self.pad_id)
        return self.held(examples, task)

    def held(self, examples: Examples, task: Task) -> Examples:
        """The same rows held against the untouched model, where it has been asked of them."""
        outputs = self.untouched.get(examples.key()) if self.untouched else None
        return examples if outputs is None else task.referred(examples, outputs)


def which(model: ModelConfig, augment: AugmentConfig) -> str:
    """The name under which a study keeps what the runs of a model, with or without new rows, share."""
    return f"{model.name}+augment" if augment.recipe else model.name


def _settings(kind: type[Task], values: Mapping[str, Any], head: str, name: str) -> Section:
    return kind.settle(build(kind.Settings, values, where=kind.name), head, name)


def examine(
    files: tuple[str, ...],
    task: str,
    data: DataConfig,
    model: ModelConfig | None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Table, list[Finding]]:
    """Reads the files and lets the data doctor look, with the model's tokenizer where one is given: the notes
    of the table then also say how its rows are written for the model. settings: the task's own."""
    kind = tasks.find(task)
    table = read_table(files, kind, data)
    if model is None:
        return table, _without_tokens(table, kind)
    if "name" not in model.model_fields_set:
        model = model.model_copy(update={"name": packaged_for(table.texts, task)})
    base = locate(model)
    model = settle_length(base, model)
    build(kind.Settings, settings or {}, where=kind.name)
    try:
        own = _settings(kind, settings or {}, language_head(base), base.name)
    except ConfigError as reason:  # (often of a model that the user did not name)
        title = f"Tokens were not looked at: {reason}."
        advice = "Name your model with --model."
        told = found(table, "tokens-not-looked-at", "warning", title, advice=advice, examples=())
        return table, [*_without_tokens(table, kind), told]
    tokenizer, notes = load_tokenizer(base, model)
    notes += kind.dress(tokenizer, own)
    rows = drawn(len(table))
    encoded = _encode(table if rows is None else part_of(table, rows), kind, tokenizer, model, own)
    if shown := kind.example(encoded, tokenizer):
        notes.append(shown)
    table = replace(table, notes=tuple(dict.fromkeys([*table.notes, *notes])))
    groups = _groups(table, kind)
    return table, _findings(table, kind, encoded, tokenizer, model, own, groups, base.name, rows)


def _without_tokens(table: Table, kind: type[Task]) -> list[Finding]:
    known = check(table, None, None, _groups(table, kind), kind.labels_check())
    return [finding for finding in known if finding.code not in kind.usual]


def read_table(files: tuple[str, ...], kind: type[Task], data: DataConfig) -> Table:
    """The files as the task reads them."""
    return kind.read(files, chosen_of(data))


def chosen_of(data: DataConfig) -> dict[str, str]:
    """What the user said of the file's columns: role -> name."""
    return {role: name for role in _ROLES if (name := getattr(data, role)) is not None}


def _encode(table: Table, kind: type[Task], tokenizer: Any, model: ModelConfig, settings: Section) -> Encoded:
    assert model.max_length is not None, "settled before"
    encoded = kind.encode(table, tokenizer, model.max_length)
    return kind.lay_out(encoded, tokenizer, model.max_length, settings)


def _findings(
    table: Table,
    kind: type[Task],
    encoded: Encoded,
    tokenizer: Any,
    model: ModelConfig,
    settings: Section,
    groups: np.ndarray | None,
    name: str,
    rows: np.ndarray | None = None,
) -> list[Finding]:
    """The data doctor's findings, the worst first; where items are cut into windows none is truncated.

    rows: those that were encoded, where not all of them were.
    """
    looked = table if rows is None else part_of(table, rows)
    known = replace(facts(looked.texts, encoded.whole, tokenizer, name), rows=rows)
    length = model.max_length if kind.cuts(settings) else None
    findings = check(table, known, length, groups, kind.labels_check())
    findings = [finding for finding in findings if finding.code not in kind.usual]
    if any(finding.severity == "error" for finding in findings):
        return findings
    assert model.max_length is not None, "settled before"
    own = kind.check_encoded(looked, encoded)
    own += kind.check_length(looked, encoded, tokenizer, model.max_length, settings)
    findings += [of_drawn(finding, rows) for finding in own]
    return sorted(findings, key=lambda finding: ORDER[finding.severity])


def prepare(
    files: tuple[str, ...],
    task: str,
    data: DataConfig,
    model: ModelConfig,
    settings: Mapping[str, Any] | None = None,
) -> Prepared:
    """Reads, checks, mends, splits and encodes; no weights are opened. settings: the task's own.

    Raises:
        ConfigError: the model cannot do the task.
        DataError: the files cannot be read, or the data doctor found errors.
        ModelError: the model is not to be had.
    """
    kind = tasks.find(task)
    base = locate(model)
    model = settle_length(base, model)
    head = language_head(base)
    own = _settings(kind, settings or {}, head, base.name)
    kind.check_code(own, model_settings(base, model))
    table = read_table(files, kind, data)
    tokenizer, told = load_tokenizer(base, model)
    notes = [*table.notes, *told, *kind.dress(tokenizer, own)]
    if data.fix:  # what is mended is no error any more
        table, changes = mended(table, kind)
        notes += changes
    encoded = _encode(table, kind, tokenizer, model, own)
    groups = _groups(table, kind)
    findings = _findings(table, kind, encoded, tokenizer, model, own, groups, base.name)
    stop_on_errors(findings)
    usable, dropped = drop_unusable(table, kind.needs_labels)
    notes += dropped
    if usable is not table:
        table = usable
        encoded = _encode(table, kind, tokenizer, model, own)
        groups = _groups(table, kind)
    if groups is None:
        groups = duplicate_groups(kind.grouping(table) or table.texts)
    if shown := kind.example(encoded, tokenizer):
        notes.append(shown)
    strata = kind.strata(table.frame["label"].tolist())
    splits = make_splits(table, groups, data, strata)
    refit = final_split(table, groups, data, strata)
    _check_parts([*splits, refit], kind.judgeable(encoded), model)
    return Prepared(
        table=table,
        findings=tuple(findings),
        notes=tuple(dict.fromkeys([*notes, *(note for split in splits for note in split.notes)])),
        splits=tuple(splits),
        refit=refit,
        encoded=encoded,
        pad_id=int(tokenizer.pad_token_id),
        base=base,
        model=model,
        digest=_digest(table),
        model_digest=fingerprint(base),
        token_digest=encoded.tokens.digest(),
        strata=tuple(strata),
        form=kind.form(table),
        settings=own,
        head=head,
        reads=kind.reads,
        positions=positions_of(base, model),
    )


def _check_parts(splits: Sequence[Split], judgeable_N: np.ndarray | None, model: ModelConfig) -> None:
    """Raises `DataError` where a part has nothing that a model could be trained, chosen or judged by."""
    if judgeable_N is None:
        return
    for split in splits:
        for name, items in (("training", split.train), ("validation", split.valid), ("test", split.test)):
            if len(items) and not judgeable_N[items].any():
                raise DataError(
                    f"of the {len(items)} {name} rows none has a token to learn or to be judged by among its "
                    f"first {model.max_length}: give a larger model.max_length, or shorten the prompts"
                )


def mended(table: Table, kind: type[Task]) -> tuple[Table, list[str]]:
    """What can be mended safely for every task, then for this one; a sentence for every change."""
    table, notes = fix(table, kind.labels_check())
    table, more = kind.mend(table)
    return table, [*notes, *more]


def _groups(table: Table, kind: type[Task]) -> np.ndarray | None:
    """Near-duplicate groups, or None where there is too much text to look for them (the doctor tells)."""
    texts = kind.grouping(table)
    if texts is None:
        texts = table.texts
        return near_groups(texts) if sum(map(len, texts)) <= NEAR_CHARACTERS else None
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    if sum(map(len, number)) > NEAR_CHARACTERS:
        return None
    return near_groups(list(number))[[number[text] for text in texts]]


def _digest(table: Table) -> str:
    digest = hashlib.sha256()
    roles = ("text", "text_pair", "chosen", "rejected", "label", "references", "units", "split", "given")
    for role in (*roles, "shown", "reward", "propensity"):
        for value in table.frame.get(role, ()):
            data = str(value).encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()
