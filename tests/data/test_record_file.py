"""Random access: equal to reading the whole file, after changes too, whatever the cache holds and wherever it is."""

from __future__ import annotations

import codecs
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor.data import record_file
from mentor.data.example import BadRecord
from mentor.data.record_file import RecordFile, _line_spans, _list_spans
from tests.data.released_folder import write_lines

RECORDS = [{"input_text": "ein Fuchs läuft\nüber die Straße", "n": i} for i in range(20)]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    max_leaves=6,
)


def test_lines(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [*RECORDS[:7], "", " ", *RECORDS[7:]])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))  # a last line without an end
    records = RecordFile(path)
    assert [records[i] for i in range(len(records))] == RECORDS
    assert (tmp_path / "a.jsonl.spans.npy").is_file()
    assert pickle.loads(pickle.dumps(records))[3] == RECORDS[3]


def test_windows_line_ends_and_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_file, "_BLOCK", 13)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\r\n".join(json.dumps(record).encode() for record in RECORDS) + b"\r\n\r\n")
    records = RecordFile(path)
    assert [records[i] for i in range(len(records))] == RECORDS


@given(
    st.lists(st.dictionaries(st.text(), JSON, min_size=1), min_size=1, max_size=5),
    st.sampled_from([None, 2]),
    st.booleans(),
)
def test_a_list_s_elements(records: list[Any], indent: int | None, ascii_only: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(json.dumps(records, indent=indent, ensure_ascii=ascii_only), encoding="utf-8", newline="")
        data = path.read_bytes()
        assert [json.loads(data[start:end]) for start, end in _list_spans(path).tolist()] == records
        path.write_text("\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records), encoding="utf-8")
        data = path.read_bytes()
        assert [json.loads(data[start:end]) for start, end in _line_spans(path).tolist()] == list(records)


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
def test_a_list_with_windows_line_ends_and_a_mark_before_it(tmp_path: Path, start: bytes) -> None:
    records = [{"name": f"Füchse {number}"} for number in range(5)]
    text = json.dumps(records, indent=1, ensure_ascii=False).replace("\n", "\r\n")
    (tmp_path / "a.json").write_bytes(start + text.encode())
    file = RecordFile(tmp_path / "a.json")
    assert [file[index] for index in range(len(file))] == records
    (tmp_path / "b.jsonl").write_bytes(start + b"".join(json.dumps(each).encode() + b"\r\n" for each in records))
    lines = RecordFile(tmp_path / "b.jsonl")
    assert [lines[index] for index in range(len(lines))] == records


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux tells them")
def test_small_indexes_keep_no_file_open(tmp_path: Path) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    for number in range(40):
        (tmp_path / f"{number}.jsonl").write_text("1\n2\n")
        RecordFile(tmp_path / f"{number}.jsonl")
    before = opened()
    held = [RecordFile(tmp_path / f"{number}.jsonl") for number in range(40)]
    assert len(held[0]) == 2 and opened() == before


def test_the_index_follows_the_file(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", RECORDS)
    assert len(RecordFile(path)) == 20
    write_lines(path, RECORDS[:5])
    assert len(RecordFile(path)) == 5
    status = path.stat()
    write_lines(path, [dict(reversed(record.items())) for record in RECORDS[:5]])  # as long as before
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert [RecordFile(path)[i] for i in range(5)] == RECORDS[:5]
    (tmp_path / "a.jsonl.spans.npy").write_bytes(b"damaged")
    assert RecordFile(path)[4] == RECORDS[4]


def test_the_index_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "a.jsonl", RECORDS)
    RecordFile(path)
    monkeypatch.setattr(record_file, "_find_spans", lambda path: pytest.fail("built again"))
    assert RecordFile(path)[2] == RECORDS[2]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "a.jsonl", RECORDS)
    beside = tmp_path / "a.jsonl.spans.npy"
    beside.mkdir()  # whatever is written there fails, for root too
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert RecordFile(path)[19] == RECORDS[19]
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 1
    assert not list(tmp_path.glob(".partial-*"))


def test_damage(tmp_path: Path) -> None:
    records = RecordFile(write_lines(tmp_path / "a.jsonl", [RECORDS[0], '{"input_text": "a', "{", RECORDS[1]]))
    for broken in (1, 2):
        with pytest.raises(BadRecord, match="not valid JSON"):
            records[broken]
    assert records[3] == RECORDS[1]
    with pytest.raises(ValueError, match="holds no records"):
        RecordFile(write_lines(tmp_path / "b.jsonl", ["", ""]))
    with pytest.raises(ValueError, match="cannot read .*absent"):
        RecordFile(tmp_path / "absent.jsonl")
    (tmp_path / "c.json").write_text('[{"a": 1}, {"a": ')
    with pytest.raises(ValueError, match="not a readable json list"):
        RecordFile(tmp_path / "c.json")


def test_a_million_lines_have_an_index_that_lies_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 12345}\n' * 1_000_000)
    records = RecordFile(path)
    assert len(records) == 1_000_000
    assert isinstance(RecordFile(path)._spans, np.memmap)
    assert records[999_999] == {"n": 12345}
