"""Writing files so that nothing half-written ever looks finished."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunelab.errors import OutputError, TunelabError

__all__ = [
    "cache_folder",
    "check_writable",
    "file_atomically",
    "file_digest",
    "folder_atomically",
    "output_errors",
    "remembered_digest",
    "write_atomically",
    "write_json",
]

#: What else a place says of itself, to every file (a stick's FAT32: none of more than 4 GB).
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
)


def cache_folder() -> Path:
    """Where tunelab caches what can be made again: `TUNELAB_CACHE`, else the user's cache folder."""
    own = os.environ.get("TUNELAB_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tunelab"


@contextlib.contextmanager
def output_errors(where: Path) -> Iterator[None]:
    """Turns "disk full" and "not allowed" into an `OutputError` that says where and what to do."""
    try:
        yield
    except Exception as error:
        number = _system_error(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(_existing(where)).free / 1e6
            raise OutputError(
                f"the disk is full: {where} cannot be written ({free:.0f} MB free). What was finished before "
                "is kept; free some space, or give another folder with --out, and run the same command again"
            ) from error
        if number in _REFUSED:
            raise OutputError(
                f"{where} cannot be written: {os.strerror(number)}; give another place with --out"
            ) from error
        raise


def _system_error(error: Exception) -> int | None:
    """The system's number, which some tell in words alone: libraries written in Rust ("(os error 28)"),
    `shutil` of many files at once ("[Errno 28]"), SQLite."""
    if isinstance(error, TunelabError):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = str(error)
    number = re.search(r"(?:\[Errno |\(os error |Os \{ code: )(\d+)", told)
    if number is not None:
        return int(number[1])
    return errno.ENOSPC if "database or disk is full" in told else None


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def check_writable(folder: Path) -> None:
    """Makes `folder` and proves that a file can be written in it; raises `OutputError` if not."""
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".tunelab-") as probe:
            probe.write(b"\0" * 4096)
            probe.flush()


def write_atomically(path: Path, data: bytes) -> None:
    """The whole file or none of it: written beside, flushed to disk, then renamed."""
    with file_atomically(path) as work:
        work.write_bytes(data)


@contextlib.contextmanager
def file_atomically(path: Path) -> Iterator[Path]:
    """A file that appears under its name only when all of it is on disk.

    Yields an empty file beside it to write into; an error inside removes that one and leaves what stood under
    the name before.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    work = Path(name)
    try:
        yield work
        with work.open("rb+") as file:
            os.fsync(file.fileno())
        work.chmod(0o644)
        work.replace(path)
    except BaseException:
        work.unlink(missing_ok=True)
        raise


def write_json(path: Path, values: Any) -> None:
    """JSON with sorted structure kept as given, UTF-8, written atomically."""
    text = json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_atomically(path, text.encode("utf-8"))


@contextlib.contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """A folder that appears under its name only when everything in it is written.

    Yields a folder beside it to write into; an error inside removes that one and leaves what stood
    under the name before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield work
        work.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-old-"))
            path.replace(old / "old")
            work.replace(path)
            shutil.rmtree(old)
        else:
            work.replace(path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_digest(path: Path) -> str:
    """`file_digest` of a file that is read again only where its size or time has changed."""
    stat = path.stat()
    key = hashlib.sha256(f"{path}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()
    memory = cache_folder() / "digests" / key
    if memory.is_file() and re.fullmatch(r"[0-9a-f]{64}", known := memory.read_text()):
        return known
    value = file_digest(path)
    with contextlib.suppress(OSError):  # only a memory: without it the file is read again next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, value.encode())
    return value
