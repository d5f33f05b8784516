"""A run of the tiny regression as a program of its own, slowed down so that a test can kill it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.training.tiny import TinyFeed, tiny_config, tiny_trainer

CHANGES = {
    "precision": "bf16_pure",
    "ema": 0.9,
    "optim": {"kind": "muon", "accumulate": 2},
    "schedule": {"steps": 40},
    "checkpointing": {"every": 3},
}


class SlowFeed(TinyFeed):
    def batch(self, index: int) -> dict[str, object]:
        time.sleep(0.01)
        return super().batch(index)


if __name__ == "__main__":
    trainer = tiny_trainer(tiny_config(**CHANGES), dropout=0.2)
    trainer.feed = SlowFeed(8)
    trainer.run(Path(sys.argv[1]))
