"""Sources: our names for a file's tensors, and what is said of those that do not fit."""

from __future__ import annotations

import pytest
import torch

from mentor.checkpoint.pickles import read_pickle
from mentor.checkpoint.sources import Assembled, Source

TABLE = {"model.": "ours."}


def source(path, **tensors) -> Source:
    torch.save({name.replace("__", "."): torch.zeros(shape) for name, shape in tensors.items()}, path)
    return Source(read_pickle(path), TABLE, beside=("other.",))


def meta(**shapes):
    return {f"ours.{name}": torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_tensors_are_read_by_our_names(tmp_path):
    torch.save({"model.a": torch.arange(3), "other.b": torch.zeros(1)}, tmp_path / "a.pt")
    found = Source(read_pickle(tmp_path / "a.pt"), TABLE, beside=("other.",))
    found.check(meta(a=(3,)), "a test")
    assert torch.equal(found.read("ours.a"), torch.arange(3))
    assert (found.has("ours."), found.has("other.")) == (True, False)
    assert found.notes == ["not needed of a.pt: 1 tensors of other parts"]


@pytest.mark.parametrize(
    ("tensors", "expected", "message"),
    [
        ({"model__a": (2,)}, {"a": (3,)}, r"1 tensor of another shape: model.a is \[2\], expected \[3\]$"),
        ({"model__a": (2,)}, {"a": (2,), "bb": (1,)}, r"1 missing tensor: model.bb$"),
        ({"model__a": (2,), "model__b": (2,)}, {"a": (2,)}, r"1 unknown tensor: model.b \(nearest: model.a\)$"),
        ({"a": (2,)}, {}, r"1 unknown tensor: a$"),
        (
            {f"model__{letter}": (1,) for letter in "abcde"},
            {},
            r"5 unknown tensors: model.a, model.b, model.c and 2 more$",
        ),
        (
            {"model__weight": (1,), "model__bias_": (4,)},
            {"weight": (2,), "bias": (4,)},
            r"model.bias_ \(nearest: model.bias\); 1 missing tensor: model.bias \(nearest: model.bias_\); 1 tensor of another",
        ),
    ],
)
def test_what_does_not_fit_is_counted_and_named(tmp_path, tensors, expected, message):
    with pytest.raises(ValueError, match=f"a.pt is not a test as its shapes and the configuration tell: .*{message}"):
        source(tmp_path / "a.pt", **tensors).check(meta(**expected), "a test")


def test_tensors_of_several_sources_are_one_state(tmp_path):
    one, two = source(tmp_path / "a.pt", model__a=(2,)), source(tmp_path / "b.pt", model__b=(3, 1))
    told = []
    state = Assembled({"ours.b": two, "ours.a": one}, told.append)
    assert list(state) == ["ours.b", "ours.a"]
    assert state.shapes == {"ours.b": (3, 1), "ours.a": (2,)}
    assert state.nbytes == 20
    assert told == []
    assert {name: tensor.shape for name, tensor in state.items()} == state.shapes
    assert told == [12, 8]
