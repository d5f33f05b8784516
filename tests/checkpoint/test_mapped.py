"""Mapped weights: the same tensors however often the file is mapped, and no more of it than is in use."""

from __future__ import annotations

import gc
import weakref

import torch

from mentor.checkpoint import mapped
from mentor.checkpoint.mapped import MappedWeights
from mentor.checkpoint.pickles import read_pickle

STATE = {f"layers.{i}": torch.full((8,), float(i)) for i in range(6)}


def test_the_outline_has_shapes_and_types_and_no_numbers():
    outline = MappedWeights(lambda: {"a": torch.zeros(2, 3, dtype=torch.bfloat16)}).outline
    assert {name: (tensor.shape, tensor.dtype, tensor.is_meta) for name, tensor in outline.items()} == {
        "a": ((2, 3), torch.bfloat16, True)
    }


def test_a_file_is_mapped_anew_after_a_while_and_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "_MAPPED_BYTES", 40)
    torch.save(STATE, tmp_path / "a.pt")
    tensors = read_pickle(tmp_path / "a.pt").tensors
    first = tensors["layers.1"]
    assert list(tensors) == list(STATE)
    assert all(torch.equal(tensors[name], STATE[name]) for name in STATE)
    assert torch.equal(first, STATE["layers.1"]), "what was handed out before is still there"


def test_a_map_is_let_go_when_its_tensors_are(monkeypatch):
    monkeypatch.setattr(mapped, "_MAPPED_BYTES", 60)
    maps = []

    def read():
        state = {name: tensor.clone() for name, tensor in STATE.items()}
        maps.append(weakref.ref(state["layers.5"]))
        return state

    tensors = MappedWeights(read)
    for name in tensors:
        tensors[name]
    gc.collect()
    # 32 bytes each, a new map once more than 60 were handed out.
    assert [each() is None for each in maps] == [True, True, False]
