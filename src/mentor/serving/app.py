"""The server as an ASGI application: ``create_app(pipeline)``, for uvicorn or anything that runs such applications."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response

import mentor
from mentor.generation.pipeline import MentorPipeline
from mentor.serving import images
from mentor.serving.errors import ApiError, add_handlers
from mentor.serving.gate import Gate
from mentor.serving.metrics import Metrics
from mentor.serving.queue import DrawingQueue
from mentor.serving.settings import ServeSettings
from mentor.serving.uploads import Readers


def create_app(pipeline: MentorPipeline, settings: ServeSettings | None = None) -> FastAPI:
    """One model behind HTTP. Several processes, each with an app of its own, may stand behind a load balancer."""
    settings = settings or ServeSettings()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        queue = DrawingQueue(pipeline, settings, metrics)
        app.state.service = images.Service(pipeline, queue, settings, Readers())
        yield
        await run_in_threadpool(queue.close)

    # No /docs: FastAPI's page would load its parts from a foreign host.
    app = FastAPI(title="mentor", version=mentor.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    add_handlers(app)
    app.add_middleware(Gate, settings=settings, metrics=metrics)
    app.include_router(images.router)

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(files("mentor.serving").joinpath("page.html").read_text("utf-8"), headers=PAGE_HEADERS)

    @app.get("/health")
    @app.head("/health", include_in_schema=False)
    async def health() -> JSONResponse:
        """200 while pictures are drawn, for load balancers and process managers."""
        queue = app.state.service.queue
        status = "stopping" if not queue.alive else "failing" if queue.failing else "ok"
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model, in OpenAI's form."""
        return {"object": "list", "data": [described(pipeline, settings)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """The model of this name."""
        if name != settings.name:
            raise ApiError(404, f"no model {name!r} here, but {settings.name!r}", code="model_not_found")
        return described(pipeline, settings)

    return app


def described(pipeline: MentorPipeline, settings: ServeSettings) -> dict[str, Any]:
    """The model as OpenAI describes one, with its picture size, its own sampling settings and the server's limits."""
    config = pipeline.config
    sampling = ("cfg_scale", "temperature", "top_k", "top_p")
    return {
        "id": settings.name,
        "object": "model",
        "created": 0,
        "owned_by": "mentor",
        "image_size": config.image_size,
        "reads_images": config.vision is not None,
        "context": config.context,
        "generation": {name: getattr(config.generation, name) for name in sampling},
        "limits": {"n": settings.max_images, "upload_bytes": settings.max_upload},
    }


PAGE_HEADERS = {
    # The page is one file that asks nobody but this server.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
