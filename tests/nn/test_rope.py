from __future__ import annotations

import math

import pytest
import torch

from mentor.nn.rope import grid_rotation, prefix_rotation, rotate

CPU = torch.device("cpu")


def test_every_pair_turns_by_row_or_column():
    grid, head_width, base = 3, 8, 100.0
    table = grid_rotation(grid, head_width, base)
    assert table.shape == (9, 4, 2)
    for token in range(9):
        row, column = divmod(token, grid)
        angles = [row, row / 10, column, column / 10]  # base^(-2k/4) for k = 0, 1
        expected = torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles])
        torch.testing.assert_close(table[token], expected)


def test_dot_products_depend_on_the_offset_in_the_grid_alone():
    torch.manual_seed(0)
    grid = 5
    table = grid_rotation(grid, 16)
    q, k = torch.randn(2, 1, 1, 16)
    turned_q, turned_k = (rotate(x.expand(grid * grid, 1, 16), table)[:, 0] for x in (q, k))
    products = turned_q @ turned_k.T
    products = products.view(grid, grid, grid, grid)  # query row, query column, key row, key column
    torch.testing.assert_close(products[3, 3, 1, 2], products[4, 4, 2, 3])
    torch.testing.assert_close(products[2, 1, 2, 4], products[0, 0, 0, 3])
    assert not torch.isclose(products[3, 3, 1, 2], products[3, 3, 2, 1])


def test_prefix_policies():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 8)
    assert torch.equal(rotate(x, prefix_rotation("identity", 5, 8, CPU)), x)
    assert torch.equal(rotate(x, prefix_rotation("zero", 5, 8, CPU)), torch.zeros_like(x))


def test_the_compiler_gets_the_same_numbers(monkeypatch):
    torch.manual_seed(0)
    x, table = torch.randn(2, 9, 3, 8), grid_rotation(3, 8)
    eager = rotate(x, table)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, table), eager)


def test_rotation_is_made_on_the_cpu_whatever_the_default_device():
    with torch.device("meta"):
        assert grid_rotation(2, 8).device == CPU


def test_tables_are_float32_whatever_the_default_is():
    before = torch.get_default_dtype()
    for default in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(default)
        try:
            tables = grid_rotation(3, 8), prefix_rotation("identity", 5, 8, CPU)
        finally:
            torch.set_default_dtype(before)
        assert [table.dtype for table in tables] == [torch.float32] * 2
        assert torch.equal(tables[0], grid_rotation(3, 8))


def test_head_width_must_share_evenly():
    with pytest.raises(ValueError, match="divisible by 4"):
        grid_rotation(4, 10)
