"""Runs of the tiny models in other processes: several that train together, or one that is killed.

A server imports everything once and forks for each run, so that a run starts in milliseconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemReader

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.training.together", "tests.training.runs", "accelerate", "torch._dynamo"])
_LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def start(work: Callable[..., Any], *args: Any, log: Path, environment: dict[str, str] | None = None) -> BaseProcess:
    """Starts ``work(*args)`` in a fork of the server; what it prints goes to the file ``log``."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # for the server, which starts with the first run
    try:
        process = _SERVER.Process(target=_run, args=(work, args, str(log), environment or {}))
        process.start()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    return process


def together(count: int, work: Callable[..., Any], *args: Any, logs: Path, patience: float = 150) -> None:
    """Runs ``work(*args)`` in ``count`` processes as a launcher would.

    Raises RuntimeError with what they printed unless all end well within ``patience`` seconds.
    """
    processes = begin(count, work, *args, logs=logs)
    end = time.monotonic() + patience
    for process, _ in processes:
        process.join(max(0, end - time.monotonic()))
    if any(process.exitcode != 0 for process, _ in processes):  # None: it hangs
        codes = [process.exitcode for process, _ in processes]
        for process, _ in processes:
            process.kill()
            process.join()
        raise RuntimeError("\n".join([f"exit codes {codes}", *(log.read_text() for _, log in processes)]))


def begin(count: int, work: Callable[..., Any], *args: Any, logs: Path) -> list[tuple[BaseProcess, Path]]:
    """Starts what ``together`` runs; gives the processes and where they print."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    logs.mkdir(parents=True, exist_ok=True)
    processes = []
    for rank in range(count):
        environment = dict(zip(_LAUNCHED, (str(rank), str(rank), str(count), "127.0.0.1", port), strict=True))
        log = logs / f"{work.__name__}-{rank}.log"
        processes.append((start(work, *args, log=log, environment=environment if count > 1 else {}), log))
    return processes


def losses(run: Path, kind: str = "train") -> dict[int, dict[str, float]]:
    """The numbers of each step in a run's metrics.jsonl, without the times; raises ValueError for a step told twice."""
    found: dict[int, dict[str, float]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.pop("kind") == kind:
            step = record.pop("step")
            if step in found:
                raise ValueError(f"step {step} is there twice")
            found[step] = {k: v for k, v in record.items() if k not in ("seconds", "samples_per_second")}
    return found


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, whole, whoever wrote it."""
    reader = FileSystemReader(checkpoint)
    found = {
        n: torch.empty(e.size, dtype=e.properties.dtype) for n, e in reader.read_metadata().state_dict_metadata.items()
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        dcp.load(found, storage_reader=reader, no_dist=True)
    return found


def _run(work: Callable[..., Any], args: tuple[Any, ...], log: str, environment: dict[str, str]) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        work(*args)
    except BaseException:
        traceback.print_exc()
        raise
