"""The image tokenizer's objective: its numbers, its schedule, what it trains and what it exports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mentor.config.load import from_dict
from mentor.config.model import ImageTokenizerConfig
from mentor.config.sections import TokenizerObjectiveConfig
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.perceptual import STLPIPS
from mentor.training.patch_discriminator import PatchDiscriminator, adversarial_losses
from mentor.training.tokenizer_objective import TokenizerObjective
from mentor.training.weights import freeze

SMALL = ImageTokenizerConfig(
    backbone="patchify", downsample=8, codebook_size=32, widths=(16, 32), encoder_blocks=(1, 1), decoder_blocks=(1, 1)
)


def objective(*, steps: int = 100, **options: float) -> TokenizerObjective:
    torch.manual_seed(0)
    return TokenizerObjective(ImageTokenizer(SMALL), TokenizerObjectiveConfig(**options), steps=steps)  # type: ignore[arg-type]


def pictures(count: int = 8, side: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=side, mode="nearest")


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    made = objective(l2=2.0, l1=0.5, commitment=0.25)
    made.module.eval()
    batch = pictures()
    loss, numbers = made.loss({"pixels": batch}, 0)
    output = made.module.tokenizer(batch)
    error = output.reconstruction - batch
    expected = 2 * error.square().mean() + 0.5 * error.abs().mean() + 0.25 * output.commitment
    torch.testing.assert_close(loss, expected)
    psnr = 10 * np.log10(1 / float((error.detach() / 2).square().mean()))
    assert float(numbers["psnr"]) == pytest.approx(psnr, abs=1e-3)


def test_perceptual_term_comes_late() -> None:
    made = objective(perceptual=3.0, perceptual_from=0.7)
    made.module.eval()
    batch = pictures(count=4)  # a quarter of 4 is 1 picture
    early, numbers = made.loss({"pixels": batch}, 69)
    assert "st_lpips" not in numbers
    torch.manual_seed(7)
    late, numbers = made.loss({"pixels": batch}, 70)
    torch.manual_seed(7)
    chosen = torch.randperm(4)[:1]
    reconstruction = made.module.tokenizer(batch).reconstruction.detach()
    expected = STLPIPS()(reconstruction[chosen], batch[chosen]).mean()
    torch.testing.assert_close(late - early, 3 * expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(numbers["st_lpips"], expected, rtol=1e-3, atol=1e-4)


def test_restarts_end_and_the_codebook_moves_only_in_training() -> None:
    made = objective(steps=10, restarts_until=0.5)
    codebook = made.module.tokenizer.quantize.embedding.weight
    before = codebook.detach().clone()
    made.module.eval()
    made.loss({"pixels": pictures()}, 0)
    assert torch.equal(codebook, before)
    made.module.train()
    made.loss({"pixels": pictures()}, 0)
    assert not torch.equal(codebook, before)
    made.module.average.counts[:] = 1e-6  # every code looks unused
    made.module.average.sums[:] = 1e-6 * codebook
    made.loss({"pixels": pictures()}, 5)
    assert int((made.module.average.counts > 0.5).sum()) < 32  # late: nobody is restarted
    made.loss({"pixels": pictures()}, 4)
    assert int((made.module.average.counts >= 0.3).sum()) == 32


def test_a_batch_that_is_not_finite_leaves_no_trace_in_the_codebook() -> None:
    """The trainer leaves such a step out (``optim.skip_nonfinite``)."""
    made = objective()
    made.module.train()
    made.loss({"pixels": pictures()}, 0)
    before = {name: tensor.clone() for name, tensor in made.module.state_dict().items()}
    broken = pictures()
    broken[0, 0, 0, 0] = float("nan")
    loss, _ = made.loss({"pixels": broken}, 1)
    assert not loss.isfinite()
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.module.state_dict().items())


@pytest.mark.parametrize(("count", "uses"), [(8, 4.0), (1, 0.5)])
def test_codes_restart_below_a_share_of_the_mean_use(count: int, uses: float) -> None:
    """``count`` pictures of 16 codes each, 32 codes: a code is used ``uses`` times on average."""
    made = objective(steps=10, restarts_until=0.5)
    made.module.train()
    batch, average = {"pixels": pictures(count)}, made.module.average
    made.loss(batch, 0)
    used = set(made.module.tokenizer.encode(batch["pixels"]).flatten().tolist())
    below, above = [code for code in range(32) if code not in used][:2]
    average.counts[:] = 1000.0
    average.counts[below], average.counts[above] = 0.14 * uses, 0.16 * uses / 0.98  # decay: 2 % a batch
    average.sums[:] = average.counts[:, None] * made.module.tokenizer.quantize.codebook.detach()
    made.loss(batch, 1)
    assert float(average.counts[below]) == pytest.approx(max(1.0, 2 * 0.15 * uses))
    assert float(average.counts[above]) == pytest.approx(0.16 * uses, rel=1e-3)


def test_refining_the_decoder_leaves_every_code_as_it_was() -> None:
    made = objective()
    made.module.train()
    made.loss({"pixels": pictures()}, 0)
    tokenizer = made.module.tokenizer
    trained = freeze(made.module, ("tokenizer.decoder", "tokenizer.post_quant_conv"))
    before = tokenizer.encode(pictures(seed=4)), tokenizer.decode(torch.arange(16).view(1, 16))
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
    loss, numbers = made.loss({"pixels": pictures()}, 1)
    loss.backward()
    optimizer.step()
    assert "perplexity" not in numbers
    assert torch.equal(tokenizer.encode(pictures(seed=4)), before[0])
    assert not torch.equal(tokenizer.decode(torch.arange(16).view(1, 16)), before[1])


def test_a_few_steps_learn_a_few_pictures() -> None:
    made = objective(steps=60, perceptual=0.01, perceptual_from=0.9)
    made.module.train()
    optimizer = torch.optim.AdamW([p for p in made.module.parameters() if p.requires_grad], lr=3e-3)
    batch = {"pixels": pictures()}
    psnr = []
    for step in range(60):
        torch.manual_seed(step)
        loss, numbers = made.loss(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        psnr.append(float(numbers["psnr"]))
    assert psnr[-1] > psnr[0] + 6
    assert 0 < float(numbers["codes_used"]) <= 1


def test_the_same_seed_gives_the_same_step() -> None:
    results = []
    for _ in range(2):
        made = objective(perceptual=0.1, perceptual_from=0.0)
        torch.manual_seed(5)
        loss, _ = made.loss({"pixels": pictures()}, 0)
        results.append((loss.detach(), made.module.tokenizer.quantize.embedding.weight.clone()))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_resumed_state_continues_identically() -> None:
    first, second = objective(), objective()
    for step in range(3):
        torch.manual_seed(step)
        first.loss({"pixels": pictures(seed=step)}, step)
    second.module.load_state_dict(first.module.state_dict())
    outcomes = []
    for made in (first, second):
        torch.manual_seed(3)
        loss, _ = made.loss({"pixels": pictures(seed=3)}, 3)
        outcomes.append((loss.detach(), made.module.average.counts.clone()))
    assert torch.equal(outcomes[0][0], outcomes[1][0]) and torch.equal(outcomes[0][1], outcomes[1][1])


def test_export_round_trip(tmp_path: Path) -> None:
    made = objective()
    made.export(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "image_tokenizer.safetensors"]
    config = from_dict(ImageTokenizerConfig, json.loads((tmp_path / "config.json").read_text()))
    assert config == SMALL
    again = ImageTokenizer(config)
    again.load_state_dict(load_file(tmp_path / "image_tokenizer.safetensors"))
    rounded = {k: v.half().float() for k, v in made.module.tokenizer.state_dict().items()}
    assert all(torch.equal(value, rounded[name]) for name, value in again.state_dict().items())


def test_grid_shows_pictures_above_reconstructions() -> None:
    torch.manual_seed(0)
    shown = pictures(count=3)
    made = TokenizerObjective(ImageTokenizer(SMALL), TokenizerObjectiveConfig(), steps=1, pictures=shown)
    made.module.eval()
    grid = made.sample_grid()
    assert grid is not None and grid.size == (96, 64)
    top = torch.from_numpy(np.array(grid))[:32, 32:64].permute(2, 0, 1) / 127.5 - 1
    assert float((top - shown[1]).abs().max()) < 0.01
    bottom = torch.from_numpy(np.array(grid))[32:, 64:].permute(2, 0, 1) / 127.5 - 1
    model = made.module.tokenizer
    assert float((bottom - model.decode(model.encode(shown))[2]).abs().max()) < 0.01
    assert objective().sample_grid() is None and objective().evaluate() == {}


def test_adversarial_losses_reach_what_they_should() -> None:
    torch.manual_seed(0)
    judge = PatchDiscriminator(width=8)
    fake, real = pictures(2).requires_grad_(), pictures(2, seed=1)
    fooling, discrimination = adversarial_losses(judge, fake, real)
    weights = list(judge.parameters())
    assert all(g is None for g in torch.autograd.grad(fooling, weights, allow_unused=True, retain_graph=True))
    (gradient,) = torch.autograd.grad(fooling, fake, retain_graph=True)
    assert bool(gradient.any())
    assert torch.autograd.grad(discrimination, fake, allow_unused=True, retain_graph=True)[0] is None
    # The last bias shifts real and fake scores alike, so that the two hinges cancel as long as both are active.
    assert all(bool(g.any()) for g in torch.autograd.grad(discrimination, weights[:-1], retain_graph=True))
    assert judge(real).shape == (2, 1, 4, 4)
    expected = (torch.relu(1 - judge(real)).mean() + torch.relu(1 + judge(fake)).mean()) / 2
    torch.testing.assert_close(discrimination, expected)
    torch.testing.assert_close(fooling, -judge(fake).mean())


def test_a_step_with_the_discriminator_trains_both() -> None:
    made = objective(steps=10, adversarial=0.1, adversarial_from=0.5)
    assert made.module.discriminator is not None and objective().module.discriminator is None
    _, numbers = made.loss({"pixels": pictures()}, 4)
    assert "fooling" not in numbers
    optimizer = torch.optim.AdamW([p for p in made.module.parameters() if p.requires_grad], lr=2e-3)
    told = []
    for step in range(5, 15):
        loss, numbers = made.loss({"pixels": pictures()}, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.append(float(numbers["discrimination"]))
    assert told[0] == pytest.approx(1.0, abs=0.2) and min(told) < told[0]


def test_a_run_of_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 step"):
        objective(steps=0)


@pytest.mark.parametrize("backbone", ["patchify", "llamagen"])
def test_convolutions_between_hidden_maps_are_what_muon_takes(backbone: str) -> None:
    config = (
        SMALL
        if backbone == "patchify"
        else replace(SMALL, backbone="llamagen", channels=32, channel_multipliers=(1, 1, 2, 2))
    )
    made = TokenizerObjective(
        ImageTokenizer(config), TokenizerObjectiveConfig(adversarial=0.1, size=32, adversarial_from=0.0), steps=10
    )
    trained = {name: p for name, p in made.module.named_parameters() if p.requires_grad}
    groups = {group.kind: set(group.names) for group in made.parameter_groups(trained)}
    first, last = {
        "patchify": ("tokenizer.encoder.1.weight", "tokenizer.decoder.4.weight"),
        "llamagen": ("tokenizer.encoder.conv_in.weight", "tokenizer.decoder.conv_out.weight"),
    }[backbone]
    outside = {first, last, "tokenizer.quant_conv.weight", "tokenizer.post_quant_conv.weight"}
    assert outside <= groups["decay"]
    assert all(name.startswith("discriminator.") for name in groups["decay"] - outside)
    assert groups["matrix"] == {
        name for name, p in trained.items() if p.ndim == 4 and name.startswith("tokenizer.") and name not in outside
    }
