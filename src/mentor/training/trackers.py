"""Where else a run's numbers go: TensorBoard, Weights & Biases or Trackio, through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ID = "tracker-id"
"""File in a run's folder with the name under which online trackers know it, so that a resumed run goes on there."""


def check_trackers(names: Sequence[str]) -> None:
    """Raises ValueError if a tracker's package is missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            how = "pip install -e '.[train]' in a clone" if name == "tensorboard" else f"pip install {name}"
            raise ValueError(f"logging.trackers: {name} is not installed; {how}, or leave it out")


class Trackers:
    """All trackers of a run as one; raises as ``check_trackers``."""

    def __init__(self, names: Sequence[str], folder: Path, *, recipe: str, start: int) -> None:
        check_trackers(names)
        if names:
            from accelerate import PartialState

            PartialState()  # accelerate's loggers refuse to speak before it exists
        self.trackers = [_tracker(name, folder, recipe, start) for name in names]
        for tracker in self.trackers:
            tracker.start()

    def numbers(self, step: int, numbers: dict[str, float]) -> None:
        """Gives all trackers a step's numbers."""
        for tracker in self.trackers:
            tracker.log(numbers, step=step)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """Gives a picture to the trackers that take pictures."""
        pixels = np.asarray(picture.convert("RGB"))[None]
        for tracker in self.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({name: pixels}, step=step, dataformats="NHWC")
            elif hasattr(tracker, "log_images"):
                tracker.log_images({name: pixels}, step=step)

    def close(self) -> None:
        """Writes what is left."""
        for tracker in self.trackers:
            tracker.finish()


def _tracker(name: str, folder: Path, recipe: str, start: int) -> Any:
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    if name == "tensorboard":
        return TensorBoardTracker("tensorboard", str(folder), purge_step=start)
    if not (folder / ID).exists():
        (folder / ID).write_text(uuid.uuid4().hex)
    identity = (folder / ID).read_text()
    if name == "wandb":
        return WandBTracker("mentor", name=recipe, id=identity, resume="allow", dir=str(folder))
    return TrackioTracker("mentor", name=f"{recipe}-{identity[:8]}", resume="allow")
