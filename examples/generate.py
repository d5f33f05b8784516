"""Text to image, in five lines.  Run: python examples/generate.py [PROMPT] [--out FILE] [--model NAME]"""

from __future__ import annotations

import argparse
from pathlib import Path

from mentor import MentorPipeline


def main(prompt: str, out: Path, model: str = "mini") -> None:
    """Make one picture of ``prompt`` and save it."""
    pipeline = MentorPipeline.from_pretrained(model)
    output = pipeline(prompt, seed=0)
    output.images[0].save(out)
    print(f"{out}: {prompt!r}, seed {output.seeds[0]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt", nargs="?", default="a large red apple in the center on a blue background")
    parser.add_argument("--out", type=Path, default=Path("apple.png"))
    parser.add_argument("--model", default="mini")
    main(**vars(parser.parse_args()))
