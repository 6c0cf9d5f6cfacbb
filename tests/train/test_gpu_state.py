"""Random states and shortage of memory as a GPU has them, played by a made-up torch.cuda."""

import pytest
import torch

from tunelab.train.checkpoint import random_state, set_random_state
from tunelab.train.loop import _out_of_memory


class FakeCuda:
    """The states of some GPUs, one byte each; `current` is what "cuda" means."""

    def __init__(self, states: list[int], current: int = 0) -> None:
        self.states = {i: torch.tensor([state], dtype=torch.uint8) for i, state in enumerate(states)}
        self.current = current

    def index(self, device: torch.device) -> int:
        return self.current if device.index is None else device.index

    def get(self, device: torch.device) -> torch.Tensor:
        return self.states[self.index(device)]

    def put(self, state: torch.Tensor, device: torch.device) -> None:
        assert self.index(device) in self.states, "no such GPU"
        self.states[self.index(device)] = state

    @property
    def values(self) -> list[int]:
        return [int(state) for state in self.states.values()]


def played(monkeypatch: pytest.MonkeyPatch, states: list[int], current: int = 0) -> FakeCuda:
    fake = FakeCuda(states, current)
    monkeypatch.setattr(torch.cuda, "get_rng_state", fake.get)
    monkeypatch.setattr(torch.cuda, "set_rng_state", fake.put)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: fake.current)
    return fake


def test_the_state_of_the_training_s_gpu_alone_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second of two GPUs to the only one that is visible now."""
    played(monkeypatch, [1, 2])
    tensors, values = random_state("cuda:1")
    assert [name for name in tensors if "cuda" in name] == ["random.cuda"]
    fake = played(monkeypatch, [9])
    set_random_state(tensors, values, "cuda")
    assert fake.values == [2]


def test_a_training_on_a_cpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = played(monkeypatch, [1])
    drawn = torch.rand(3)
    tensors, values = random_state("cpu")
    wanted = torch.rand(3)
    assert not torch.equal(drawn, wanted)
    set_random_state(tensors, values, "cpu")
    assert torch.equal(torch.rand(3), wanted)
    assert (set(tensors), fake.values) == ({"random.torch", "random.numpy"}, [1])


@pytest.mark.parametrize(("device", "expected"), [("cuda:10", 10), ("cuda:2", 2), ("cuda", 3)])
def test_old_checkpoints_have_every_gpu_by_number(
    device: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPU i had state i. Sorted as text, the state of GPU 2 would be GPU 10's."""
    tensors, values = random_state("cpu")
    tensors |= {f"random.cuda.{i}": torch.tensor([i], dtype=torch.uint8) for i in range(12)}
    fake = played(monkeypatch, [99] * 12, current=3)
    set_random_state(tensors, values, device)
    assert fake.values == [99] * expected + [expected] + [99] * (11 - expected)


def test_an_old_checkpoint_with_more_or_fewer_gpus_than_now(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, values = random_state("cpu")
    tensors |= {f"random.cuda.{i}": torch.tensor([i], dtype=torch.uint8) for i in range(2)}
    for states, device, expected in (([99], "cuda", [0]), ([99] * 4, "cuda:3", [99, 99, 99, 0])):
        fake = played(monkeypatch, states)
        set_random_state(tensors, values, device)
        assert fake.values == expected


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("XPU out of memory, please use `empty_cache` to release all unoccupied cached memory."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] DefaultCPUAllocator: not enough memory: you tried"),
    ],
)
def test_memory_that_is_out_is_known_by_every_name(error: Exception) -> None:
    assert _out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    ],
)
def test_other_errors_are_no_shortage_of_memory(error: Exception) -> None:
    assert not _out_of_memory(error)
