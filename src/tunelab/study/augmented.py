"""New rows for a study: made once, of training rows alone, and let into a training only where they may be.

Which rows are training rows differs from fold to fold, so copies are made of every row that is one in some
training, and each training takes those of its own rows. Of these it leaves out whatever says the same as one
of its validation or test rows and, where a model has written them, those whose label a first classifier no
longer believes in.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tunelab.config import AugmentConfig
from tunelab.data.augment.base import Augmented, augment
from tunelab.data.augment.items import items_of
from tunelab.data.findings import rows_of
from tunelab.data.plain import normalised
from tunelab.files import file_digest, output_errors, write_atomically, write_json
from tunelab.models import Located, fingerprint
from tunelab.provenance import versions
from tunelab.study.agreement import CHECKED, agreeing
from tunelab.study.copies import Copies, Use
from tunelab.study.prepare import Prepared
from tunelab.study.recipes import Base, augmenter_of, kind_of, names_finder, resolve

__all__ = ["augmented", "examples_of", "uses_of"]

#: Ways whose new texts a model writes, so that their labels are looked at.
_WRITTEN = ("masked", "back_translation")
_ROWS = "copies.parquet"
_FORMAT = "3"  # raise it when other copies are made of the same settings, or have other columns


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
    checked = asked and task in CHECKED
    if asked and not checked:
        notes.append(f"augmentation: whether labels survived is asked in {', '.join(CHECKED)}, not in {task}")
    every = np.ones(len(origins), dtype=bool)
    allowed, held, changed = {}, 0, 0
    for use in uses:
        split = prepared.split(*use)
        free = ~np.isin(new_keys, all_keys[np.concatenate([split.valid, split.test])])
        survives = agreeing(prepared, made.frame, split.train, task) if checked else every
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
    made = augment(
        *(prepared.table.frame, rows, augmenter, config.copies, config.seed),
        kind=kind_of(task),
        names_of=names_finder(),
    )
    if place is not None:
        _write(place, made)
    return made


def _key(prepared: Prepared, config: AugmentConfig, task: str, names: Sequence[str], rows: np.ndarray) -> str:
    """What decides the copies; the tuned model does where it writes them."""
    own = "masked" in names and config.masked is None
    parts = [
        _FORMAT,
        config.model_dump_json(exclude={"recipe", "synonyms", "keep", "check", "translators", "masked"}),
        task,
        *names,
        *(file_digest(Path(file).expanduser()) for file in config.synonyms),
        "keep",
        *(file_digest(Path(file).expanduser()) for file in config.keep),
        prepared.digest,
        *prepared.table.frame.columns,
        *map(_weights, (*config.translators, config.masked or "")),
        hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest(),
        prepared.model_digest if own else "",
        versions()["tunelab"],
        *(f"{name} {_version(name)}" for name in ("jieba", "pypinyin")),  # (they decide what is left alone)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _weights(name: str) -> str:
    """Of a model in a folder what it is, as it may be trained further there; a hub's is known by its name."""
    folder = Path(name).expanduser()
    known = bool(name) and (folder / "config.json").is_file()
    return fingerprint(Located(name, folder.resolve())) if known else name


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _write(place: Path, made: Augmented) -> None:
    with output_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        data = made.frame.to_parquet(index=False)
        assert isinstance(data, bytes)
        write_atomically(place / _ROWS, data)
        counts = {name: getattr(made, name) for name in _COUNTS}
        write_json(place / "counts.json", counts)  # last: what is there is whole


_COUNTS = ("asked", "could_not", "repeats", "held_out")


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
