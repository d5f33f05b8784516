"""The results that the paper prints, as rows beside our own (``assets/published.yaml``)."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

from mentor.evaluation.protocol import Row


def published_rows(benchmark: str) -> list[Row]:
    """The paper's rows of a benchmark in its order; none where the paper has no such table."""
    tables: dict[str, Any] = yaml.safe_load(files("mentor").joinpath("assets/published.yaml").read_text("utf-8"))
    return [
        Row(
            label,
            {name: value for name, value in zip(table["columns"], values, strict=True) if value is not None},
            source=table["source"],
            group=group,
            spread=table.get("spread", {}).get(label, {}),
        )
        for table in tables.get(benchmark, [])
        for group, rows in table["groups"].items()
        for label, values in rows.items()
    ]
