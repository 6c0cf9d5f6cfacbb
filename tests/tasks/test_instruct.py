"""Instructions: what is learnt of a conversation, its loss against transformers' own, and what is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lm_toys import CHATML, byte_tokenizer, language_model
from models_zoo import make_model
from toys import FLOAT32

import tunelab
from tunelab import methods
from tunelab.config import DataConfig, LossConfig, ModelConfig
from tunelab.data.batch import IGNORED
from tunelab.data.table import Table
from tunelab.data.templates import as_tokens, dress, prompt_tokens, stop_tokens
from tunelab.errors import ConfigError, DataError
from tunelab.serve.generate import generate
from tunelab.study.prepare import prepare
from tunelab.tasks import _tokens
from tunelab.tasks.instruct import Instruct, InstructSettings
from tunelab.train.evaluate import predict_logits

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello 你好"},
    {"role": "user", "content": "Name a fruit."},
    {"role": "assistant", "content": "Apple"},
]
FULL = {
    "alpaca": "<s>Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello 你好</s>\n\n"
    "### Instruction:\nName a fruit.\n\n### Response:\nApple</s>",
    "plain": "<s>Be brief.\nHi\nHello 你好</s>\nName a fruit.\nApple</s>",
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello 你好<|im_end|>\n<|im_start|>user\nName a fruit.<|im_end|>\n"
    "<|im_start|>assistant\nApple<|im_end|>",
}


def table(*conversations: list[dict[str, str]]) -> Table:
    texts = [json.dumps(own, ensure_ascii=False) for own in conversations]
    return Table(
        pd.DataFrame({"text": texts, "label": "", "split": "", "file": "a", "row": range(len(texts))}), {}
    )


@pytest.mark.parametrize("name", ["alpaca", "plain", "chatml"])
def test_named_templates(name: str) -> None:
    """The whole text is the hand-written one; what is learnt decodes to the answers with their ends."""
    tokenizer = byte_tokenizer(*CHATML)
    assert dress(tokenizer, "auto").startswith("chat template: chatml")  # its tokens are there
    assert f"chat template: {name}" in dress(tokenizer, name)
    (turns,) = as_tokens(tokenizer, [TURNS])
    assert tokenizer.decode(turns.ids) == FULL[name]
    end = "<|im_end|>" if name == "chatml" else "</s>"
    assert [tokenizer.decode(turns.ids[a:b]) for a, b in turns.answers] == [f"Hello 你好{end}", f"Apple{end}"]
    (prompt,) = prompt_tokens(tokenizer, [TURNS])
    assert FULL[name] == tokenizer.decode(prompt) + f"Apple{end}"
    assert tokenizer.convert_tokens_to_ids(end) in stop_tokens(tokenizer)


def test_a_template_without_marks_gives_the_same() -> None:
    """Turn by turn, without generation marks, the same answers are found as with them."""
    marked, bare = byte_tokenizer(*CHATML), byte_tokenizer(*CHATML)
    dress(marked, "chatml")
    bare.chat_template = marked.chat_template.replace("{% generation %}", "").replace(
        "{% endgeneration %}", ""
    )
    assert dress(marked, "auto") == ""
    assert "no generation marks" in dress(bare, "auto")
    for conversation in (TURNS, TURNS[1:3]):
        (one,), (other,) = as_tokens(marked, [conversation]), as_tokens(bare, [conversation])
        assert one.ids.tolist() == other.ids.tolist()
        assert one.answers == other.answers
    assert stop_tokens(marked) == stop_tokens(bare)


def test_templates_that_cannot_be_used_say_why() -> None:
    tokenizer = byte_tokenizer()
    with pytest.raises(ConfigError, match=r"no <\|im_start\|>"):
        dress(tokenizer, "chatml")
    # Answers of earlier turns are shortened once the conversation goes on, as thoughts are by Qwen3's template.
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' }}"
        "{{ m['content'] if loop.last else m['content'][:1] }}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(DataError, match=r"a row 0: .* no generation marks"):
        Instruct.encode(table(TURNS), tokenizer, 400)
    tokenizer.chat_template = "{{ raise_exception('no system prompt here') }}"
    with pytest.raises(DataError, match="refuses this conversation: no system prompt here"):
        Instruct.encode(table(TURNS), tokenizer, 400)


def test_the_end_is_learnt_where_the_marks_leave_it_out() -> None:
    tokenizer = byte_tokenizer()
    outside = (
        "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{{ END }}{% endfor %}"
    )
    for end in ("'</s>'", "''"):  # after the marks, or nowhere
        tokenizer.chat_template = outside.replace("END", end)
        (turns,) = as_tokens(tokenizer, [TURNS[-1:]])
        assert [tokenizer.decode(turns.ids[a:b]) for a, b in turns.answers] == ["Apple</s>"]


def encoded_for(model_length: int = 400) -> tuple[Any, Any, Table]:
    tokenizer = byte_tokenizer()
    dress(tokenizer)
    rows = table(TURNS, TURNS[1:3], TURNS[:3], [TURNS[1], {"role": "assistant", "content": "A" * 50}])
    return Instruct.encode(rows, tokenizer, model_length), tokenizer, rows


def llama(vocabulary: int) -> Any:
    """A random Llama with room for the tokenizer's bytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=512, attn_implementation="sdpa",
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("length", [400, 90])
def test_loss_is_that_of_transformers(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over rows of different lengths, cut or not: `model(input_ids, labels=...)`, which shifts labels itself."""
    encoded, tokenizer, _ = encoded_for(length)
    model, task = llama(len(tokenizer)), Instruct(LossConfig(), InstructSettings())
    examples = task.examples(encoded, np.arange(4), task.targets((), encoded), length, 0)
    inputs, targets = examples.batch(np.arange(4), "cpu")
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    for row in range(4):
        learnt = encoded.tokens.cut(encoded.units.owners, row, length) >= 0
        labels[row, : len(learnt)][learnt] = inputs["input_ids"][row, : len(learnt)][learnt]
    with torch.no_grad():
        wanted = float(model(**inputs, labels=labels).loss)
        outputs = predict_logits(model, examples, FLOAT32, keep=task.keep_of(model))
        logits = model(**inputs).logits
    found = task.scores(outputs, None)
    assert found["loss"] == pytest.approx(wanted, abs=1e-5)
    assert found["-loss"] == -found["loss"]
    known = targets != IGNORED
    right = (logits.argmax(-1)[known] == targets[known]).float().mean()
    assert found["token_accuracy"] == pytest.approx(float(right), abs=1e-6)
    frame = task.decode(outputs, pd.DataFrame(index=range(4)))
    score = task.run_score(frame)(np.array([[1.0, 1, 1, 1], [0, 2, 0, 0]]))
    alone = task.scores(outputs[1:2], None)["-loss"]
    assert score == pytest.approx([-wanted, alone], abs=1e-5)

    whole = logits.clone().requires_grad_()
    total, count = task.objective(whole, targets)
    (total / count).backward()
    assert float((total / count).detach()) == pytest.approx(wanted, abs=1e-5)
    monkeypatch.setattr(_tokens, "_LOGITS", 3 * len(tokenizer))  # three tokens at a time
    parts = logits.clone().requires_grad_()
    again, count = task.objective(parts, targets)
    (again / count).backward()
    assert float(again.detach()) == pytest.approx(float(total.detach()), rel=1e-6)
    torch.testing.assert_close(parts.grad, whole.grad)
    torch.testing.assert_close(_tokens.foretold(logits, targets).numpy(), outputs, rtol=1e-5, atol=1e-4)


def test_what_truncation_loses() -> None:
    """The last row: BOS (1), "### Instruction:\\nHi\\n\\n" (21) and "### Response:\\n" (14) are 36 tokens, then 50
    and the end. Of 60 tokens 24 of those 51 are left, of 36 none; the second row, 36 + 12 + 1 long, keeps 0."""
    encoded, _, rows = encoded_for(60)
    codes = {finding.code: finding for finding in Instruct.check_encoded(rows, encoded)}
    assert int(encoded.units.spans[-1, 0]) == 36
    assert int(encoded.units.spans[-1, 1]) == 87
    assert codes["answer-cut"].rows[-1] == 3
    assert encoded.tokens.lengths.tolist() == [60, 49, 60, 60]

    encoded, _, rows = encoded_for(36)
    (finding,) = Instruct.check_encoded(rows, encoded)
    assert (finding.code, finding.severity, finding.count) == ("nothing-to-train", "error", 4)
    task = Instruct(LossConfig(), InstructSettings())
    examples = task.examples(encoded, np.arange(4), task.targets((), encoded), 36, 0)
    assert len(task.for_training(examples)) == 0


def test_the_doctor_on_conversations(tmp_path: Path) -> None:
    """Two answers to one instruction, and empty answers; duplicates of a prompt stay on one side."""
    rows = [{"instruction": f"Say {i}", "output": f"It is {i}"} for i in range(40)]
    rows += [{"instruction": "Say 3!", "output": "No"}, {"instruction": "Say nothing", "output": ""}]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    found, findings = tunelab.check(path, task="instruct")
    codes = {finding.code: finding for finding in findings}
    assert codes["several-answers"].count == 2
    assert codes["empty-answer"].examples == ("data.json row 42: Say nothing → ''",)
    groups = Instruct.grouping(found)
    assert (groups[3], groups[40]) == ("Say 3", "Say 3!")


def test_check_says_how_the_rows_are_written(tmp_path: Path) -> None:
    """Which template is used, what it leaves open, and a row as the model reads it."""
    path = tmp_path / "data.json"
    path.write_text(
        json.dumps([{"instruction": f"Say {i}", "output": f"It is {i}"} for i in range(40)]), "utf-8"
    )
    folder = language_model(tmp_path / "model")
    table, _ = tunelab.check(path, task="instruct", model=str(folder))
    assert "chat template: alpaca (the tokenizer has none)" in table.notes
    assert table.notes[-1].endswith("\n<s>### Instruction:\nSay 0\n\n### Response:\n⟦It is 0</s>⟧")
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    table, _ = tunelab.check(path, task="instruct", model=str(folder))
    assert [note for note in table.notes if "the tokenizer's chat template has no generation marks" in note]
    assert table.notes[-1].endswith("\nuser: Say 0\nassistant: ⟦It is 0\n</s>⟧")
    assert not [note for note in tunelab.check(path, task="instruct")[0].notes if "template" in note]


def test_a_part_without_any_answer_left_is_refused(tmp_path: Path) -> None:
    """The prompts of the three validation rows alone are longer than what the model is shown."""
    rows = [{"instruction": f"Say {i}", "output": f"It is {i}", "split": "train"} for i in range(40)]
    rows += [{"instruction": "x" * 300, "output": str(i), "split": "valid"} for i in range(3)]
    rows += [{"instruction": f"Say {i}!", "output": f"It is {i}", "split": "test"} for i in range(5)]
    for name in ("train", "valid", "test"):
        part = [{k: v for k, v in row.items() if k != "split"} for row in rows if row["split"] == name]
        (tmp_path / f"{name}.json").write_text(json.dumps(part), encoding="utf-8")
    model = ModelConfig(name=str(language_model(tmp_path / "model")), max_length=100)
    with pytest.raises(DataError, match="of the 3 validation rows none has a token to learn or to be judged"):
        prepare((str(tmp_path),), "instruct", DataConfig(), model)


@pytest.mark.parametrize("method", ["full", "lora", "adapter", "prefix", "prompt", "p_tuning", "ia3"])
def test_what_is_written_is_the_likeliest_token_each_time(method: str) -> None:
    """`generate`, with and without a cache, against a loop that reads everything again for every token."""
    torch.manual_seed(0)
    tuned = methods.find(method).make({}).attach(make_model("llama", task="CausalLM"))
    tuned.model.eval()
    tokenizer = byte_tokenizer()
    prompts = [[1, 5, 9], [1, 7, 7, 8, 30], [1, 6, 20]]
    wanted = []
    for prompt in prompts:
        ids = list(prompt)
        while len(ids) < len(prompt) + 7:
            with torch.no_grad():
                batch = torch.tensor([ids])
                best = int(
                    tuned.model(input_ids=batch, attention_mask=torch.ones_like(batch)).logits[0, -1].argmax()
                )
            if best == 2:
                break
            ids.append(best)
        wanted.append(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True).strip())
    assert generate(tuned, tokenizer, prompts, [2], 7) == wanted


def test_a_study_of_instructions(tmp_path: Path) -> None:
    """From a file to a model that answers; its loss on the test rows is that of the plain transformers model with
    the bundle's own template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = [{"instruction": f"Say {i}", "output": f"It is {i}."} for i in range(60)]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    study = tunelab.compare(
        path, task="instruct", methods=["full", "lora", "head"], model=str(language_model(tmp_path / "model")),
        folds=0, seeds=1, effort="quick", out=tmp_path / "out", progress=False,
        settings={"train.epochs": 2, "train.batch_size": 8, "instruct.max_new_tokens": 12},
    )  # fmt: skip
    record = study.record
    assert {result.name for result in record.results} == {"full", "lora", "untouched"}
    assert any("no task head" in why for why in record.failures.values())
    assert record.samples
    assert record.samples[0].label.startswith("It is")
    assert "What it writes" in study.report.read_text(encoding="utf-8")
    (answer,) = tunelab.load(study.bundle).predict(["Say 7"])
    assert isinstance(answer, str)

    for name in ("full", "untouched"):
        run = next(r for r in record.results if r.name == name).runs[0]
        folder = study.folder / "runs" / run
        bundle = study.bundle if study.winner == "full" else folder / "bundle"
        tokenizer = AutoTokenizer.from_pretrained(bundle if name == "full" else study.bundle)
        model = AutoModelForCausalLM.from_pretrained(bundle if name == "full" else tmp_path / "model")
        items = pd.read_parquet(folder / "predictions.parquet")
        total = tokens = 0.0
        for row in items["row"]:
            own = rows[row - 1] if row <= len(rows) else rows[-1]
            messages = [
                {"role": "user", "content": own["instruction"]}, {"role": "assistant", "content": own["output"]}
            ]  # fmt: skip
            found = tokenizer.apply_chat_template(
                messages, return_dict=True, return_assistant_tokens_mask=True
            )
            ids, learnt = torch.tensor([found["input_ids"]]), torch.tensor([found["assistant_masks"]])
            with torch.no_grad():
                loss = model(input_ids=ids, labels=torch.where(learnt == 1, ids, IGNORED)).loss
            total, tokens = total + float(loss) * int(learnt.sum()), tokens + int(learnt.sum())
        scores = json.loads((folder / "result.json").read_text(encoding="utf-8"))["scores"]
        assert scores["-loss"] == pytest.approx(-total / tokens, abs=1e-5)


def test_encoders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"instruction": "Say 1", "output": "1"}] * 30), encoding="utf-8")
    with pytest.raises(ConfigError, match="is an encoder, which cannot write"):
        tunelab.run(
            path, task="instruct", model=str(language_model(tmp_path / "model", "bert")), out=tmp_path / "out",
            progress=False,
        )  # fmt: skip
