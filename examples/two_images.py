"""Two reference images in one prompt.  Run: python examples/two_images.py [--out FILE] [--model NAME]"""

from __future__ import annotations

import argparse
from pathlib import Path

from mentor import MentorPipeline, Prompt
from mentor.data.images import load_image

IMAGES = Path(__file__).parent / "images"

TEXT = """The cat in <image>.
The straw hat in <image>.
a medium cat on the left and a medium straw hat on the right on a green background"""


def main(out: Path, model: str = "mini") -> None:
    """Every ``<image>`` in the text stands for one image, in their order."""
    prompt = Prompt(TEXT, [load_image(IMAGES / "cat.png"), load_image(IMAGES / "hat.png")])
    pipeline = MentorPipeline.from_pretrained(model)
    pipeline(prompt, seed=0).images[0].save(out)
    print(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("two.png"))
    parser.add_argument("--model", default="mini")
    main(**vars(parser.parse_args()))
