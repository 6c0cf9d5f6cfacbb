"""What `import tunelab` promises."""

import inspect
import subprocess
import sys
from pathlib import Path

import tunelab
from tunelab import errors


def test_all_is_what_there_is() -> None:
    assert tunelab.__all__ == [
        "Run",
        "__version__",
        "advise",
        "check",
        "compare",
        "errors",
        "load",
        "run",
        "write_report",
    ]
    for name in tunelab.__all__:
        assert getattr(tunelab, name) is not None
        if callable(getattr(tunelab, name)):
            assert inspect.getdoc(getattr(tunelab, name)), name


def test_the_version_is_the_packages() -> None:
    import importlib.metadata

    assert tunelab.__version__ == importlib.metadata.version("tunelab")


def test_import_is_light() -> None:
    code = (
        "import sys, tunelab; print(sorted({'torch', 'pandas', 'transformers', 'peft'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_the_tree_of_errors_is_the_drawn_one() -> None:
    """Every exception stands in the module's drawing with its exit code."""
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        if words and hasattr(errors, words[0]):
            drawn[words[0]] = int(words[1]) if words[1].isdigit() else 1
    classes = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, Exception)}
    assert drawn == {name: cls.exit_code for name, cls in classes.items()}


def test_the_samples_are_whole() -> None:
    import pandas as pd

    folder = Path(tunelab.__file__).parent / "samples"
    english = pd.read_csv(folder / "reviews.csv")
    chinese = pd.read_csv(folder / "reviews.zh.csv")
    assert len(english) >= 500
    assert set(english["label"]) == {"positive", "negative", "mixed"}
    assert len(chinese) >= 200
    assert set(chinese["标签"]) == {"正面", "负面"}
    assert not english["text"].duplicated().any()
    assert not chinese["评论"].duplicated().any()
