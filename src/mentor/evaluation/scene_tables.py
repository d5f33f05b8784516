"""The scene benchmark in words: its table, a line for every other fact, and the page with the first pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mentor.data.tasks import Sample
from mentor.evaluation.contact_sheet import Entry, contact_sheet
from mentor.evaluation.following import ATTRIBUTES
from mentor.files import whole, write_text

FIRST = 24
"""Pictures shown in a report: always the first ones, never a choice."""
LABELS = {
    "model": "model",
    "copy_reference": "copy the reference",
    "ignore_reference": "ignore the reference",
    "ground_truth": "true picture",
    "tokenizer": "true picture through the tokenizer",
}


def sha256_of(path: Path) -> str:
    """Checksum of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scene_table(results: Mapping[str, Any]) -> list[list[str]]:
    """Header and rows of the scene benchmark's main table; an interval is the 95 % one."""
    table = [["", "CP", "PF", "CP x PF", "CP / PF", *ATTRIBUTES]]
    for row, label in LABELS.items():
        if row in results:
            values = results[row]
            numbers = [_number(values, name) for name in ("cp", "pf", "cp_pf", "cp_over_pf")]
            parts = [f"{values['attributes'][name]:.2f}" if name in values["attributes"] else "" for name in ATTRIBUTES]
            table.append([label, *numbers, *parts])
    return table


def scene_lines(results: Mapping[str, Any]) -> list[str]:
    """Everything beside the main table, one fact a line."""
    checker, anchors = results["checker"], results["anchors"]
    segmentation, reconstruction = results["segmentation"], results["reconstruction"]
    recoded = f", {checker['recoded_accuracy']:.1%} after the image tokenizer" if "recoded_accuracy" in checker else ""
    lines = [
        f"Checker's accuracy on {results['prompts']} true pictures: {results['checker_accuracy']:.1%}{recoded} "
        f"({', '.join(f'{name} {value:.1%}' for name, value in checker['attributes'].items())}).",
        f"CP's anchors (similarity): 0 = {anchors['other_subject']:.3f} (another subject), "
        f"1 = {anchors['true_target']:.3f} (the true target); AUC {anchors['auc']:.3f}.",
        f"Segmentation IoU on {segmentation['pictures']} pictures: {segmentation['iou']:.3f}"
        f"{_interval(segmentation['interval'])}; picture left as it is {segmentation['untouched_iou']:.3f}, "
        f"true answer {segmentation['ground_truth_iou']:.3f}"
        + (
            f", true answer through the tokenizer {segmentation['tokenizer_iou']:.3f}."
            if "tokenizer_iou" in segmentation
            else "."
        ),
        f"Reconstruction of {reconstruction['pictures']} pictures: {_errors(reconstruction)}"
        + (
            f"; the image tokenizer alone: {_errors(reconstruction['tokenizer'])}."
            if "tokenizer" in reconstruction
            else "."
        ),
    ]
    model = results["model"]
    for title, groups in (("kind", model["kinds"]), ("category", model["categories"])):
        parts = [f"{name} {each['cp']:.2f} / {each['pf']:.2f} ({each['prompts']})" for name, each in groups.items()]
        lines.append(f"Model's CP / PF (prompts) by {title}: {', '.join(parts)}.")
    return lines


def write_scene_report(
    folder: Path,
    results: Mapping[str, Any],
    samples: Sequence[Sample],
    answers: Mapping[str, Sequence[Image.Image]],
) -> Path:
    """Write scenes.md with the table and scenes.png with the first ``FIRST`` prompts; returns the page's path."""
    shown = [row for row in answers if row != "copy_reference"]
    entries = [
        Entry(
            (*sample.prompt.images, *(answers[row][number] for row in shown)),
            (*("reference" for _ in sample.prompt.images), *shown),
            sample.prompt.text.splitlines()[-1],
        )
        for number, sample in enumerate(samples[:FIRST])
    ]
    sheet = contact_sheet(entries, columns=2, cell=112)
    with whole(folder / "scenes.png") as partial:
        sheet.save(partial, format="PNG")
    header, *rows = scene_table(results)
    lines = [
        f"# Scene benchmark: {results['name']}",
        "",
        f"{results['prompts']} held-out prompts, seeds {results['seed']} to {results['seed'] + results['prompts'] - 1}; "
        "in brackets 95 % bootstrap intervals.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        *(f"- {line}" for line in scene_lines(results)),
        f"- Settings: {json.dumps(results['settings'])}; versions: {json.dumps(results['versions'])}.",
        "",
        f"The first {min(FIRST, len(samples))} prompts, none left out:",
        "",
        "![references and answers](scenes.png)",
        "",
    ]
    page = folder / "scenes.md"
    write_text(page, "\n".join(lines))
    return page


def _number(values: Mapping[str, Any], name: str) -> str:
    return f"{values[name]:.3f}{_interval(values['intervals'][name])}"


def _interval(interval: Sequence[float]) -> str:
    return f" [{interval[0]:.2f}, {interval[1]:.2f}]"


def _errors(values: Mapping[str, float]) -> str:
    return f"MSE {values['mse']:.4f}, PSNR {values['psnr']:.2f} dB, ST-LPIPS {values['st_lpips']:.3f}"
