"""A picture of a running ``mentor serve``, by OpenAI's client.  Run: python examples/client.py [PROMPT] [--image FILE]"""

from __future__ import annotations

import argparse
import base64
import os
from pathlib import Path
from typing import Any

from openai import OpenAI


def main(prompt: str, out: Path, image: Path | None, subject: str, address: str) -> None:
    """Ask for one picture, saving it each time more of it is there."""
    client = OpenAI(base_url=f"{address}/v1", api_key=os.environ.get("MENTOR_API_KEY", "none"))
    model = client.models.list().data[0].id
    stream: Any
    if image is None:
        stream = client.images.generate(model=model, prompt=prompt, stream=True, partial_images=3)
    else:
        named = {"subject": [subject]} if subject else {}
        stream = client.images.edit(
            model=model, prompt=prompt, image=image, stream=True, partial_images=3, extra_body=named
        )
    for event in stream:
        out.write_bytes(base64.b64decode(event.b64_json))
        print(f"{out}: {event.type}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt", nargs="?", default="a large red apple in the center on a blue background")
    parser.add_argument("--image", type=Path, help="a reference image")
    parser.add_argument("--subject", default="", help="what the image shows")
    parser.add_argument("--out", type=Path, default=Path("apple.png"))
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    main(**vars(parser.parse_args()))
