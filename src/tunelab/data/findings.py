"""What the data doctor finds, and what it looks at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from tunelab.data.table import Table

__all__ = [
    "PARTS",
    "Finding",
    "Patient",
    "Severity",
    "TokenFacts",
    "drawn",
    "excerpt",
    "found",
    "listing",
    "of_drawn",
    "part_of",
    "percent",
    "rows_of",
]

Severity = Literal["error", "warning", "info"]

#: Parts of a split as sentences call them.
PARTS = {"train": "training", "valid": "validation", "test": "test"}

_ROWS = 20  # positions kept in a finding
_EXAMPLES = 5  # of which so many are shown
_WIDTH = 80  # characters of an example's text


@dataclass(frozen=True)
class Finding:
    """One thing the user should know about the data.

    code: stable name ("empty-text"); severity: "error" stops a study, "warning" may spoil it, "info" is
    good to know; title: one sentence with the count; count: rows concerned; share: of all rows, in [0, 1];
    rows: up to 20 positions in the table; examples: the same rows as a person finds them;
    advice: what to do; fixable: whether `fix` mends it.
    """

    code: str
    severity: Severity
    title: str
    count: int
    share: float
    rows: tuple[int, ...] = ()
    examples: tuple[str, ...] = ()
    advice: str = ""
    fixable: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Only numbers, strings, lists: ready for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class TokenFacts:
    """What a tokenizer makes of the N rows of a table, or of N rows drawn from it.

    lengths: [N] tokens with specials, before truncation; unknown: [N] unknown tokens;
    lost_characters: character -> how often it occurs, for those the tokenizer cannot represent;
    lost: [N] such characters in each row; visible: [N] characters that are no space; rows: [N] positions in
    the table, where they were drawn from it (None: all of it). per_character: tokens for each visible
    character, special tokens and templates left out, in some of the rows.
    """

    lengths: np.ndarray
    unknown: np.ndarray
    lost_characters: Mapping[str, int]
    lost: np.ndarray
    visible: np.ndarray
    tokenizer_name: str
    rows: np.ndarray | None = None
    per_character: float = 0.0


@dataclass(frozen=True)
class Patient:
    """A table as the checks look at it.

    texts, labels, splits: the columns (labels as read); usable: rows that have a text and a label;
    exact, same, near: group numbers of the texts (see similar.py), near None where it was not looked for.
    """

    table: Table
    texts: Sequence[str]
    labels: np.ndarray
    splits: np.ndarray
    usable: np.ndarray
    exact: np.ndarray
    same: np.ndarray
    near: np.ndarray | None
    classes: tuple[str, ...] = field(init=False)
    codes: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        labels = self.labels[self.usable].tolist()
        number = {name: code for code, name in enumerate(sorted(set(labels)))}
        every = np.full(len(self.labels), -1, dtype=np.int64)  # -1: not usable
        every[self.usable] = [number[label] for label in labels]
        object.__setattr__(self, "classes", tuple(str(name) for name in number))
        object.__setattr__(self, "codes", every)

    @property
    def counts(self) -> np.ndarray:
        """Usable rows of each class."""
        return np.bincount(self.codes[self.usable], minlength=len(self.classes))

    def of_class(self, code: int) -> np.ndarray:
        """Positions of a class's usable rows."""
        return np.flatnonzero(self.codes == code)

    def part(self, rows: np.ndarray) -> "Patient":
        """These rows alone."""
        near = None if self.near is None else self.near[rows]
        return Patient(
            part_of(self.table, rows),
            [self.texts[row] for row in rows],
            self.labels[rows],
            self.splits[rows],
            self.usable[rows],
            self.exact[rows],
            self.same[rows],
            near,
        )


def part_of(table: Table, rows: np.ndarray) -> Table:
    """These rows of a table alone; they keep their file and row number."""
    return replace(table, frame=table.frame.iloc[rows].reset_index(drop=True))


def drawn(rows: int, most: int = 50_000) -> np.ndarray | None:
    """Positions of the rows to be looked at, where they are too many for a tokenizer; None: all of them.

    Shares of 50,000 rows are known to half a per cent (two standard errors of a half).
    """
    if rows <= most:
        return None
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def of_drawn(finding: Finding, rows: np.ndarray | None) -> Finding:
    """A finding about drawn rows as one about the table; it says so."""
    if rows is None:
        return finding
    title = f"{finding.title} (In {len(rows):,} rows drawn by chance.)"
    return replace(finding, title=title, rows=tuple(int(rows[row]) for row in finding.rows))


def found(
    table: Table,
    code: str,
    severity: Severity,
    title: str,
    rows: np.ndarray | Sequence[int] = (),
    advice: str = "",
    *,
    fixable: bool = False,
    show: Callable[[int], str] | None = None,
    count: int | None = None,
    examples: Sequence[str] | None = None,
) -> Finding:
    """A finding about `rows`; `show` says what an example shows of a row (its text when not given)."""
    positions = tuple(int(row) for row in rows[:_ROWS])
    if examples is None:
        frame = table.frame
        pair, words = frame.get("text_pair"), frame["said" if "said" in frame else "text"]
        view = show or (lambda row: str(words.iloc[row]) + ("" if pair is None else f" ⏎ {pair.iloc[row]}"))
        examples = [f"{table.where(row)}: {excerpt(view(row))}" for row in positions[:_EXAMPLES]]
    number = len(rows) if count is None else count
    return Finding(
        code,
        severity,
        title,
        number,
        number / max(len(table), 1),
        positions,
        tuple(examples),
        advice,
        fixable,
    )


def excerpt(text: str, width: int = _WIDTH) -> str:
    """The beginning of a text on one line.

    >>> excerpt("one  two\\nthree", 8)
    'one two…'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * width]).split())
    return line if len(line) <= width and len(text) <= 4 * width else line[: width - 1].rstrip() + "…"


def rows_of(count: int) -> str:
    """
    >>> rows_of(1), rows_of(1234)
    ('1 row', '1,234 rows')
    """
    return "1 row" if count == 1 else f"{count:,} rows"


def percent(share: float) -> str:
    """
    >>> percent(0.643), percent(0.0043), percent(0.00001), percent(0.9999)
    ('64 %', '0.4 %', '< 0.1 %', '99.9 %')
    """
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.9 < share < 1:
        return f"{min(share * 100, 99.9):.1f} %"
    return f"{share * 100:.1f} %" if 0 < share < 0.0995 else f"{share * 100:.0f} %"


def listing(names: Sequence[str], most: int = 5) -> str:
    """
    >>> listing(["a", "b"]), listing(["a", "b", "c"], 2)
    ("'a' and 'b'", "'a', 'b' and 1 more")
    """
    shown = [repr(excerpt(name, 40)) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""
