"""Tells how a run goes: a progress bar or plain lines, ``metrics.jsonl``, TensorBoard and sample grids."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_SECONDS = 30.0


class RunLog:
    """Writes a run's numbers. On a terminal a progress bar; elsewhere one line every 30 seconds and each evaluation."""

    def __init__(self, folder: Path, *, steps: int, start: int, samples_per_step: int, tensorboard: bool) -> None:
        self.folder, self.steps, self.start, self.samples_per_step = folder, steps, start, samples_per_step
        self.began = self.mark = time.monotonic()
        self.mark_step, self.last_line = start, -_LINE_SECONDS
        self.console = Console(file=sys.stderr)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip
        self.task = self.progress.add_task("training", total=steps, completed=start)
        _drop_after(folder / "metrics.jsonl", start)
        self.file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self.board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

    def __enter__(self) -> RunLog:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        self.file.close()
        if self.board is not None:
            self.board.close()

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
        """Saves a sample grid as ``grids/<step>.png`` and to TensorBoard."""
        if picture is None:
            return
        (self.folder / "grids").mkdir(exist_ok=True)
        picture.save(self.folder / "grids" / f"{done:08d}.png")
        if self.board is not None:
            import numpy

            self.board.add_image("samples", numpy.asarray(picture.convert("RGB")), done, dataformats="HWC")

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
        seconds = round(time.monotonic() - self.began, 2)
        record = {"step": done, "kind": kind, "seconds": seconds} | {
            name: float(value) for name, value in metrics.items()
        }
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in metrics.items():
                self.board.add_scalar(f"{kind}/{name}", value, done)


def _drop_after(path: Path, step: int) -> None:
    """Removes records later than ``step``: they belong to the part of a killed run that is computed again."""
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
