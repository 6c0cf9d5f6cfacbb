"""Token ids on disk: written while the tokenizer still works, opened without being read whole.

The file is an ordinary safetensors file: ids and, of pairs, types with one entry a token, and arrays with one
entry a row. Up to `HELD` tokens it is written at once and read whole. With more, what there is of every token
is appended as it comes, behind room for the header, which is filled in at the end; the file gets its name
only then. Opened, these arrays are mapped into memory; pickled, they are the file's name.
"""

import json
import logging
import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from tunelab.errors import DataError
from tunelab.files import write_atomically

__all__ = ["HELD", "Writer", "by_reference", "opened", "stored"]

log = logging.getLogger("tunelab")

HELD = 16_000_000  # tokens that are held in memory (64 MB); more stay on disk
_HEADER = 1024  # bytes before the first array
_BLOCK = 2**20  # bytes copied at once
_TYPES = {"int8": "I8", "int32": "I32", "int64": "I64"}  # numpy's name of a number's type: safetensors' name


class Writer:
    """Takes what there is of every token batch by batch, to disk where there is a path and they are many.

    A folder that cannot be written, or a full disk, costs the file and not the tokens: they are kept in
    memory then, and a warning says why. Used as a context, it leaves no unfinished file behind.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._parts: dict[str, list[np.ndarray]] = {}
        self._files: dict[str, _Growing] = {}

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, **flat: np.ndarray) -> None:
        """The next batch: ids [M] int32 and, of pairs, types [M] int8."""
        for name, array in flat.items():
            self._parts.setdefault(name, []).append(array)
        if self._path is not None and (self._files or sum(map(len, self._parts["ids"])) > HELD):
            try:
                self._append(self._path)
            except OSError as error:
                self._give_up(self._path, error)

    def finish(self, further: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All arrays, these further ones included; stored where there is a path."""
        path = self._path
        if path is not None and self._files:
            try:
                self._complete(path, further)
            except OSError as error:
                self._give_up(path, error)
            else:
                return stored(path)
        found = {name: np.concatenate(parts) for name, parts in self._parts.items()} | dict(further)
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._path, save(found))
            except OSError as error:
                self._give_up(self._path, error)
        return found

    def _append(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, parts in self._parts.items():
            if name not in self._files:
                self._files[name] = _Growing(path, _HEADER if name == "ids" else 0)
            while parts:
                self._files[name].append(parts[0])
                parts.pop(0)

    def _complete(self, path: Path, further: Mapping[str, np.ndarray]) -> None:
        """The file of the ids gets the other arrays, the header, and its name."""
        ids, types = self._files["ids"], self._files.get("types")
        shapes = {"ids": ("I32", (ids.size // 4,), ids.size)}
        ids.file.seek(ids.begin + ids.size)
        if types is not None:
            shapes["types"] = ("I8", (types.size,), types.size)
            types.file.seek(types.begin)
            while block := types.file.read(_BLOCK):
                _write(ids.file, block)
        for name, array in further.items():
            shapes[name] = (_TYPES[array.dtype.name], array.shape, array.nbytes)
            _write(ids.file, array.tobytes())
        ids.file.seek(0)
        _write(ids.file, _header(shapes))
        os.fsync(ids.file.fileno())
        ids.path.chmod(0o644)
        ids.path.replace(path)

    def _give_up(self, path: Path, error: OSError) -> None:
        """A cache that cannot be written costs time, not the run: what is on disk comes back."""
        log.warning("tokens are not cached in %s: %s", path.parent, os.strerror(error.errno or 0))
        self._path = None
        for name, file in self._files.items():
            self._parts[name].insert(0, file.read(np.int8 if name == "types" else np.int32))
            file.close()
        self._files = {}


class _Growing:
    """An unfinished file beside the one that it will be, `size` bytes long from `begin`."""

    def __init__(self, path: Path, begin: int) -> None:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        self.path = Path(name)
        self.file = os.fdopen(handle, "r+b", buffering=0)
        self.begin = begin
        self.size = 0

    def append(self, array: np.ndarray) -> None:
        self.file.seek(self.begin + self.size)
        _write(self.file, array.tobytes())
        self.size += array.nbytes

    def read(self, kind: type[np.generic]) -> np.ndarray:
        number = self.size // np.dtype(kind).itemsize
        found: np.ndarray = np.fromfile(self.path, dtype=kind, count=number, offset=self.begin)
        return found

    def close(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


def _write(file: RawIOBase, data: bytes) -> None:
    """All of it: a file without a buffer may take a part."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) or 0 :]


def _header(shapes: Mapping[str, tuple[str, tuple[int, ...], int]]) -> bytes:
    """What stands before the arrays in a safetensors file, filled up with blanks."""
    described: dict[str, Any] = {}
    end = 0
    for name, (kind, shape, size) in shapes.items():
        described[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(described).encode().ljust(_HEADER - 8)
    assert len(text) == _HEADER - 8, "a handful of short names fit"
    return len(text).to_bytes(8, "little") + text


def stored(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file; those with an entry a token are mapped where they are many.

    Raises:
        OSError: it cannot be read. SafetensorError, KeyError: it is damaged.
    """
    with safe_open(path, framework="numpy") as file:  # also proves that the file is whole
        names = list(file.keys())
        if file.get_slice("ids").get_shape()[0] <= HELD:
            return {name: file.get_tensor(name) for name in names}
        mapped = [name for name in names if name in ("ids", "types")]
        found = {name: file.get_tensor(name) for name in names if name not in mapped}
    with path.open("rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(size))
    for name in mapped:
        at = 8 + size + header[name]["data_offsets"][0]
        kind = next(numpy for numpy, own in _TYPES.items() if own == header[name]["dtype"])
        found[name] = np.memmap(path, kind, "r", at, tuple(header[name]["shape"]))
    return found


@dataclass(frozen=True)
class _Reference:
    """Where a mapped array is: what travels to another process in its stead."""

    path: str
    kind: str
    at: int
    shape: tuple[int, ...]


def by_reference(value: Any) -> Any:
    """A mapped array as the name of its file and its place there; anything else as it is."""
    if isinstance(value, np.memmap) and isinstance(value.base, mmap.mmap):  # not a part of one
        return _Reference(str(value.filename), value.dtype.name, value.offset, value.shape)
    return value


def opened(value: Any) -> Any:
    """The array that `by_reference` stood for.

    Raises:
        DataError: its file is not there any more.
    """
    if not isinstance(value, _Reference):
        return value
    try:
        return np.memmap(value.path, value.kind, "r", value.at, value.shape)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the cached tokens {value.path} are gone or cut short ({error}); run the same command again, "
            "and leave the cache folder as it is meanwhile"
        ) from None
