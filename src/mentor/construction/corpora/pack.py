"""Writing the pack: WebDataset-style tar shards, manifest, and the attribution of every image."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mentor.files import whole

# Small files suit version control; the gzip layer only removes tar's padding.
_SHARD_BYTES = 4_500_000
FORMAT = 1

_CC = "https://creativecommons.org"
LICENCE_TEXTS = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC-BY-3.0": f"{_CC}/licenses/by/3.0/legalcode",
    "CC-BY-4.0": f"{_CC}/licenses/by/4.0/legalcode",
    "CC-BY-SA-3.0": f"{_CC}/licenses/by-sa/3.0/legalcode",
    "CC-BY-SA-4.0": f"{_CC}/licenses/by-sa/4.0/legalcode",
    "CC0-1.0": f"{_CC}/publicdomain/zero/1.0/legalcode",
    "GPL-2.0": "https://www.gnu.org/licenses/old-licenses/gpl-2.0.txt",
    "MIT": "https://opensource.org/license/mit",
}


MIT_NOTICE = """\
The MIT License asks that this notice accompanies copies. The copyright holders are the authors named in
ATTRIBUTION.csv (Fluent Emoji: Copyright (c) Microsoft Corporation).

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice
and this permission notice shall be included in all copies or substantial portions of the Software. THE SOFTWARE IS
PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@dataclass(frozen=True)
class Entry:
    """One image of the pack: its metadata (a ``Cutout``'s or ``Background``'s fields but the image) and WebP bytes."""

    meta: dict[str, Any]
    webp: bytes


@dataclass(frozen=True)
class Origin:
    """Where a source comes from: package name and version, and the licences that may occur in it."""

    package: str
    version: str
    licences: tuple[str, ...]


def _tar(entries: Iterable[Entry]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in entries:
            text = json.dumps(entry.meta, sort_keys=True, ensure_ascii=False).encode()
            for suffix, data in (("json", text), ("webp", entry.webp)):
                info = tarfile.TarInfo(f"{entry.meta['key']}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    # Not the gzip module, whose header names another system from Python 3.13 on.
    return zlib.compress(stream.getvalue(), 9, wbits=31)


def _split(entries: list[Entry]) -> list[list[Entry]]:
    shards: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        cost = len(entry.webp) + 200
        if size + cost > _SHARD_BYTES and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append(entry)
        size += cost
    return shards


def write_file(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    with whole(path) as partial:
        partial.write_bytes(data)


def write_source(
    folder: Path, pack: str, source: str, entries: Iterable[Entry], origin: Origin
) -> list[dict[str, Any]]:
    """Write one source's shards, sorted by key, and return their manifest records."""
    ordered = sorted(entries, key=lambda entry: entry.meta["key"])
    records = []
    for index, shard in enumerate(_split(ordered)):
        for entry in shard:
            assert entry.meta["licence"] in origin.licences, (entry.meta["key"], entry.meta["licence"])
        data = _tar(shard)
        name = f"{pack}-{source}-{index:02d}.tar.gz"
        write_file(folder / name, data)
        records.append(
            {
                "file": name,
                "source": source,
                "kind": "background" if "subject" not in shard[0].meta else "cutout",
                "count": len(shard),
                "splits": dict(sorted(Counter(entry.meta["split"] for entry in shard).items())),
                "package": origin.package,
                "version": origin.version,
                "licences": sorted({entry.meta["licence"] for entry in shard}),
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    return records


def attribution_rows(entries: Iterable[Entry], origin: Origin) -> list[tuple[str, ...]]:
    """Rows key, subject, source package, version, author, licence."""
    return [
        (
            entry.meta["key"],
            entry.meta.get("subject", "background"),
            origin.package,
            origin.version,
            entry.meta["author"],
            entry.meta["licence"],
        )
        for entry in entries
    ]


def licences_text(pack: str, shards: list[dict[str, Any]]) -> str:
    """LICENSES.md of a pack: what comes from where, under which terms, and what was changed."""
    lines = [
        f"# Licences of the {pack} pack",
        "",
        "The pictures keep the licences of their makers; ATTRIBUTION.csv names author and licence of every picture.",
        "All of them were changed: rasterised or rendered, cropped, scaled down and stored as WebP.",
        "",
        "| source | package | version | pictures | licences |",
        "|---|---|---|---|---|",
    ]
    sources: dict[str, list[dict[str, Any]]] = {}
    for shard in shards:
        sources.setdefault(shard["source"], []).append(shard)
    for source, parts in sorted(sources.items()):
        terms = ", ".join(sorted({licence for part in parts for licence in part["licences"]}))
        count = sum(part["count"] for part in parts)
        lines.append(f"| {source} | {parts[0]['package']} | {parts[0]['version']} | {count} | {terms} |")
    lines += ["", "Texts of the licences:", ""]
    used = sorted({licence for shard in shards for licence in shard["licences"]})
    text = "\n".join([*lines, *(f"- {licence}: {LICENCE_TEXTS[licence]}" for licence in used), ""])
    return f"{text}\n{MIT_NOTICE}" if "MIT" in used else text


def write_index(folder: Path, pack: str, shards: list[dict[str, Any]], rows: list[tuple[str, ...]]) -> None:
    """Write LICENSES.md, ATTRIBUTION.csv and manifest.json: this one last, since a reader trusts only what it lists."""
    shards = sorted(shards, key=lambda shard: shard["file"])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("key", "subject", "package", "version", "author", "licence"))
    writer.writerows(sorted(rows))
    write_file(folder / "ATTRIBUTION.csv", table.getvalue().encode())
    write_file(folder / "LICENSES.md", licences_text(pack, shards).encode())
    manifest = {"format": FORMAT, "pack": pack, "shards": shards}
    write_file(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
