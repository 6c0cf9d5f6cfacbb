"""One word a line with its tag, a blank line after each sentence (CoNLL and its relatives).

The columns are told by what they hold: tags look like O, B-PER or I-PER, and the words are what varies most.
A sentence's text is made again from its words, and where each word stands in it is kept exactly.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tunelab.data.grid import norm, preview, shorten
from tunelab.data.items import Part, as_json, told_of
from tunelab.data.tags import Entity, entities_of, entities_over_characters, recognise, repairs, tags_of
from tunelab.errors import DataError, did_you_mean

__all__ = ["TAG", "UNSPACED", "by_character", "join", "overlap", "read_conll", "tagged"]

_ONE = r"(?:O|[BIEMSLU](?:[-_][^\s,]+)?)"
TAG = re.compile(rf"{_ONE}(?:,{_ONE})*")
_PARTS = re.compile(r"([BIEMSLU])[-_](.+)")
#: Phrases of CoNLL-2000: written as entities are, and none.
_CHUNKS = frozenset(("NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"))
_HEADER = frozenset(
    ("word", "words", "token", "tokens", "char", "text", "字", "词", "tag", "tags", "label", "ner", "标签")
)
_NO_WORDS = ("#", "-DOCSTART-")
_LONG = 300  # words: no sentence has more
_PLAIN_KINDS = 60  # more different values than this are no tags without B- and I-
#: Scripts that are written without spaces between words, and their punctuation.
UNSPACED = re.compile(
    "[\u2e80-\u2fdf\u3000-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f"
    "\uff00-\uff9f\U00020000-\U0003ffff]"
)


@dataclass
class _Body:
    """A file's lines between its sentences' ends. sentences: (line, word, tag) of every word."""

    sentences: list[list[tuple[int, str, str]]] = field(default_factory=list)
    comments: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)
    wordless: list[int] = field(default_factory=list)
    wrong: list[tuple[int, str]] = field(default_factory=list)


def read_conll(text: str, name: str, chosen: Mapping[str, str]) -> Part:
    """The sentences of a file. chosen: "text" (the words) and "label" (the tags), columns' numbers from 1.

    Raises:
        DataError: the file is not of this kind, a line has no tag, or the tags' column is in doubt.
    """
    tabs, rows = _cells(text)
    width = _width(rows, name)
    header = _header(rows, width)
    rows = [row for row in rows if row is not header]
    words, tags = _columns(rows, width, name, header[1] if header else [], chosen)
    body = _body(rows, width, words, tags)
    if body.wrong:
        raise DataError(_refusal(name, body, width, tags))
    if not body.sentences:
        raise DataError(f"{name} is empty: it holds no word with a tag")
    lines = [words_[0][0] for words_ in body.sentences]
    sentences = [([word for _, word, _ in own], [tag for _, _, tag in own]) for own in body.sentences]
    made, notes = tagged(name, lines, sentences)
    count = sum(map(len, body.sentences))
    told = [
        f"{name}: one word a line ({'tabs' if tabs else 'spaces'} between the columns): {len(lines):,} "
        f"sentences, {count:,} words; words in column {words + 1} of {width}, tags in column {tags + 1}",
        *([f"{name}: row {header[0]} is a header: left out"] if header else []),
        *(
            [f"{name}: no blank line ends a sentence: all is one"]
            if len(lines) == 1 and count > _LONG
            else []
        ),
        *told_of(name, body.comments, "comment lines, left out"),
        *told_of(name, body.documents, "lines that only begin a document (-DOCSTART-), left out"),
        *told_of(name, body.wordless, "lines with the tag O and no word, left out"),
    ]
    return Part(
        name=name,
        kind="one word a line",
        cells=made,
        lines=lines,
        columns={"text": str(words + 1), "label": str(tags + 1)},
        notes=(*told, *notes),
    )


# Lines and columns --------------------------------------------------------------------------------------

_Row = tuple[int, list[str]]


def _cells(text: str) -> tuple[bool, list[_Row]]:
    """Whether tabs divide the columns, and every line's number and cells (none for a blank line).

    Lines end at line feeds only: other separators that Unicode knows occur as words.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    full = [line for line in lines if line.strip(" \t\r")]
    tabs = 2 * sum("\t" in line for line in full) > len(full)
    return tabs, [(i, _split(line.rstrip("\r"), tabs)) for i, line in enumerate(lines, 1)]


def _split(line: str, tabs: bool) -> list[str]:
    if not tabs:
        return [cell for cell in re.split("[ \t]+", line) if cell]
    cells = [cell.strip(" ") for cell in line.split("\t")]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _width(rows: Sequence[_Row], name: str) -> int:
    """How many columns nearly all lines have."""
    widths = Counter(len(cells) for _, cells in rows if cells and not cells[0].startswith(("#", "-DOCSTART")))
    widths = widths or Counter(len(cells) for _, cells in rows if cells)
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    if width < 2 or count < 0.8 * sum(widths.values()):
        line, cells = next((row for row in rows if row[1]), (1, [""]))
        raise DataError(
            f"{name} does not hold one word and its tag on each line (row {line}: "
            f"{shorten(' '.join(cells), 60)!r}). Give lines such as 'Berlin B-LOC' with a blank line after "
            'each sentence, or JSON lines {"text": "…", "entities": [{"start": 0, "end": 6, "label": "LOC"}]}'
        )
    return width


def _header(rows: Sequence[_Row], width: int) -> _Row | None:
    """The first line where it names the columns."""
    first = next((row for row in rows if row[1]), (0, []))
    names = {norm(cell) for cell in first[1]}
    if len(first[1]) == width and len(names & _HEADER) > 1 and not any(map(TAG.fullmatch, first[1])):
        return first
    return None


def _columns(
    rows: Sequence[_Row], width: int, name: str, header: Sequence[str], chosen: Mapping[str, str]
) -> tuple[int, int]:
    """The places of the words and of the tags.

    Raises:
        DataError: no column holds tags, or several do.
    """
    body = [cells for _, cells in rows if len(cells) == width and not cells[0].startswith(_NO_WORDS)]
    body = body or [cells for _, cells in rows if len(cells) == width]
    counts = [Counter(cells[i] for cells in body) for i in range(width)]
    tags = _chosen("label", chosen, header, width, name)
    words = _chosen("text", chosen, header, width, name)
    if tags is None:
        tags = _tag_column([i for i in range(width) if i != words], counts, len(body), name)
    if words == tags:
        raise DataError(f"--text and --label both name column {tags + 1} of {name}; give two different ones")
    if words is None:
        left = [i for i in range(width) if i != tags]
        named = [i for i in left if not all(cell.isdecimal() for cell in counts[i])] or left
        words = max(named, key=lambda i: len(counts[i]))
    return words, tags


def _chosen(role: str, chosen: Mapping[str, str], header: Sequence[str], width: int, name: str) -> int | None:
    if role not in chosen:
        return None
    wanted = chosen[role].strip()
    places = [i for i, cell in enumerate(header) if norm(cell) == norm(wanted)]
    if places:
        return places[0]
    if wanted.isdecimal() and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    known = did_you_mean(wanted, header) if header else f"give its number, 1 to {width}"
    raise DataError(f"{name} has no column {wanted!r} (--{role}); {known}")


def _tag_column(places: Sequence[int], counts: Sequence[Counter[str]], rows: int, name: str) -> int:
    alike = [i for i in places if _share(counts[i], rows) >= 0.9 and len(counts[i]) > 1]
    if len(alike) > 1:  # CoNLL-2003 also has noun and verb phrases
        alike = [i for i in alike if not _types(counts[i]) <= _CHUNKS] or alike
    alike = alike or [i for i in places if "O" in counts[i] and len(counts[i]) <= _PLAIN_KINDS]
    alike = alike or [i for i in places if set(counts[i]) == {"O"}]
    if len(alike) == 1:
        return alike[0]
    shown = ", ".join(
        f"{i + 1} (as in {' and '.join(v for v, _ in counts[i].most_common(3))})" for i in alike or places
    )
    why = "several columns could be the tags" if alike else "no column holds tags such as O, B-PER and I-PER"
    raise DataError(f"{name}: {why}; the columns are {shown}. Choose with --label NUMBER")


def _share(counts: Counter[str], rows: int) -> float:
    return sum(n for value, n in counts.items() if TAG.fullmatch(value)) / max(1, rows)


def _types(counts: Counter[str]) -> set[str]:
    return {m[2] for value in counts for part in value.split(",") if (m := _PARTS.fullmatch(part))}


# Sentences ----------------------------------------------------------------------------------------------


def _body(rows: Sequence[_Row], width: int, words: int, tags: int) -> _Body:
    body = _Body()
    values = Counter(cells[tags] for _, cells in rows if len(cells) == width and not cells[0].startswith("#"))
    plain = _share(values, values.total()) < 0.9  # types without B- and I-, see _tag_column
    current: list[tuple[int, str, str]] = []
    for line, cells in [*rows, (0, [])]:
        if not cells or cells[0] == "-DOCSTART-":
            body.documents += [line] if cells else []
            body.sentences += [current] if current else []
            current = []
            continue
        tag = cells[tags] if len(cells) == width else ""
        good = bool(tag) and (plain or TAG.fullmatch(tag) is not None)
        if good and cells[words]:
            current.append((line, cells[words], tag))
        elif cells[0].startswith("#") and not good:
            body.comments.append(line)
        elif [cell for cell in cells if cell] == ["O"]:
            body.wordless.append(line)
        else:
            body.wrong.append((line, preview(cells)))
    return body


def _refusal(name: str, body: _Body, width: int, tags: int) -> str:
    shown = "; ".join(f"row {line}: {cells!r}" for line, cells in body.wrong[:3])
    known = Counter(tag for words in body.sentences for _, _, tag in words)
    listing = ", ".join(tag for tag, _ in known.most_common(8))
    return (
        f"{name}: {len(body.wrong):,} lines do not have a word and a tag. {shown}. Each line needs {width} "
        f"columns, with a tag in column {tags + 1} (here {listing}), and a blank line stands between "
        "sentences; mend these lines, or begin them with # if they are comments"
    )


def tagged(
    name: str, lines: Sequence[int], sentences: Sequence[tuple[Sequence[str], Sequence[str]]]
) -> tuple[dict[str, list[str]], list[str]]:
    """The cells text, label and units of sentences, "broken" where tags break the rules of their scheme (the
    tags, and what they are read as), and notes. sentences: words and tags of each; lines: the row of each.

    Raises:
        DataError: the tags mix the letters of several schemes.
    """
    plain = not all(TAG.fullmatch(tag) for tag in {tag for _, tags in sentences for tag in tags})
    layers = [_layers(tags, plain) for _, tags in sentences]
    flat = [layer for own in layers for layer in own]
    try:
        found = recognise(flat)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    broken = repairs(flat, found.scheme).rows
    characters = by_character([word for words, _ in sentences for word in words])
    texts, units, labels = [], [], []
    for (words, _), own in zip(sentences, layers, strict=True):
        text, places = join(words, characters)
        texts.append(text)
        units.append(as_json(places))
        labels.append(sorted({e for tags in own for e in _over(tags, found.scheme, places)}))
    several = [line for line, own in zip(lines, layers, strict=True) if len(own) > 1]
    crossing = [line for line, own in zip(lines, labels, strict=True) if overlap(own)]
    notes = [
        f"{name}: the tags are in the scheme {found.scheme}",
        *(f"{name}: {doubt}" for doubt in found.doubts),
        *told_of(name, several, "sentences with several tags on a word, the entities of each are kept"),
        *told_of(name, crossing, "sentences with entities that overlap"),
    ]
    made = {"text": texts, "label": [as_json(own) for own in labels], "units": units}
    if broken:
        item = [i for i, own in enumerate(layers) for _ in own]
        shown = {item[i]: _as_read(flat[i], found.scheme) for i in reversed(broken)}
        made["broken"] = [shown.get(i, "") for i in range(len(layers))]
    return made, notes


def _as_read(tags: Sequence[str], scheme: str) -> str:
    """The tags from shortly before the first that breaks a rule; those that do with what they are read as.

    >>> _as_read(["O", "O", "O", "O", "I-PER", "I-PER"], "BIO")
    '… O O I-PER→B-PER I-PER'
    """
    read = tags_of(entities_of(tags, scheme), len(tags), scheme)
    shown = [old if old[0] == new[0] else f"{old}→{new}" for old, new in zip(tags, read, strict=True)]
    first = max(0, next(i for i, tag in enumerate(shown) if "→" in tag) - 2)
    return " ".join((["…"] if first else []) + shown[first:])


def _over(tags: Sequence[str], scheme: str, places: Sequence[Sequence[int]]) -> list[Entity]:
    return entities_over_characters(entities_of(tags, scheme), [(a, b) for a, b in places])


def _layers(tags: Sequence[str], plain: bool) -> list[list[str]]:
    """The tags as the schemes have them; where a word has several, one layer for each type.
    plain: they are types without letters.

    >>> _layers(["B-PER,B-LOC", "I-PER", "O"], False)
    [['B-PER', 'I-PER', 'O'], ['B-LOC', 'O', 'O']]
    >>> _layers(["PER", "O"], True)
    [['I-PER', 'O']]
    """
    if plain:
        return [[tag if tag == "O" else f"I-{tag}" for tag in tags]]
    if any("," in tag for tag in tags):
        parts = [tag.split(",") for tag in tags]
        kinds = dict.fromkeys(part[2:] for group in parts for part in group if part != "O")
        return [[next((p for p in group if p[2:] == kind), "O") for group in parts] for kind in kinds]
    return [list(tags)]


def overlap(entities: Sequence[Entity]) -> bool:
    """Whether an entity begins before another has ended. entities: sorted."""
    return any(b[0] < a[1] for a, b in pairwise(entities))


def by_character(words: Sequence[str]) -> bool:
    """Whether the units are characters of a script without spaces (digits and letters of other scripts
    between them are then characters, too)."""
    counts = Counter(words)
    unspaced = {word: n for word, n in counts.items() if UNSPACED.search(word)}
    long = sum(n for word, n in unspaced.items() if len(word) > 1)
    total = sum(unspaced.values())
    return total > 0.3 * len(words) and long < 0.01 * total


def join(words: Sequence[str], characters: bool) -> tuple[str, list[list[int]]]:
    """The text of the words, and where each stands in it: one space between two words, none beside a
    character of a script without spaces. characters: the words are characters (see `by_character`).

    >>> join(["我", "用", "iPhone", "13"], False)
    ('我用iPhone 13', [[0, 1], [1, 2], [2, 8], [9, 11]])
    """
    units: list[list[int]] = []
    pieces: list[str] = []
    at = 0
    for i, word in enumerate(words):
        if i and _spaced(words[i - 1], word, characters):
            pieces.append(" ")
            at += 1
        pieces.append(word)
        units.append([at, at + len(word)])
        at += len(word)
    return "".join(pieces), units


def _spaced(left: str, right: str, characters: bool) -> bool:
    if UNSPACED.match(left[-1]) or UNSPACED.match(right[0]):
        return False
    return not (characters and len(left) == len(right) == 1)
