"""Cut a named object out of a picture, stage by stage.  Run: python examples/segment.py [--out FILE] [--model NAME]"""

from __future__ import annotations

import argparse
from pathlib import Path

from mentor import MentorPipeline

IMAGES = Path(__file__).parent / "images"


def main(out: Path, model: str = "mini") -> None:
    """The stages of ``pipeline(...)`` one by one; the object comes out on black."""
    pipeline = MentorPipeline.from_pretrained(model)
    prompts = pipeline.check_inputs("", images=IMAGES / "scene.png", subject="cat", task="segment")
    condition = pipeline.encode(prompts)
    codes = pipeline.generate(condition, seeds=[0])
    pipeline.decode(codes)[0].save(out)
    print(f"{out}: {prompts[0].text!r}, {condition.states.shape[1]} condition tokens, {codes.shape[1]} image tokens")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("segment.png"))
    parser.add_argument("--model", default="mini")
    main(**vars(parser.parse_args()))
