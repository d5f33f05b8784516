"""The rotary table and its application against the reference."""

from __future__ import annotations

import pytest
import torch

from mentor.nn.rope import grid_rotation, prefix_rotation, rotate

CPU = torch.device("cpu")


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("policy", "table", "rotated"), [
    ("identity", "table_identity_prefix", "q_fixed"),
    ("zero", "table_zero_prefix", "q_original"),
])  # fmt: skip
def test_table_and_rotation(golden, number, policy, table, rotated):
    fixture = golden("rope")
    config = fixture.meta["configs"][number]
    rotation = torch.cat((
        prefix_rotation(policy, config["cls_token_num"], config["head_dim"], CPU),
        grid_rotation(config["grid"], config["head_dim"], config["base"]),
    ))  # fmt: skip
    torch.testing.assert_close(rotation, fixture.io[f"{number}.{table}"], **fixture.tolerance)
    turned = rotate(fixture.io[f"{number}.in_q"], rotation)
    torch.testing.assert_close(turned, fixture.io[f"{number}.{rotated}"], atol=1e-5, rtol=0.0)
