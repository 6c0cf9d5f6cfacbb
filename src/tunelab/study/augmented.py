"""New rows for a study: made once, of training rows alone, and let into a training only where they may be.

Which rows are training rows differs from fold to fold, so copies are made of every row that is one in some
training, and each training takes those of its own rows. Of these it leaves out whatever says the same as one
of its validation or test rows and, where a model has written them, those whose label a first classifier no
longer believes in.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tunelab.config import AugmentConfig
from tunelab.data.augment.base import Augmented, augment
from tunelab.data.augment.items import items_of
from tunelab.data.augment.words import HAN
from tunelab.data.findings import rows_of
from tunelab.data.plain import normalised
from tunelab.files import file_digest, output_errors, write_atomically, write_json
from tunelab.provenance import versions
from tunelab.study.copies import Copies, Use
from tunelab.study.prepare import Prepared
from tunelab.study.recipes import Base, augmenter_of, kind_of, resolve

__all__ = ["agreeing", "augmented", "examples_of", "uses_of"]

#: Ways whose new texts a model writes, so that their labels are looked at.
_WRITTEN = ("masked", "back_translation")
_PARTS = 5  # of the rows that the first classifier is asked about, each by one that has not seen it
_ROWS = "copies.parquet"


def uses_of(folds: int, percents: Iterable[float] = ()) -> list[Use]:
    """Every training of a study: each fold with the whole and with each share, and after folds the refit."""
    shares = dict.fromkeys([1.0, *(percent / 100 for percent in percents)])
    found = [(fold, share) for fold in range(folds) for share in shares]
    return [*found, (-1, 1.0)] if folds > 1 else found


def augmented(
    prepared: Prepared,
    config: AugmentConfig,
    task: str,
    uses: Sequence[Use],
    folder: Path | None = None,
    device: str = "cpu",
) -> Prepared:
    """The study with copies of its training rows; the user's rows, and every split, are as they were.

    uses: the trainings that there will be; folder: where the copies are kept, so that a study that goes on
    has the very same ones, and a person can look at them.

    Raises:
        ConfigError, DataError, ModelError: see `recipes`.
    """
    names, notes = resolve(config, prepared.table.texts)
    rows = np.unique(np.concatenate([prepared.split(*use).train for use in uses]))
    made = _made(prepared, config, task, names, rows, folder, device)
    origins = made.frame["origin"].to_numpy(dtype=np.int64)
    new_keys = np.array(_keys(made.frame), dtype=object)
    all_keys = np.array(_keys(prepared.table.frame), dtype=object)
    asked = config.check == "always" or (config.check == "auto" and bool(set(names) & set(_WRITTEN)))
    checked = asked and task == "classify"
    if asked and not checked:
        notes.append(f"augmentation: labels are looked at in task classify alone, not in {task}")
    every = np.ones(len(origins), dtype=bool)
    allowed, held, changed = {}, 0, 0
    for use in uses:
        split = prepared.split(*use)
        free = ~np.isin(new_keys, all_keys[np.concatenate([split.valid, split.test])])
        survives = agreeing(prepared, made.frame, split.train) if checked else every
        allowed[use] = free & survives
        among = np.isin(origins, split.train)
        held, changed = max(held, int((among & ~free).sum())), max(changed, int((among & ~survives).sum()))
    copies = Copies(
        recipe=names,
        origins=origins,
        allowed=allowed,
        asked=made.asked,
        lost={
            "could_not": made.could_not,
            "repeats": made.repeats,
            "held_out": made.held_out + held,
            "changed": changed,
        },
        notes=(*notes, *_told(made, names, held, changed, len(uses))),
    )
    return prepared.with_copies(task, made.frame, copies)


def _told(made: Augmented, names: Sequence[str], held: int, changed: int, uses: int) -> list[str]:
    first, *rest = made.notes
    most = "up to " if uses > 1 else ""
    said = f"{first} ({', '.join(names)})"
    if not len(made.frame):
        said += ": rows with +augment are trained exactly as those without"
    return [
        said,
        *rest,
        *([f"{most}{rows_of(held)} of them repeat a validation or test row: left out"] if held else []),
        *([f"{most}{rows_of(changed)} of them lost their label: left out"] if changed else []),
    ]


# ---- making them, once ---------------------------------------------------------------------------


def _made(
    prepared: Prepared,
    config: AugmentConfig,
    task: str,
    names: Sequence[str],
    rows: np.ndarray,
    folder: Path | None,
    device: str,
) -> Augmented:
    """The copies from the folder, or else new ones, which are left there."""
    place = folder / _key(prepared, config, task, names, rows) if folder is not None else None
    if place is not None and (known := _read(place, prepared.table.frame.columns)) is not None:
        return known
    base = Base(prepared.base, prepared.model, prepared.head)
    augmenter = augmenter_of(names, config, base, device)
    made = augment(prepared.table.frame, rows, augmenter, config.copies, config.seed, kind=kind_of(task))
    if place is not None:
        _write(place, made)
    return made


def _key(prepared: Prepared, config: AugmentConfig, task: str, names: Sequence[str], rows: np.ndarray) -> str:
    """What decides the copies; the tuned model does where it writes them."""
    own = "masked" in names and config.masked is None
    parts = [
        config.model_dump_json(exclude={"recipe", "synonyms", "check"}),
        task,
        *names,
        *(file_digest(Path(file).expanduser()) for file in config.synonyms),
        prepared.digest,
        hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest(),
        prepared.model_digest if own else "",
        versions()["tunelab"],
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _write(place: Path, made: Augmented) -> None:
    with output_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        data = made.frame.to_parquet(index=False)
        assert isinstance(data, bytes)
        write_atomically(place / _ROWS, data)
        counts = {name: getattr(made, name) for name in _COUNTS}
        write_json(place / "counts.json", counts)  # last: what is there is whole


_COUNTS = ("asked", "could_not", "repeats", "held_out", "changed")


def _read(place: Path, columns: Iterable[str]) -> Augmented | None:
    path = place / "counts.json"
    if not path.is_file():
        return None
    frame = pd.read_parquet(place / _ROWS)
    assert [name for name in frame if name != "origin"] == list(columns), "the key has the table's digest"
    return Augmented(frame, **json.loads(path.read_text(encoding="utf-8")))


# ---- which of them may be learnt from ------------------------------------------------------------


def _keys(frame: pd.DataFrame) -> list[str]:
    """What a row says, but for case, width, spaces and punctuation."""
    columns = [normalised(frame[name].tolist()) for name in ("text", "text_pair") if name in frame]
    return ["\0".join(row).replace(" ", "") for row in zip(*columns, strict=True)]


def agreeing(prepared: Prepared, new: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """[M] whether a copy's label has survived, as far as a first classifier can tell (of other rows: yes).

    The classifier (logistic regression on TF-IDF) is fitted on training rows alone, and never on the row in
    question: a copy is refused where it finds a label that is neither the copy's own nor the one it gives the
    original. So a hard row, which it gets wrong both times, keeps its copies.
    """
    found = np.ones(len(new), dtype=bool)
    texts = prepared.table.frame["text"].to_numpy(dtype=object)
    labels = prepared.table.frame["label"].to_numpy(dtype=object)
    origins = new["origin"].to_numpy(dtype=np.int64)
    part_of = np.full(prepared.own, -1)
    part_of[train] = np.random.default_rng(0).permutation(len(train)) % _PARTS
    for part in range(_PARTS):
        fitted = train[part_of[train] != part]
        asked = np.flatnonzero(part_of[origins] == part)
        if not len(asked) or len(set(labels[fitted])) < 2:
            continue
        predict = _classifier(texts[fitted], labels[fitted])
        said, before = predict(new["text"].to_numpy(dtype=object)[asked]), predict(texts[origins[asked]])
        found[asked] = (said == labels[origins[asked]]) | (said == before)
    return found


def _classifier(texts: np.ndarray, labels: np.ndarray) -> Any:
    sample = "".join(texts[:2000].tolist())
    chinese = sum(map(len, HAN.findall(sample))) > 0.2 * len(sample)
    options: dict[str, Any] = (
        {"analyzer": "char", "ngram_range": (1, 3)} if chinese else {"ngram_range": (1, 2)}
    )
    vectorizer = TfidfVectorizer(sublinear_tf=True, **options)
    model = LogisticRegression(C=10.0, max_iter=1000)
    model.fit(vectorizer.fit_transform(texts), labels.astype(str))
    return lambda asked: model.predict(vectorizer.transform(asked)).astype(object)


def examples_of(prepared: Prepared, task: str, most: int = 5) -> list[tuple[str, str, str]]:
    """(what was changed, what became of it, label as in the table) of copies that the first fold learns from,
    from all over the data."""
    assert prepared.copies is not None
    used = prepared.copies.of((0, 1.0), prepared.split(0).train)
    chosen = used[np.unique(np.linspace(0, len(used) - 1, min(most, len(used))).round().astype(int))]
    found = []
    for number in chosen.tolist():
        old, new = (
            {str(name): str(value) for name, value in prepared.table.frame.iloc[at].items()}
            for at in (int(prepared.copies.origins[number]), prepared.own + number)
        )
        fields = zip(items_of(old, kind_of(task)), items_of(new, kind_of(task)), strict=True)
        before, after = next((a.text, b.text) for a, b in fields if a.text != b.text)
        found.append((before, after, new["label"]))
    return found
