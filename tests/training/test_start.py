"""Where weights start, and shards that were made with other networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mentor.checkpoint.store import save_bundle
from mentor.config.load import to_dict
from mentor.config.run import TrainConfig
from mentor.training.start import check_origin, fingerprint, origin_of, starting_bundle
from tests.generation.tiny_bundle import CONFIG, tiny_bundle
from tests.training.tiny import tiny_config


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bundle = tiny_bundle()
    return save_bundle(tmp_path / "saved", bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)


def _config(**changes: object) -> TrainConfig:
    return tiny_config(**{"model": {"preset": "mini-64", "overrides": to_dict(CONFIG)}} | changes)


def test_a_starting_point_is_needed() -> None:
    with pytest.raises(ValueError, match=r"init\.image_tokenizer is needed"):
        starting_bundle(tiny_config())
    with pytest.raises(ValueError, match="not both"):
        starting_bundle(tiny_config(init={"bundle": "a", "image_tokenizer": "b"}))


def test_origins_are_compared(saved: Path) -> None:
    bundle, config = tiny_bundle(), _config(data={"shards": "here"})
    origin = origin_of(config, bundle)
    check_origin(config, origin, bundle)
    check_origin(_config(seed=5, data={"weights": {"subject": 1.0}}), origin, bundle)  # other samples, same networks
    for key in ("vision", "image_tokenizer", "text_tokenizer", "image_size", "context"):
        with pytest.raises(ValueError, match=f"shards in here do not fit this model .{key}"):
            check_origin(config, origin | {key: "other"}, bundle)


def test_fingerprints_follow_the_weights_as_stored() -> None:
    module = tiny_bundle().image_tokenizer
    before = fingerprint(module)
    with torch.no_grad():
        module.quant_conv.weight += 1e-9  # less than float16 holds
        assert fingerprint(module) == before
        module.quant_conv.weight += 1e-2
    assert fingerprint(module) != before
