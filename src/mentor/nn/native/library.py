"""Compiles the C files of this folder, once for every processor and compiler, and loads the result.

The compiler makes use of what the processor has (``-march=native``), so nothing prebuilt is shipped. The library is kept in the
user's cache folder under a name made from all that it depends on and from its content. ``MENTOR_NATIVE=0`` leaves it out.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-pthread", "-fno-math-errno", "-Wno-psabi")
_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
_SIGNATURES = {
    "mentor_linear": (None, (*[_POINTER] * 3, *[_LONG] * 3, _INT, _INT)),
    "mentor_rms_norm": (None, (*[_POINTER] * 3, *[_LONG] * 2, ctypes.c_float, _INT)),
    "mentor_step": (None, (_POINTER, _LONG, *[_POINTER] * 5, *[_LONG] * 6, ctypes.c_float, _INT, _INT)),
    "mentor_attend": (None, (*[_POINTER] * 6, *[_LONG] * 5, _INT, _INT)),
    "mentor_read": (None, (_POINTER, _POINTER, _LONG, _POINTER, _INT)),
}
_enabled = True
_first = threading.Lock()


@dataclass(frozen=True)
class Native:
    """What came of the attempt: the library, or None and the reason."""

    library: ctypes.CDLL | None
    what: str
    """In a few words, for people: how the library was made, or why there is none."""


def library() -> ctypes.CDLL | None:
    """The kernels; None where there is no compiler, where it failed, and inside ``plain``."""
    return native().library if _enabled else None


def describe() -> str:
    """Which code decodes on this CPU, and why."""
    return native().what if _enabled else "PyTorch (asked for)"


@contextmanager
def plain() -> Iterator[None]:
    """Inside, PyTorch does all the work: for comparisons."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


@functools.cache
def native(flags: tuple[str, ...] = ()) -> Native:
    """The library, compiled with ``flags`` on top; the first call takes seconds where none was kept."""
    with _first:  # threads that meet here wait for one compiler
        return _found(flags)


@functools.cache
def _found(flags: tuple[str, ...] = ()) -> Native:
    if os.environ.get("MENTOR_NATIVE") == "0":
        return Native(None, "PyTorch (MENTOR_NATIVE=0)")
    compiler = _compiler()
    if compiler is None:
        return Native(None, "PyTorch (no C compiler found)")
    command = [*compiler, *FLAGS, _processor_flag(), *flags]
    try:
        loaded = _load(command)
    except (OSError, subprocess.SubprocessError) as error:
        told = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else ""
        lines = (told or str(error)).splitlines()
        line = next((line for line in lines if "error" in line), lines[0])
        return Native(None, f"PyTorch ({compiler[0]} failed: {line})")
    return Native(
        loaded, f"native kernels ({' '.join([Path(compiler[0]).name, *command[len(compiler) + len(FLAGS) :]])})"
    )


def _compiler() -> list[str] | None:
    named = os.environ.get("CC", "")
    try:
        words = shlex.split(named)
    except ValueError:  # an open quotation
        words = [named]
    if words:
        return words
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    return [found] if found else None


def _processor_flag() -> str:
    return "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"


def _load(command: list[str]) -> ctypes.CDLL:
    """The library that ``command`` makes of the sources, compiled unless that was done before."""
    # What the compiler predefines names its version and all that the processor has.
    macros = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    sources = sorted(FOLDER.glob("*.[ch]"))
    parts = [" ".join(command), macros, *platform.libc_ver(), *(path.read_text(encoding="utf-8") for path in sources)]
    name = _digest("\0".join(parts).encode())
    cache = _cache()
    for kept in [] if cache is None else cache.glob(f"{name}-*.so"):
        try:
            if kept.stem == f"{name}-{_digest(kept.read_bytes())}":  # to open one that is cut off can end the process
                return _open(kept)
            kept.unlink()
        except (OSError, AttributeError):
            pass  # not to be read or executed there: it is made again
    if cache is not None and os.access(cache, os.W_OK):
        try:
            return _build(command, sources, name, cache)
        except OSError:
            pass  # a full disk, or one whose files must not be executed
    return _build(command, sources, name, None)


def _build(command: list[str], sources: list[Path], name: str, keep: Path | None) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(dir=keep, prefix=".mentor-") as temporary:
        built = Path(temporary) / f"{name}.so"
        _run([*command, *(str(path) for path in sources if path.suffix == ".c"), "-o", str(built)])
        loaded = _open(built)  # stays in memory when its file is gone
        if keep is not None:
            with built.open("rb") as file:
                digest = _digest(file.read())
                os.fsync(file.fileno())
            built.replace(keep / f"{name}-{digest}.so")
        return loaded


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _open(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def _cache() -> Path | None:
    """Folder of compiled libraries; None where there can be none, or where others may put files that we would execute."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "mentor" / "native"
        folder.mkdir(parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return None
        if found.st_mode & 0o022:
            folder.chmod(0o700)
    except (OSError, RuntimeError):  # the latter for a user without a home
        return None
    return folder


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=120
    )
    return done.stdout
