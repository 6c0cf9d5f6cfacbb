"""Which column is the text, which the label: by what the user said, by name, or by unmistakable content.

Where that leaves a doubt, nothing is guessed: one message shows the candidates with examples and says
what to type.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tunelab.data.grid import MISSING, Grid, cell_text, norm, shorten
from tunelab.data.table import Column
from tunelab.errors import DataError, did_you_mean

__all__ = ["cells", "find_columns", "known_names", "option", "same_columns"]

_WORDS = {
    "text": "the texts",
    "text_pair": "the second texts",
    "label": "the labels",
    "group": "the groups",
}
_LABEL_LENGTH = 60  # characters; longer values are no labels


def option(role: str, name: object = "") -> str:
    """What a person types to name the role's column.

    >>> option("text_pair", "NAME"), option("rejected", "NAME")
    ('--text-pair NAME', 'data.rejected=NAME')
    """
    common = role in ("text", "text_pair", "label", "group")
    return f"--{role.replace('_', '-')} {name}".rstrip() if common else f"data.{role}={name}"


def known_names(columns: Sequence[Column], chosen: Mapping[str, str]) -> frozenset[str]:
    """Names (as by `norm`) that mark a row as a header."""
    given = {norm(name) for name in chosen.values() if not name.strip().isdecimal()}
    return frozenset({norm(name) for column in columns for name in column.names} | given | {"split"})


def find_columns(
    grid: Grid, columns: Sequence[Column], chosen: Mapping[str, str]
) -> tuple[dict[str, int], list[str]]:
    """The position of every role's column, and notes for the user.

    Raises:
        DataError: an unknown column, or a doubt; all of them in one message.
    """
    problems: list[str] = []
    notes: list[str] = []
    places: dict[str, int] = {}
    for column in columns:
        if column.role in chosen:
            found = _named(grid, column.role, chosen[column.role])
            if isinstance(found, str):
                problems.append(found)
            else:
                places[column.role] = found
    problems += _clashes(grid, places)
    by_name = {
        column.role: _recognised(grid, column, places) for column in columns if column.role not in chosen
    }
    for column in columns:
        found_here = by_name.get(column.role, [])
        if not column.required:
            notes += _hint(grid, column, found_here)
        elif len(found_here) > 1:
            problems.append(_ask(grid, [column.role], found_here, "several columns could be"))
        elif found_here:
            places[column.role] = found_here[0]
            if norm(grid.names[found_here[0]]) != column.role:
                notes.append(
                    f"{grid.name}: {_WORDS.get(column.role, column.role)} are taken from "
                    f"column {grid.names[found_here[0]]!r}"
                )
    missing = [c.role for c in columns if c.required and c.role not in places and not by_name.get(c.role)]
    missing = [role for role in missing if role not in chosen]
    if missing and not problems:
        guessed = _by_content(grid, missing, places)
        for role, place in guessed.items():
            name = grid.names[place] if grid.header else f"number {place + 1}"
            notes.append(
                f"{grid.name}: {_WORDS.get(role, role)} are taken from column {name}, judged by its content"
            )
        places |= guessed
        missing = [role for role in missing if role not in guessed]
    if missing:
        problems.append(_ask(grid, missing, _free(grid, places), "no column is recognised as"))
    if problems:
        raise DataError("\n".join(problems))
    return places, notes


def same_columns(grid: Grid, first: Grid, places: Mapping[str, int]) -> dict[str, int]:
    """Where the columns found in the training file `first` are in another file of the same data.

    Raises:
        DataError: the other file lacks one, or has another number of columns without a header.
    """
    if first.header is None or grid.header is None:
        if first.header is not grid.header or len(grid.columns) != len(first.columns):
            raise DataError(
                f"the files do not agree: {first.name} has {_shape(first)}, {grid.name} has "
                f"{_shape(grid)}; give "
                "both the same columns"
            )
        return dict(places)
    at = {norm(name): i for i, name in reversed(list(enumerate(grid.header)))}
    lost = [first.header[place] for place in places.values() if norm(first.header[place]) not in at]
    if lost:
        raise DataError(
            f"the files do not agree: {grid.name} has no column {lost[0]!r}, which {first.name} has "
            f"(columns of {grid.name}: {', '.join(grid.names)}); give both the same header, "
            f"or leave {grid.name} out"
        )
    return {role: at[norm(first.header[place])] for role, place in places.items()}


def cells(grid: Grid, role: str, place: int) -> list[str]:
    """The texts of a column.

    Raises:
        DataError: a key is missing, or a cell is a list or an object.
    """
    column = grid.columns[place]
    if any(cell is MISSING for cell in column):
        rows = [i for i, cell in enumerate(column) if cell is MISSING]
        keys = [
            name
            for name, other in zip(grid.names, grid.columns, strict=True)
            if other[rows[0]] is not MISSING
        ]
        raise DataError(
            f"{grid.name} row {grid.lines[rows[0]]} has no {grid.names[place]!r} (its keys: "
            f"{', '.join(keys) or 'none'}); "
            f"{len(rows):,} of {len(column):,} items lack it: add it, or remove them"
        )
    found: list[str] = []
    try:
        for cell in column:
            found.append(cell_text(cell))
    except (TypeError, UnicodeDecodeError):
        raise DataError(_unfit(grid, role, place, len(found))) from None
    return found


def _unfit(grid: Grid, role: str, place: int, row: int) -> str:
    cell = grid.columns[place][row]
    where = f"{grid.name} row {grid.lines[row]}: column {grid.names[place]!r}"
    if isinstance(cell, bytes):
        return (
            f"{where} holds bytes that are not UTF-8 text; give a column with texts ({option(role, 'NAME')})"
        )
    kind = "an object" if isinstance(cell, dict) else "a list"
    if role == "label" and kind == "a list":
        return (
            f"{where} holds a list of labels ({shorten(str(cell))}): texts with any number of labels are "
            "learnt with --task multilabel; for this task give one label a row"
        )
    return (
        f"{where} holds {kind} ({shorten(str(cell))}), not a text or number; choose another with "
        f"{option(role, 'NAME')}"
    )


def _named(grid: Grid, role: str, name: str) -> int | str:
    """The position of the column that the user named, or what is wrong with the name."""
    exact = [i for i, header in enumerate(grid.names) if header == name]
    alike = exact or [i for i, header in enumerate(grid.names) if norm(header) == norm(name)]
    if len(alike) == 1:
        return alike[0]
    if len(alike) > 1:
        numbers = " or ".join(f"{option(role, i + 1)}" for i in alike)
        return f"{grid.name} has {len(alike)} columns named {name!r}; choose by number: {numbers}"
    if name.strip().isdecimal() and 1 <= int(name) <= len(grid.names):
        return int(name) - 1
    known = [header for header in grid.names if header]
    if grid.header is None:
        return (
            f"{grid.name} has no header, so {option(role)} {name!r} is not to be found; give a column's "
            f"number, 1 to {len(known)}: {_list(grid, range(len(known)))}"
        )
    said = f" ({option(role)})" if role != name else ""  # (a column a label is called what it is)
    return f"{grid.name} has no column {name!r}{said}; {did_you_mean(name, known)}"


def _clashes(grid: Grid, places: Mapping[str, int]) -> list[str]:
    roles = list(places)
    return [
        f"{option(a)} and {option(b)} both name column {grid.names[places[a]]!r} of {grid.name}; give two "
        "different ones"
        for i, a in enumerate(roles)
        for b in roles[i + 1 :]
        if places[a] == places[b]
    ]


def _recognised(grid: Grid, column: Column, places: Mapping[str, int]) -> list[int]:
    if grid.header is None:
        return []
    names = {norm(name) for name in column.names}
    return [i for i, name in enumerate(grid.header) if norm(name) in names and i not in places.values()]


def _hint(grid: Grid, column: Column, found: Sequence[int]) -> list[str]:
    if not found:
        return []
    name = grid.names[found[0]]
    return [
        f"{grid.name}: there is a column {name!r}; it is not used. If rows with the same value in it belong "
        f"together, keep them on one side of the split with {option(column.role, name)}"
    ]


def _free(grid: Grid, places: Mapping[str, int]) -> list[int]:
    """Columns that could still have a role."""
    return [i for i, name in enumerate(grid.names) if i not in places.values() and norm(name) != "split"]


def _ask(grid: Grid, roles: Sequence[str], candidates: Sequence[int], why: str) -> str:
    tried = ""
    if len(grid.columns) == 1 and not grid.kind.startswith(("JSON", "Parquet")):
        tried = f" The file was read as {grid.kind} and has one column only."
    elif grid.header is None:
        tried = " The file has no header: columns are numbered from 1."
    argument = "NAME" if grid.header else "NUMBER"
    listing = _list(grid, candidates)
    what = "the columns are" if why.startswith("no") else "they are"
    found = f"{what} {listing}" if listing else "no other column is left"
    words = " or ".join(_WORDS.get(role, role) for role in roles)
    options = " ".join(option(role, argument) for role in roles)
    enough = len(candidates) >= len(roles)
    ending = f"Choose with {options}" if enough else "Give a file with texts and labels in columns"
    return f"{grid.name}: {why} {words}; {found}.{tried} {ending}"


def _list(grid: Grid, candidates: Sequence[int]) -> str:
    return ", ".join(f"{grid.names[i]!r} (as in {_examples(grid.columns[i])})" for i in candidates)


def _examples(column: Sequence[Any]) -> str:
    found: list[str] = []
    for cell in column[:1000]:
        text = shorten(str(cell) if isinstance(cell, list | dict) else cell_text(cell), 30)
        if text and text not in found:
            found.append(text)
        if len(found) == 2:
            break
    return " and ".join(f'"{text}"' for text in found) or "nothing: it is empty"


def _shape(grid: Grid) -> str:
    header = f"the header {', '.join(grid.header)}" if grid.header else "no header"
    return f"{len(grid.columns)} columns and {header}"


# By content -------------------------------------------------------------------------------------------


def _by_content(grid: Grid, missing: Sequence[str], places: Mapping[str, int]) -> dict[str, int]:
    """Roles for the columns left over, where there are as many as roles and no doubt; else nothing.

    Columns with one value throughout, and those that count the rows, can be neither text nor label.
    """
    if not set(missing) <= {"text", "label"}:
        return {}
    texts = {i: _plain(grid.columns[i]) for i in _free(grid, places)}
    texts = {i: column for i, column in texts.items() if column and not _idle(column)}
    if len(texts) != len(missing):
        return {}
    left = list(texts)
    if len(left) == 2:
        for text, label in (left, left[::-1]):
            if _unmistakable(texts[text], texts[label]):
                return {"text": text, "label": label}
        return {}
    other = next((_plain(grid.columns[i]) for role, i in places.items() if role in _WORDS), [])
    role = missing[0]
    only = texts[left[0]]
    if not other:  # a file of texts alone
        return {role: left[0]} if role == "text" and len(grid.columns) == 1 else {}
    sure = _unmistakable(only, other) if role == "text" else _unmistakable(other, only)
    return {role: left[0]} if sure else {}


def _plain(column: Sequence[Any]) -> list[str]:
    """The cells as text; nothing where one is a list or an object."""
    try:
        return [cell_text(cell) for cell in column]
    except (TypeError, UnicodeDecodeError):
        return []


def _idle(column: Sequence[str]) -> bool:
    if len(column) > 1 and len(set(column)) == 1:
        return True
    if not column[0].isdecimal() or len(column) < 3:
        return False
    start = int(column[0])
    return start < 2 and all(cell == str(start + i) for i, cell in enumerate(column))


def _unmistakable(texts: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether the one column is plainly made of texts, and the other of labels that come again."""
    rows = len(texts)
    kinds, names = len(set(texts)), len(set(labels))
    length = sum(map(len, texts)) / rows
    return (
        kinds >= 0.5 * rows
        and 2 <= names <= 0.5 * rows
        and kinds >= 2 * names
        and max(map(len, labels)) <= _LABEL_LENGTH
        and length >= 1.5 * sum(map(len, labels)) / rows
    )
