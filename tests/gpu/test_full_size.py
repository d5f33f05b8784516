"""The full-size decoder on a GPU: it fits, steps in bfloat16, and its packed losses are its padded ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mentor.config.presets import PRESETS
from mentor.models.decoder import Decoder

LENGTHS = [40, 300, 7, 120]


@pytest.fixture(scope="module")
def decoder(device: str) -> Decoder:
    if device == "cpu":
        pytest.skip("the full-size decoder takes minutes on a CPU")
    with torch.device(device):
        torch.manual_seed(0)
        return Decoder(PRESETS["xl-fixed"].decoder).bfloat16()


def test_packed_is_padded(decoder: Decoder, device: str) -> None:
    """0.2 nats a token, the mean to 5e-3: bfloat16 through 36 layers. A wrong mask costs a nat and more."""
    decoder.eval()
    config = decoder.config
    generator = torch.Generator(device).manual_seed(0)
    prefixes = [
        torch.randn(length, config.width, device=device, generator=generator).bfloat16() * 0.1 for length in LENGTHS
    ]
    tokens = torch.randint(config.vocab_size, (len(LENGTHS), config.num_tokens), device=device, generator=generator)
    longest = max(LENGTHS)
    padded = torch.stack([F.pad(prefix, (0, 0, longest - len(prefix), 0)) for prefix in prefixes])
    mask = torch.arange(longest, device=device) >= longest - torch.tensor(LENGTHS, device=device)[:, None]
    with torch.no_grad():
        packed = decoder.forward_packed(torch.cat(prefixes), LENGTHS, tokens[:, :-1])
        expected = decoder(padded, mask, tokens[:, :-1])
    losses = [
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none") for logits in (packed, expected)
    ]
    torch.testing.assert_close(losses[0], losses[1], atol=0.2, rtol=0)
    assert float(losses[0].mean()) == pytest.approx(float(losses[1].mean()), abs=5e-3)


def test_it_learns_a_batch(decoder: Decoder, device: str) -> None:
    decoder.train()
    config = decoder.config
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator(device).manual_seed(0)
    prefix = torch.randn(64, config.width, device=device, generator=generator).bfloat16() * 0.1
    tokens = torch.randint(config.vocab_size, (2, config.num_tokens), device=device, generator=generator)
    found = []
    for _ in range(21):
        logits = decoder.forward_packed(prefix, [32, 32], tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(loss))
    assert found[-1] < found[0] - 0.5
