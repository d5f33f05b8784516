"""What a recipe will show the model, by its numbers alone: no data needs to be there."""

from __future__ import annotations

from mentor.config.run import TrainConfig
from mentor.config.sources import (
    CorpusOptions,
    LlavaOptions,
    Options,
    PairsOptions,
    PicturesOptions,
    ReleasedOptions,
    SourceConfig,
)


def planned_samples(config: TrainConfig) -> dict[str, int]:
    """Task -> samples in the whole run; a source of several tasks in unknown shares goes by its own name."""
    total = config.data.batch_size * config.optim.accumulate * config.schedule.steps
    everything = sum(source.weight for source in config.data.all_sources) or 1.0
    counts: dict[str, float] = {}
    for source in config.data.all_sources:
        for task, share in _tasks(source, source.resolved()).items():
            counts[task] = counts.get(task, 0.0) + total * source.weight / everything * share
    return {task: round(count) for task, count in counts.items() if count}


def _tasks(source: SourceConfig, options: Options) -> dict[str, float]:
    match options:
        case CorpusOptions(tasks=tasks):
            return {task: weight / (sum(tasks.values()) or 1.0) for task, weight in tasks.items()}
        case ReleasedOptions(tasks=(task,)):
            return {task: 1.0}
        case LlavaOptions(answers=answers):
            return {"caption" if answers else "reconstruct": 1.0}
        case PairsOptions(task=task):
            return {task: 1.0}
        case PicturesOptions():
            return {"own_subject": 1.0}
    return {str(source.path): 1.0}
