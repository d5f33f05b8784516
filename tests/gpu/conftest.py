"""The device of these tests: CUDA, or what ``MENTOR_TEST_DEVICE`` names (cpu: the tests' own logic is tried); else skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            # Compilers and kernels of a GPU warn of what is no mistake here; at home a warning is an error.
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def device() -> str:
    named = os.environ.get("MENTOR_TEST_DEVICE")
    if named is None and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return named or "cuda"


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Products of float32 in float32: what is compared with the CPU must not be TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
