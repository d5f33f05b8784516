"""The whole model: conditions padded left, dropped prompts, what is trained, refusals."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mentor.config.presets import PRESETS
from mentor.models.mentor import Mentor
from tests.generation.tiny_bundle import CONFIG, tiny_bundle

IMAGE = CONFIG.language.image_token_id


@pytest.fixture
def mentor():
    return tiny_bundle().mentor


def prompts():
    ids = torch.tensor([[3, IMAGE, IMAGE, IMAGE, IMAGE, 5], [4, 3, 5, 0, 0, 0]])
    torch.manual_seed(1)
    return ids, ids != 0, torch.randn(1, 4, CONFIG.vision.width), torch.randint(0, 64, (2, 16))


def test_condition_is_the_encoders_states_moved_to_the_end(mentor):
    ids, mask, features, _ = prompts()
    states, left = mentor.condition(ids, mask, features)
    right = mentor.encoder(ids, mask, features)
    assert left.tolist() == [[True] * 6, [False] * 3 + [True] * 3]
    assert torch.equal(states[1, 3:], right[1, :3])
    assert not states[1, :3].any()


def test_a_dropped_prompt_reads_the_last_rows_of_the_null_condition_under_its_own_mask(mentor):
    ids, mask, features, tokens = prompts()
    states, left = mentor.condition(ids, mask, features)
    drop = torch.tensor([True, False])
    prefix = mentor.prefix(states, left, drop)
    # Products of another shape may round otherwise.
    torch.testing.assert_close(prefix[0], mentor.projector(mentor.null_condition[-6:]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(prefix[1], mentor.projector(states)[1], atol=1e-6, rtol=1e-5)
    logits = mentor(ids, mask, features, tokens, torch.tensor([True, True]))
    other = mentor(ids, mask, features + 1, tokens, torch.tensor([True, True]))
    assert torch.equal(logits, other)


def test_the_image_moves_the_logits_of_its_own_prompt_only(mentor):
    ids, mask, features, tokens = prompts()
    with torch.no_grad():
        one, two = (mentor(ids, mask, given, tokens) for given in (features, features.flip(1)))
    assert one.shape == (2, 16, 64)
    assert not torch.allclose(one[0], two[0], atol=1e-3)
    assert torch.equal(one[1], two[1])


def test_padding_the_prompts_further_changes_nothing(mentor):
    ids, mask, features, tokens = prompts()
    wider = torch.nn.functional.pad(ids, (0, 5)), torch.nn.functional.pad(mask, (0, 5))
    with torch.no_grad():
        torch.testing.assert_close(
            mentor(*wider, features, tokens), mentor(ids, mask, features, tokens), atol=1e-3, rtol=1e-4
        )


def test_every_part_but_the_vision_tower_learns(mentor):
    ids, mask, features, tokens = prompts()
    mentor(ids, mask, features, tokens, torch.tensor([False, True])).logsumexp(-1).sum().backward()
    silent = {name for name, p in mentor.named_parameters() if p.grad is None or not p.grad.any()}
    # A key's bias moves every score of a query alike, which no softmax sees.
    silent = {name for name in silent if not name.endswith("attention.self.key.bias")}
    assert silent == {name for name, _ in mentor.named_parameters() if name.startswith("encoder.vision.")}


def test_same_seed_same_weights_and_new_parts_start_small():
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(Mentor(CONFIG).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    torch.manual_seed(0)
    mentor = Mentor(dataclasses.replace(PRESETS["mini-64"], language=dataclasses.replace(CONFIG.language, width=384)))
    assert mentor.projector.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert mentor.encoder.connector.fc2.weight.std().item() == pytest.approx(0.005, rel=0.05)
    assert mentor.null_condition.norm(dim=1).mean().item() == pytest.approx(1, rel=0.05)
    assert not mentor.encoder.connector.fc1.bias.any()


def test_builds_without_memory():
    with torch.device("meta"):
        mentor = Mentor(PRESETS["mini-128"])
    assert all(parameter.is_meta for parameter in mentor.parameters())


def test_a_condition_beyond_the_context_is_refused(mentor):
    length = CONFIG.context + 1
    with pytest.raises(ValueError, match=f"{length} tokens, the model's context is {CONFIG.context}"):
        mentor.prefix(torch.zeros(1, length, CONFIG.language.width), torch.ones(1, length, dtype=torch.bool))


@pytest.mark.parametrize(("context", "message"), [(600, "512 positions"), (4, "one image of 4 tokens")])
def test_a_context_that_cannot_work_is_refused(context, message):
    with pytest.raises(ValueError, match=message):
        Mentor(dataclasses.replace(CONFIG, context=context))
