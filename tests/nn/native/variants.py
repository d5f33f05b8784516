"""The kernels as other processors would get them, as far as this one can run them."""

from __future__ import annotations

import platform

import pytest

from mentor.nn.native.library import native

_FLAGS: list[tuple[str, ...]] = [(), ("-DMENTOR_WIDEN",)]
if platform.machine().lower() in ("x86_64", "amd64"):
    _FLAGS += [("-mno-avx512f",), ("-mno-avx",)]

variants = pytest.mark.parametrize("flags", _FLAGS, ids=lambda flags: " ".join(flags) or "as it is")


def use(monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]) -> None:
    """Let the kernels compiled with ``flags`` do the work; skips the test where they cannot be compiled."""
    found = native(flags)
    if found.library is None:
        pytest.skip(found.what)
    monkeypatch.setattr("mentor.nn.streaming.library", lambda: found.library)
