"""Language modelling: windows, losses against transformers' own, masks, and a study that starts from its model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lm_toys import byte_tokenizer, language_model
from models_zoo import make_model
from tiny import write_sentences
from toys import FLOAT32, train_toy

import tunelab
from tunelab import methods
from tunelab.config import LossConfig, TrainConfig
from tunelab.data.batch import IGNORED
from tunelab.data.documents import encode_documents, parts_of
from tunelab.data.encode import Tokens
from tunelab.errors import ConfigError, Stopped
from tunelab.methods.structure import find_structure
from tunelab.tasks._tokens import summed_loss
from tunelab.tasks.language import Language, LanguageSettings, Masked
from tunelab.train.evaluate import predict_logits
from tunelab.train.trunk import cached_trunk

TEXTS = ["Short.", "Some words, 你好 and more. " * 9, "", "The last one\nhas two lines."]


def task_of(objective: str) -> Language:
    return Language(LossConfig(), LanguageSettings(objective=objective))


def tiny_llama(vocabulary: int) -> Any:
    """A random one with room for the tokenizer's bytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=48,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("bert", [False, True])
def test_windows_hold_every_byte_once(bert: bool) -> None:
    """One token is one byte here: the rows without special tokens are the texts, and so are their bytes."""
    tokenizer = byte_tokenizer(bert=bert)
    encoded = encode_documents(TEXTS, tokenizer, 50, cache=False)
    assert encoded.units is not None
    assert encoded.firsts is not None
    for i, text in enumerate(TEXTS):
        rows = range(int(encoded.firsts[i]), int(encoded.firsts[i + 1]))
        inner = [encoded.tokens.row(row, 50)[1 : -1 if bert else None] for row in rows]
        assert tokenizer.decode(np.concatenate(inner)) == text
        assert max(map(len, inner)) - min(map(len, inner)) <= 1
        spans = encoded.units.spans[encoded.units.of(i)]
        assert int((spans[:, 1] - spans[:, 0]).sum()) == len(text.encode())
        assert encoded.whole.lengths[i] == len(text.encode()) + 1 + bert
    assert encoded.tokens.lengths.max() <= 50
    learnt = encoded.units.owners >= 0
    assert int(learnt.sum()) == sum(len(text.encode()) for text in TEXTS)


def test_a_book_is_not_one_row() -> None:
    """Parts end at line ends where there are some, else at blanks, else anywhere; none is lost."""
    for book in ("A line of a book.\n" * 9000, "words " * 9000, "x" * 70_000):
        parts = list(parts_of(book))
        assert "".join(parts) == book
        assert max(map(len, parts)) <= 20_000
        assert {part[-1] for part in parts[:-1]} == {book[-1]}
    encoded = encode_documents(["A line of a book.\n" * 9000], byte_tokenizer(), 100, cache=False)
    assert encoded.tokens.lengths.max() <= 100
    assert encoded.units is not None
    assert encoded.units.spans[:, 1].max() == 18 * 9000


def test_a_text_begins_with_a_token_that_foretells_its_first() -> None:
    """A tokenizer that puts nothing before a text: its end-of-text token stands there, as in GPT-2."""
    from tokenizers import processors

    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    tokenizer.bos_token = None
    encoded = encode_documents(["ab", "cd"], tokenizer, 50, cache=False)
    assert tokenizer.decode(encoded.tokens.row(0, 50)) == "</s>ab"
    targets = task_of("causal").targets((), encoded)
    assert tokenizer.decode([t for t in targets if t != IGNORED]) == "abcd"


def test_causal_loss_is_that_of_transformers() -> None:
    """Each window by itself: the sum over an item's windows, and bits a byte = loss / (ln 2 · bytes)."""
    tokenizer = byte_tokenizer()
    encoded = encode_documents(TEXTS, tokenizer, 50, cache=False)
    torch.manual_seed(0)
    model = tiny_llama(len(tokenizer))
    task = task_of("causal")
    rows = np.arange(len(encoded.tokens))
    examples = task.examples(encoded, rows, task.targets((), encoded), 50, 0)
    outputs = predict_logits(model, examples, FLOAT32, keep=task.keep_of(model))
    sums = np.zeros(len(TEXTS))
    for i in range(len(TEXTS)):
        for row in range(int(encoded.firsts[i]), int(encoded.firsts[i + 1])):  # type: ignore[index]
            ids = torch.from_numpy(encoded.tokens.row(row, 50).astype(np.int64))[None]
            if ids.shape[1] > 1:
                with torch.no_grad():
                    sums[i] += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    sizes = np.array([len(text.encode()) for text in TEXTS])
    items = np.array([3, 1, 0])  # in another order, some of them
    chosen = predict_logits(
        model, replace(examples, rows=encoded.rows(items)), FLOAT32, keep=task.keep_of(model)
    )
    found = task.scores(chosen, None, encoded.units_of(items))
    assert found["loss"] == pytest.approx(sums[items].sum() / sizes[items].sum(), abs=1e-5)
    assert found["bits_per_byte"] == pytest.approx(found["loss"] / np.log(2), abs=1e-6)  # a token is a byte
    frame = task.decode(outputs, pd.DataFrame(index=range(4)), encoded.units_of(np.arange(4)))
    assert frame["loss_sum"].to_numpy() == pytest.approx(sums, abs=1e-4)
    assert frame["prediction"][2] == 0.0  # nothing to foretell
    assert task.answers(frame)[0]["bits_per_byte"] == pytest.approx(sums[0] / 6 / np.log(2), abs=1e-5)


def masked_rows(rows: int = 40, length: int = 60) -> Masked:
    random = np.random.default_rng(0)
    ids = random.integers(5, 60, size=rows * length).astype(np.int32)
    ids.reshape(rows, length)[:, [0, -1]] = 1
    targets = ids.astype(np.int64)
    targets.reshape(rows, length)[:, [0, -1]] = IGNORED
    tokens = Tokens(ids, np.arange(rows + 1) * length, 1, head=1)
    return Masked(tokens, targets, np.arange(rows), length, 0, True, mask_id=3, vocabulary=64, ratio=0.15)


def test_masks_of_judged_rows_are_fixed() -> None:
    """They follow from a row's tokens: not from its place, the batch, nor any random state."""
    rows = masked_rows()
    inputs, targets = rows.batch(np.arange(40), "cpu")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    alone, asked = replace(rows, rows=np.array([7])).batch(np.array([0]), "cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(alone["input_ids"][0], inputs["input_ids"][7])
    assert torch.equal(asked[0], targets[7])
    known = targets != IGNORED
    assert known.sum(1).tolist() == [round(0.15 * 58)] * 40
    assert not known[:, [0, -1]].any()
    original = torch.from_numpy(rows.tokens.ids.reshape(40, 60).astype(np.int64))
    assert torch.equal(targets[known], original[known])
    assert torch.equal(inputs["input_ids"][~known], original[~known])


def test_masks_of_training_are_drawn_anew() -> None:
    """80 % hidden, 10 % any token, 10 % left (over 24,000 asked, so to 1 %; a random token is the same one in
    1 of 64); the same random state gives the same batch, however it is cut into micro-batches."""
    rows = task_of("masked").for_training(masked_rows())
    assert isinstance(rows, Masked)
    assert rows.anew
    torch.manual_seed(1)
    whole, targets = rows.batch(np.arange(40), "cpu")
    torch.manual_seed(1)
    parts = [rows.batch(np.arange(40)[first : first + 7], "cpu") for first in range(0, 40, 7)]
    assert torch.equal(torch.cat([part["input_ids"] for part, _ in parts]), whole["input_ids"])
    assert torch.equal(torch.cat([part for _, part in parts]), targets)
    shown, wanted = [], []
    for _ in range(67):
        inputs, targets = rows.batch(np.arange(40), "cpu")
        known = targets != IGNORED
        shown.append(inputs["input_ids"][known])
        wanted.append(targets[known])
    ids, true = torch.cat(shown), torch.cat(wanted)
    assert float((ids == 3).float().mean()) == pytest.approx(0.8 + 0.1 / 64, abs=0.01)
    assert float((ids == true).float().mean()) == pytest.approx(0.1 + 0.1 / 64, abs=0.01)
    assert len({tuple(row.tolist()) for row in shown}) == 67


def test_a_stopped_run_with_masks_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def tuned() -> Any:
        torch.manual_seed(0)
        return methods.find("full").make({}).attach(make_model("bert", task="MaskedLM", dropout=0.1))

    rows = replace(masked_rows(), anew=True)
    config = TrainConfig(epochs=2, batch_size=8, checkpoint_seconds=0)
    judge = lambda: ({"loss": 0.0}, "loss")  # noqa: E731
    options: dict[str, Any] = {"objective": summed_loss, "examples": rows, "judge": judge}
    one = tuned()
    train_toy(one, tmp_path / "one", config, **options)
    other = tuned()
    left = iter([False] * 4 + [True])
    with pytest.raises(Stopped):
        train_toy(other, tmp_path / "other", config, stop=lambda: next(left), **options)
    other = tuned()
    train_toy(other, tmp_path / "other", config, **options)
    assert all(torch.equal(a, b) for a, b in zip(one.state().values(), other.state().values(), strict=True))


def test_frozen_layers_are_passed_over() -> None:
    """The trunk cache holds for logits of tokens: the same objective and gradients from the stored states."""
    tokenizer = byte_tokenizer()
    encoded = encode_documents([text for text in TEXTS if text], tokenizer, 50, cache=False)
    torch.manual_seed(0)
    tuned = methods.find("top_layers").make({"layers": 1}).attach(tiny_llama(len(tokenizer)))
    task, rows = task_of("causal"), np.arange(len(encoded.tokens))
    examples = task.examples(encoded, rows, task.targets((), encoded), 50, 0)

    def step(part: Any) -> tuple[float, dict[str, torch.Tensor]]:
        inputs, targets = part.batch(np.arange(len(part)), "cpu")
        loss: Any = task.objective(tuned.model(**inputs).logits, targets)[0]
        tuned.model.zero_grad()
        loss.backward()
        moved = {name: p.grad.clone() for name, p in tuned.model.named_parameters() if p.grad is not None}
        return float(loss.detach()), moved

    loss, gradients = step(examples)
    with cached_trunk(tuned, [examples], FLOAT32, None, "key") as trunk:
        assert trunk.note == ""
        again, others = step(trunk.examples[0])
    assert again == pytest.approx(loss, rel=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "electra", "modernbert", "llama"])
def test_the_head_leaves_out_the_output_embeddings(architecture: str) -> None:
    """Tied to the word embeddings, they are no part of what head and adapters train; LoRA's merged model, saved
    and loaded, has them still."""
    model: Any = make_model(architecture, task="CausalLM" if architecture == "llama" else "MaskedLM")
    head = find_structure(model).head_parameters()
    table = model.get_output_embeddings().weight
    assert all(parameter is not table for parameter in head.values())
    assert bool(head) == (architecture != "llama")
    ids = torch.tensor([[1, 5, 6, 7, 2]])
    before = model(input_ids=ids).logits.detach()
    tuned = methods.find("lora").make({}).attach(model)
    moved = sum(tensor.numel() for name, tensor in tuned.state().items() if "lora_" not in name)
    assert moved == sum(parameter.numel() for parameter in head.values())
    torch.testing.assert_close(tuned.merge()(input_ids=ids).logits, before)


def test_what_a_model_can_foretell() -> None:
    settle, auto = Language.settle, LanguageSettings()
    assert settle(auto, "causal", "m").model_dump()["objective"] == "causal"
    assert settle(auto, "masked", "m").model_dump()["objective"] == "masked"
    for wanted, head, why in [
        ("causal", "masked", "is an encoder, which sees the tokens after"),
        ("masked", "causal", "is a decoder, which sees nothing behind"),
        ("auto", "", "without a language model's head"),
    ]:
        with pytest.raises(ConfigError, match=why):
            settle(LanguageSettings(objective=wanted), head, "m")


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_study_of_texts_and_one_that_starts_from_its_model(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = ["lamp", "kettle", "chair", "warm", "cold", "the", "is", "in", "hall"]
    paragraphs = [" ".join(random.choice(words, 12)) + f" {i}." for i in range(80)]
    (tmp_path / "data.txt").write_text("\n".join(paragraphs), encoding="utf-8")
    study = tunelab.compare(
        tmp_path / "data.txt", task="language", methods=["full", "lora"], folds=0, seeds=1, effort="quick",
        model=str(language_model(tmp_path / "model", kind)), out=tmp_path / "out", progress=False,
        settings={"train.epochs": 2, "train.batch_size": 8, "model.max_length": 40},
    )  # fmt: skip
    record = study.record
    assert record.deciding == "-loss"
    assert {result.name for result in record.results} == {"full", "lora", "untouched"}
    assert ("bits_per_byte" in record.results[0].scores) == (kind == "llama")
    full = next(result for result in record.results if result.name == "full")
    untouched = next(result for result in record.results if result.baseline)
    assert full.scores["loss"] < np.log(260) < untouched.scores["loss"] + 0.2  # it guessed among the bytes
    assert study.report.is_file()
    (said,) = tunelab.load(study.bundle).predict(["the lamp is warm"])
    assert said["perplexity"] == pytest.approx(np.exp(said["loss"]))
    pretrained = tmp_path / "pretrained"
    if (study.bundle / "adapter_config.json").is_file():
        tunelab.load(study.bundle).export(pretrained)
    else:
        pretrained = study.bundle
    later = tunelab.run(
        write_sentences(tmp_path / "reviews.csv", 60), method="full", model=str(pretrained),
        out=tmp_path / "later", settings={"train.epochs": 1}, progress=False,
    )  # fmt: skip
    assert "accuracy" in later.scores


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["stories260K-hf", "tinystories-656k"])
def test_the_loss_of_shakespeare_is_that_of_transformers(name: str, shared_data: Path) -> None:
    """Paragraphs of the real file, real weights, each paragraph by itself."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = shared_data.parent / "models" / name
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    texts = (shared_data / "tinyshakespeare/input.txt").read_text(encoding="utf-8").split("\n\n")[:30]
    encoded = encode_documents(texts, tokenizer, 512, cache=False)
    task, rows = task_of("causal"), np.arange(len(encoded.tokens))
    examples = task.examples(encoded, rows, task.targets((), encoded), 512, 0)
    outputs = predict_logits(model, examples, FLOAT32, keep=task.keep_of(model))
    found = task.scores(outputs, None, encoded.units_of(np.arange(len(texts))))
    total = count = 0.0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        assert ids.shape[1] <= 512
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    assert found["loss"] == pytest.approx(total / count, abs=1e-5)
    wanted = total / np.log(2) / sum(len(text.encode()) for text in texts)
    assert found["bits_per_byte"] == pytest.approx(wanted, abs=1e-5)
