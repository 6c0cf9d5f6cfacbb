"""The data doctor on tokens: what the tokenizer makes of the texts, and what truncation takes away."""

from dataclasses import replace

import numpy as np

from tunelab.data.check_content import SCRIPTS, script_counts
from tunelab.data.findings import (
    Finding,
    Patient,
    Severity,
    TokenFacts,
    excerpt,
    found,
    of_drawn,
    percent,
    rows_of,
)

__all__ = ["check_tokens"]

_TOO_MANY_LOST, _SOME_LOST = 0.3, 0.02  # share of tokens or characters the tokenizer cannot represent
_TOO_MANY_EMPTIED = 0.1
#: Tokens a character; a model that knows a script needs 1 at most, a spelt-out character 2 to 4.
_LETTERS = 1.5
_UNFAIR = 0.1  # share of its tokens that a class may lose more than all rows together

_ANY_SCRIPT = "xlm-roberta-base, bert-base-multilingual-cased or Qwen/Qwen3-0.6B"
_MODELS = {
    "Han": "bert-base-chinese, hfl/chinese-roberta-wwm-ext, xlm-roberta-base or Qwen/Qwen3-0.6B",
    "Cyrillic": "DeepPavlov/rubert-base-cased, xlm-roberta-base or Qwen/Qwen3-0.6B",
    "Arabic": "aubmindlab/bert-base-arabertv02, xlm-roberta-base or Qwen/Qwen3-0.6B",
}


def check_tokens(patient: Patient, tokens: TokenFacts, max_length: int | None) -> list[Finding]:
    """Findings on the tokens of the usable rows, or of those that were drawn from them."""
    if tokens.rows is not None:
        found_ = check_tokens(patient.part(tokens.rows), replace(tokens, rows=None), max_length)
        return [of_drawn(finding, tokens.rows) for finding in found_]
    if not patient.usable.any():
        return []
    findings = [*_lost(patient, tokens), *_emptied(patient, tokens), *_spelt(patient, tokens)]
    findings.append(_lengths(patient, tokens))
    return findings + (_truncated(patient, tokens, max_length) if max_length else [])


def _lost(p: Patient, t: TokenFacts) -> list[Finding]:
    use = p.usable
    unknown = t.unknown[use].sum() / max(t.lengths[use].sum(), 1)
    lost = t.lost[use].sum() / max(t.visible[use].sum(), 1)
    worst = max(unknown, lost)
    rows = np.flatnonzero(use & ((t.unknown > 0) | (t.lost > 0)))
    if not len(rows):
        return []
    common = sorted(t.lost_characters.items(), key=lambda item: (-item[1], item[0]))[:10]
    shown = " ".join(f"{character!r} ({count:,})" for character, count in common)
    examples = [f"most often lost: {shown}"] if common else []
    examples += [f"{p.table.where(int(row))}: {excerpt(p.texts[row])}" for row in rows[:3]]
    severity: Severity = "error" if worst > _TOO_MANY_LOST else "warning" if worst > _SOME_LOST else "info"
    what = (
        f"{percent(unknown)} of the tokens would be unknown to {t.tokenizer_name}"
        if unknown >= lost
        else f"{percent(lost)} of the characters would be lost to {t.tokenizer_name}"
    )
    endings = {
        "error": ": this tokenizer cannot represent this text.",
        "warning": f" ({rows_of(len(rows))} concerned).",
        "info": f" ({rows_of(len(rows))} concerned), too few to matter.",
    }
    advice = f"Take a model made for this text with --model, such as {_suited(t)}."
    if severity == "info":
        advice = "Nothing must be done, unless these characters carry the meaning (emoji, units, symbols)."
    return [
        found(
            p.table,
            "unknown-tokens",
            severity,
            what + endings[severity],
            rows,
            advice,
            examples=examples,
        )
    ]


def _suited(t: TokenFacts) -> str:
    """Models whose tokenizers know the script that is lost most."""
    characters = list(t.lost_characters)
    weights = np.array([t.lost_characters[c] for c in characters], dtype=np.int64)
    return _that_know((script_counts(characters) * weights[:, None]).sum(axis=0))


def _that_know(letters: np.ndarray) -> str:
    """Models whose tokenizers know the script with the most letters. letters: of each of `SCRIPTS`."""
    return _MODELS.get(SCRIPTS[int(letters.argmax())], _ANY_SCRIPT) if letters.any() else _ANY_SCRIPT


def _spelt(p: Patient, t: TokenFacts) -> list[Finding]:
    """Characters that are spelt out in bytes: nothing is lost, but time and room."""
    if t.per_character < _LETTERS:
        return []
    rows = np.flatnonzero(p.usable)
    suited = _that_know(script_counts([p.texts[row] for row in rows[:1000]]).sum(axis=0))
    return [
        found(
            p.table,
            "characters-in-pieces",
            "warning",
            f"{t.tokenizer_name} reads {t.per_character:.1f} tokens a character: it knows few of these "
            "characters as wholes, and spells the others out in bytes.",
            rows,
            "A model made for this text, at 1 token a character or less, has to read "
            f"{t.per_character:.1f} times fewer tokens: it is faster by as much, and as much more of a text "
            f"fits into model.max_length. Such as {suited}.",
            examples=(),
        )
    ]


def _emptied(p: Patient, t: TokenFacts) -> list[Finding]:
    rows = np.flatnonzero(p.usable & (t.visible > 0) & (t.lost >= t.visible))
    if not len(rows):
        return []
    share = len(rows) / p.usable.sum()
    return [
        found(
            p.table,
            "emptied-by-tokenizer",
            "error" if share > _TOO_MANY_EMPTIED else "warning",
            f"{rows_of(len(rows))} ({percent(share)}) would become empty: {t.tokenizer_name} knows none of "
            f"{'its' if len(rows) == 1 else 'their'} characters.",
            rows,
            f"Take a model made for this text with --model, such as {_suited(t)}.",
        )
    ]


def _lengths(p: Patient, t: TokenFacts) -> Finding:
    lengths = t.lengths[p.usable]
    median, high = (int(np.percentile(lengths, q)) for q in (50, 95))
    return found(
        p.table,
        "token-lengths",
        "info",
        f"The texts are {median:,} tokens long at the median, {high:,} at the 95th percentile, "
        f"{int(lengths.max()):,} at most ({t.tokenizer_name}).",
        np.flatnonzero(p.usable),
        examples=(),
    )


def _truncated(p: Patient, t: TokenFacts, max_length: int) -> list[Finding]:
    over = np.maximum(t.lengths - max_length, 0) * p.usable
    rows = np.flatnonzero(over)
    if not len(rows):
        return []
    share, total = len(rows) / p.usable.sum(), over.sum() / t.lengths[p.usable].sum()
    enough = int(np.percentile(t.lengths[p.usable], 99)) + 1
    findings = [
        found(
            p.table,
            "truncation",
            "warning" if share > 0.05 or total > 0.02 else "info",
            f"{rows_of(len(rows))} ({percent(share)}) {'is' if len(rows) == 1 else 'are'} longer than "
            f"{max_length:,} tokens and will be cut: {percent(total)} of all tokens are lost.",
            rows,
            f"model.max_length={enough} would keep 99 % of the rows whole, if the model allows it; time "
            "grows with "
            "the length.",
            show=lambda row: f"{int(t.lengths[row]):,} tokens: {p.texts[row]}",
        )
    ]
    size = len(p.classes)
    lost = np.bincount(p.codes[p.usable], weights=over[p.usable], minlength=size)
    losses = lost / np.bincount(p.codes[p.usable], weights=t.lengths[p.usable], minlength=size)
    unfair = np.flatnonzero((losses > total + _UNFAIR) & (p.counts >= 5))
    if len(unfair):
        order = unfair[np.argsort(-losses[unfair], kind="stable")]
        names = ", ".join(f"{excerpt(p.classes[i], 40)!r} {percent(losses[i])}" for i in order[:5])
        findings.append(
            found(
                p.table,
                "truncation-by-class",
                "warning",
                f"Truncation to {max_length:,} tokens hits some classes harder: of its tokens, {names} "
                "is lost "
                f"({percent(total)} over all).",
                np.flatnonzero((over > 0) & np.isin(p.codes, unfair)),
                "Raise model.max_length; else these classes are judged on the beginnings of their texts.",
            )
        )
    return findings
