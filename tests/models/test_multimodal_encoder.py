"""Splicing visual tokens between words, in order, and refusing to when the counts differ."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentor.models.multimodal_encoder import MultimodalEncoder, splice
from tests.generation.tiny_bundle import CONFIG


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
def test_splice_replaces_in_row_major_order_and_nothing_else(rows):
    where = torch.tensor(rows)
    embeds = torch.randn(*where.shape, 3)
    visual = torch.arange(int(where.sum()) * 3.0).view(-1, 1, 3)
    spliced = splice(embeds, visual, where)
    assert torch.equal(spliced[where], visual[:, 0])
    assert torch.equal(spliced[~where], embeds[~where])


@pytest.mark.parametrize(("placeholders", "images"), [(4, 0), (0, 1), (4, 2), (8, 1), (3, 1)])
def test_counts_must_agree(placeholders, images):
    where = torch.arange(10).unsqueeze(0) < placeholders
    with pytest.raises(
        ValueError, match=f"{placeholders} image placeholders, but {images} images of 4 .* {4 * images}"
    ):
        splice(torch.zeros(1, 10, 3), torch.zeros(images, 4, 3), where)


def test_gradients_reach_words_and_visual_tokens():
    embeds, visual = torch.zeros(1, 3, 2, requires_grad=True), torch.zeros(1, 1, 2, requires_grad=True)
    weights = torch.tensor([[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]])
    (splice(embeds, visual, torch.tensor([[False, True, False]])) * weights).sum().backward()
    assert embeds.grad.tolist() == [[[1, 1], [0, 0], [3, 3]]]
    assert visual.grad.tolist() == [[[2, 2]]]


def test_each_prompt_gets_its_own_images():
    torch.manual_seed(0)
    encoder = MultimodalEncoder(CONFIG.vision, CONFIG.language, CONFIG.connector).eval()
    for parameter in encoder.connector.parameters():
        torch.nn.init.normal_(parameter)
    image = CONFIG.language.image_token_id
    ids = torch.tensor([[3, image, image, image, image, 5], [4, 3, 0, 0, 0, 0], [image] * 4 + [6, 3]])
    mask = ids != 0
    features = torch.randn(2, 4, CONFIG.vision.width).half()
    with torch.no_grad():
        together = encoder(ids, mask, features)
        for row, own in ((0, features[:1]), (1, features[:0]), (2, features[1:])):
            length = int(mask[row].sum())
            alone = encoder(ids[row : row + 1, :length], mask[row : row + 1, :length], own)
            torch.testing.assert_close(together[row : row + 1, :length], alone, atol=1e-5, rtol=1e-4)
        changed = encoder(ids, mask, torch.cat([features[:1], features[1:] + 1]))
    assert torch.equal(changed[:2], together[:2])
    assert not torch.allclose(changed[2], together[2], atol=1e-3)
