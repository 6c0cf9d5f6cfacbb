"""Compare three methods on a file of your own, look at the table, use the advised model.

python examples/own_file.py reviews.csv [model]

Without a model the packaged one for the texts' language is taken.
"""

import sys

import tunelab


def main(file: str, model: str | None = None) -> None:
    study = tunelab.compare(file, methods=["full", "lora", "head"], model=model, effort="quick")
    print(study.table[["method", "score", "low", "high", "train_seconds"]].to_string(index=False))
    print("cannot be told apart:", " | ".join(", ".join(group) for group in study.groups))
    specialist = tunelab.load(study.bundle)
    print(specialist.labels, specialist.predict(["It broke after a day.", "Lovely, and it lasts."]))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
