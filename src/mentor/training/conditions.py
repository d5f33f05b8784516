"""Held-out samples under a right, a wrong and no condition: gaps show early which part of a prompt a model uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from mentor.data.shards import Row

CONDITIONS = ("right", "wrong_image", "wrong_text", "null")


def under(condition: str, rows: Sequence[Row]) -> list[tuple[int, Row]]:
    """(index, row) of the rows that can be put under ``condition``, with the prompt it means.

    ``wrong_image`` takes the images and ``wrong_text`` the text of the next sample of the same task with as many images
    whose images or text differ; samples that find none are left out. ``right`` and ``null`` keep the prompt.
    """
    if condition in ("right", "null"):
        return list(enumerate(rows))
    groups: dict[tuple[str, int], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault((row.task, len(row.features)), []).append(index)
    altered = []
    for index, row in enumerate(rows):
        members = groups[row.task, len(row.features)]
        place = members.index(index)
        for other in members[place + 1 :] + members[:place]:
            images, words = (rows[other], row) if condition == "wrong_image" else (row, rows[other])
            if not (torch.equal(images.features, row.features) and torch.equal(words.ids, row.ids)):
                changed = dataclasses.replace(row, features=images.features, ids=words.ids, queries=words.queries)
                altered.append((index, changed))
                break
    return altered
