"""Tells how a run goes: a progress bar or plain lines, ``metrics.jsonl``, trackers and sample grids."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mentor.files import write_text
from mentor.training.trackers import Trackers

_LINE_SECONDS = 30.0


class RunLog:
    """Writes a run's numbers. On a terminal a progress bar; elsewhere one line every 30 seconds and each evaluation."""

    def __init__(
        self,
        folder: Path,
        *,
        recipe: str,
        steps: int,
        start: int,
        samples_per_step: int,
        trackers: Sequence[str] = (),
    ) -> None:
        self.folder, self.steps, self.start, self.samples_per_step = folder, steps, start, samples_per_step
        self.began = self.mark = time.monotonic()
        self.mark_step, self.last_line = start, -_LINE_SECONDS
        self.console = Console(file=sys.stderr)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip
        self.task = self.progress.add_task("training", total=steps, completed=start)
        self.trackers = Trackers(trackers, folder, recipe=recipe, start=start)
        self.spent = _drop_after(folder / "metrics.jsonl", start)
        """Seconds that the run took before it was resumed."""
        self.file = (folder / "metrics.jsonl").open("a", encoding="utf-8")

    def __enter__(self) -> RunLog:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        self.file.close()
        self.trackers.close()

    def step(self, done: int) -> None:
        """Moves the bar; ``done`` optimiser steps are finished."""
        self.progress.update(self.task, completed=done)

    def train(self, done: int, metrics: dict[str, float]) -> None:
        """Writes training metrics; adds the samples per second since the last call."""
        now = time.monotonic()
        speed = (done - self.mark_step) * self.samples_per_step / max(now - self.mark, 1e-9)
        self.mark, self.mark_step = now, done
        self._write(done, "train", metrics | {"samples_per_second": speed})
        text = f"loss {metrics['loss']:.4f}  {speed:.1f} samples/s"
        self.progress.update(self.task, description=text)
        if not self.console.is_terminal and (now - self.last_line >= _LINE_SECONDS or done == self.steps):
            self.last_line = now
            left = (self.steps - done) * (now - self.began) / max(done - self.start, 1)
            self.say(f"step {done}/{self.steps}  {text}  lr {metrics['lr']:.2e}  {left / 60:.1f} min left")

    def evaluation(self, done: int, metrics: dict[str, float]) -> None:
        """Writes held-out metrics and prints them."""
        if metrics:
            self._write(done, "eval", metrics)
            # Numbers of single tasks (two slashes) go to the files alone.
            shown = {name: value for name, value in metrics.items() if name.count("/") < 2}
            self.say(f"step {done}  " + "  ".join(f"{name} {value:.4f}" for name, value in shown.items()))

    def grid(self, done: int, picture: Image.Image | None) -> None:
        """Saves a sample grid as ``grids/<step>.png`` and gives it to the trackers."""
        if picture is None:
            return
        (self.folder / "grids").mkdir(exist_ok=True)
        picture.save(self.folder / "grids" / f"{done:08d}.png")
        self.trackers.picture(done, "samples", picture)

    def pause(self) -> float:
        """Stops the clock of samples per second; give the returned value to ``resume``."""
        return time.monotonic()

    def resume(self, paused: float) -> None:
        """Starts the clock again after ``pause``."""
        self.mark += time.monotonic() - paused

    def say(self, line: str) -> None:
        """One plain line, above the progress bar if there is one."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _write(self, done: int, kind: str, metrics: dict[str, float]) -> None:
        seconds = round(self.spent + time.monotonic() - self.began, 2)
        # What is no finite number has no place in JSON: it becomes null.
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        self.file.write(json.dumps({"step": done, "kind": kind, "seconds": seconds} | numbers) + "\n")
        self.file.flush()
        self.trackers.numbers(done, {f"{kind}/{name}": float(value) for name, value in metrics.items()})


def _drop_after(path: Path, step: int) -> float:
    """Removes records later than ``step``, which a resumed run computes again; returns the seconds of the last one kept."""
    if not path.exists():
        return 0.0
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    write_text(path, "".join(line + "\n" for line in kept))
    return float(json.loads(kept[-1])["seconds"]) if kept else 0.0
