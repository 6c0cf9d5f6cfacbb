"""RLHF on a classifier: it shows labels, annotators say whether they are right, and it learns from that.

    python examples/rlhf_labels.py --data FILE_OR_FOLDER --out tunelab-out/feedback --rows 300

1. a classifier is trained on a few labelled rows and exported: it is what feedback is to improve;
2. for rows that it has not seen it shows a label, now and then (--explore) a random one, so that the others
   get their chance, too; an annotator gives 1 for a right label and 0 for a wrong one, and is mistaken in a
   share of the cases (--noise);
3. a reward model (text, label) -> reward is trained on that;
4. one study: inverse-propensity weights, imitation of what was liked, and PPO, with full fine-tuning and
   LoRA, beside the classifier as it was, judged on held-out rows by their true labels, which no training has
   seen.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import tunelab
from tunelab.data.read import GROUP, LABEL, TEXT, read


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="labelled texts, divided into train and test")
    parser.add_argument("--out", type=Path, default=Path("tunelab-out/feedback"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument(
        "--rows", type=int, default=300, help="labelled rows that the classifier is trained on"
    )
    parser.add_argument("--feedback", type=int, default=2000, help="rows on which people say something")
    parser.add_argument(
        "--explore", type=float, default=0.2, help="share of random labels among the shown ones"
    )
    parser.add_argument("--noise", type=float, default=0.15, help="share of mistaken annotations")
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--effort", default="quick", choices=("quick", "standard", "thorough"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    frame = read([given.data], (TEXT, LABEL, GROUP), {}).frame
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(frame["split"] == "train"))
    few, more = drawn[: given.rows], drawn[given.rows : given.rows + given.feedback]
    labelled = given.out / "labelled.csv"
    frame.iloc[few][["text", "label"]].to_csv(labelled, index=False)
    classifier = tunelab.run(
        labelled, method="full", model=given.model, folds=0, out=given.out / "classifier"
    )
    exported = given.out / "exported"
    if not exported.is_dir():
        classifier.load().export(exported)

    logged = given.out / "feedback.csv"
    said = shown_and_rated(frame.iloc[more], classifier, given.explore, given.noise)
    tested = frame[frame["split"] == "test"].assign(split="test")
    unseen = tested.assign(shown=tested["label"], reward=1.0, propensity=1.0)  # (looked at by no method)
    pd.concat([said.assign(split="train"), unseen])[
        ["text", "label", "shown", "reward", "propensity", "split"]
    ].to_csv(logged, index=False)
    rated = given.out / "rated.csv"
    said[["text", "shown", "reward"]].to_csv(rated, index=False)
    reward = tunelab.run(
        rated, method="full", model=given.model, task="regress", text_pair="shown", label="reward", folds=0,
        out=given.out / "reward",
    )  # fmt: skip

    ways = ("imitate", f"ppo,feedback.reward={reward.bundle}")
    study = tunelab.compare(
        logged,
        task="feedback",
        model=str(exported),
        methods=given.methods,
        effort=given.effort,
        add=[f"{method},feedback.method={way}" for way in ways for method in given.methods.split(",")],
        out=given.out / "study",
    )
    print(study.table[["method", "score", "low", "high", "train_seconds"]].to_string(index=False))


def shown_and_rated(
    rows: pd.DataFrame, classifier: tunelab.Run, explore: float, noise: float
) -> pd.DataFrame:
    """What was shown for each row, how it was rated, and how likely it was to be shown."""
    random = np.random.default_rng(1)
    probabilities = classifier.load().predict_proba(rows["text"].tolist())
    labels, shares = list(probabilities.columns), probabilities.to_numpy()
    chances = (1 - explore) * (shares == shares.max(1, keepdims=True)) + explore / len(labels)
    chances /= chances.sum(1, keepdims=True)
    shown = [random.choice(len(labels), p=row) for row in chances]
    right = np.array([labels[at] for at in shown]) == rows["label"].to_numpy()
    mistaken = random.random(len(rows)) < noise
    return rows.assign(
        shown=[labels[at] for at in shown],
        reward=(right != mistaken).astype(float),
        propensity=[float(row[at]) for row, at in zip(chances, shown, strict=True)],
    )


if __name__ == "__main__":
    main()
