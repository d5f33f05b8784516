"""How many pictures a server draws when several people ask at once, against one picture at a time.

    python benchmarks/serving.py [--json] [--model mini] [--clients 1 2 4 8] [--seconds 20] [--repeats 3]

Two servers with the same weights run in this process over real HTTP: one draws up to 8 pictures side by side, the other one
after the other (``max_batch`` 1). Each client asks for one picture, waits for it, and asks again. The servers take turns;
medians over the repeats are compared. Seconds are from asking to having the picture.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
import uvicorn

from mentor.generation.pipeline import MentorPipeline
from mentor.serving.app import create_app
from mentor.serving.settings import ServeSettings

PROMPT = "a large red apple in the center on a blue background"


@contextmanager
def running(pipeline: MentorPipeline, max_batch: int) -> Iterator[str]:
    """The address of a server that draws up to ``max_batch`` pictures side by side."""
    app = create_app(pipeline, ServeSettings(max_batch=max_batch))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def ask(address: str, seed: int) -> float:
    """Seconds that one picture takes."""
    body = json.dumps({"prompt": PROMPT, "seed": seed}).encode()
    request = urllib.request.Request(f"{address}/v1/images/generations", body, {"Content-Type": "application/json"})
    started = time.perf_counter()
    with urllib.request.urlopen(request) as answer:
        answer.read()
    return time.perf_counter() - started


def load(address: str, clients: int, seconds: float) -> tuple[float, list[float]]:
    """Pictures a second and the seconds of each, with ``clients`` that ask without a pause for ``seconds``."""
    taken: list[float] = []
    started = time.perf_counter()

    def client(number: int) -> None:
        while time.perf_counter() - started < seconds:
            taken.append(ask(address, number))

    with ThreadPoolExecutor(clients) as threads:
        for done in [threads.submit(client, number) for number in range(clients)]:
            done.result()  # a picture that failed ends the measurement
    return len(taken) / (time.perf_counter() - started), taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    pipeline = MentorPipeline.from_pretrained(args.model)
    rows = []
    with running(pipeline, 8) as together, running(pipeline, 1) as alone:
        for address in (together, alone):
            load(address, max(args.clients), 1.0)  # compiles what is compiled at first use
        for clients in args.clients:
            runs = [
                [load(address, clients, args.seconds) for address in (together, alone)] for _ in range(args.repeats)
            ]
            rates = [statistics.median(run[i][0] for run in runs) for i in range(2)]
            waits = [statistics.median(second for run in runs for second in run[i][1]) for i in range(2)]
            row = {
                "clients": clients,
                "pictures_per_second": round(rates[0], 3),
                "pictures_per_second_alone": round(rates[1], 3),
                "ratio": round(statistics.median(run[0][0] / run[1][0] for run in runs), 2),
                "median_seconds": round(waits[0], 2),
                "median_seconds_alone": round(waits[1], 2),
            }
            rows.append(row)
            if not args.json:
                print(row, flush=True)
    if args.json:
        settings = {
            "model": args.model,
            "prompt": PROMPT,
            "seconds": args.seconds,
            "repeats": args.repeats,
            "max_batch": 8,
            "device": str(pipeline.device),
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        print(json.dumps({"settings": settings, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
