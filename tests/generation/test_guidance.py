from __future__ import annotations

import torch

from mentor.generation.guidance import guided


def test_scale_moves_along_the_line_from_unconditional_to_conditional():
    conditional, unconditional = torch.tensor([[1.0, 4.0]]), torch.tensor([[3.0, 2.0]])
    assert torch.equal(guided(conditional, unconditional, 0), unconditional)
    assert torch.equal(guided(conditional, unconditional, 1), conditional)
    assert torch.equal(guided(conditional, unconditional, 2.5), torch.tensor([[-2.0, 7.0]]))
