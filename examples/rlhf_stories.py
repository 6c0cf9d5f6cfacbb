"""The whole way of RLHF on small real models: a model that writes stories learns to write happy ones.

    python examples/rlhf_stories.py --policy FOLDER --sentiment FOLDER_OR_FILE --out tunelab-out/stories

1. two sentiment classifiers with different seeds on the same labelled sentences: one is the reward that is
   learnt from, the other the held-out judge that decides;
2. beginnings of stories, each with two endings that the untouched model writes, ordered by the reward: this
   is what SFT and DPO learn from, and PPO and GRPO take the beginnings;
3. one study: SFT, DPO, PPO and GRPO with full fine-tuning and LoRA, judged by what they write after
   beginnings that none of them has seen.

--policy: a small causal language model; --sentiment: sentences with labels, of which the last one in the
alphabet is the good one (sst2 has 0 and 1). About half an hour on two cores; the same command goes on where
it was stopped.
"""

import argparse
import itertools
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tunelab
from tunelab.rlhf.rollout import RolloutSettings, rollout

NAMES = ("Tom", "Lily", "Ben", "Sue", "Max", "Anna", "Tim", "Mia", "Sam", "Lucy", "Jack", "Emma")
THINGS = (
    *("a dog", "a ball", "a tree", "a big box", "the rain", "a cat", "a car", "the moon", "a bird"),
    *("a red hat", "an old man"),
)
BEGINNINGS = (
    "Once upon a time, {name} saw {thing} and",
    "One day, {name} found {thing}. {name} felt",
    "{name} went to the park with {thing}. Then",
    "Once there was {thing}. {name} wanted to",
)
TOKENS = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", required=True, help="folder or hub id of a causal language model")
    parser.add_argument("--sentiment", required=True, help="labelled sentences for reward and judge")
    parser.add_argument("--out", type=Path, default=Path("tunelab-out/stories"))
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--effort", default="quick", choices=("quick", "standard", "thorough"))
    parser.add_argument("--seeds", type=int, help="runs of each; default: by effort")
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument(
        "--learning-rate", type=float, default=5e-4, help="the methods' own are for large models"
    )
    given = parser.parse_args()

    reward, judge = (
        tunelab.run(given.sentiment, method="full", seed=seed, rows=3000, out=given.out / name).bundle
        for seed, name in ((0, "reward"), (1, "judge"))
    )
    pairs = given.out / "pairs.jsonl"
    if not pairs.is_file():
        pairs.write_text(pairs_of(given.policy, reward), encoding="utf-8")

    settings = {
        "align.method": "sft",
        "align.reward": str(reward),
        "align.judge": str(judge),
        "align.template": "continue",
        "align.max_new_tokens": TOKENS,
        "data.test_ratio": 0.3,
        "train.epochs": given.epochs,
        "train.learning_rate": given.learning_rate,
    }
    ways = ("dpo", "ppo", "grpo")
    study = tunelab.compare(
        pairs,
        task="align",
        model=given.policy,
        methods=given.methods,
        effort=given.effort,
        seeds=given.seeds,
        folds=0,
        add=[f"{method},align.method={way}" for way in ways for method in given.methods.split(",")],
        out=given.out / "study",
        settings=settings,
    )
    print(study.table[["method", "score", "low", "high", "train_seconds"]].to_string(index=False))
    print(study.bundle)


def pairs_of(policy: str, reward: Path) -> str:
    """Beginnings, each with two endings of the untouched model, the better one by the reward first: JSON
    lines."""
    beginnings = [
        text.format(name=name, thing=thing)
        for text, name, thing in itertools.product(BEGINNINGS, NAMES, THINGS)
    ]
    tokenizer = AutoTokenizer.from_pretrained(policy)
    model = AutoModelForCausalLM.from_pretrained(policy)
    end = tokenizer.eos_token_id
    prompts = [ids[:-1] if ids[-1] == end else ids for ids in tokenizer(beginnings)["input_ids"]]
    settings = RolloutSettings(eos_ids=(end,), pad_id=end, max_new_tokens=TOKENS, answers=2)
    drawn = rollout(model, prompts, settings, torch.Generator().manual_seed(0))
    endings = [
        tokenizer.decode(ids[mask].tolist(), skip_special_tokens=True)
        for ids, mask in zip(drawn.completion_ids_BT, drawn.mask_BT, strict=True)
    ]
    whole = [f"{beginnings[i // 2]} {ending}" for i, ending in enumerate(endings)]
    worth = tunelab.load(reward).predict_proba(whole).iloc[:, -1].tolist()
    rows = []
    for i, beginning in enumerate(beginnings):
        better, worse = sorted((2 * i, 2 * i + 1), key=lambda at: -worth[at])
        rows.append({"prompt": beginning, "chosen": endings[better], "rejected": endings[worse]})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
