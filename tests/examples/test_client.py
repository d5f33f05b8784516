"""examples/client.py against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mentor.data.images import load_image
from tests.cli.test_serve import served
from tests.examples.test_examples import example, model  # noqa: F401 - a fixture


@pytest.mark.integration
def test_client(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    reference, out = tmp_path / "fox.png", tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(reference)
    with served("--model", model) as (_, address):
        for image, subject in ((None, ""), (reference, "fox"), (reference, "")):
            example("client").main("a fox", out, image, subject, address)
            assert load_image(out).size == (32, 32)
    told = capsys.readouterr().out
    assert [told.count(f"{kind}.completed") for kind in ("image_generation", "image_edit")] == [1, 2]
    # Up to three each: an unfinished picture that a newer one overtakes is not sent.
    assert 1 <= told.count("image_generation.partial_image") <= 3
    assert 2 <= told.count("image_edit.partial_image") <= 6
