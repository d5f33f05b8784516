"""Small stand-ins for the packages that the corpus is made from, in the same layout."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

from PIL import Image

from mentor.construction.fetch import PACKAGES, Package

CODES = {
    "1f34e": "red-apple",
    "1f697": "automobile",
    "1f30b": "volcano",
    "1f600": "grinning-face",
    "1f303": "night-with-stars",
}

CATALOGUE = """\
id=Test
name=Test
id#1=Test#redStool
name#1=Stool 2
category#1=Living room
model#1=/test/stool/stool.obj
modelRotation#1=1 0 0 0 1 0 0 0 1
doorOrWindow#1=false
creator#1=J\\u00f6rg
id#2=Test#man
name#2=Standing male
category#2=Characters
model#2=/test/stool/stool.obj
doorOrWindow#2=false
creator#2=Somebody
id#3=Test#door
name#3=Gate
category#3=Exterior
model#3=/test/stool/stool.obj
doorOrWindow#3=true
creator#3=Somebody
"""


def icon(colour: str) -> dict[str, str]:
    """A disc with a square cut out of its lower right."""
    return {"body": f'<path fill="{colour}" d="M16 2a14 14 0 1 0 0 28V16h14A14 14 0 0 0 16 2"/>'}


def write_package(cache: Path, name: str, files: dict[str, bytes], monkeypatch) -> None:
    """Put a .tgz of the files into the cache and pin it under the name of a real package."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    real = PACKAGES[name]
    file = f"{name}.tgz"
    (cache / file).write_bytes(stream.getvalue())
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    monkeypatch.setitem(PACKAGES, name, Package(real.manager, real.name, real.version, file, digest))


def write_icons(
    cache: Path, name: str, icons: dict[str, dict], monkeypatch, codes: dict[str, str] | None = None
) -> None:
    """An Iconify collection of 32 x 32 icons."""
    collection = {"prefix": name, "width": 32, "height": 32, "icons": icons, "aliases": {}}
    files = {
        "package/icons.json": json.dumps(collection).encode(),
        "package/chars.json": json.dumps(CODES if codes is None else codes).encode(),
    }
    write_package(cache, name, files, monkeypatch)


def webp(colour: tuple[int, int, int, int]) -> bytes:
    """A coloured bar on a transparent ground."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste(colour, (8, 8, 56, 30))
    image.paste(colour, (8, 30, 24, 56))
    stream = io.BytesIO()
    image.save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def box(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], first: int) -> str:
    """OBJ lines of a box whose first vertex has the number ``first``."""
    corners = [(a, b, c) for a in x for b in y for c in z]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    lines = [f"v {a} {b} {c}" for a, b, c in corners]
    lines += ["f " + " ".join(str(first + index) for index in face) for face in faces]
    return "\n".join(lines)


def stool() -> tuple[str, str]:
    """OBJ and MTL text of a red seat on two blue legs: blue at the left (x < 0), green at the right."""
    parts = [
        ("red", box((-1, 1), (0.8, 1), (-0.6, 0.6), 1)),
        ("blue", box((-1, -0.7), (0, 0.8), (-0.2, 0.2), 9)),
        ("green", box((0.7, 1), (0, 0.8), (-0.2, 0.2), 17)),
    ]
    model = "mtllib stool.mtl\n" + "\n".join(f"usemtl {name}\n{lines}" for name, lines in parts) + "\n"
    colours = {"red": "0.9 0.1 0.1", "blue": "0.1 0.1 0.9", "green": "0.1 0.8 0.1"}
    # Some real files begin with a property of no material.
    return model, "Ns 20\n" + "\n".join(f"newmtl {name}\nKd {kd}\nKa 0 0 0\nd 1.0\n" for name, kd in colours.items())


def catalogue_zip(text: str = CATALOGUE) -> bytes:
    """An .sh3f catalogue with the stool."""
    stream = io.BytesIO()
    model, materials = stool()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", text)
        archive.writestr("test/stool/stool.obj", model)
        archive.writestr("test/stool/stool.mtl", materials)
    return stream.getvalue()
