"""The paper's training tasks as pure functions of (scene, corpus, seed): a prompt, the target picture and its truth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data import templates
from mentor.data.captions import caption
from mentor.data.catalog import catalog_of
from mentor.data.references import recovery_picture, reference_picture
from mentor.data.render import render, render_alone
from mentor.data.scenes import Scene, SceneObject
from mentor.prompt import Prompt

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus, Cutout

REFERENCE_SIZE = 128
"""Side of every reference picture in pixels."""

CAPTION_OMITTED = 0.3
"""How often reconstruction goes without a caption."""


@dataclass(frozen=True)
class Sample:
    """One training or evaluation example."""

    prompt: Prompt
    target: Image.Image
    """RGB, R x R pixels."""
    task: str
    object_mask: NDArray[np.bool_]
    """[R, R]: the objects that references or instruction name; all objects where the whole scene is asked for."""
    scene: Scene
    references: tuple[str, ...] = ()
    """Cut-out keys in the order of the prompt's images; empty when the references show the scene itself."""
    shown: tuple[int, ...] = ()
    """For each of ``references`` the index of the first scene object with that subject."""


class Task(Protocol):
    """``size`` is the target's side R in pixels; ``strict`` forbids a reference that is the target's own cut-out."""

    def __call__(self, scene: Scene, corpus: Corpus, seed: int, *, size: int = 64, strict: bool = False) -> Sample: ...


def text_to_image(scene: Scene, corpus: Corpus, seed: int, *, size: int = 64, strict: bool = False) -> Sample:
    """Draw the scene from its caption alone."""
    rng = np.random.default_rng(seed)
    prompt = Prompt(templates.text_to_image(caption(scene, rng)))
    return _of_scene(prompt, "text_to_image", scene, corpus, size)


def reconstruct(scene: Scene, corpus: Corpus, seed: int, *, size: int = 64, strict: bool = False) -> Sample:
    """Draw the given picture again, with its caption or without."""
    rng = np.random.default_rng(seed)
    words = "" if rng.random() < CAPTION_OMITTED else caption(scene, rng)
    prompt = Prompt(templates.reconstruct(words), (render(scene, corpus, REFERENCE_SIZE).image,))
    return _of_scene(prompt, "reconstruct", scene, corpus, size)


def segment(scene: Scene, corpus: Corpus, seed: int, *, size: int = 64, strict: bool = False) -> Sample:
    """Show one subject of the given picture alone, at its place, on black (every copy of it)."""
    rng = np.random.default_rng(seed)
    subject = scene.subjects[int(rng.integers(len(scene.subjects)))]
    prompt = Prompt(templates.segment(subject), (render(scene, corpus, REFERENCE_SIZE).image,))
    indices = scene.showing(subject)
    mask = _union(render(scene, corpus, size).masks, indices)
    return Sample(prompt, render_alone(scene, corpus, size, indices), "segment", mask, scene)


def recover(scene: Scene, corpus: Corpus, seed: int, *, size: int = 64, strict: bool = False) -> Sample:
    """Draw the original scene from one of its objects, turned, resized, warped and put elsewhere (paper 3.1)."""
    rng = np.random.default_rng(seed)
    item = scene.objects[int(rng.integers(len(scene.objects)))]
    picture = recovery_picture(item.key, catalog_of(corpus), rng, REFERENCE_SIZE)
    prompt = Prompt(templates.subjects([item.subject], caption(scene, rng)), (picture,))
    return _of_scene(prompt, "recover", scene, corpus, size)


def subject(scene: Scene, corpus: Corpus, seed: int, *, size: int = 64, strict: bool = False) -> Sample:
    """Draw a new scene with the subject of a reference, which shows another view or style of it.

    A subject with a single picture is shown by the same cut-out, turned and in another light; ``strict`` raises
    ``ValueError`` instead.
    """
    rng = np.random.default_rng(seed)
    names = _shuffled(scene.subjects, rng)
    catalog = catalog_of(corpus)
    # A subject with several pictures comes first, so that the reference differs from the target whenever it can.
    name = next((n for n in names if catalog.siblings(catalog.cutouts[_first(scene, n).key])), names[0])
    return _from_references("subject", scene, corpus, rng, [name], size, strict)


def multi(scene: Scene, corpus: Corpus, seed: int, *, size: int = 64, strict: bool = False) -> Sample:
    """Draw one scene with the subjects of several references, one for each subject (see ``subject``)."""
    rng = np.random.default_rng(seed)
    return _from_references("multi", scene, corpus, rng, _shuffled(scene.subjects, rng), size, strict)


TASKS: dict[str, Task] = {
    "text_to_image": text_to_image,
    "reconstruct": reconstruct,
    "segment": segment,
    "recover": recover,
    "subject": subject,
    "multi": multi,
}


def _from_references(
    task: str, scene: Scene, corpus: Corpus, rng: np.random.Generator, names: Sequence[str], size: int, strict: bool
) -> Sample:
    catalog = catalog_of(corpus)
    pictures, keys, styled = [], [], []
    for name in names:
        target = catalog.cutouts[_first(scene, name).key]
        reference = _reference_for(target, catalog.siblings(target), rng, strict)
        pictures.append(
            reference_picture(reference.key, catalog, rng, REFERENCE_SIZE, same=reference.key == target.key)
        )
        keys.append(reference.key)
        if reference.style != target.style:
            styled.append(name)
    prompt = Prompt(templates.subjects(names, caption(scene, rng, styled=styled)), tuple(pictures))
    drawn = render(scene, corpus, size)
    mask = _union(drawn.masks, [number for name in names for number in scene.showing(name)])
    shown = tuple(scene.showing(name)[0] for name in names)
    return Sample(prompt, drawn.image, task, mask, scene, tuple(keys), shown)


def _reference_for(target: Cutout, siblings: Sequence[Cutout], rng: np.random.Generator, strict: bool) -> Cutout:
    if siblings:
        return siblings[int(rng.integers(len(siblings)))]
    if strict:
        raise ValueError(
            f"expected another picture of {target.identity!r} as reference, but {target.key!r} is its only one: "
            "compose the scene from identities with at least 2 cut-outs"
        )
    return target


def _of_scene(prompt: Prompt, task: str, scene: Scene, corpus: Corpus, size: int) -> Sample:
    drawn = render(scene, corpus, size)
    return Sample(prompt, drawn.image, task, _union(drawn.masks, range(len(drawn.masks))), scene)


def _union(masks: Sequence[NDArray[np.bool_]], indices: Collection[int]) -> NDArray[np.bool_]:
    return np.logical_or.reduce([masks[number] for number in indices])


def _first(scene: Scene, name: str) -> SceneObject:
    return scene.objects[scene.showing(name)[0]]


def _shuffled(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [names[int(number)] for number in rng.permutation(len(names))]
