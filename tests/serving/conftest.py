"""Fixtures of the server's tests: a tiny model behind the real application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from mentor.generation.pipeline import MentorPipeline
from mentor.serving.app import create_app
from mentor.serving.settings import ServeSettings
from tests.generation.tiny_bundle import tiny_bundle


@pytest.fixture(scope="session")
def pipeline() -> MentorPipeline:
    """A pipeline over random weights: 32 x 32 pictures of 4 x 4 tokens."""
    return MentorPipeline(tiny_bundle(), device="cpu")


@pytest.fixture(scope="session")
def client(pipeline: MentorPipeline) -> Iterator[TestClient]:
    """The application, started; ``max_images`` 4."""
    with TestClient(create_app(pipeline, ServeSettings(name="tiny", max_images=4))) as client:
        yield client
