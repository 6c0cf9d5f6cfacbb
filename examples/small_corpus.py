"""The text that `mini-zh` is pretrained on: public sources, without anything that a study may later test on.

python examples/small_corpus.py ../shared/data corpus.jsonl

The folder holds local copies of the public sets in SOURCES and HELD_OUT, one folder a set: put your own path.

Left out are whole data sets that come as one file or without a test file (any of their rows may be tested
on), and the validation and test files of the others. A text is left out that equals one of those but for
case, width and punctuation, that is nearly the same (as tunelab's data doctor has it), or that holds one word
for word.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab import tasks
from tunelab.data.similar import duplicate_groups, near_groups, normalise

#: Characters of a row: sentences are put together up to these, in turn, so that every position is learnt.
LENGTHS = (*[96] * 10, 240, 480)
#: Letters from which on a text that is held out is looked for inside others; shorter ones are phrases.
INSIDE = 12


@dataclass(frozen=True)
class Source:
    """A file to learn from. kind: how it is read; licence: as its publisher states it."""

    path: str
    kind: str
    title: str
    licence: str


SOURCES = (
    Source(
        "zh_reviews_text/reviews.txt",
        "lines",
        "Chinese shop reviews (online_shopping_10_cats, without hotels), SophonPlus/ChineseNlpCorpus",
        "none stated",
    ),
    Source(
        "zh_d2l_text/d2l_zh.txt", "prose", "Dive into Deep Learning, Chinese, d2l-ai/d2l-zh", "Apache-2.0"
    ),
    Source(
        "zh_hongloumeng/hongloumeng.txt", "prose", "Dream of the Red Chamber, 18th century", "public domain"
    ),
    Source(
        "cmrc2018/cmrc2018_dev.json",
        "squad",
        "CMRC 2018, contexts of dev (Chinese Wikipedia), ymcui/cmrc2018",
        "CC BY-SA 4.0",
    ),
    Source("csl_category/train.tsv", "tsv:1", "CSL, titles of train, ydli-ai/CSL", "Apache-2.0 (readme)"),
    Source("csl_title/dev.tsv", "tsv:1", "CSL, abstracts of dev, ydli-ai/CSL", "Apache-2.0 (readme)"),
    Source(
        "thucnews_titles/dev.txt",
        "tsv:0",
        "THUCNews, headlines of dev, 649453932/Bert-Chinese-Text-Classification-Pytorch",
        "MIT (repository); the text is Sina's, for research",
    ),
    Source(
        "llamafactory_demo/alpaca_zh_demo.json",
        "alpaca",
        "Alpaca, Chinese demo, hiyouga/LLaMA-Factory",
        "Apache-2.0 (repository)",
    ),
    Source(
        "llamafactory_demo/dpo_zh_demo.json",
        "chosen",
        "DPO demo, Chinese, chosen answers, hiyouga/LLaMA-Factory",
        "Apache-2.0 (repository)",
    ),
    Source("tinyshakespeare/input.txt", "prose", "Tiny Shakespeare, karpathy/char-rnn", "public domain"),
    Source(
        "llamafactory_demo/alpaca_en_demo.json",
        "alpaca",
        "Alpaca, English demo, hiyouga/LLaMA-Factory",
        "Apache-2.0 (repository)",
    ),
    Source(
        "llamafactory_demo/dpo_en_demo.json",
        "chosen",
        "DPO demo, English, chosen answers, hiyouga/LLaMA-Factory",
        "Apache-2.0 (repository)",
    ),
)

#: (task, file, columns): what a study may test on. Of a data set that is no source, all of it.
HELD_OUT = (
    ("classify", "chnsenticorp_htl/ChnSentiCorp_htl_all.csv", {}),
    ("classify", "weibo_senti/weibo_senti_100k.csv", {}),
    (
        "classify",
        "online_shopping_10_cats/online_shopping_10_cats.sample.csv",
        {"text": "review", "label": "label"},
    ),
    ("classify", "thucnews_titles/test.txt", {}),
    ("classify", "csl_category/dev.tsv", {"text": "2", "label": "3"}),
    ("classify", "csl_category/test.tsv", {"text": "2", "label": "3"}),
    ("match", "csl_title/test.tsv", {"text": "2", "text_pair": "3", "label": "1"}),
    ("tag", "cluener/train.jsonl", {}),
    ("tag", "cluener/dev.jsonl", {}),
    ("tag", "resume_ner/train.char.bmes", {}),
    ("tag", "resume_ner/dev.char.bmes", {}),
    ("tag", "resume_ner/test.char.bmes", {}),
    ("tag", "msra_ner/train.sample.bio", {}),
    ("tag", "msra_ner/val.bio", {}),
    ("tag", "msra_ner/test.bio", {}),
    ("match", "afqmc/train.txt", {"text": "1", "text_pair": "2", "label": "3"}),
    ("match", "afqmc/dev.txt", {"text": "1", "text_pair": "2", "label": "3"}),
    ("answer", "cmrc2018/cmrc2018_trial.json", {}),
)


def main(data: str, out: str) -> None:
    held = held_out(Path(data))
    told, kept, first = [], [], 0
    texts = {source: list(read(Path(data), source)) for source in SOURCES}
    stays = clean([text for own in texts.values() for text in own], held)
    for source, own in texts.items():
        good = [text for text, ok in zip(own, stays[first : first + len(own)], strict=True) if ok]
        first += len(own)
        kept += [{"text": text, "source": source.path} for text in good]
        counts = (len(good), sum(map(len, good)), len(own) - len(good))
        told.append(" | ".join([f"| {source.title}", source.licence, *(f"{n:,}" for n in counts)]) + " |")
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    head = ["| source | licence | rows | characters | rows left out |", "|---|---|---|---|---|"]
    Path(out).with_suffix(".md").write_text("\n".join([*head, *told]) + "\n", encoding="utf-8")
    print("\n".join(told))


def held_out(data: Path) -> list[str]:
    """Every text that a study may test on."""
    found: list[str] = []
    for task, name, columns in HELD_OUT:
        frame = tasks.find(task).read([str(data / name)], columns).frame
        for role in ("text", "text_pair"):
            if role in frame and not (task == "answer" and role == "text"):
                found += frame[role].tolist()
    return list(dict.fromkeys(found))


def clean(texts: Sequence[str], held: Sequence[str]) -> list[bool]:
    """Which texts may be learnt from: none that is held out, nearly so or holds one, and none twice."""
    everything = [*held, *texts]
    inside = _holding(texts, held)
    stays = [not bad for bad in inside]
    for groups in (duplicate_groups(everything), near_groups(everything)):
        tested = set(groups[: len(held)].tolist())
        stays = [
            ok and int(group) not in tested for ok, group in zip(stays, groups[len(held) :], strict=True)
        ]
    first: set[int] = set()
    for i, group in enumerate(duplicate_groups(texts).tolist()):
        stays[i] &= group not in first
        first.add(group)
    return stays


def _letters(text: str) -> str:
    return normalise(text).replace(" ", "")


def _holding(texts: Sequence[str], held: Sequence[str]) -> list[bool]:
    """Which texts hold one of `held` of at least `INSIDE` letters word for word."""
    starts: dict[str, list[str]] = {}
    for text in map(_letters, held):
        if len(text) >= INSIDE:
            starts.setdefault(text[:INSIDE], []).append(text)
    return [_holds(text, starts) for text in map(_letters, texts)]


def _holds(text: str, starts: dict[str, list[str]]) -> bool:
    return any(
        text.startswith(own, i)
        for i in range(len(text) - INSIDE + 1)
        for own in starts.get(text[i : i + INSIDE], ())
    )


def read(data: Path, source: Source) -> Iterator[str]:
    """The rows of a source: short texts as they are, long ones by sentences."""
    path, (kind, _, column) = data / source.path, source.kind.partition(":")
    if kind in ("lines", "prose"):
        texts: Iterable[str] = tasks.find("language").read([str(path)], {}).frame["text"].tolist()
        texts = ["\n".join(texts)] if kind == "prose" else texts
    elif kind == "tsv":
        texts = [
            line.split("\t")[int(column)] for line in path.read_text("utf-8").splitlines() if line.strip()
        ]
    else:
        texts = _of_json(json.loads(path.read_text("utf-8")), kind)
    size = 0
    for text in texts:
        text = re.sub("[\ue000-\uf8ff\ufeff\u200b]", "", text).strip()
        for row in rows_of(text, size):
            size += 1
            yield row


def _of_json(tree: object, kind: str) -> Iterator[str]:
    assert isinstance(tree, (dict, list))
    if kind == "squad":
        assert isinstance(tree, dict)
        yield from (part["context"] for article in tree["data"] for part in article["paragraphs"])
    elif kind == "alpaca":
        yield from ("\n".join([row["instruction"], row.get("input", ""), row["output"]]) for row in tree)
    else:
        yield from (row["chosen"]["value"] for row in tree)


def rows_of(text: str, turn: int = 0) -> Iterator[str]:
    """A text in rows of whole sentences; Latin letters count a third, as they take that many tokens.

    >>> [len(row) for row in rows_of("一二三四五六七八九。" * 30)]
    [90, 90, 90, 30]
    """
    row, size = "", 0.0
    for sentence in re.findall(r".*?(?:[。！？!?；\n]+|\.\s+|$)", text, re.DOTALL):
        for part in re.findall(r".{1,400}", sentence, re.DOTALL):
            weight = sum(1 / 3 if character.isascii() else 1 for character in part)
            if row and size + weight > LENGTHS[turn % len(LENGTHS)]:
                yield row.strip()
                row, size, turn = "", 0.0, turn + 1
            row, size = row + part, size + weight
    if len(row.strip()) > 1:
        yield row.strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
