"""Probes and runs side by side: as many as memory holds, and what was decided holds when a study goes on."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import make_model_folder, write_sentences

import tunelab
from tunelab.config import RunConfig, StudyConfig
from tunelab.errors import TunelabError
from tunelab.study import memory, planning
from tunelab.study.candidates import candidates
from tunelab.study.execute import Executor
from tunelab.study.memory import _ran_out
from tunelab.study.plan import Probe
from tunelab.study.planning import Planning, make_plan
from tunelab.study.prepare import Prepared, prepare
from tunelab.study.runner import Job, Outcome
from tunelab.study.tuning import Design, run_config

GB = 1e9
PROBE = Probe(
    step_seconds=0.1,
    token_seconds=0.001,
    evaluate_seconds=0.0,
    judge_seconds=0.0,
    load_seconds=2.0,
    save_seconds=3.0,
    memory_bytes=2 * GB,
    shapes=1000,
    growth_bytes=0.0,
    checkpoint_bytes=0.0,
)


class FakePool:
    """Workers of a machine with `free` bytes; a job that needs more than is left is killed, as by the kernel.

    `log`: the names that were at work together, in order; needs: bytes of each method's worker.
    """

    def __init__(
        self, workers: int, free: float, needs: dict[str, float], broken: Sequence[str] = ()
    ) -> None:
        self.workers, self.threads = workers, 1
        self.free, self.needs, self.broken = free, needs, broken
        self.log: list[tuple[str, ...]] = []

    def run(self, jobs: "deque[Job]") -> Iterator[Outcome]:
        while jobs:
            active = [jobs.popleft() for _ in range(min(self.workers, len(jobs)))]
            self.log.append(tuple(map(method, active)))
            left = self.free
            for job in active:
                left -= self.needs[method(job)]
                if method(job) in self.broken:
                    yield Outcome(job, error=TunelabError("no such layer"), details="Traceback ...")
                elif left < 0:
                    yield Outcome(job, error=TunelabError("the worker was killed (signal 9)"))
                else:
                    yield Outcome(job, value=replace(PROBE, memory_bytes=self.needs[method(job)]).as_dict())


def method(job: Job) -> str:
    return job.name.split("-")[0]


def outcomes(pool: FakePool, names: Sequence[str], expected: dict[str, float]) -> dict[str, bool]:
    """Whether each probe gave something; every one comes to exactly one end."""
    found = list(memory.probed(pool, [Job(name, print, ()) for name in names], expected))  # type: ignore[arg-type]
    assert sorted(outcome.job.name for outcome in found) == sorted(names)
    assert pool.workers == 4
    return {outcome.job.name: outcome.error is None for outcome in found}


NAMES = ["bias", "full", "head", "lora"]
NEEDS = {"bias": 2 * GB, "full": 4 * GB, "head": 1 * GB, "lora": 3 * GB}
CAUTIOUS = {name: 2 * need for name, need in NEEDS.items()}


@pytest.mark.parametrize(
    ("free", "expected", "broken", "log"),
    [
        (20 * GB, CAUTIOUS, (), [("bias", "full", "head", "lora")]),  # 2 x 10 GB are there: as ever
        (None, CAUTIOUS, (), [("bias", "full", "head", "lora")]),  # the system does not say
        (1 * GB, {}, (), [("bias", "full", "head", "lora")]),  # another device's memory
        # 4 GB x 1.25 go three times into 15 GB, and `full` is measured again, beside others
        (15 * GB, CAUTIOUS, (), [("full",), ("full", "lora", "bias"), ("head",)]),
        (9 * GB, CAUTIOUS, (), [("full",), ("lora",), ("bias",), ("head",)]),
        (4.5 * GB, CAUTIOUS, ("full",), [("full",), ("lora",), ("bias",), ("head",)]),
        (8 * GB, CAUTIOUS, ("full",), [("full",), ("lora",), ("lora", "bias"), ("head",)]),
    ],
)
def test_no_more_probes_side_by_side_than_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
    free: float | None,
    expected: dict[str, float],
    broken: Sequence[str],
    log: list[tuple[str, ...]],
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    pool = FakePool(4, free if free and expected else 1e15, NEEDS, broken)
    assert outcomes(pool, NAMES, expected) == {name: name not in broken for name in NAMES}
    assert pool.log == log


def test_a_probe_that_was_killed_beside_others_is_tried_once_more_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The estimate was wrong: of 8 GB bias and full take 6, head 1, so lora is killed, and then it is alone.
    What needs more than the machine has is killed twice, and fails; a broken method is not tried again."""
    monkeypatch.setattr(memory, "available_memory", lambda: 8 * GB)
    pool = FakePool(4, 8 * GB, NEEDS)
    assert all(outcomes(pool, NAMES, dict.fromkeys(NAMES, 1 * GB)).values())
    assert pool.log == [("bias", "full", "head", "lora"), ("lora",)]

    pool = FakePool(4, 8 * GB, {**NEEDS, "lora": 9 * GB}, broken=("bias",))
    assert outcomes(pool, NAMES, dict.fromkeys(NAMES, 1 * GB)) == {
        "bias": False,
        "full": True,
        "head": True,
        "lora": False,
    }
    assert pool.log == [("bias", "full", "head", "lora"), ("lora",)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    folder = tmp_path_factory.mktemp("planning")
    data, model = write_sentences(folder / "data.csv", 200), make_model_folder(folder / "model")
    methods = ("full", "head", "lora")
    return StudyConfig.model_validate(
        {"files": (str(data),), "methods": methods, "data": {"folds": 0}, "model": {"name": str(model)}}
    )


@pytest.fixture(scope="module")
def prepared(config: StudyConfig) -> Prepared:
    return prepare(config.files, config.task, config.data, config.model)


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (RuntimeError("MemoryError: "), True),
        (RuntimeError("_ArrayMemoryError: Unable to allocate 3 GiB"), True),
        (RuntimeError("RuntimeError: std::bad_alloc"), True),
        (RuntimeError("OutOfMemoryError: CUDA out of memory"), True),
        (RuntimeError("ValueError: 3 classes"), False),
    ],
)
def test_how_a_probe_without_memory_is_known(error: Exception, out: bool) -> None:
    assert _ran_out(Outcome(Job("full", print, ()), error=error, details="a traceback")) == out
    assert _ran_out(Outcome(Job("full", print, ()), error=error))  # (killed)


def test_what_is_expected_is_more_for_what_trains_more(config: StudyConfig, prepared: Prepared) -> None:
    def expected(**settings: object) -> float:
        run = RunConfig.model_validate({"files": ("x",), "model": config.model, **settings})
        return memory.expected_bytes(run, prepared, "cpu")

    assert 1 * GB < expected(method="head") < expected(method="lora") < expected(method="full") < 3 * GB
    assert expected(method="full", train={"batch_size": 64}) > expected(method="full")


def test_a_model_that_cannot_be_counted_is_expected_to_need_more_than_there_is(
    config: StudyConfig, prepared: Prepared, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "new"}), encoding="utf-8")
    other = replace(prepared, base=replace(prepared.base, folder=tmp_path))
    needs = [
        memory.expected_bytes(RunConfig(files=("x",), method=name), other, "cpu") for name in ("lora", "full")
    ]
    assert 1e15 < needs[0] < needs[1]


class Machine:
    """Plans a study again and again in one folder, with the memory that is free at the time."""

    def __init__(
        self, config: StudyConfig, prepared: Prepared, root: Path, patch: pytest.MonkeyPatch
    ) -> None:
        self.config, self.prepared, self.root, self.patch = config, prepared, root, patch

    def plan(self, free: float, workers: int = 4, methods: Sequence[str] = ("full", "head", "lora")):
        """The pool as it is left, what it did, the plan, and the names of its runs."""
        for module in (memory, planning):
            self.patch.setattr(module, "available_memory", lambda: free)
        self.patch.setattr(planning, "cores", lambda: 4)
        self.root.mkdir(exist_ok=True)
        config = self.config.model_copy(update={"methods": tuple(methods)})
        pool = FakePool(workers, free, {"full": 2 * GB, "head": 1 * GB, "lora": 1.5 * GB})
        every = {config.model.name: self.prepared}
        executor = Executor(pool, self.root, every, "cpu", lambda *_: None)  # type: ignore[arg-type]
        entries = candidates(config)
        planned, failed = make_plan(Planning(config, entries, every, executor, {}), Design(config, 1))
        assert not failed
        works = [executor.work(e.name, "judged", run_config(config, e, seed=0, fold=0)) for e in entries]
        return pool, planned, [work.name for work in works]


@pytest.fixture
def machine(
    config: StudyConfig, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Machine:
    return Machine(config, prepared, tmp_path, monkeypatch)


def test_with_enough_memory_nothing_changes(machine: Machine) -> None:
    pool, planned, _ = machine.plan(100 * GB)
    assert (pool.workers, pool.threads, planned.workers) == (4, 1, 4)
    assert pool.log == [("full", "head", "lora")]
    assert planned.notes == []


def test_idle_cores_go_to_the_runs_that_are_left_and_stay_with_them(machine: Machine) -> None:
    """5 GB hold two runs of 2 GB: two threads each, measured as such. Going on with more memory or less, or
    with another method, changes the number of runs side by side, but no thread and so no run's name."""
    pool, planned, runs = machine.plan(5 * GB)
    assert (pool.workers, pool.threads, planned.workers) == (2, 2, 2)
    assert sum("full" in group for group in pool.log) == 2  # once for each number of threads
    assert len(planned.notes) == 1
    assert planned.notes[0].startswith(
        "2 instead of 4 runs side by side, with 2 threads each: one needs up to 2.0"
    )

    pool, _, again = machine.plan(100 * GB)
    assert (pool.workers, pool.threads, pool.log) == (2, 2, [])
    assert again == runs

    pool, planned, again = machine.plan(3 * GB)
    assert (pool.workers, pool.threads, planned.workers, pool.log) == (1, 2, 1, [])
    assert again == runs

    _, _, fresh = Machine(machine.config, machine.prepared, machine.root / "new", machine.patch).plan(
        100 * GB
    )
    assert not set(fresh) & set(runs)


def test_a_method_that_needs_more_and_is_added_later_changes_no_finished_run(machine: Machine) -> None:
    """`head` alone goes four times into 4.5 GB, with one thread each; with `full` only two runs fit."""
    pool, _, runs = machine.plan(4.5 * GB, methods=["head"])
    assert (pool.workers, pool.threads) == (4, 1)
    pool, planned, again = machine.plan(4.5 * GB, methods=["full", "head"])
    assert (pool.workers, pool.threads, planned.workers) == (2, 1, 2)
    assert again[1:] == runs
    assert pool.log == [("full",)]


def test_a_plan_that_says_nothing_of_threads_was_made_with_those_given(machine: Machine) -> None:
    _, _, runs = machine.plan(100 * GB)
    path = machine.root / "plan.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({"probes": known["probes"], "designs": {}}))
    pool, _, again = machine.plan(5 * GB)
    assert (pool.workers, pool.threads, pool.log) == (2, 1, [])
    assert again == runs


def test_the_budget_is_kept_with_the_workers_that_are_left(machine: Machine) -> None:
    """Runs take 67 s: with one at a time 8 minutes hold 7 of them, with four side by side all 21."""
    machine.config = machine.config.model_copy(
        update={"search": machine.config.search.model_copy(update={"budget": "8m"})}
    )
    _, roomy, _ = machine.plan(100 * GB)
    machine.root = machine.root / "narrow"
    _, narrow, _ = machine.plan(2.1 * GB)
    assert max(roomy.seconds, narrow.seconds) <= 480
    assert [row.trials for row in roomy.rows] == [4, 4, 4]
    assert [row.trials for row in narrow.rows] == [0, 0, 0]


def test_a_budget_is_kept_however_the_model_s_folder_is_written(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--add` reads whole paths from study.yaml, where the user may have typed another one."""
    folder = Path(machine.config.model.name).resolve()
    monkeypatch.chdir(folder.parent)
    search = machine.config.search.model_copy(update={"budget": "8m"})
    for name in (f"./{folder.name}", str(folder)):
        model = machine.config.model.model_copy(update={"name": name})
        machine.config = machine.config.model_copy(update={"search": search, "model": model})
        machine.plan(2.1 * GB)
    known = json.loads((machine.root / "plan.json").read_text())
    assert len(known["designs"]) == 1


@pytest.mark.slow
def test_a_real_study_goes_on_with_the_threads_that_it_began_with(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers with a thread each, and memory for one of them: one run at a time on two threads."""
    monkeypatch.setattr(planning, "cores", lambda: 2)

    def study(free: float) -> tuple[dict[str, int], Sequence[str]]:
        for module in (memory, planning):
            monkeypatch.setattr(module, "available_memory", lambda: free)
        settings = {"train.epochs": 1, "baselines": False, "workers": 2}
        done = tunelab.compare(
            config.files[0],
            methods=["head"],
            model=config.model.name,
            folds=0,
            seeds=1,
            effort="quick",
            out=tmp_path,
            settings=settings,
            progress=False,
        )
        records = {p.parent.name: json.loads(p.read_text()) for p in tmp_path.glob("runs/*/result.json")}
        return {name: record["provenance"]["threads"] for name, record in records.items()}, done.notes

    threads, notes = study(0.7 * GB)
    assert list(threads.values()) == [2]
    assert any("1 instead of 2 runs side by side, with 2 threads each" in note for note in notes)
    assert study(100 * GB)[0] == threads
