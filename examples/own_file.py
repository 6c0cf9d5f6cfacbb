"""Compare three methods on a file of your own, look at the table, use the winner.

python examples/own_file.py reviews.csv [model]
"""

import sys

import tunelab


def main(file: str, model: str = "minilm") -> None:
    study = tunelab.compare(file, methods=["full", "lora", "head"], model=model, seeds=1)
    print(study.table[["method", "score", "low", "high", "train_seconds"]].to_string(index=False))
    specialist = tunelab.load(study.bundle)
    print(specialist.labels, specialist.predict(["It broke after a day.", "Lovely, and it lasts."]))


if __name__ == "__main__":
    main(*sys.argv[1:])
