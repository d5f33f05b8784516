"""Fixtures of the generation tests."""

from __future__ import annotations

import pytest

from mentor.generation.pipeline import MentorPipeline
from tests.generation.tiny_bundle import tiny_bundle


@pytest.fixture(scope="session")
def pipeline() -> MentorPipeline:
    """A pipeline over random weights: 32 x 32 pictures of 16 tokens."""
    return MentorPipeline(tiny_bundle(), device="cpu")
