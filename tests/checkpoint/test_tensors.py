"""Weights on disk: rounding, 8-bit tables, refusals, nothing half-written."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from mentor.checkpoint import tensors
from mentor.checkpoint.tensors import dequantize_rows, load_strict, quantize_rows, read_tensors, write_tensors


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_eight_bit_rows_round_to_the_nearest_level_and_stay_put(seed, size):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(6, 40, generator=generator) * size
    matrix[0] = 0
    codes, scale = quantize_rows(matrix)
    restored = dequantize_rows(codes, scale)
    step = matrix.abs().amax(1, keepdim=True) / 127
    assert ((restored - matrix).abs() <= 0.6 * step).all()
    assert codes.dtype == torch.int8
    again = quantize_rows(restored)
    assert torch.equal(again[0], codes)
    assert torch.equal(again[1], scale)


def test_what_is_written_is_read_as_float32(tmp_path):
    state = {"weight": torch.randn(3, 4), "count": torch.tensor(70000), "used": torch.tensor([True, False])}
    write_tensors(tmp_path / "a.safetensors", state)
    assert load_file(tmp_path / "a.safetensors")["weight"].dtype == torch.float16
    read = read_tensors(tmp_path / "a.safetensors")
    assert read["weight"].dtype == torch.float32
    assert torch.equal(read["weight"], state["weight"].half().float())
    assert torch.equal(read["count"], state["count"])
    assert torch.equal(read["used"], state["used"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_table_stored_in_eight_bits_stays_so_and_another_does_not_become_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "EIGHT_BIT_FROM", 100)
    path, free = tmp_path / "a.safetensors", torch.randn(20, 10)
    write_tensors(path, {"table": torch.randn(20, 10), "free": free}, eight_bit=frozenset({"table"}))
    first = read_tensors(path)
    size = path.stat().st_size
    for _ in range(2):
        write_tensors(path, read_tensors(path))
        assert path.stat().st_size == size
        assert torch.equal(read_tensors(path)["table"], first["table"])
    stored = load_file(path)
    assert stored["table"].dtype == torch.int8
    assert stored["free"].dtype == torch.float16
    assert torch.equal(first["free"], free.half().float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_values_that_sixteen_bits_cannot_hold_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="layer.weight holds values that are not finite"):
        write_tensors(tmp_path / "a.safetensors", {"layer.weight": torch.tensor([1.0, value])})
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="is missing"):
        read_tensors(path)
    write_tensors(path, {"weight": torch.randn(30, 30)})
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:50], whole[:-1], b"\xff" * 200, b"PK\x03\x04" + whole):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a readable safetensors file"):
            read_tensors(path)
    save_file({"a": torch.zeros(3, 4, dtype=torch.int8), "a.row_scale": torch.ones(5)}, path)
    with pytest.raises(ValueError, match=r"a has shape \[3, 4\] but scales \[5\]"):
        read_tensors(path)


def test_loading_names_what_does_not_fit():
    module = nn.Linear(3, 2)
    good = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    load_strict(module, good, "model")
    assert torch.equal(module.weight, torch.ones(2, 3))
    for state, message in [
        ({"weight": good["weight"]}, "bias is missing"),
        ({**good, "extra": torch.ones(1)}, "extra is not part of the configured model"),
        ({**good, "weight": torch.zeros(2, 4)}, r"weight has shape \[2, 4\], the configuration asks for \[2, 3\]"),
        ({**good, **{f"x{i}": torch.ones(1) for i in range(9)}}, "and 6 more"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_strict(module, state, "model")
    assert torch.equal(module.weight, torch.ones(2, 3)), "a refused state changed the module"
