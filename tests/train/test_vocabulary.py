"""The compact vocabulary changes the time of a training and nothing else."""

import contextlib
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from models_zoo import VOCABULARY, make_model
from toys import make_tuned, toy_examples, train_toy

from tunelab import methods
from tunelab.config import TrainConfig
from tunelab.data.batch import Examples
from tunelab.data.encode import Tokens
from tunelab.errors import Stopped
from tunelab.train.vocabulary import compact_vocabulary

CONFIG = TrainConfig(epochs=3, batch_size=8, checkpoint_seconds=0, weight_decay=0.3)


def few_tokens() -> Examples:
    """The toy data with every token from 30 on replaced, so that half of the vocabulary never occurs."""
    known = toy_examples()
    ids = np.where(known.tokens.ids < 30, known.tokens.ids, known.tokens.ids % 27 + 3).astype(np.int32)
    return Examples(Tokens(ids, known.tokens.starts, 0), known.targets, known.rows, 12, known.pad_id)


def trained(architecture: str, method: str, folder: Path, compact: bool, stops: tuple[int, ...] = ()):
    """The whole state after training; stops: after how many steps the run is interrupted and continued."""
    examples = few_tokens()
    for steps in [*stops, 10**9]:
        torch.manual_seed(0)
        tuned = methods.find(method).make({}).attach(make_model(architecture, dropout=0.1))
        stop = functools.partial(lambda left: next(left, None) is None, iter(range(steps)))
        context = compact_vocabulary(tuned, [examples]) if compact else contextlib.nullcontext()
        with contextlib.suppress(Stopped), context as kept:
            assert not compact or tuned.model.get_input_embeddings().num_embeddings == kept + 1 < 32
            train_toy(tuned, folder, CONFIG, examples=examples, stop=stop)
    return {name: tensor.clone() for name, tensor in tuned.model.state_dict().items()}


@pytest.mark.parametrize("method", ["full", "gradual", "layer_decay"])
@pytest.mark.parametrize("architecture", ["bert", "electra", "deberta-v2", "llama"])
def test_the_result_is_the_ordinary_one(architecture: str, method: str, tmp_path: Path) -> None:
    """Every weight, those of tokens that never occur among them, whose rows have decayed; 24 steps."""
    ordinary = trained(architecture, method, tmp_path / "a", False)
    compact = trained(architecture, method, tmp_path / "b", True)
    assert ordinary.keys() == compact.keys()
    for name, tensor in ordinary.items():
        torch.testing.assert_close(compact[name], tensor, rtol=0, atol=2e-6, msg=name)


def test_absent_rows_really_decay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = make_model("bert", dropout=0.1).get_input_embeddings().weight[60].clone()
    after = trained("bert", "full", tmp_path, True)["bert.embeddings.word_embeddings.weight"][60]
    factor = (after / before)[before.abs() > 1e-3]
    assert factor.std() < 1e-5
    assert 0.99 < factor.mean() < 0.9999


def test_a_stopped_run_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    whole = trained("bert", "full", tmp_path / "a", True)
    parts = trained("bert", "full", tmp_path / "b", True, stops=(5, 7))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("method", ["lora", "head", "bitfit"])
def test_a_table_that_does_not_move_is_left_alone(method: str) -> None:
    with compact_vocabulary(make_tuned(method), [few_tokens()]) as kept:
        assert kept is None


def test_a_table_that_the_output_layer_shares_is_left_alone() -> None:
    import transformers

    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=VOCABULARY)
    tuned = methods.find("full").make({}).attach(transformers.GPT2LMHeadModel(config))
    with compact_vocabulary(tuned, [few_tokens()]) as kept:
        assert kept is None


def test_a_token_that_was_not_announced_is_an_error_and_everything_is_put_back() -> None:
    tuned = make_tuned("full")
    table = tuned.model.get_input_embeddings()
    weight, pointer = table.weight.clone(), table.weight.data_ptr()
    ids = torch.full((1, 4), VOCABULARY - 1)
    with pytest.raises(IndexError), compact_vocabulary(tuned, [few_tokens()]):
        tuned.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert torch.equal(table.weight, weight)
    assert (table.weight.data_ptr(), table.num_embeddings, table.padding_idx) == (pointer, VOCABULARY, 0)
    tuned.model(input_ids=ids, attention_mask=torch.ones_like(ids))


def test_ordinary_data_of_all_tokens_is_left_alone() -> None:
    with compact_vocabulary(make_tuned("full"), [toy_examples(300)]) as kept:
        assert kept is None
