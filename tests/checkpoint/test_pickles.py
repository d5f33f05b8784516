"""Files of weights that others wrote: what is read, what is said to be left out, what is refused without being executed."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mentor.checkpoint.pickles import read_pickle

STATE = {"layers.0.weight": torch.randn(3, 4), "norm.weight": torch.ones(4, dtype=torch.bfloat16)}
ZIP, LEGACY = True, False


class Hostile:
    """Unpickled with full powers, this makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def save(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def same(tensors, expected) -> bool:
    return tensors.keys() == expected.keys() and all(
        torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in expected.items()
    )


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
@pytest.mark.parametrize("container", ["model", "module", "state_dict", None])
def test_the_weights_are_found_in_every_container(tmp_path, container, zipped):
    path = save(STATE if container is None else {container: STATE}, tmp_path / "a.pt", zipped)
    file = read_pickle(path)
    assert same(file.tensors, STATE)
    assert file.notes == ()
    assert {
        name: (tensor.shape, tensor.dtype, tensor.device.type) for name, tensor in file.tensors.outline.items()
    } == {name: (tensor.shape, tensor.dtype, "meta") for name, tensor in STATE.items()}


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin"])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    save_file(STATE, tmp_path / name)
    assert same(read_pickle(tmp_path / name).tensors, STATE)


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_the_runs_arguments_are_read_and_its_state_is_said_to_be_left_out(tmp_path, zipped):
    args = argparse.Namespace(image_size=512, fix="gpt-empty-fix")
    content = {"model": STATE, "args": args, "optimizer": {"state": {0: torch.zeros(2)}}, "steps": 7, "best": 0.1}
    file = read_pickle(save(content, tmp_path / "a.pt", zipped))
    assert file.args == {"image_size": 512, "fix": "gpt-empty-fix"}
    assert file.notes == ("left out of a.pt: args, optimizer, steps", "left out of a.pt, not known here: best")
    assert same(file.tensors, STATE)


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("module.", ["'module.' (DistributedDataParallel)"]),
        ("_orig_mod.", ["'_orig_mod.' (torch.compile)"]),
        ("_orig_mod.module.", ["'_orig_mod.'", "'module.'"]),
    ],
)
def test_wrappers_names_are_taken_off(tmp_path, prefix, said):
    file = read_pickle(save({prefix + name: tensor for name, tensor in STATE.items()}, tmp_path / "a.pt"))
    assert same(file.tensors, STATE)
    assert len(file.notes) == len(said)
    assert all(each in note for each, note in zip(said, file.notes, strict=True))


def test_the_name_of_a_compiled_part_is_taken_out(tmp_path):
    path = save({"layers.0._orig_mod.weight": torch.ones(2), "norm.weight": torch.ones(1)}, tmp_path / "a.pt")
    assert set(read_pickle(path).tensors) == {"layers.0.weight", "norm.weight"}
    path = save({"layers.0._orig_mod.weight": torch.ones(2), "layers.0.weight": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="differ only by '_orig_mod.'"):
        read_pickle(path)


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
@pytest.mark.parametrize("where", ["beside", "args"])
def test_nothing_hostile_is_executed(tmp_path, zipped, where):
    hostile = Hostile(tmp_path / "proof")
    beside = {"args": argparse.Namespace(x=hostile)} if where == "args" else {"x": hostile}
    path = save({"model": STATE, **beside}, tmp_path / "a.pt", zipped)
    with pytest.raises(
        ValueError, match=r"a.pt is refused: it wants (posix|nt).system, .*argparse.Namespace.*nothing was"
    ):
        read_pickle(path)
    assert not (tmp_path / "proof").exists()


def test_classes_that_are_not_allowed_are_named(tmp_path):
    path = save({"model": STATE, "args": argparse.Namespace(out=tmp_path)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt is refused: it wants pathlib\.\w+"):
        read_pickle(path)


def foreign_files(folder: Path) -> dict[str, bytes]:
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "script")
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.writestr("notes/readme.txt", "hello")
    return {
        "empty": b"",
        "text": b"once upon a time there was no checkpoint",
        "pickle": pickle.dumps({"model": [1, 2]}),
        "zip": (folder / "zip").read_bytes(),
        "TorchScript": (folder / "script").read_bytes(),
    }


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("kind", ["empty", "text", "pickle", "zip", "TorchScript"])
def test_other_files_get_one_line(tmp_path, kind):
    path = tmp_path / "a.pt"
    path.write_bytes(foreign_files(tmp_path)[kind])
    with pytest.raises(ValueError, match=r"a.pt is (not a readable checkpoint|a TorchScript program)") as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected a dictionary of tensors"),
        ({"epoch": 3}, "holds no weights: .*found epoch"),
        ({}, "holds no weights: .*found nothing"),
        ({"model": {"a": torch.zeros(1), "b": 3}}, "'b' is a int"),
        ({"model": {"a": torch.zeros(1), 3: torch.zeros(1)}}, "3 is a Tensor"),
        ({"a": torch.zeros(1).expand(10**6, 10**6)}, "a is not a plain tensor"),
        ({"a": torch.eye(3).to_sparse()}, "a is not a plain tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_checkpoints_without_plain_weights_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_pickle(save(content, tmp_path / "a.pt"))


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="none.pt does not exist"):
        read_pickle(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="is a folder, expected a file"):
        read_pickle(tmp_path)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    content = {"model": STATE, "args": argparse.Namespace(a=1)}
    save_file(STATE, folder / "safe")
    return {
        "zip": save(content, folder / "zip").read_bytes(),
        "legacy": save(content, folder / "legacy", LEGACY).read_bytes(),
        "safetensors": (folder / "safe").read_bytes(),
    }


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_in_one_line_or_read(tmp_path, whole_files, kind, data):
    damaged = bytearray(whole_files[kind])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.bin"
    path.write_bytes(damaged)
    message = ""
    try:
        tensors = read_pickle(path).tensors
        assert all(tensor.numel() < 100 for tensor in tensors.values())
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
    assert not message or "a.bin" in message


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 0.999])
def test_cut_off_files_are_refused(tmp_path, whole_files, kind, share):
    path = tmp_path / f"a.{'safetensors' if kind == 'safetensors' else 'pt'}"
    path.write_bytes(whole_files[kind][: int(len(whole_files[kind]) * share)])
    with pytest.raises(ValueError, match=r"a\.\w+ is (not a readable|refused)"):
        read_pickle(path)
