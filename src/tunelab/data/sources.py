"""Which files are read, and whether they are already split: told by their names."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab.data.decode import decode, file_bytes, must_exist
from tunelab.data.formats import KNOWN, ending
from tunelab.data.grid import norm
from tunelab.data.table import SPLITS
from tunelab.errors import DataError

__all__ = ["Source", "find_sources", "names_beside", "split_column", "split_named"]

_WORDS = {"train": "train|training", "valid": "val|valid|validation|dev|devel|development|eval|evaluation"}
_WORDS |= {"test": "test|testing"}
_NAMED = {split: re.compile(rf"({words})(set|data)?\d*") for split, words in _WORDS.items()}
_CHINESE = {"train": "训练", "valid": "验证", "test": "测试"}
_SPLIT_VALUES = {
    **dict.fromkeys(("train", "training", "训练", "训练集"), "train"),
    **dict.fromkeys(("valid", "val", "dev", "validation", "eval", "验证", "验证集"), "valid"),
    **dict.fromkeys(("test", "testing", "测试", "测试集"), "test"),
}
_LABEL_NAMES = re.compile(r"(class|label|categor|类别|标签|分类)[^.]*(\.txt)?$", re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_PAPERS = re.compile(
    r"(readme|licen[cs]e|notice|changelog|citation|contributing|copying|makefile)\b", re.IGNORECASE
)
_NO_DATA = {".md", ".rst", ".py", ".ipynb", ".sh", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".log", ".html"}
_NO_DATA |= {
    ".pdf",
    ".docx",
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".svg",
    ".zip",
    ".tar",
    ".7z",
    ".lock",
    ".sha256",
    ".bak",
    ".orig",
    ".old",
    ".tmp",
    ".npy",
    ".npz",
    ".pkl",
    ".pickle",
    ".pt",
    ".bin",
    ".safetensors",
    ".idx",
}


@dataclass(frozen=True)
class Source:
    """A file to read. split: which rows it holds ("" if it is all there is).

    sure: False where only what it holds can tell whether it belongs to the data.
    """

    path: Path
    split: str
    sure: bool = True


def split_named(name: str) -> str:
    """The split that a file's name speaks of, or "".

    >>> [split_named(n) for n in ("train_5500.label", "sts-dev.csv", "wnut17train.conll", "testimonials.csv")]
    ['train', 'valid', 'train', '']
    """
    words = re.split(r"[\W_]+|(?<=\d)(?=[a-z])", name.lower())
    found = {split for split, pattern in _NAMED.items() if any(pattern.fullmatch(word) for word in words)}
    found |= {split for split, word in _CHINESE.items() if word in name}
    return found.pop() if len(found) == 1 else ""


def find_sources(paths: Sequence[str | Path]) -> tuple[list[Source], list[str]]:
    """The files to read, the training file first, and notes about files left out.

    Raises:
        DataError: a file is missing, or it is not clear which file is which.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    if not paths:
        raise DataError(f"no data file was given; give a file or a folder (formats: {KNOWN})")
    found = [Path(path).expanduser() for path in paths]
    for path in found:
        must_exist(path)
    folders = [path for path in found if path.is_dir()]
    if folders and len(found) > 1:
        raise DataError(f"{folders[0]} is a folder: give one folder, or files, not both")
    if folders:
        return _folder(folders[0])
    if len(found) == 1:
        return [Source(found[0], "")], []
    if len({path.resolve() for path in found}) < len(found):
        raise DataError(f"a file is given twice: {', '.join(map(str, found))}")
    return _several(found)


def _several(paths: Sequence[Path]) -> tuple[list[Source], list[str]]:
    """Files given by name: each must say its split, or be the only one beside the training file."""
    by_split = _by_split(paths)
    _one_each(by_split, "the files given")
    train, rest = by_split["train"], by_split[""]
    if not train:
        listing = "; ".join(f"{path.name} looks like {_meaning(path)}" for path in paths)
        raise DataError(
            f"none of the files given is named as the training file: {listing}. Name them "
            "train, valid (or dev) and "
            "test, as in train.csv and test.csv; or give one file, which tunelab will split"
        )
    if len(rest) > 1 or (rest and by_split["test"]):
        listing = "; ".join(f"{path.name}: {_meaning(path)}" for path in paths)
        raise DataError(
            f"it is not clear which file is which: {listing}. Name them train, valid (or dev) "
            "and test, as in "
            "train.csv and test.csv"
        )
    notes = [
        f"{path.name} is taken as the test file: it is the only one beside {train[0].name}" for path in rest
    ]
    by_split["test"] += rest
    return _in_order(by_split), notes


def _folder(folder: Path) -> tuple[list[Source], list[str]]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except PermissionError:
        raise DataError(
            f"{folder} cannot be read: permission denied; ask its owner, or change its rights"
        ) from None
    data = [entry for entry in entries if entry.is_file() and _may_be_data(entry)]
    if not data:
        held = ", ".join(entry.name for entry in entries[:8]) or "nothing"
        raise DataError(f"the folder {folder} has no data file (it holds {held}); known formats: {KNOWN}")
    by_split = _by_split(data)
    if len(data) == 1:
        by_split = {"train": [], "valid": [], "test": [], "": []}
        sources = [Source(data[0], "")]
    elif not by_split["train"]:
        raise DataError(
            f"the folder {folder} has {len(data)} data files and none is named as the training file: "
            f"{'; '.join(f'{path.name} looks like {_meaning(path)}' for path in data[:12])}. "
            "Give the one file "
            "that tunelab should split, or name them train, valid (or dev) and test"
        )
    else:
        sources = _already_split(by_split, folder)
    used = {source.path for source in sources}
    left = [entry.name + ("/" if entry.is_dir() else "") for entry in entries if entry not in used]
    return sources, [f"left out of the folder {folder.name}: {', '.join(left)}"] if left else []


def _already_split(by_split: dict[str, list[Path]], folder: Path) -> list[Source]:
    """The files of the training file's format; one left over may be the test, if it fits."""
    kind = ending(by_split["train"][0])
    for split in ("valid", "test"):  # (which of two formats holds the better labels, only the user knows)
        if any(ending(path) == kind for path in by_split[split]):
            _one_each({split: by_split[split]}, f"the folder {folder}")
    alike = {
        split: [p for p in paths if split == "train" or ending(p) == kind]
        for split, paths in by_split.items()
    }
    _one_each(alike, f"the folder {folder}")
    rest = alike.pop("")
    sources = _in_order(alike)
    if rest and not alike["test"]:
        if len(rest) > 1:
            raise DataError(
                f"the folder {folder} has a training file ({alike['train'][0].name}) but it "
                "is not clear which is "
                f"the test: {', '.join(path.name for path in rest)}; name it test, or give "
                "the files one by one"
            )
        sources.append(Source(rest[0], "test", sure=False))
    return sources


def _by_split(paths: Sequence[Path]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {"train": [], "valid": [], "test": [], "": []}
    for path in paths:
        groups[split_named(path.name)].append(path)
    return groups


def _one_each(by_split: dict[str, list[Path]], where: str) -> None:
    for split in ("train", "valid", "test"):
        names = [path.name for path in by_split.get(split, [])]
        if len(names) > 1 and len({_SHARD.sub("", name) for name in names}) > 1:
            raise DataError(
                f"{where}: {len(names)} files look like {split} ({', '.join(names)}); give "
                "the files one by one with one of these, or join them"
            )


def _in_order(by_split: dict[str, list[Path]]) -> list[Source]:
    return [Source(path, split) for split in ("train", "valid", "test") for path in by_split[split]]


def _may_be_data(path: Path) -> bool:
    return _PAPERS.match(path.name) is None and ending(path) not in _NO_DATA


def _meaning(path: Path) -> str:
    split = split_named(path.name)
    return {"train": "training", "valid": "validation", "test": "test"}.get(
        split, "none of train, valid, test"
    )


def names_beside(used: Sequence[Path], labels: Iterable[str]) -> list[str]:
    """A note where labels are the numbers from 0 on and a small file beside the data, named for classes or
    labels, has a line for each: it seems to name them. Nothing is renamed."""
    numbers = {label for label in labels if label}
    if len(numbers) < 2 or numbers != set(map(str, range(len(numbers)))):
        return []
    notes = []
    for path in _named_for_labels(used):
        try:
            text, _ = decode(file_bytes(path), path.name)
        except DataError:  # (it is none of the data)
            continue
        names = [line.strip() for line in text.splitlines() if line.strip()]
        if len(names) == len(set(names)) == len(numbers) and set(names) != numbers:
            shown = ", ".join(f"{i}: {name}" for i, name in enumerate(names[:3]))
            more = f", … {len(names) - 1}: {names[-1]}" if len(names) > 3 else ""
            notes.append(
                f"{path.name} seems to name the labels 0 to {len(names) - 1}, a line each ({shown}{more}); "
                "the labels stay numbers"
            )
    return notes


def _named_for_labels(used: Sequence[Path]) -> list[Path]:
    """Small text files in the folder of the data that are named for classes or labels."""
    try:
        beside = sorted(used[0].parent.iterdir())
        return [
            path
            for path in beside
            if _LABEL_NAMES.match(path.name)
            and path not in used
            and path.is_file()
            and path.stat().st_size < 1e5
        ]
    except OSError:  # (a folder may be entered and not be listed)
        return []


def split_column(
    name: str, lines: Sequence[int], values: Sequence[str], files: int
) -> tuple[list[str] | None, list[str]]:
    """The split of each row by the training file's column "split" (None: it does not decide), and what the
    user should know. files: how many there are; several are split already.

    Raises:
        DataError: some of its values are splits and some are not, or none is for training.
    """
    if files > 1:
        return None, [f"{name}: its column 'split' is not used: the files are already split"]
    names = [norm(value) for value in values]
    unknown = [i for i, one in enumerate(names) if one not in _SPLIT_VALUES]
    allowed = "train, valid (or dev, validation) and test"
    if len(unknown) == len(names):
        return None, [f"{name}: column 'split' is not used: its values are none of {allowed}"]
    if unknown:
        raise DataError(
            f"{name} row {lines[unknown[0]]}: split is {names[unknown[0]]!r}; allowed are {allowed} "
            f"({len(unknown):,} such rows)"
        )
    splits = [_SPLIT_VALUES[one] for one in names]
    counts = Counter(splits)
    if not counts["train"]:
        raise DataError(
            f"{name}: its column 'split' has no row for training (it has {', '.join(counts)}); rename or "
            "remove the column if tunelab should split the file"
        )
    listing = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if counts[split])
    return splits, [f"{name}: already split by its column 'split': {listing}"]
