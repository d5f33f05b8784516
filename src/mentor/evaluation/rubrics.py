"""What a DreamBench++ judge is told before it sees a sample: three rubrics, in our words or from the official files.

Concept preservation (CP) has a rubric for subjects (animals, people, objects) and one for styles; prompt following (PF) has
one. A question is a dialogue of three turns: the rubric, the judge's consent, written beforehand, and the sample. Scores given
under our words and under the official files are not the same measurement: reports name the source and its checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mentor.vlm.client import Turn

KINDS = ("subject", "style", "text")
"""CP of a subject, CP of a style, PF; the words that the official file names use."""
FULL, NO_CONSENT = "full", "wo_internal_thinking"
"""Official settings: the default one, and the one that sends rubric and sample in a single turn."""


@dataclass(frozen=True)
class Rubric:
    """What the judge is told, and what it is made to say to it; no ``consent``: rubric and sample are one turn."""

    text: str
    consent: str | None

    def dialogue(self, images: tuple[bytes, ...], prompt: str = "") -> tuple[Turn, ...]:
        """The question about a sample: JPEG pictures, the reference before the generated one, and PF's prompt."""
        if self.consent is None:
            told = f"{self.text}\n\n### Text Prompt\n{prompt}" if prompt else self.text
            return (Turn("user", told, images),)
        return (Turn("user", self.text), Turn("assistant", self.consent), Turn("user", prompt, images))


@dataclass(frozen=True)
class Rubrics:
    """A rubric for each of ``KINDS``."""

    rubrics: Mapping[str, Rubric]
    source: str

    def __getitem__(self, kind: str) -> Rubric:
        return self.rubrics[kind]

    @property
    def checksum(self) -> str:
        """SHA-256 of all texts, hexadecimal."""
        texts = [(kind, self[kind].text, self[kind].consent) for kind in KINDS]
        return hashlib.sha256(repr(texts).encode()).hexdigest()


def official_rubrics(folder: Path, setting: str = FULL) -> Rubrics:
    """The prompt files of DreamBench++'s repository (``dreambench_plus/prompts``).

    ``setting`` is the ending of their names; ``wo_internal_thinking`` is the full rubric without the consent. A kind that has
    no file for the setting gets the full one, and ``source`` says so. Raises ``ValueError`` for missing or empty files.
    """
    rubrics, replaced = {}, []
    for kind in KINDS:
        used = setting
        if setting == NO_CONSENT or not (folder / f"user_prompt_{kind}_{setting}.txt").is_file():
            used = FULL
            if setting != NO_CONSENT:
                replaced.append(kind)
        text = _text(folder / f"user_prompt_{kind}_{used}.txt")
        consent = None if setting == NO_CONSENT else _text(folder / f"gpt_prompt_{kind}_{used}.txt")
        rubrics[kind] = Rubric(text, consent)
    if len(replaced) == len(KINDS):
        raise ValueError(f"{folder}: there are no prompt files of the setting {setting!r}; the usual one is {FULL!r}")
    note = f" ({', '.join(replaced)}: {FULL})" if replaced else ""
    return Rubrics(rubrics, f"official DreamBench++ prompt files, setting {setting}{note}")


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read; expected the folder dreambench_plus/prompts of the DreamBench++ repository with "
            f"user_prompt_*.txt and gpt_prompt_*.txt for {', '.join(KINDS)}"
        ) from error
    if not text:
        raise ValueError(f"{path}: is empty")
    return text


def own_rubrics() -> Rubrics:
    """The rubrics in this package's own words."""
    return Rubrics(
        {kind: Rubric(_RUBRIC[kind], _CONSENT[kind]) for kind in KINDS}, "this package's own words, version 1"
    )


_TASK = """You compare the work of picture generators. In every task you receive {given}.

{ask} Everything else is to be left out of account: {ignore}.

Look at these points:
{points}

Give a whole number:
- 0, nothing: {none}
- 1, little: {little}
- 2, partly: {partly}
- 3, mostly: {mostly}
- 4, fully: {fully}

{form}"""
_ONLY_SCORE = 'Answer with one line, "Score: N", where N is 0, 1, 2, 3 or 4, and with nothing else.'
_REASON_FIRST = (
    "Write at most three short sentences about what agrees and what does not, without naming a number. End with one line, "
    '"Score: N", where N is 0, 1, 2, 3 or 4. The word "score" may stand nowhere else.'
)

_RUBRIC = {
    "subject": _TASK.format(
        given="two pictures: first a reference that shows a subject, then a generated one that should show the same subject",
        ask="Say how well the identity of the subject survived in the generated picture.",
        ignore="surroundings, pose, viewpoint, light, the picture's quality and what the subject is doing",
        points=(
            "- form: outline, proportions, parts and their arrangement\n"
            "- colour: the subject's own colours and where they are\n"
            "- surface: material, pattern, fur, print\n"
            "- face, where the subject has one: features by which one would know it again"
        ),
        none="another subject, or no subject at all",
        little="the same kind of thing at best; hardly a point agrees",
        partly="some points agree, others clearly do not; it could be a relative of the subject",
        mostly="the same subject at first sight, with small differences in one or two points",
        fully="the same subject in every point that can be seen",
        form=_ONLY_SCORE,
    ),
    "style": _TASK.format(
        given="two pictures: first a reference in some artistic style, then a generated picture that should be in that style",
        ask="Say how well the style of the reference survived in the generated picture.",
        ignore="what the pictures show, their composition and how well they are made",
        points=(
            "- colour: palette, tone, contrast\n"
            "- handling: strokes, lines, grain, texture of the surface\n"
            "- manner: how forms are simplified, shaded or decorated, and the tradition that this belongs to"
        ),
        none="nothing of the style is left",
        little="one point reminds of it faintly",
        partly="some points agree, but both would not be taken for the work of one hand",
        mostly="clearly the same style, with small departures",
        fully="the style agrees in every point",
        form=_ONLY_SCORE,
    ),
    "text": _TASK.format(
        given="a text and a picture that was generated from it",
        ask="Say how well the picture shows what the text asks for.",
        ignore="beauty, sharpness and other flaws that do not concern the text",
        points=(
            "- relevance: the picture is about what the text is about\n"
            "- accuracy: objects, numbers, attributes, actions and relations are as stated\n"
            "- completeness: nothing that is asked for is missing\n"
            "- context: place, mood and the asked manner of drawing agree"
        ),
        none="nothing to do with the text",
        little="one detail of the text is there, the rest is missing or wrong",
        partly="the main thing is there, but important parts are missing or wrong",
        mostly="nearly everything is there; a detail is missing or wrong",
        fully="everything that the text asks for is there and right",
        form=_REASON_FIRST,
    ),
}
_CONSENT = {
    "subject": (
        "I will compare form, colour, surface and face of the subject in both pictures, leave everything else out of account, "
        'and answer with one line "Score: N". Please send me the reference and the generated picture.'
    ),
    "style": (
        "I will compare colour, handling and manner of both pictures, leave what they show out of account, and answer with one "
        'line "Score: N". Please send me the reference and the generated picture.'
    ),
    "text": (
        "I will check relevance, accuracy, completeness and context, write at most three sentences and end with one line "
        '"Score: N". Please send me the text and the picture.'
    ),
}
