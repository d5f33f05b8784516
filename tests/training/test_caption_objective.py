"""Stage 0: the loss is T5's own, only the connector learns, and it learns to tell pictures apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from mentor.checkpoint.store import Bundle, load_bundle
from mentor.models.mentor import Mentor
from mentor.training.caption_objective import CaptionObjective, load_answerer
from mentor.training.live_feed import IGNORED
from mentor.training.protocol import Batch
from mentor.training.trainer import Trainer
from tests.generation.tiny_bundle import CONFIG, tiny_bundle
from tests.training.tiny import tiny_config

T5 = replace(CONFIG, language=replace(CONFIG.language, kind="t5", head_width=8))


def _answerer(width: int = 16) -> T5ForConditionalGeneration:
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=15, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu",
        dropout_rate=0.1, pad_token_id=0, decoder_start_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


def _bundle() -> Bundle:
    torch.manual_seed(0)
    return replace(tiny_bundle(), config=T5, mentor=Mentor(T5).eval())


def _batch(count: int = 4) -> Batch:
    """Light pictures are answered "red fox", dark ones "blue hat on"."""
    light = torch.arange(count) % 2 == 0
    pixels = torch.where(light, 1.0, -1.0).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    ids = torch.tensor([[3, 1, 1, 1, 1, 12]]).expand(count, -1)
    answers = torch.where(light[:, None], torch.tensor([6, 8, IGNORED]), torch.tensor([7, 9, 10]))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids, dtype=torch.bool),
        "references": pixels,
        "answers": answers,
        "tasks": ["caption"] * count,
    }


def test_the_loss_is_t5_s_own() -> None:
    bundle, answerer, batch = _bundle(), _answerer(), _batch()
    objective = CaptionObjective(bundle, answerer)
    bundle.mentor.eval()
    with torch.no_grad():
        loss = objective.loss(batch, 0)[0]
        states = bundle.mentor.encoder(
            batch["input_ids"], batch["attention_mask"], bundle.mentor.encoder.encode_images(batch["references"])
        )
        expected = answerer(
            encoder_outputs=(states,), attention_mask=batch["attention_mask"], labels=batch["answers"]
        ).loss
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert objective.weight(batch) == 2 * 2 + 2 * 3


@pytest.mark.integration
def test_the_connector_alone_learns_to_name_what_is_shown(tmp_path: Path) -> None:
    bundle = _bundle()
    # Visual tokens start as small as in a real model; here they are to be heard at once.
    torch.nn.init.normal_(bundle.mentor.encoder.connector.output.weight, std=0.3)
    before = {name: tensor.clone() for name, tensor in bundle.mentor.state_dict().items()}
    objective = CaptionObjective(bundle, _answerer(), [_batch()])

    class Feed:
        def batch(self, index: int, share: object = None) -> Batch:
            return _batch()

    config = tiny_config(
        objective="caption", trainable=["encoder.connector"], optim={"lr": 3e-2}, schedule={"steps": 80},
        data={"batch_size": 4}, logging={"evaluate_every": 80, "every": 40},
    )  # fmt: skip
    with torch.no_grad():
        first = objective.evaluate()["nll"]
    final = Trainer(config, objective, Feed(), device="cpu").run(tmp_path / "run")
    with torch.no_grad():
        assert objective.evaluate()["nll"] < 0.6 * first
    after = load_bundle(final).mentor.state_dict()
    for name, tensor in before.items():
        moved = not torch.allclose(after[name], tensor, atol=2e-3, rtol=2e-3)
        assert moved == name.startswith("encoder.connector."), name


def test_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its states are 24 wide, the model's encoder's 16"):
        CaptionObjective(_bundle(), _answerer(24))
    _answerer().save_pretrained(tmp_path / "t5")
    loaded = load_answerer(str(tmp_path / "t5"))
    assert torch.equal(loaded.shared.weight, _answerer().shared.weight)
    with pytest.raises(ValueError, match="init.answerer: T5 .* cannot be loaded"):
        load_answerer(str(tmp_path))
