"""Where the kernels come from, and that decoding does without them where they cannot be had."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from mentor.nn.native import library as module
from mentor.nn.native.library import describe, library, native, plain
from mentor.nn.streaming import StreamingLinear

build = module._found.__wrapped__  # without what an earlier call found out
compiled = pytest.mark.skipif(native().library is None, reason=native().what)


@pytest.mark.skipif(os.environ.get("MENTOR_NATIVE") == "0", reason="asked for")
def test_where_there_is_a_compiler_there_are_kernels() -> None:
    """Else the tests below would be left out without a word after a slip in the C files."""
    if module._compiler() is not None:
        assert native().library is not None, native().what


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MENTOR_NATIVE", raising=False)
    return tmp_path / "mentor" / "native"


@compiled
def test_it_is_compiled_once_for_each_source_and_processor(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build().library is not None
    (first,) = cache.iterdir()
    written = first.stat().st_mtime_ns
    assert build().library is not None
    assert [(path, path.stat().st_mtime_ns) for path in cache.iterdir()] == [(first, written)]
    build(("-DMENTOR_WIDEN",))
    assert len(list(cache.iterdir())) == 2

    changed = cache.parent / "sources"
    shutil.copytree(module.FOLDER, changed, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    with (changed / "read.c").open("a") as source:
        source.write("// changed\n")
    monkeypatch.setattr(module, "FOLDER", changed)
    assert build().library is not None
    assert len(list(cache.iterdir())) == 3


def test_without_a_compiler_pytorch_decodes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(cache))
    assert build() == module.Native(None, "PyTorch (no C compiler found)")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo 'In file a.c:' >&2; echo 'a.c:1: error: no such processor' >&2; exit 1",
            "a.c:1: error: no such processor",
        ),
        ("exit 3", "returned non-zero exit status 3"),
        ("exit 0", "No such file or directory"),  # it says it compiled, and wrote nothing
    ],
)
def test_a_broken_compiler_is_told_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    compiler = tmp_path / "broken-cc"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", str(compiler))
    found = build()
    assert found.library is None
    assert found.what.startswith("PyTorch (") and str(compiler) in found.what and told in found.what
    assert not cache.exists() or not list(cache.iterdir())


def test_a_compiler_that_is_not_there_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc -m64")
    assert build().what.startswith("PyTorch (/nowhere/cc failed: ")


@compiled
@pytest.mark.parametrize("obstacle", ["file", "read-only", "no home"])
def test_a_cache_that_cannot_be_written_to_is_done_without(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    left = tmp_path / "temporary"
    left.mkdir()
    monkeypatch.setattr(module.tempfile, "tempdir", str(left))
    if obstacle == "file":
        cache.parent.mkdir(parents=True)
        cache.write_text("in the way")
    elif obstacle == "read-only":
        access = os.access  # an administrator may write everywhere
        monkeypatch.setattr(module.os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert build().library is not None
    assert not list(left.iterdir()) and not list(tmp_path.rglob("*.so"))


LOAD = "from mentor.nn.native import library; library._build = lambda *_: print('made again'); library.native()"


@compiled
def test_a_kept_file_that_is_cut_off_is_made_again(cache: Path) -> None:
    """In a process of its own, which a library without its end can bring down."""
    assert build().library is not None
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    for share in (0, 0.01, 0.5, 0.9, 1):
        kept.unlink(missing_ok=True)  # it is in use: a loaded library must not change
        kept.write_bytes(whole[: int(share * len(whole))])
        done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "" if share == 1 else "made again\n")


@compiled
def test_a_kept_file_that_is_no_library_is_made_again(cache: Path) -> None:
    assert build().library is not None
    (kept,) = cache.iterdir()
    name = kept.stem.partition("-")[0]
    (cache / f"{name}-{module._digest(b'text')}.so").write_bytes(b"text")
    kept.unlink()
    assert build().library is not None
    assert kept.exists()


@compiled
def test_threads_that_meet_at_the_first_use_share_one_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, run = [], module._run
    monkeypatch.setattr(module, "_run", lambda command: commands.append(command) or run(command))
    native.cache_clear()
    module._found.cache_clear()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: native(), range(4)))
    assert len({id(each.library) for each in found}) == 1
    assert ["-E" in command for command in commands] == [True, False]


@compiled
def test_what_others_may_write_is_not_executed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert build().library is not None
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700 and len(list(cache.iterdir())) == 1
    owner = os.geteuid()
    monkeypatch.setattr(module.os, "geteuid", lambda: owner + 1)  # the folder is somebody else's
    (kept,) = cache.iterdir()
    kept.unlink()  # it is in use: a loaded library must not change
    kept.write_bytes(b"planted")
    assert build().library is not None
    assert kept.read_bytes() == b"planted"


@compiled
def test_a_cache_named_relative_to_the_current_folder_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert build().library is not None
    assert not (tmp_path / "here").exists() and list((tmp_path / "home").rglob("*.so"))


@compiled
def test_an_odd_name_of_a_compiler_is_no_traceback(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", " ")
    assert build().library is not None, "no name is none: the usual ones are looked for"
    monkeypatch.setenv("CC", "cc '")
    assert build().what.startswith("PyTorch (cc ' failed: ")


def test_the_variable_leaves_it_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MENTOR_NATIVE", "0")
    assert build() == module.Native(None, "PyTorch (MENTOR_NATIVE=0)")


@compiled
def test_plain_is_pytorch_and_ends() -> None:
    assert describe().startswith("native kernels (")
    with plain():
        assert library() is None and describe() == "PyTorch (asked for)"
        with plain():
            assert library() is None
        assert library() is None
    assert library() is not None


def _product(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    layer = StreamingLinear(256, 1024)
    with torch.no_grad():  # of this thread
        layer.weight.copy_(torch.randn(1024, 256, generator=generator))
        x = torch.randn(2, 256, generator=generator)
        outputs = [layer(x) for _ in range(50)]
    torch.testing.assert_close(outputs[0], x @ layer.weight.detach().T, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(outputs[0], output) for output in outputs)
    return outputs[0]


@compiled
def test_threads_of_the_program_may_multiply_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(_product, range(8)))
    for seed, product in enumerate(together):
        assert torch.equal(product, _product(seed))


@compiled
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_helpers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    layer, x = StreamingLinear(256, 1024), torch.ones(2, 256)
    with torch.no_grad():
        expected = layer(x)  # starts a helper, which a fork does not take along

    def child() -> None:  # nothing but the kernel: PyTorch's own threads do not survive a fork
        with torch.no_grad():
            os._exit(7 if all(bytes(layer(x).numpy()) == bytes(expected.numpy()) for _ in range(200)) else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 7
