"""What ``make demo`` runs: text only, one and two reference images with text, and a text-guided segmentation.

Writes one PNG a task, and ``demo.png`` with the references beside the pictures of consecutive seeds, as they come.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from mentor import MentorPipeline, __version__
from mentor.cli.progress import token_progress
from mentor.evaluation.contact_sheet import Entry, contact_sheet
from mentor.generation.png_metadata import check_writable, write_pngs
from mentor.generation.prompting import build_prompt

IMAGES = Path(__file__).parent / "images"
CACTUS, CAT, HAT, SCENE = (IMAGES / f"{name}.png" for name in ("cactus", "cat", "hat", "scene"))

PROMPTS = {
    "text": build_prompt("a large red apple in the center on a blue background"),
    "one-reference": build_prompt("a large cactus in the center on a yellow background", CACTUS, subject="cactus"),
    "two-references": build_prompt(
        "a medium cat on the left and a medium straw hat on the right on a green background",
        [CAT, HAT],
        subject=["cat", "straw hat"],
    ),
    "segmentation": build_prompt(images=SCENE, subject="cat", task="segment"),
}


def main(out: Path, model: str = "mini", seeds: int = 3) -> None:
    """Write the pictures into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    paths = {name: out / f"{name}.png" for name in PROMPTS}
    check_writable([*paths.values(), out / "demo.png"])
    started = time.perf_counter()
    pipeline = MentorPipeline.from_pretrained(model)
    loaded = time.perf_counter()
    with token_progress("generating") as on_token:
        output = pipeline(list(PROMPTS.values()), num_images=seeds, on_token=on_token)
    made = time.perf_counter()

    record = {"version": __version__, "model": model, **asdict(output.settings), "device": pipeline.device.type}
    files, entries = [], []
    for number, (name, prompt) in enumerate(PROMPTS.items()):
        rows = slice(number * seeds, (number + 1) * seeds)
        images, drawn = output.images[rows], output.seeds[rows]
        files.append((paths[name], images[0], {**record, "prompt": prompt.text, "seeds": drawn[:1]}))
        headings = ["reference"] * len(prompt.images) + [f"seed {seed}" for seed in drawn]
        entries.append(Entry((*prompt.images, *images), tuple(headings), prompt.text))
    files.append((out / "demo.png", contact_sheet(entries, columns=1), record))
    write_pngs(files)
    for path, _, _ in files:
        print(path)
    print(f"loaded in {loaded - started:.1f} s, {len(output.images)} pictures in {made - loaded:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seeds", type=int, default=3, help="pictures of each prompt")
    main(**vars(parser.parse_args()))
