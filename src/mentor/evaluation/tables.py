"""The table of a run, the paper's rows and ours, as rows of text: for the terminal, the Markdown file and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mentor.evaluation.protocol import Record

PAPER_MODEL = "MENTOR"
FAILURES = 50
"""Failures that a report lists one by one."""


def number(value: float | None) -> str:
    """Three decimals, two from 10 on; a dash for what is not there."""
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def shown_columns(run: Mapping[str, Any]) -> dict[str, str]:
    """The columns that this run has a number for."""
    return {name: heading for name, heading in run["columns"].items() if _is_number(run["summary"].get(name))}


def headline(run: Mapping[str, Any]) -> list[list[str]]:
    """Header and rows: every published row that shares a column with the run, then the run's own, marked as ours."""
    columns = shown_columns(run)
    table = [["", *columns.values(), "from"]]
    for row in run["published"]:
        if any(name in row["numbers"] for name in columns):
            cells = [number(row["numbers"].get(name)) + _spread(row["spread"].get(name)) for name in columns]
            origin = dict.fromkeys(part for part in (row["source"], row["group"]) if part)
            table.append([row_label(row, run), *cells, "; ".join(origin)])
    return [*table, own_row(run, columns)]


def own_row(run: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    """Our row: numbers with the deviation over passes, or else the 95 % interval."""
    summary = run["summary"]
    cells = []
    for name in columns:
        text, interval = number(summary[name]), summary.get("intervals", {}).get(name)
        deviation = summary.get("std", {}).get(name)
        if deviation is not None:
            text += _spread(deviation)
        elif interval is not None:
            text += f" [{number(interval[0])}, {number(interval[1])}]"
        cells.append(text)
    return [f"ours: {run['name']}", *cells, "this run"]


def short_table(run: Mapping[str, Any]) -> list[list[str]]:
    """For a terminal: a line for each number, ours beside the paper's model and what was measured in the same run."""
    columns = shown_columns(run)
    rows = [row for row in run["published"] if row["source"] == "this run" or row["label"] == PAPER_MODEL]
    headings = [row_label(row, run) if row["source"] == "this run" else f"paper: {row_label(row, run)}" for row in rows]
    own = own_row(run, columns)
    table = [["", own[0], *headings]]
    for place, (name, heading) in enumerate(columns.items()):
        table.append([heading, own[place + 1], *(number(row["numbers"].get(name)) for row in rows)])
    return table


def row_label(row: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """A published row's label, with its group where another row is called the same."""
    twice = sum(other["label"] == row["label"] for other in run["published"]) > 1
    return f"{row['label']} ({row['group']})" if twice else str(row["label"])


def stand_ins(run: Mapping[str, Any]) -> str:
    """A warning where something packaged stands in for a real backbone or judge; else empty."""
    roles = [role for role, name in run["backbones"].items() if "stand-in" in name.lower()]
    return f"Stand-ins measured this ({', '.join(roles)}): compare with nothing published." if roles else ""


def group_tables(run: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """For every kind of group a table, header first."""
    tables = {}
    for kind, groups in run["summary"].get("groups", {}).items():
        names = [name for name in dict.fromkeys(name for each in groups.values() for name in each) if name != "items"]
        header = [kind.replace("_", " "), "items", *(run["columns"].get(name, name) for name in names)]
        rows = [
            [group.replace("_", " "), str(each["items"]), *(number(each.get(name)) for name in names)]
            for group, each in groups.items()
        ]
        tables[kind] = [header, *rows]
    return tables


def provenance_lines(run: Mapping[str, Any]) -> list[str]:
    """What our numbers depend on, one fact a line."""
    data, settings = run["data"], run["settings"]
    seeds = " to ".join(str(seed) for seed in run["seeds"])
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    lines = [
        f"Pictures by {run['name']}" + (f", fingerprint {run['fingerprint'][:16]}" if run["fingerprint"] else "") + ".",
        "Settings: " + (", ".join(f"{name} {value}" for name, value in settings.items()) or "not known") + ".",
        f"Seeds: {seeds}. Items: {run['items']}, without a score: {run['failures']}.",
        f"Data: {'built-in sample ' if data['sample'] else ''}{data['folder']}, SHA-256 {data['sha256'][:16]}.",
        *(f"Measured by ({role}): {name}." for role, name in run["backbones"].items()),
        f"Code: {'commit ' + run['commit'] if run['commit'] else 'no clone'}; {versions}.",
    ]
    return lines if run["preset"] is None else [f"Preset: {run['preset']}.", *lines]


def failure_rows(records: Sequence[Record]) -> list[list[str]]:
    """Key and reason of the first ``FAILURES`` items without a score."""
    return [[record.key, record.failure] for record in records if record.failure is not None][:FAILURES]


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; the first row is its header."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def markdown_report(run: Mapping[str, Any], records: Sequence[Record]) -> str:
    """report.md: the table first, then groups, what it depends on, notes, failures."""
    warning = stand_ins(run)
    lines = [f"# {run['title']}: {run['name']}", "", *([f"**{warning}**", ""] if warning else [])]
    lines += [*markdown_table(headline(run)), ""]
    for table in group_tables(run).values():
        lines += [*markdown_table(table), ""]
    lines += [*(f"- {line}" for line in [*run["notes"], *provenance_lines(run)]), ""]
    failures = failure_rows(records)
    if failures:
        lines += [f"## Failures: {run['failures']}", "", *markdown_table([["item", "why"], *failures]), ""]
    return "\n".join(lines)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spread(value: float | None) -> str:
    return "" if value is None else f" ± {value:.3f}"
