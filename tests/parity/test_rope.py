"""The rotary table and its application against the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from mentor.nn.rope import grid_rotation, prefix_rotation, rotate
from tests.parity.fixtures import Checks, Golden

checks = Checks("rope", given=(r"\d+\.in_q",))


def test_entry(golden, entry, record_property):
    checks.verify(golden, entry, record_property)


def test_every_configuration_is_there(golden):
    assert {int(number) for (number,) in golden.numbered(r"(\d+)\.in_q")} == set(range(len(golden.meta["configs"])))


@checks.entry(r"(\d+)\.table_(identity|zero)_prefix")
def table(golden: Golden, number: str, policy: str) -> Tensor:
    config = golden.meta["configs"][int(number)]
    prefix = prefix_rotation(policy, config["cls_token_num"], config["head_dim"], torch.device("cpu"))
    return torch.cat((prefix, grid_rotation(config["grid"], config["head_dim"], config["base"])))


@checks.entry(r"(\d+)\.q_fixed")
def fixed(golden: Golden, number: str) -> Tensor:
    return rotate(golden.io[f"{number}.in_q"], table(golden, number, "identity"))


# The corrected class falls back to the erased prefix when it is told to exclude no rows.
@checks.entry(r"(\d+)\.q_(?:original|fixed_exclude0)")
def original(golden: Golden, number: str) -> Tensor:
    return rotate(golden.io[f"{number}.in_q"], table(golden, number, "zero"))
