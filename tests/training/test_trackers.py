"""Trackers get the numbers and the pictures; online ones know a resumed run again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mentor.training.run_folder import open_run
from mentor.training.trackers import Trackers
from tests.training.tiny import tiny_config

STUB = """
calls = []

class Run:
    def log(self, values, step=None):
        calls.append((step, values))
    def finish(self):
        calls.append("finish")

def init(**options):
    calls.append(options)
    return Run()

class Image:
    def __init__(self, pixels):
        self.shape = pixels.shape
"""


def test_tensorboard_gets_numbers_and_pictures_and_forgets_what_comes_again(tmp_path: Path) -> None:
    for start, value in ((0, 1.0), (2, 5.0)):
        time.sleep(1.1 if start else 0)  # files are read in the order of their names, which hold whole seconds
        trackers = Trackers(["tensorboard"], tmp_path, recipe="tiny", start=start)
        for step in range(start, 4):
            trackers.numbers(step, {"train/loss": value})
        trackers.picture(3, "samples", Image.new("RGB", (8, 4)))
        trackers.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(0, 1), (1, 1), (2, 5), (3, 5)]
    assert (events.Images("samples")[0].width, events.Images("samples")[0].height) == (8, 4)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_online_trackers_go_on_with_the_same_run(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / f"{name}.py").write_text(STUB)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delitem(sys.modules, name, raising=False)
    run = tmp_path / "run"
    open_run(run, tiny_config())
    options = []
    for overwrite in (False, False, True):
        open_run(run, tiny_config(), overwrite=overwrite)
        trackers = Trackers([name], run, recipe="mini-64/stage1", start=0)
        trackers.numbers(7, {"train/loss": 0.5})
        trackers.picture(7, "samples", Image.new("RGB", (8, 4)))
        trackers.close()
        calls = sys.modules[name].calls
        options.append(calls[0])
        assert calls[1] == (7, {"train/loss": 0.5})
        assert calls[-1] == "finish"
        if name == "wandb":
            assert calls[2][1]["samples"][0].shape == (4, 8, 3)
        calls.clear()
    assert options[0] == options[1] != options[2]
    assert {"project": "mentor", "resume": "allow"}.items() <= options[0].items()
    del sys.modules[name]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="logging.trackers: trackio is not installed; pip install trackio"):
        Trackers(["trackio"], tmp_path, recipe="tiny", start=0)
