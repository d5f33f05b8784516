"""How processes share a model, and which recipes cannot be shared."""

from __future__ import annotations

import pytest
import torch

from mentor.training.distributed import Processes
from mentor.training.plan import choose_strategy, describe
from tests.training.tiny import TinyModule, tiny_config

TWO = Processes(0, 2, torch.device("cpu"))


def test_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    module = TinyModule()
    for wanted, expected in (("auto", "ddp"), ("ddp", "ddp"), ("fsdp", "fsdp")):
        assert choose_strategy(tiny_config(engine={"strategy": wanted}), module, TWO) == expected
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert choose_strategy(tiny_config(), module, TWO) == "fsdp"
    assert choose_strategy(tiny_config(engine={"strategy": "ddp"}), module, TWO) == "ddp"
    assert choose_strategy(tiny_config(), module, Processes(0, 1, torch.device("cpu"))) == "single"


def test_sharded_when_the_whole_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,233 trained weights at 16 bytes are 19,728 bytes, at 20 with an average 24,660; 60 % of the memory may be taken."""
    module, gpus = TinyModule(), Processes(0, 2, torch.device("cuda"))
    properties = torch.tensor(0)  # anything with attributes

    def total(device: torch.device) -> object:
        return properties

    monkeypatch.setattr(torch.cuda, "get_device_properties", total)
    for memory, changes, expected in (
        (32_880, {}, "ddp"),
        (32_879, {}, "fsdp"),
        (41_100, {"ema": 0.9}, "ddp"),
        (41_099, {"ema": 0.9}, "fsdp"),
    ):
        properties.total_memory = memory  # type: ignore[attr-defined]
        assert choose_strategy(tiny_config(**changes), module, gpus) == expected


def test_recipes_that_cannot_be_shared_or_sharded() -> None:
    module = TinyModule()
    with pytest.raises(ValueError, match="data.batch_size 1 is too small for 2 processes"):
        choose_strategy(tiny_config(data={"batch_size": 1}), module, TWO)
    with pytest.raises(ValueError, match="set engine.strategy=ddp"):
        choose_strategy(tiny_config(engine={"strategy": "fsdp"}), module, TWO, shardable=False)
    with pytest.raises(ValueError, match="trained by one process"):
        choose_strategy(tiny_config(), module, TWO, shareable=False)


def test_the_effective_batch_does_not_depend_on_the_processes() -> None:
    config = tiny_config(optim={"accumulate": 3})
    lines = {count: describe(config, TinyModule(), Processes(0, count, TWO.device), "ddp", []) for count in (1, 4)}
    assert [line for line in lines[1] if "processes" not in line] == [
        line for line in lines[4] if "processes" not in line
    ]
    assert "effective batch: 24 (8 x 3), samples in all: 288" in lines[4]
    assert "processes: 4 (ddp)" in lines[4]
