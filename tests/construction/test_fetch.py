"""Packages come from the cache or from their managers, and only the pinned bytes are accepted."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from mentor.construction.fetch import Package, obtain, open_archive, read_member
from tests.construction.packages import PACKAGES, write_package


def package(data: bytes, manager: str = "npm") -> Package:
    return Package(manager, "@scope/thing", "1.2.3", "thing.tgz", hashlib.sha256(data).hexdigest())


def program(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name, first in the search path."""
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_cached_package_needs_no_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "thing.tgz").write_bytes(b"content")
    assert obtain(package(b"content"), tmp_path) == tmp_path / "thing.tgz"


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thing.tgz").write_bytes(b"changed")
    with pytest.raises(ValueError, match="delete it and run again"):
        obtain(package(b"content"), tmp_path)


def test_pip_downloads_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def pip(command: list[str], *, cwd: Path, **_: object) -> None:
        asked.extend(command)
        (cwd / "thing.tgz").write_bytes(b"content")

    monkeypatch.setattr("subprocess.run", pip)
    assert obtain(package(b"content", "pip"), tmp_path / "new").read_bytes() == b"content"
    assert asked[1:4] == ["-m", "pip", "download"] and asked[-1] == "@scope/thing==1.2.3" and "--no-deps" in asked


@pytest.mark.parametrize(
    ("manager", "name", "expected"),
    [
        ("npm", "npm", "pack --silent @scope/thing@1.2.3"),
        ("apt", "apt-get", "download @scope/thing=1.2.3"),
    ],
)
def test_the_manager_downloads_into_the_cache(
    manager: str, name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", name, 'printf "%s" "$*" > thing.tgz', monkeypatch)
    cache = tmp_path / "new" / "cache"
    path = obtain(package(expected.encode(), manager), cache)
    assert path == cache / "thing.tgz"
    assert path.read_text() == expected


def test_a_missing_manager_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"npm is not installed: put thing\.tgz into"):
        obtain(package(b""), tmp_path)


def test_the_managers_complaint_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "npm", "echo one >&2; echo no such version >&2; exit 3", monkeypatch)
    with pytest.raises(ValueError, match=r"failed \(no such version\)"):
        obtain(package(b""), tmp_path)


def deb(*members: tuple[str, bytes]) -> bytes:
    """A Debian package: an ``ar`` container, whose members begin at even places."""
    data = b"!<arch>\n"
    for name, content in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        data += header.encode() + content + b"\n" * (len(content) % 2)
    return data


@pytest.mark.parametrize("kind", ["xz", "gz"])
def test_a_debian_package_needs_no_program(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{kind}") as archive:
        info = tarfile.TarInfo("./usr/share/thing.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"png"))
    path = tmp_path / "thing_1.0_all.deb"
    members = ("debian-binary", b"2.0\n"), ("control.tar.xz/", b"odd"), (f"data.tar.{kind}", stream.getvalue())
    path.write_bytes(deb(*members))
    with open_archive(path) as archive:
        assert read_member(archive, "./usr/share/thing.png") == b"png"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"!<arch>\n", "is no Debian package"),
        (b"something else" * 20, "is no Debian package"),
        (
            deb(("debian-binary", b"2.0\n"), ("data.tar.zst", b"\x28\xb5\x2f\xfd\x00")),
            r"data\.tar\.zst .*install Python 3\.14",
        ),
    ],
)
def test_a_debian_package_that_cannot_be_read_is_told(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "thing.deb").write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        open_archive(tmp_path / "thing.deb")


def test_a_missing_member_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "noto", {"package/a.json": b"{}"}, monkeypatch)
    with open_archive(tmp_path / PACKAGES["noto"].file) as archive:
        assert read_member(archive, "package/a.json") == b"{}"
        with pytest.raises(ValueError, match=r"package/b\.json"):
            read_member(archive, "package/b.json")
