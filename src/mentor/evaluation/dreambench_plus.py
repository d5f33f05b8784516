"""DreamBench++ (Peng et al. 2024): concept preservation (CP) and prompt following (PF), both judged from 0 to 4.

Scores are divided by 4. A column is the mean over its pictures and then over the judge's passes; CP x PF and CP / PF are made
of the two overall means. The ratio is the MENTOR paper's own addition.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from mentor.data.templates import subjects
from mentor.evaluation.dreambench import BENCHMARK as DREAMBENCH
from mentor.evaluation.dreambench_plus_data import CATEGORIES, PROMPT_TYPES, REFERENCES, picture_key, read_collections
from mentor.evaluation.dreambench_plus_scores import TYPES, item_records, score_sheets, summarise
from mentor.evaluation.panel import BEST, Panel, Question, encode_image
from mentor.evaluation.protocol import Item, JudgeSettings, Scores, Source, Tools
from mentor.evaluation.published import published_rows
from mentor.evaluation.rubrics import Rubrics, official_rubrics, own_rubrics
from mentor.prompt import Prompt
from mentor.vlm.client import Endpoint, VisionLanguageModel

COUNTED, OFFICIAL = "failures-count", "official"
METRICS = "+metrics"
"""Ending of the presets that also measure CLIP and DINO, with the backbones of DreamBench++'s own scripts."""
LOCAL, STAND_IN = "local", "stand-in"
"""In place of an address: a model on this computer, named by ``JudgeSettings.model``; the packaged stand-in."""


class DreamBenchPlus:
    """The benchmark; preset ``failures-count`` keeps what has no score in the denominator, as 0.

    ``official`` leaves it out and finds categories by substring, as DreamBench++'s own scripts do. Both exist with
    ``+metrics``, which adds DINO, DINOv2, CLIP-I and CLIP-T.
    """

    name = "dreambench_plus"
    title = "DreamBench++"
    columns: Mapping[str, str] = {
        **{name: f"CP {name}" for name in CATEGORIES},
        "cp": "CP",
        **{name: f"PF {name.replace('_', ' ')}" for name in TYPES},
        "pf": "PF",
        "cp_pf": "CP x PF",
        "cp_over_pf": "CP / PF",
        **DREAMBENCH.columns,
    }
    presets: Sequence[str] = (COUNTED, OFFICIAL, COUNTED + METRICS, OFFICIAL + METRICS)
    hub = "yuangpeng/dreambench_plus"

    def items(self, source: Source) -> list[Item]:
        """Nine items for each reference; the prompt is that of the subject-driven task, "The X in <image>." and a line."""
        items: list[Item] = []
        for collection in read_collections(source):
            for number, text in enumerate(collection.prompts):
                items.append(
                    Item(
                        picture_key(collection.name, number),
                        Prompt(subjects([collection.subject], text), (collection.image,)),
                        seed=len(items),
                        references=(collection.image,),
                        text=text,
                        groups={"category": collection.category, "prompt_type": PROMPT_TYPES[number]},
                    )
                )
        return items

    def check(self, tools: Tools) -> None:
        """Raises ``ValueError`` for an unknown preset or backbone, missing rubrics, or a judge that cannot be asked.

        A local judge is not loaded: it may need the memory that the painter has.
        """
        settings, preset = tools.judge, tools.preset or COUNTED
        if preset not in self.presets:
            raise ValueError(f"preset: expected one of {', '.join(self.presets)}, got {preset!r}")
        if settings.passes < 1:
            raise ValueError(f"judge's passes: expected 1 or more, got {settings.passes}")
        if preset.endswith(METRICS):
            DREAMBENCH.check(replace(tools, preset=None))
        elif tools.backbones:
            raise ValueError(f"backbones measure nothing here; choose the preset {preset + METRICS}")
        _rubrics(settings)
        if settings.url != LOCAL:
            choose_judge(settings, sample=tools.source.sample)

    def score(self, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools) -> Scores:
        """Ask the judge twice for every picture and pass. Raises ``ValueError`` without a judge or when it is down."""
        self.check(tools)
        settings, preset = tools.judge, tools.preset or COUNTED
        rubrics = _rubrics(settings)
        judge = choose_judge(settings, sample=tools.source.sample, device=tools.device)
        panel = Panel(
            judge,
            tools.cache / "judge",
            seed=settings.seed,
            retries=settings.retries,
            accept_unanswered=settings.accept_unanswered,
        )
        places, questions = _questions(items, pictures, rubrics, settings.passes)
        if not questions:
            raise ValueError("nothing could be scored: there is no picture at all")
        verdicts = panel.ask(questions, progress=tools.progress)
        if all(verdict.score is None for verdict in verdicts):
            raise ValueError(f"{judge.name} gave no valid score to {len(verdicts)} questions; {verdicts[0].failure}")
        counted = preset.startswith(COUNTED)
        cp, pf, reasons = score_sheets(items, places, verdicts, settings.passes)
        records = item_records(items, cp, pf, reasons, counted)
        summary = summarise(items, cp, pf, counted, tools.seed)
        summary["judge"] = {
            "model": judge.name,
            "served": dict(panel.served),
            **judge.settings,
            "seed": settings.seed,
            "passes": settings.passes,
            "rubrics": rubrics.source,
            "rubrics_sha256": rubrics.checksum,
            "failures": dict(Counter(reason for each in reasons for reason in each)),
            "usage": panel.usage.described(settings.price_in, settings.price_out),
        }
        notes = _notes(items, summary, settings, counted)
        backbones = {"judge": judge.name, "rubrics": rubrics.source}
        scores = Scores(records, summary, backbones, notes, published_rows(self.name))
        return _with_metrics(scores, items, pictures, tools) if preset.endswith(METRICS) else scores


BENCHMARK = DreamBenchPlus()


def _rubrics(settings: JudgeSettings) -> Rubrics:
    if settings.rubrics is None:
        return own_rubrics()
    return official_rubrics(settings.rubrics, settings.rubric_setting)


def _with_metrics(
    scores: Scores, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools
) -> Scores:
    """DreamBench's numbers beside the judge's: each picture against its own reference and caption."""
    measured = DREAMBENCH.score(items, pictures, replace(tools, preset=None))
    records = [
        replace(record, numbers={**record.numbers, **other.numbers})
        for record, other in zip(scores.records, measured.records, strict=True)
    ]
    means = {name: value for name, value in measured.summary.items() if name in DREAMBENCH.columns}
    intervals = {**scores.summary["intervals"], **measured.summary.get("intervals", {})}
    return replace(
        scores,
        records=records,
        summary={**scores.summary, **means, "intervals": intervals},
        backbones={**scores.backbones, **measured.backbones},
        notes=[*scores.notes, *measured.notes],
    )


def choose_judge(settings: JudgeSettings, *, sample: bool, device: str = "cpu") -> VisionLanguageModel:
    """The judge that the settings name; the built-in sample has the stand-in when they name none, else ``ValueError``."""
    from mentor.evaluation.stand_in_judge import StandInJudge
    from mentor.vlm.local import LocalModel

    if settings.url == STAND_IN or (not settings.url and sample):
        return StandInJudge()
    if not settings.url:
        raise ValueError(
            "DreamBench++ needs a judge: name an OpenAI-compatible endpoint such as http://localhost:8000/v1, "
            f"{LOCAL!r} for a model of transformers, or {STAND_IN!r} for a dry run"
        )
    if settings.url == LOCAL:
        return LocalModel.load(settings.model, device=device, temperature=settings.temperature)
    return Endpoint(
        settings.url,
        settings.model,
        key=os.environ.get(settings.key_variable),  # a local server needs none
        key_variable=settings.key_variable,
        temperature=settings.temperature,
        timeout=settings.timeout,
        threads=settings.threads,
    )


def _questions(
    items: Sequence[Item], pictures: Sequence[Image.Image | None], rubrics: Rubrics, passes: int
) -> tuple[list[tuple[int, int]], list[Question]]:
    """Questions and for each (0 CP or 1 PF, item); the passes lie behind one another."""
    references: dict[int, bytes] = {}
    places: list[tuple[int, int]] = []
    dialogues = []
    for number, item in enumerate(items):
        picture = pictures[number]
        if picture is None:
            continue
        reference = item.references[0]
        if id(reference) not in references:
            references[id(reference)] = encode_image(reference)
        made = encode_image(picture)
        kind = "style" if item.groups["category"] == "style" else "subject"
        dialogues += [
            rubrics[kind].dialogue((references[id(reference)], made)),
            rubrics["text"].dialogue((made,), item.text),
        ]
        places += [(0, number), (1, number)]
    questions = [Question(dialogue, judge_pass) for judge_pass in range(passes) for dialogue in dialogues]
    return places * passes, questions


def _notes(items: Sequence[Item], summary: Mapping[str, Any], settings: JudgeSettings, counted: bool) -> list[str]:
    judge, usage = summary["judge"], summary["judge"]["usage"]
    failed = sum(judge["failures"].values())
    what = "count as 0 and stay in the denominators" if counted else "are left out of the denominators (official rule)"
    cost = f"; cost {usage['cost']:.2f} at {settings.price_in:g} and {settings.price_out:g} per million"
    notes = [
        f"Judge {judge['model']}, {judge['passes']} pass(es), rubrics: {judge['rubrics']}.",
        f"{failed} missing picture(s) or score(s) {what}; a score outside 0 to {BEST} is a failure.",
        f"Judge's answers: {usage['answers']}, of which {usage['asked']} were asked now; tokens read and written: "
        f"{usage['prompt_tokens']} and {usage['completion_tokens']}{cost if settings.price_in or settings.price_out else ''}.",
        "The paper does not say with which prompt template, sampling and seeds its row was made.",
    ]
    whole = REFERENCES * len(PROMPT_TYPES)
    if len(items) != whole:
        notes.append(f"{len(items)} items instead of {whole}: not comparable with published results.")
    if judge["model"].startswith("stand-in"):
        notes.append("The judge is a packaged stand-in: its scores say that the path works and nothing about quality.")
    elif settings.rubrics is None or settings.rubric_setting != JudgeSettings.rubric_setting:
        notes.append("The rubrics are not those of the published rows: another measurement, not comparable with them.")
    elif judge["model"] != JudgeSettings.model:
        notes.append(f"The judge is not {JudgeSettings.model} as in the published rows: not comparable with them.")
    return notes
