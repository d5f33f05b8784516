"""Weights on disk: bit for bit or rounded as asked, in shards, refusals, nothing half-written."""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import huggingface_hub
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mentor.checkpoint import eight_bit, tensors
from mentor.checkpoint.tensors import read_tensors, write_tensors

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.uint8, torch.bool]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def random_bits(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    """Every pattern of bits that the type has, NaNs and subnormal numbers too."""
    if dtype is torch.bool:
        return torch.arange(torch.Size(shape).numel()).view(shape) % 2 == 0
    size = torch.Size(shape).numel() * dtype.itemsize
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (size,), generator=generator, dtype=torch.uint8).view(dtype).view(shape)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(DTYPES), st.sampled_from([(), (0,), (3,), (2, 5), (2, 3, 4)])), min_size=1, max_size=9
    ),
    st.integers(1, 400),
)
def test_every_type_comes_back_bit_for_bit_in_any_number_of_shards(kinds, shard_bytes):
    state = {f"{number}": random_bits(*kind, number) for number, kind in enumerate(kinds)}
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(Path(folder), "a", state, shard_bytes=shard_bytes)
        read = read_tensors(Path(folder), "a")
        assert list(read.shapes) == list(read)
        assert dict(read).keys() == state.keys()
        for name, tensor in state.items():
            assert (read[name].dtype, read.shapes[name]) == (tensor.dtype, tuple(tensor.shape))
            assert bits(read[name]) == bits(tensor)


def test_tensors_in_another_order_in_memory_and_views_are_written_whole(tmp_path):
    whole = torch.arange(48.0).view(2, 2, 3, 4)
    state = {"turned": whole[0].permute(2, 0, 1), "part": whole[1, 0], "rest": whole[1, 1].requires_grad_()}
    write_tensors(tmp_path, "a", state)
    read = read_tensors(tmp_path, "a")
    for name, tensor in state.items():
        assert torch.equal(read[name], tensor)


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))


def test_the_hubs_own_library_reads_what_is_written(tmp_path, linear):
    write_tensors(tmp_path, "model", linear.state_dict(), shard_bytes=600)
    assert names(tmp_path) == [
        *(f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)), "model.safetensors.index.json",
    ]  # fmt: skip
    other = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
    huggingface_hub.load_torch_model(other, tmp_path, strict=True, safe=True)
    for name, tensor in linear.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 5 * 72 * 4


def test_what_the_hubs_own_library_writes_is_read(tmp_path, linear):
    huggingface_hub.save_torch_state_dict(linear.state_dict(), tmp_path, max_shard_size=600)
    assert len(names(tmp_path)) == 4
    read = read_tensors(tmp_path, "model")
    assert read.keys() == linear.state_dict().keys()
    for name, tensor in linear.state_dict().items():
        assert torch.equal(read[name], tensor)


class Counted(Mapping[str, Tensor]):
    """Makes 1,000 bytes when asked, and counts how many are alive."""

    def __init__(self) -> None:
        self.alive = self.most = 0

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.full((250,), float(name))
        self.alive += 1000
        self.most = max(self.most, self.alive)
        weakref.finalize(tensor.untyped_storage(), self._freed)
        return tensor

    def _freed(self) -> None:
        self.alive -= 1000

    def __iter__(self) -> Iterator[str]:
        return map(str, range(30))

    def __len__(self) -> int:
        return 30


@pytest.mark.parametrize("storage", ["full", "half"])
def test_no_more_than_a_shard_is_in_memory(tmp_path, storage):
    state = Counted()
    write_tensors(tmp_path, "a", state, storage=storage, shard_bytes=4000)
    assert len(names(tmp_path)) == 1 + (30 // 8 + 1 if storage == "half" else 30 // 4 + 1)
    assert state.most <= 5000 + 1000
    read = read_tensors(tmp_path, "a")
    assert [float(read[name][0]) for name in read] == [float(name) for name in read]


def test_another_number_of_shards_leaves_none_of_the_old(tmp_path):
    state = {"a": torch.zeros(10), "b": torch.ones(10)}
    for shard_bytes, count in [(40, 3), (1000, 1), (40, 3)]:
        write_tensors(tmp_path, "x", state, shard_bytes=shard_bytes)
        assert len(names(tmp_path)) == count
        assert torch.equal(read_tensors(tmp_path, "x")["b"], state["b"])
    write_tensors(tmp_path, "xy", state)
    write_tensors(tmp_path, "x", state)
    assert names(tmp_path) == ["x.safetensors", "xy.safetensors"]


def test_half_rounds_float32_and_nothing_else(tmp_path):
    state = {
        "weight": torch.randn(3, 4),
        "short": torch.randn(5).bfloat16(),
        "count": torch.tensor(70000),
        "used": torch.tensor([True, False]),
    }
    write_tensors(tmp_path, "a", state, storage="half")
    read = read_tensors(tmp_path, "a")
    assert torch.equal(read["weight"], state["weight"].half())
    assert read["weight"].dtype == torch.float16
    for name in ("short", "count", "used"):
        assert bits(read[name]) == bits(state[name])
    assert names(tmp_path) == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644


def test_compact_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(eight_bit, "EIGHT_BIT_FROM", 100)
    state = {
        "full": torch.tensor([1.0, 1e-7, -0.0]),
        "huge": torch.tensor([70000.0]),
        "not a number": torch.tensor([float("nan"), 1.0]),
        "half": torch.tensor([0.5, -0.0, 65504.0]),
        "table": eight_bit.dequantize_rows(*eight_bit.quantize_rows(torch.randn(20, 10))),
        "short": torch.randn(5).bfloat16(),
        "count": torch.tensor(70000),
    }
    write_tensors(tmp_path, "a", state, storage="compact")
    read, stored = read_tensors(tmp_path, "a"), load_file(tmp_path / "a.safetensors")
    for name, tensor in state.items():
        assert bits(read[name].to(tensor.dtype)) == bits(tensor)
    assert [stored[name].dtype for name in ("full", "huge", "not a number")] == [torch.float32] * 3
    assert (stored["half"].dtype, stored["table"].dtype) == (torch.float16, torch.int8)
    assert stored["short"].dtype == torch.bfloat16


def test_a_table_stored_in_eight_bits_stays_so_and_another_does_not_become_so(tmp_path, monkeypatch):
    monkeypatch.setattr(eight_bit, "EIGHT_BIT_FROM", 100)
    path, free = tmp_path / "a.safetensors", torch.randn(20, 10)
    write_tensors(
        tmp_path, "a", {"table": torch.randn(20, 10), "free": free}, storage="half", eight_bit=frozenset({"table"})
    )
    first = dict(read_tensors(tmp_path, "a"))
    assert first.keys() == {"table", "free"}
    assert first["table"].dtype == torch.float32
    size = path.stat().st_size
    for _ in range(2):
        write_tensors(tmp_path, "a", dict(read_tensors(tmp_path, "a")), storage="half")
        assert path.stat().st_size == size
        assert torch.equal(read_tensors(tmp_path, "a")["table"], first["table"])
    stored = load_file(path)
    assert stored["table"].dtype == torch.int8
    assert stored["free"].dtype == torch.float16
    assert torch.equal(first["free"], free.half())


def test_eight_bits_on_request_take_big_matrices_and_kernels(tmp_path, monkeypatch):
    monkeypatch.setattr(eight_bit, "EIGHT_BIT_FROM", 100)
    state = {
        "matrix": torch.randn(20, 10),
        "kernel": torch.randn(4, 6, 3, 3).to(memory_format=torch.channels_last),
        "small": torch.randn(9, 10),
        "bias": torch.randn(200),
        "ids": torch.arange(200).view(20, 10),
    }
    write_tensors(tmp_path, "a", state, storage="eight_bit")
    read, stored = dict(read_tensors(tmp_path, "a")), load_file(tmp_path / "a.safetensors")
    assert [stored[name].dtype for name in ("matrix", "kernel")] == [torch.int8] * 2
    assert [stored[name].dtype for name in ("small", "bias")] == [torch.float16] * 2
    assert torch.equal(read["ids"], state["ids"])
    assert stored["kernel.row_scale"].shape == (4,)
    for name in ("matrix", "kernel"):
        step = state[name].abs().flatten(1).amax(1) / 127
        error = (read[name] - state[name]).abs().flatten(1)
        assert (error <= 0.6 * step[:, None]).all()
        assert read[name].shape == state[name].shape
    # Once rounded, nothing more is lost, and what follows from no rounding stays small too.
    for storage in ("compact", "half", "eight_bit"):
        write_tensors(tmp_path, "b", read, storage=storage)
        assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def test_an_unknown_storage_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"storage: expected one of full, compact, half, eight_bit, got '8bit'"):
        write_tensors(tmp_path, "a", {"one": torch.ones(3)}, storage="8bit")
    assert not names(tmp_path)


def test_a_table_and_its_scales_may_lie_in_different_shards(tmp_path):
    codes, scale = eight_bit.quantize_rows(torch.randn(20, 10))
    huggingface_hub.save_torch_state_dict({"a": codes, "a.row_scale": scale}, tmp_path, max_shard_size=200)
    read = read_tensors(tmp_path, "model")
    assert list(read) == ["a"]
    assert torch.equal(read["a"], eight_bit.dequantize_rows(codes, scale))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_values_that_sixteen_bits_cannot_hold_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="layer.weight holds values that are not finite"):
        write_tensors(tmp_path, "a", {"layer.weight": torch.tensor([1.0, value])}, storage="half")
    assert not names(tmp_path)


def test_a_write_that_fails_midway_leaves_what_was_there(tmp_path):
    write_tensors(tmp_path, "a", {"one": torch.ones(10)})
    bad = {"first": torch.ones(10), "second": torch.tensor([float("nan")] * 10)}
    with pytest.raises(ValueError, match="second"):
        write_tensors(tmp_path, "a", bad, storage="half", shard_bytes=20)
    assert names(tmp_path) == ["a.safetensors"]
    assert torch.equal(read_tensors(tmp_path, "a")["one"], torch.ones(10))


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=r"a.safetensors is missing"):
        read_tensors(tmp_path, "a")
    write_tensors(tmp_path, "a", {"weight": torch.randn(30, 30)})
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:50], whole[:-1], whole + b"\0", b"\xff" * 200, b"PK\x03\x04" + whole):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a.safetensors is not a readable safetensors file .*copy it again"):
            read_tensors(tmp_path, "a")
    save_file({"a": torch.zeros(3, 4, dtype=torch.int8), "a.row_scale": torch.ones(5)}, path)
    with pytest.raises(ValueError, match=r"a has shape \[3, 4\] but scales \[5\]"):
        read_tensors(tmp_path, "a")


@pytest.fixture
def sharded(tmp_path) -> Path:
    write_tensors(
        tmp_path, "a", {"one": torch.ones(10), "two": torch.ones(10), "three": torch.ones(10)}, shard_bytes=40
    )
    return tmp_path


def change_index(folder: Path, **weight_map: object) -> None:
    path = folder / "a.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] |= weight_map
    path.write_text(json.dumps(index))


def test_missing_shards_are_named(sharded):
    (sharded / "a-00002-of-00003.safetensors").unlink()
    message = r"a-00002-of-00003.safetensors is missing: a.safetensors.index.json names 3 files and 1 .*copy them again"
    with pytest.raises(ValueError, match=message):
        read_tensors(sharded, "a")
    (sharded / "a.safetensors.index.json").unlink()
    with pytest.raises(
        ValueError, match=r"index.json is missing, without which a-00001-of-00003.safetensors cannot be used"
    ):
        read_tensors(sharded, "a")


def test_a_cut_off_shard_is_named(sharded):
    path = sharded / "a-00003-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"a-00003-of-00003.safetensors is not a readable safetensors file"):
        read_tensors(sharded, "a")


@pytest.mark.parametrize(
    "file",
    ["../secret.safetensors", "/etc/secret.safetensors", "..\\secret.safetensors", "C:secret.safetensors", "config.json",
     "", ".", "..", 3, None, ["a"], "sub/a-00001-of-00003.safetensors"],
)  # fmt: skip
def test_an_index_that_leads_elsewhere_is_refused(sharded, file):
    (sharded.parent / "secret.safetensors").write_bytes((sharded / "a-00001-of-00003.safetensors").read_bytes())
    change_index(sharded, one=file)
    with pytest.raises(
        ValueError, match=r"index.json: the file of one is .*expected the name of a shard beside the index"
    ):
        read_tensors(sharded, "a")


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (
            {"four": "a-00001-of-00003.safetensors"},
            "names a-00001-of-00003.safetensors for four, which lies in no file",
        ),
        ({"two": "a-00001-of-00003.safetensors"}, "names a-00001-of-00003.safetensors for two, which lies in no file"),
        ({"two": "b.safetensors"}, r"b.safetensors is missing: .*names 3 files"),
    ],
)
def test_an_index_that_disagrees_with_its_shards_is_refused(sharded, weight_map, message):
    change_index(sharded, **weight_map)
    with pytest.raises(ValueError, match=message):
        read_tensors(sharded, "a")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "\xff", "[" * 100_000, '{"a']
)
def test_a_broken_index_is_named(sharded, text):
    (sharded / "a.safetensors.index.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"a.safetensors.index.json"):
        read_tensors(sharded, "a")


def test_an_unknown_name_is_a_key_error(sharded):
    with pytest.raises(KeyError, match="four"):
        read_tensors(sharded, "a")["four"]


def test_a_file_is_mapped_anew_now_and_then(sharded, monkeypatch):
    """What was handed out before stays readable, and the numbers are the same."""
    monkeypatch.setattr(tensors, "_MAPPED_BYTES", 0)
    read = read_tensors(sharded, "a")
    first = read["one"]
    assert all(torch.equal(read[name], torch.ones(10)) for name in ("one", "two", "one", "three"))
    assert torch.equal(first, torch.ones(10))
