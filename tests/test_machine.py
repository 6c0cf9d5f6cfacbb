"""What the process may use of a machine: control groups from made-up files, and devices from a made-up torch."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tunelab import provenance
from tunelab.api import pick_device
from tunelab.errors import ConfigError
from tunelab.provenance import available_memory, cores, machine
from tunelab.study import estimate
from tunelab.study.runner import plan_workers
from tunelab.train.precision import choose

GB = 2**30
NO_LIMIT = 9223372036854771712  # what version 1 says where there is none
V2, V1 = "0::{}\n", "5:devices:{0}\n4:memory:{0}\n3:cpu,cpuacct:{0}\n2:name=systemd:{0}\n0::/\n"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 cores and 10 GB available, without limits; its control groups' folder."""
    (tmp_path / "meminfo").write_text(f"MemTotal: {20 * 2**20} kB\nMemAvailable:   {10 * 2**20} kB\n")
    monkeypatch.setattr(provenance, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(provenance, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(provenance, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    return tmp_path / "cgroup"


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def memory_v2(folder: Path, limit: object, used: float = 0, dropped: float = 0) -> None:
    stat = f"anon 1\ninactive_file {int(dropped)}\nactive_file {GB}"
    write(folder, memory__max=limit, memory__current=int(used), memory__stat=stat)


def memory_v1(folder: Path, limit: int, used: float, dropped: float) -> None:
    stat = f"inactive_file 7\ntotal_inactive_file {int(dropped)}"
    write(folder, memory__limit_in_bytes=limit, memory__usage_in_bytes=int(used), memory__stat=stat)


def test_a_machine_without_limits(groups: Path) -> None:
    assert (available_memory(), cores()) == (10 * GB, 16)  # not even /proc/self/cgroup is there
    (groups.parent / "own").write_text(V2.format("/"))
    write(groups)  # the root of version 2 has none of the files
    assert (available_memory(), cores()) == (10 * GB, 16)
    write(groups / "user", cpu__max="max 100000", memory__max="max", memory__current=5 * GB)
    (groups.parent / "own").write_text(V2.format("/user"))
    assert (available_memory(), cores()) == (10 * GB, 16)


def test_what_a_container_of_version_2_leaves(groups: Path) -> None:
    """8 GB, of which 5 are in use, 2 of those pages of files that are dropped first: 8 - (5 - 2) = 5 GB. 2.5
    cores' worth of time: 3 threads."""
    (groups.parent / "own").write_text(V2.format("/"))
    memory_v2(groups, 8 * GB, used=5 * GB, dropped=2 * GB)
    write(groups, cpu__max="250000 100000")
    assert (available_memory(), cores()) == (5 * GB, 3)
    memory_v2(groups, 30 * GB, used=5 * GB, dropped=2 * GB)
    write(groups, cpu__max="2000000 100000")
    assert (available_memory(), cores()) == (10 * GB, 16)  # the machine itself has less
    memory_v2(groups, 8 * GB, used=9 * GB)
    write(groups, cpu__max="10000 100000")
    assert (available_memory(), cores()) == (0, 1)


def test_limits_of_groups_above_hold_too(groups: Path) -> None:
    """As of a batch system's job: the own group has no limit, the job's has."""
    (groups.parent / "own").write_text(V2.format("/job/step"))
    memory_v2(groups / "job/step", "max", used=GB)
    memory_v2(groups / "job", 4 * GB, used=GB)
    write(groups / "job/step", cpu__max="800000 100000")
    write(groups / "job", cpu__max="400000 100000")
    assert (available_memory(), cores()) == (3 * GB, 4)


@pytest.mark.parametrize("seen", ["docker/1f", ""])
def test_version_1(groups: Path, seen: str) -> None:
    """`seen`: the group's folder as the process sees it; inside a container its own is the root."""
    (groups.parent / "own").write_text(V1.format("/docker/1f"))
    memory_v1(groups / "memory" / seen, 6 * GB, used=4 * GB, dropped=GB)
    write(groups / "cpu,cpuacct" / seen, cpu__cfs_quota_us=150000, cpu__cfs_period_us=100000)
    assert (available_memory(), cores()) == (3 * GB, 2)
    memory_v1(groups / "memory" / seen, NO_LIMIT, used=4 * GB, dropped=GB)
    write(groups / "cpu,cpuacct" / seen, cpu__cfs_quota_us=-1)
    assert (available_memory(), cores()) == (10 * GB, 16)


def test_advice_and_plan_read_the_same_number(groups: Path) -> None:
    (groups.parent / "own").write_text(V2.format("/../outside"))
    memory_v2(groups, 8 * GB, used=5 * GB)
    write(groups, cpu__max="300000 100000")
    assert estimate._free_memory("cpu") == available_memory() == 3 * GB
    assert plan_workers(0, "cpu") == (3, 1)
    assert machine()["cores"] == 3


def test_this_machine_says_something_possible() -> None:
    free = available_memory()
    assert free is None or (math.isfinite(free) and free > 0)
    assert cores() >= 1


# ---- devices -------------------------------------------------------------------------------------


class FakeCuda:
    """Two GPUs, of which only the second has bfloat16; notes who was asked."""

    def __init__(self) -> None:
        self.current, self.synchronized = 0, []

    @contextmanager
    def device(self, device: str) -> Iterator[None]:
        before, self.current = self.current, torch.device(device).index or 0
        yield
        self.current = before

    def named(self, device: Any) -> str:
        return f"GPU {torch.device(device).index or 0}" if isinstance(device, str) else f"GPU {device}"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    replaced = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "device": fake.device,
        "is_bf16_supported": lambda including_emulation: fake.current == 1,
        "get_device_name": fake.named,
        "synchronize": fake.synchronized.append,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return fake


def test_the_chosen_gpu_is_asked(cuda: FakeCuda) -> None:
    assert [choose("auto", device).name for device in ("cuda", "cuda:0", "cuda:1")] == [
        "float32",
        "float32",
        "bfloat16",
    ]
    assert [machine(device)["gpu"] for device in ("cuda:1", "cuda", "cpu", None)] == [
        "GPU 1",
        "GPU 0",
        "GPU 0",
        "GPU 0",
    ]
    assert estimate._now("cuda:1") > 0
    estimate._now("cpu")
    assert cuda.synchronized == ["cuda:1"]


def test_devices_with_gpus(cuda: FakeCuda) -> None:
    assert [pick_device(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == [
        "cuda",
        "cuda",
        "cuda:1",
        "cpu",
    ]
    with pytest.raises(ConfigError, match="no such GPU here; there are cuda:0, cuda:1"):
        pick_device("cuda:2")


def test_devices_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mac's own GPU is never taken, not even by "auto"; the CPU has one name."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [pick_device(name) for name in ("auto", "cpu", "cpu:0")] == ["cpu"] * 3
    for device in ("mps", "mps:0"):
        with pytest.raises(ConfigError, match="the CPU is taken: give --device cpu"):
            pick_device(device)
    with pytest.raises(ConfigError, match="no GPU that torch can use"):
        pick_device("cuda")
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        pick_device("gpu")
