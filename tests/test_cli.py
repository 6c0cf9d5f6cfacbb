"""The command line as a person meets it: help, mistakes, results."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tiny import make_model_folder, sentences, write_sentences

import tunelab
from tunelab.cli import main
from tunelab.errors import ConfigError

ROWS = sentences(60)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Calls the command line in this process: (exit code, stdout, stderr), lines unwrapped."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "400")
        monkeypatch.setattr(sys, "argv", ["tunelab", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_help_is_instant_and_imports_no_torch() -> None:
    """Half a second is the promise; of a core's time, as the machine may be busy, and the best of three."""
    times = []
    for _ in range(3):
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "tunelab.cli", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)
        modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert not {"torch", "transformers", "pandas", "sklearn", "peft"} & modules
    assert min(times) < 1.0, times  # with the import trace on, and on a loaded machine


@pytest.mark.parametrize(
    "verb", ["compare", "run", "report", "predict", "check", "advise", "export", "methods", "tasks", "models"]
)
def test_every_verb_has_an_example(verb: str, call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert f"tunelab {verb}" in out
    assert "Example" in out


def csv(folder: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


def with_file(data: bytes | str, name: str = "data.csv") -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        path = folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return [path]

    return make


def with_frame(
    change: Callable[[pd.DataFrame], pd.DataFrame], *more: object
) -> Callable[[Path], list[object]]:
    return lambda folder: [csv(folder, change(ROWS.copy())), *more]


MISTAKES = {
    "missing file": (lambda folder: [folder / "nothing.csv"], ["nothing.csv", "does not exist"]),
    "empty file": (with_file(b""), ["data.csv", "empty"]),
    "header only": (with_file("text,label\n"), ["data.csv"]),
    "unknown column": (with_frame(lambda f: f, "--text", "txt"), ["txt", "did you mean 'text'"]),
    "one class only": (with_frame(lambda f: f.assign(label="good")), ["good", "label"]),
    "a class with a single row": (
        with_frame(lambda f: f.assign(label=["odd", *f["label"][1:]])),
        ["'odd'", "row"],
    ),
    "all texts empty": (with_frame(lambda f: f.assign(text="")), ["text", "empty"]),
    "ragged": (
        with_file("text,label\n" + "a b c,good\n" * 9 + "one, two, three,bad\n"),
        ["row 11", "4", "2"],
    ),
    "binary junk": (with_file(bytes(range(256)) * 40), ["data.csv"]),
    "a picture": (with_file(b"\x89PNG\r\n\x1a\n" + b"\0\1\2" * 99), ["data.csv"]),
    "wrong encoding": (
        with_file(b"text,label\n" + ("好" * 40).encode() + b"\xff\xfe\x81 ,good\n" + b"fine,bad\n" * 9),
        ["data.csv"],
    ),
    "labels unique per row": (
        with_frame(lambda f: f.assign(label=[f"id {i}" for i in range(len(f))])),
        ["label", "--label"],
    ),
    "misspelt setting": (with_frame(lambda f: f, "lora.rnk=8"), ["lora.rnk", "did you mean 'rank'"]),
    "a bare setting": (with_frame(lambda f: f, "epochs=5"), ["'epochs'", "did you mean train.epochs?"]),
    "a bare setting of several methods": (with_frame(lambda f: f, "rank=16"), ["did you mean lora.rank or"]),
    "a misspelt setting of a method that is not compared": (
        with_frame(lambda f: f, "--methods", "full", "lora.rnk=3"),
        ["lora.rnk", "did you mean 'rank'"],
    ),
    "a section as a word": (with_frame(lambda f: f, "speed=false"), ["'speed' is a section", "speed.NAME"]),
    "folds that are no number": (
        with_frame(lambda f: f, "--folds", "many"),
        ["setting 'data.folds' should be a valid integer or 'auto'; got 'many'"],
    ),
    "more folds than there are": (
        with_frame(lambda f: f, "--folds", "25"),
        ["folds must be 0 to 20, or auto\n"],
    ),
    "two texts where one is read": (
        with_frame(lambda f: f.assign(second=f["text"]), "--text", "text", "--text-pair", "second"),
        ["reads one text", "--task match"],
    ),
    "misspelt section": (with_frame(lambda f: f, "trian.epochs=2"), ["trian.epochs", "did you mean 'train'"]),
    "misspelt name in a section": (with_frame(lambda f: f, "train.epoch=2"), ["did you mean 'epochs'"]),
    "value out of range": (
        with_frame(lambda f: f, "train.epochs=-1"),
        ["train.epochs", "greater than 0", "-1"],
    ),
    "value of another type": (with_frame(lambda f: f, "train.batch_size=many"), ["train.batch_size", "many"]),
    "two mistakes at once": (
        with_frame(lambda f: f, "train.epochs=0", "train.batch_size=0"),
        ["train.epochs", "train.batch_size"],
    ),
    "unknown method": (with_frame(lambda f: f, "--methods", "lroa"), ["lroa", "did you mean 'lora'"]),
    "unknown tracker": (with_frame(lambda f: f, "train.trackers=[wandbb]"), ["did you mean 'wandb'"]),
    "a tracker without its package": (
        with_frame(lambda f: f, "train.trackers=[clearml]"),
        ["pip install clearml"],
    ),
    "unknown task": (with_frame(lambda f: f, "--task", "clasify"), ["did you mean 'classify'"]),
    "unknown model": (with_frame(lambda f: f, "--model", "no/such-model"), ["no/such-model", "HF_ENDPOINT"]),
    "missing model folder": (
        with_frame(lambda f: f, "--model", "./nowhere"),
        ["./nowhere", "does not exist"],
    ),
    "unknown effort": (with_frame(lambda f: f, "--effort", "hard"), ["effort", "quick", "hard"]),
    "a budget that is no time": (with_frame(lambda f: f, "--budget", "soon"), ["search.budget", "30m"]),
    "a curve that is no percentage": (
        with_frame(lambda f: f, "--curve", "0,50"),
        ["curve", "0 is no percentage"],
    ),
    "a curve of words": (with_frame(lambda f: f, "--curve", "a,b"), ["10,25,50,100"]),
    "unknown language": (with_frame(lambda f: f, "--language", "fr"), ["'fr'", "en or zh"]),
    "a variant with a misspelt setting": (
        with_frame(lambda f: f, "--add", "lora.rnk=64"),
        ["lora.rnk", "did you mean 'rank'"],
    ),
    "a variant that is none": (with_frame(lambda f: f, "--add", "rank=64"), ["METHOD.NAME=VALUE"]),
    "a variant like the method": (
        with_frame(lambda f: f, "--methods", "lora", "--add", "lora.rank=8"),
        ["the same as 'lora'"],
    ),
    "settings file missing": (with_frame(lambda f: f, "--config", "no.yaml"), ["no.yaml"]),
    "no file at all": (lambda folder: ["lora.rank=8"], ["no data file"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_clear_message(
    name: str,
    call: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, no traceback, the place and the way out named, and no model was opened."""
    from transformers import PreTrainedModel

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", never)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make, expected = MISTAKES[name]
    words = make(tmp_path)
    if "--model" not in words:
        words = [*words, "--model", model]
    code, out, err = call("compare", *words, "--out", tmp_path / "out")
    assert code == 2, err
    assert "Traceback" not in out + err
    for part in expected:
        assert part in err, err
    assert not (tmp_path / "out").exists()


def test_an_unwritable_output_is_told_first(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, model: Path
) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    code, _, err = call("compare", csv(tmp_path, ROWS), "--model", model, "--out", tmp_path / "out")
    assert code == 2
    assert "cannot be written" in err
    assert "--out" in err


def test_a_full_disk_leaves_nothing_that_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space runs out while a bundle is written: an error that says so, and no bundle, whole or half."""
    from tunelab.errors import OutputError
    from tunelab.files import folder_atomically, output_errors, write_atomically

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    target = tmp_path / "bundle"

    def write() -> None:
        with output_errors(target), folder_atomically(target) as work:
            (work / "half").write_text("x")
            write_atomically(work / "tunelab.json", b"{}")

    with pytest.raises(OutputError, match=r"disk is full.*run the same command again"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_run_then_predict_text_and_file(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, model: Path
) -> None:
    data, out = csv(tmp_path, ROWS), tmp_path / "out"
    code, shown, err = call(
        "run", data, "--method", "head", "--model", model, "--out", out, "train.epochs=1", "-q"
    )
    assert code == 0, err
    bundle = Path(shown.split("model:")[1].strip())
    code, shown, _ = call("predict", bundle, "--text", "office lamp lovely", "--text", "hall mug [broken]")
    assert code == 0
    assert "p(good)" in shown
    assert "hall mug [broken]" in shown
    table = ROWS.assign(price=range(len(ROWS)), text=["", *ROWS["text"][1:]])
    table.to_csv(tmp_path / "in.csv", index=False)
    code, shown, _ = call("predict", bundle, "--file", tmp_path / "in.csv", "--out", tmp_path / "answers.csv")
    assert code == 0
    assert "1 rows have no text (row 2)" in shown
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert list(answers.columns) == ["text", "label", "price", "prediction", "p(bad)", "p(good)"]
    assert answers["price"].tolist() == list(range(len(ROWS)))
    assert (answers["p(bad)"] + answers["p(good)"]).tolist() == pytest.approx([1.0] * len(ROWS))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "give either --text"),
        (["--file", "x.csv"], "--file needs --out"),
        (["--file", "x.csv", "--out", "y.pdf"], "unknown ending '.pdf'"),
        (["--text", "x"], "does not exist"),
        (["--text", "x", "--out", "y.csv"], "--out is for --file"),
        (["--text", "x", "--column", "a"], "--column is for --file"),
        (["--file", "x.csv", "--out", "y.csv", "--text-pair", "b"], "--text-pair is for --text"),
        (["--file", "x.csv", "--out", "./x.csv"], "x.csv is the file with the texts, which stays as it is"),
    ],
)
def test_predict_says_what_is_missing(
    words: list[str], expected: str, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, err = call("predict", tmp_path / "no-bundle", *words)
    assert code == 2
    assert expected in err


def test_check_shows_findings_and_mends_into_another_file(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, model: Path
) -> None:
    frame = pd.concat([ROWS, ROWS[:3], pd.DataFrame({"text": [""], "label": ["good"]})], ignore_index=True)
    data = csv(tmp_path, frame)
    before = data.read_bytes()
    code, shown, _ = call("check", data, "--model", model)
    assert code == 0
    assert "3 rows" in shown
    assert "repeat" in shown
    code, shown, _ = call("check", data, "--model", model, "--fix", "--out", tmp_path / "mended.csv")
    assert code == 0
    assert len(pd.read_csv(tmp_path / "mended.csv")) == len(ROWS)
    assert data.read_bytes() == before, "the user's own file is never changed"


def test_a_file_of_ones_own_is_never_the_mended_one(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is what was there before lost where the mended rows cannot be read again."""
    (tmp_path / "own").mkdir()
    data = csv(tmp_path / "own", ROWS.assign(text=" ", customer=1))
    before = data.read_bytes()
    monkeypatch.chdir(tmp_path)
    for out, said in (
        (Path("own/../own/data.csv"), "stays as it is"),
        (tmp_path / "other.csv", "read again"),
    ):
        (tmp_path / "other.csv").write_text("kept")
        code, _, err = call("check", data, "--fix", "--out", out)
        assert code == 2
        assert said in err
    assert data.read_bytes() == before
    assert (tmp_path / "other.csv").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"own", "other.csv"}
    write_sentences(tmp_path / "own/train.csv", 60)
    data.unlink()
    code, _, err = call("check", tmp_path / "own", "--fix", "--out", tmp_path / "own/train.csv")
    assert code == 2
    assert "stays as it is" in err
    assert call("check", data, "--out", tmp_path / "x.csv")[0] == 2


def test_mending_says_what_it_leaves_and_ends_with_2_where_errors_stay(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, model: Path
) -> None:
    data = csv(tmp_path, ROWS.assign(id=range(len(ROWS)), customer=[f"c{i // 2}" for i in range(len(ROWS))]))
    out = tmp_path / "mended.csv"
    code, shown, _ = call("check", data, "--model", model, "--fix", "--out", out, "--group", "customer")
    assert code == 0
    assert "not taken over: column id (" in shown
    assert set(pd.read_csv(out).columns) == {"text", "label", "customer"}
    one = csv(tmp_path, ROWS.assign(label="good"))
    code, shown, _ = call("check", one, "--model", model, "--fix", "--out", out)
    assert code == 2
    assert "what nobody can mend but you" in shown


@pytest.mark.parametrize("verb", ["check", "advise"])
def test_a_model_is_no_word(verb: str, call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = call(verb, csv(tmp_path, ROWS), "model=minilm")
    assert code == 2
    assert "'model' is a section" in err
    assert "Traceback" not in out + err
    assert "lora.rnk" in call(verb, csv(tmp_path, ROWS), "lora.rnk=4")[2]


def test_a_run_takes_its_method_and_seed_from_settings(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, model: Path
) -> None:
    data = csv(tmp_path, ROWS)
    words = ["run", data, "--model", model, "--out", tmp_path / "out", "-q"]
    assert "did you mean 'lora'" in call(*words, "method=lorra")[2]
    assert "seed" in call(*words, "seed=abc")[2]
    assert "is for a study" in call(*words, "methods=[full]")[2]
    code, shown, err = call(*words, "method=head", "seed=3", "train.epochs=1")
    assert code == 0, err
    assert shown.startswith("head: ")
    assert [path.name[:7] for path in (tmp_path / "out/runs").iterdir()] == ["head-s3"]
    _, shown, _ = call(*words, "--method", "bitfit", "method=head", "train.epochs=1")  # an option goes first
    assert shown.startswith("bitfit: ")


def test_one_variant_and_one_share_need_no_list_and_a_table_is_no_file(tmp_path: Path) -> None:
    data = csv(tmp_path, ROWS)
    with pytest.raises(ConfigError, match="did you mean 'rank'"):
        tunelab.compare(data, add="lora.rnk=64", methods="lora", out=tmp_path / "out")
    with pytest.raises(ConfigError, match="0 is no percentage"):
        tunelab.compare(data, curve=0.0, out=tmp_path / "out")
    with pytest.raises(ConfigError, match="to_csv"):
        tunelab.compare(ROWS, out=tmp_path / "out")


def test_check_ends_with_2_on_errors(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, model: Path
) -> None:
    code, shown, _ = call("check", csv(tmp_path, ROWS.assign(label="good")), "--model", model)
    assert code == 2
    assert "error" in shown


def test_lists(call: Callable[..., tuple[int, str, str]]) -> None:
    from tunelab.methods import METHODS

    _, shown, _ = call("methods")
    assert all(name in shown for name in METHODS)
    assert "arXiv" in shown
    _, shown, _ = call("methods", "lora")
    assert "lora.rank" in shown
    assert call("methods", "lorra")[0] == 2
    assert "classify" in call("tasks")[1]
    assert "minilm" in call("models")[1]


def test_settings_from_yaml_and_words_meet(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, model: Path
) -> None:
    """The word wins over the file."""
    import yaml

    (tmp_path / "my.yaml").write_text("train:\n  epochs: 3\n  learning_rate: 2e-4\nhead: {}\n")
    data = write_sentences(tmp_path / "data.csv", 40)
    words = ["--method", "head", "--model", model, "--config", tmp_path / "my.yaml", "train.epochs=1", "-q"]
    code, _, err = call("run", data, *words, "--out", tmp_path / "out")
    assert code == 0, err
    (config,) = (tmp_path / "out/runs").glob("*/config.yaml")
    values = yaml.safe_load(config.read_text())
    assert (values["train"]["epochs"], values["train"]["learning_rate"]) == (1, 0.0002)


def test_ctrl_c_before_any_run_is_told(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tunelab.api.check", interrupted)
    assert call("check", "reviews.csv") == (130, "", "stopped: by Ctrl-C; the same command begins again\n")
