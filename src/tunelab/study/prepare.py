"""From the user's files to what every run of a study shares: rows, findings, splits, tokens."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunelab import tasks
from tunelab.config import DataConfig, LossConfig, ModelConfig
from tunelab.data.assign import spread
from tunelab.data.batch import Examples
from tunelab.data.check import NEAR_CHARACTERS, Finding, check, drop_unusable, fix, stop_on_errors
from tunelab.data.encode import Tokens, encode, facts
from tunelab.data.read import read
from tunelab.data.similar import duplicate_groups, near_groups
from tunelab.data.split import Split, final_split, make_splits
from tunelab.data.table import Table
from tunelab.models import Located, fingerprint, load_tokenizer, locate, settle_length
from tunelab.tasks.base import Task

__all__ = ["Prepared", "examine", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """All that the runs of a study share; it travels to the workers by pickle.

    splits: one, or one a fold; refit: all rows but a validation slice, for the winner after folds.
    model: its settings, with the length settled; digest: of texts and labels; model_digest: of the
    pretrained weights; token_digest: of what the tokenizer made of the texts; strata: [N] of which a share of
    the training rows gets its part.
    features: folder where the runs share what frozen layers give; None: each computes it for itself.
    """

    table: Table
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    splits: tuple[Split, ...]
    refit: Split
    tokens: Tokens
    pad_id: int
    base: Located
    model: ModelConfig
    digest: str
    model_digest: str
    token_digest: str
    strata: tuple[str, ...]
    features: Path | None = None

    @property
    def pairs(self) -> bool:
        """Whether a row is two texts."""
        return self.tokens.seconds is not None

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

    def trained_rows(self, fold: int) -> np.ndarray:
        """The rows that runs on this fold or, where there are several, on any fold train or validate on."""
        splits = self.splits if len(self.splits) > 1 else (self.split(fold),)
        return np.unique(np.concatenate([part for split in splits for part in (split.train, split.valid)]))

    def lean(self) -> "Prepared":
        """Without the texts, which only the baselines read: this is what travels to the workers."""
        texts = [name for name in ("text", "text_pair") if name in self.table.frame]
        return replace(self, table=replace(self.table, frame=self.table.frame.drop(columns=texts)))

    def task(self, name: str, fold: int, loss: LossConfig, share: float = 1.0) -> Task:
        """The task fitted to this fold's training rows."""
        labels = self.table.frame["label"]
        train = labels.iloc[self.split(fold, share).train]
        return tasks.find(name).fit(labels.tolist(), train.tolist(), loss)

    def examples(self, rows: np.ndarray, task: Task) -> Examples:
        """Rows ready for the loop."""
        targets = task.targets(self.table.frame["label"].tolist())
        assert self.model.max_length is not None, "settled in prepare"
        return Examples(self.tokens, targets, rows, self.model.max_length, self.pad_id)


def examine(
    files: tuple[str, ...], task: str, data: DataConfig, model: ModelConfig | None
) -> tuple[Table, list[Finding]]:
    """Reads the files and lets the data doctor look, with the model's tokenizer where one is given."""
    table = _read(files, task, data)
    labels = tasks.find(task).check_labels
    if model is None:
        return table, check(table, labels=labels)
    base = locate(model)
    model = settle_length(base, model)
    tokenizer, _ = load_tokenizer(base, model)
    known = facts(table.texts, _encode(table, tokenizer), tokenizer, base.name)
    return table, check(table, known, model.max_length, labels=labels)


def _read(files: tuple[str, ...], task: str, data: DataConfig) -> Table:
    roles = ("text", "text_pair", "label", "group")
    chosen = {role: name for role in roles if (name := getattr(data, role)) is not None}
    return read(files, tasks.find(task).columns, chosen)


def _encode(table: Table, tokenizer: Any) -> Tokens:
    frame = table.frame
    pairs = frame["text_pair"].tolist() if "text_pair" in frame else None
    return encode(frame["text"].tolist(), tokenizer, pairs=pairs)


def prepare(files: tuple[str, ...], task: str, data: DataConfig, model: ModelConfig) -> Prepared:
    """Reads, checks, mends, splits and encodes; no weights are opened.

    Raises:
        DataError: the files cannot be read, or the data doctor found errors.
        ModelError: the model is not to be had.
    """
    base = locate(model)
    model = settle_length(base, model)
    table = _read(files, task, data)
    tokenizer, told = load_tokenizer(base, model)
    notes = [*table.notes, *told]
    if data.fix:  # what is mended is no error any more
        table, mended = fix(table)
        notes += mended
    tokens = _encode(table, tokenizer)
    known = facts(table.texts, tokens, tokenizer, base.name)
    groups = _groups(table)
    findings = check(table, known, model.max_length, groups, tasks.find(task).check_labels)
    stop_on_errors(findings)
    usable, dropped = drop_unusable(table)
    notes += dropped
    if usable is not table:
        table = usable
        tokens = _encode(table, tokenizer)
        groups = _groups(table)
    if groups is None:
        groups = duplicate_groups(table.texts)
    strata = tasks.find(task).strata(table.frame["label"].tolist())
    splits = make_splits(table, groups, data, strata)
    return Prepared(
        table=table,
        findings=tuple(findings),
        notes=tuple(dict.fromkeys([*notes, *(note for split in splits for note in split.notes)])),
        splits=tuple(splits),
        refit=final_split(table, groups, data, strata),
        tokens=tokens,
        pad_id=int(tokenizer.pad_token_id),
        base=base,
        model=model,
        digest=_digest(table),
        model_digest=fingerprint(base),
        token_digest=tokens.digest(),
        strata=tuple(strata),
    )


def _groups(table: Table) -> np.ndarray | None:
    """Near-duplicate groups, or None where there is too much text to look for them (the doctor tells)."""
    texts = table.texts
    return near_groups(texts) if sum(map(len, texts)) <= NEAR_CHARACTERS else None


def _digest(table: Table) -> str:
    digest = hashlib.sha256()
    for role in ("text", "text_pair", "label", "split"):
        for value in table.frame.get(role, ()):
            data = str(value).encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()
