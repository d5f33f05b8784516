"""``mentor serve``: a model behind HTTP, with a page for people and OpenAI's image API for programs."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import socket
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mentor.cli.sampling_arguments import add_model_arguments, load_pipeline, model_name
from mentor.serving.settings import SEND_SECONDS, ServeSettings

API_KEY = "MENTOR_API_KEY"
"""Environment variable; an argument could be read by everyone on the machine."""
MIB = 2**20
GRACE = 30
"""Seconds until a server that is stopped cuts its connections; three before, who still waits is told."""


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    defaults = ServeSettings()
    parser = subparsers.add_parser(
        "serve",
        help="put a model behind HTTP: a page, and OpenAI's image API",
        description="Serve a model: a page for people at /, OpenAI's image API for programs at /v1. "
        f"With the environment variable {API_KEY} set, requests must bear that key.",
        epilog="examples: mentor serve | mentor serve --model runs/mug/final --name mug --host 0.0.0.0 --port 80",
    )
    add_model_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free (default: %(default)s)")
    parser.add_argument(
        "--name", help="what the model is called in requests (default: as --model, of a folder its name)"
    )
    for flag, text in (
        ("--max-batch", "pictures drawn side by side"),
        ("--max-queue", "pictures that may wait; more are refused"),
        ("--max-images", "pictures in one request"),
    ):
        parser.add_argument(
            flag,
            type=int,
            default=getattr(defaults, flag[2:].replace("-", "_")),
            metavar="N",
            help=f"{text} (default: %(default)s)",
        )
    parser.add_argument(
        "--max-wait", type=float, default=defaults.max_wait, metavar="SECONDS",
        help="how long the first picture of a batch waits for others (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-upload", type=int, default=defaults.max_upload // MIB, metavar="MIB",
        help="size of one request with its reference images (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--access-log", action="store_true", help="print a line for every request")


def run(args: argparse.Namespace) -> int:
    """Load the model, then listen until stopped."""
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port: expected 0 to 65535, got {args.port}")
    settings = ServeSettings(
        name=args.name or _public_name(args.model),
        model=model_name(args),
        max_batch=args.max_batch,
        max_wait=args.max_wait,
        max_queue=args.max_queue,
        max_images=args.max_images,
        max_upload=args.max_upload * MIB,
        api_key=os.environ.get(API_KEY, ""),
    )
    import uvicorn

    from mentor.serving.app import create_app

    with _listening(args.host, args.port) as listener:  # before the model is read: a taken port is told at once
        pipeline = load_pipeline(args)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"{settings.name} at http://{shown}:{port} (Ctrl-C stops)", file=sys.stderr)
        if not settings.api_key:
            if ipaddress.ip_address(host).is_loopback:
                settings = replace(settings, hosts=("localhost", "127.0.0.1", "[::1]", args.host.lower(), shown))
            else:
                print(f"note: whoever reaches this machine may draw; set {API_KEY} to ask for a key", file=sys.stderr)
        app = create_app(pipeline, settings)

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                # uvicorn cuts what is open after GRACE seconds; a little earlier everyone can still be told.
                asyncio.get_running_loop().call_later(
                    GRACE - 3, partial(app.state.service.queue.close, 0, abandon=True)
                )
                await super().shutdown(sockets)

        config = uvicorn.Config(
            app,
            log_level="info" if args.access_log else "warning",
            access_log=args.access_log,
            # Everyone who may wait, several times over, and uploads: a connection costs little, but files are limited.
            limit_concurrency=256 + 4 * settings.max_queue,
            timeout_graceful_shutdown=GRACE,
        )
        Server(config).run(sockets=[listener])
    return 0


def _public_name(model: str) -> str:
    """A folder's own name: where it lies concerns nobody who asks."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def _listening(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ValueError(f"cannot listen at {host} port {port}: {error.strerror or error}") from error
    if sys.platform == "linux":
        # A closed connection, too, keeps what was sent until it is read: the system shall end it. Connections inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * SEND_SECONDS)
    return listener
