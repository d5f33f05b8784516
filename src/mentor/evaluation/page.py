"""report.html: one page that holds everything, pictures and drawings included, and asks nothing of any server."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from mentor.evaluation.pictures import Pictures
from mentor.evaluation.plots import Mark, bars, plane
from mentor.evaluation.protocol import Item, Record
from mentor.evaluation.tables import (
    failure_rows,
    group_tables,
    headline,
    number,
    provenance_lines,
    row_label,
    shown_columns,
    stand_ins,
)
from mentor.files import write_text

SHOWN, THUMB, REFERENCES = 24, 176, 2
"""Items in the grid, the longest side of their pictures in pixels, and references shown of each."""

_FIRST = ("cp", "pf", "cp_pf")
"""Numbers whose bars are shown at once where a benchmark has them; else its first ones."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2129; --faint: #667085; --line: #e2e5ea; --card: #f7f8fa;
  --accent: #c2410c; --theirs: #9aa4b2; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --ink: #e8eaee; --faint: #98a2b3; --line: #2b313a;
  --card: #1b1f26; --accent: #fb923c; --theirs: #5b6675; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1400px;
  padding: 24px; }
h1 { font-size: 26px; margin: 0; } h2 { border-top: 1px solid var(--line); font-size: 18px; margin: 36px 0 12px;
  padding-top: 18px; } h3 { font-size: 14px; margin: 0 0 6px; }
.faint, figcaption { color: var(--faint); font-size: 13px; }
.tiles, .grid, .plots { align-items: flex-start; display: flex; flex-wrap: wrap; gap: 14px; }
details { margin-top: 14px; } summary { cursor: pointer; margin-bottom: 12px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; min-width: 110px; padding: 10px 14px; }
.tile b { display: block; font-size: 24px; }
.banner { background: var(--card); border-left: 4px solid var(--accent); padding: 8px 12px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 4px 8px; text-align: right; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; }
.wide td:first-child { background: var(--paper); left: 0; position: sticky; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
tr.ours td { color: var(--accent); font-weight: 600; }
.failures td { white-space: normal; text-align: left; }
.item { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 8px; }
.item figure { display: inline-block; margin: 0 6px 0 0; } .item img { border-radius: 4px; display: block; height: 132px; }
.item p { font-size: 12px; margin: 6px 0 0; max-width: 420px; }
svg { height: auto; max-width: 100%; } .small { fill: var(--ink); font-size: 11px; } .ours { fill: var(--accent); }
.theirs { fill: var(--theirs); } .mesh { stroke: var(--line); }
.level { fill: none; stroke: var(--faint); stroke-dasharray: 1 3; }
.balance { stroke: var(--faint); stroke-dasharray: 6 4; } .whisker { fill: none; stroke: var(--ink); }
"""


def write_page(
    path: Path, run: Mapping[str, Any], items: Sequence[Item], records: Sequence[Record], pictures: Pictures
) -> None:
    """Write the page whole or not at all. Raises ``OSError`` when the disk refuses."""
    title = f"{run['title']}: {run['name']}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{run["items"]} items, {run["failures"]} without a score'
        f"{', built-in sample' if run['data']['sample'] else ''}</p>",
        f'<p class="banner">{escape(stand_ins(run))}</p>' if stand_ins(run) else "",
        _tiles(run),
        "<h2>Beside what was published</h2>" if _outside(run) else "<h2>Numbers</h2>",
        _table(headline(run), ours=True),
        _plots(run),
        *(f"<h2>By {escape(kind.replace('_', ' '))}</h2>{_table(table)}" for kind, table in group_tables(run).items()),
        _grid(items, records, pictures, shown_columns(run)),
        "<h2>How it was measured</h2><ul>",
        *(f"<li>{escape(line)}</li>" for line in [*run["notes"], *provenance_lines(run)]),
        "</ul>",
        _failures(run, records),
        "</body></html>\n",
    ]
    write_text(path, "".join(parts))


def _tiles(run: Mapping[str, Any]) -> str:
    tiles = [
        f'<div class="tile"><span class="faint">{escape(heading)}</span><b>{number(run["summary"][name])}</b></div>'
        for name, heading in shown_columns(run).items()
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _table(rows: Sequence[Sequence[str]], *, ours: bool = False) -> str:
    header, *body = rows
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in header)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body]
    marked = [f'<tr class="ours">{line}</tr>' if ours and line is lines[-1] else f"<tr>{line}</tr>" for line in lines]
    return f'<div class="wide"><table>{"".join(marked)}</table></div>'


def _outside(run: Mapping[str, Any]) -> bool:
    return any(row["source"] != "this run" for row in run["published"])


def _plots(run: Mapping[str, Any]) -> str:
    """The plane where there are CP and PF, and bars of every number that somebody else has too."""
    columns = shown_columns(run)
    drawn = [(name, heading, svg) for name, heading in columns.items() if (svg := _bars(run, name, heading))]
    first = [name for name in _FIRST if name in columns] or list(columns)[:4]
    shown = [_card_of(heading, svg) for name, heading, svg in drawn if name in first]
    more = [_card_of(heading, svg) for name, heading, svg in drawn if name not in first]
    if {"cp", "pf"} <= set(columns):
        shown.insert(0, _card_of("Concept preservation and prompt following", _plane(run)))
    if not shown:
        return ""
    rest = f'<details><summary>More plots</summary><div class="plots">{"".join(more)}</div></details>' if more else ""
    return f'<h2>Plots</h2><div class="plots">{"".join(shown)}</div>{rest}'


def _card_of(heading: str, svg: str) -> str:
    return f'<div class="item"><h3>{escape(heading)}</h3>{svg}</div>'


def _plane(run: Mapping[str, Any]) -> str:
    marks = [
        Mark(row["label"], row["numbers"]["cp"], other=row["numbers"]["pf"])
        for row in run["published"]
        if {"cp", "pf"} <= set(row["numbers"])
    ]
    own = Mark(f"ours: {run['name']}", run["summary"]["cp"], True, other=run["summary"]["pf"])
    return plane("CP-PF plane", [*marks, own])


def _bars(run: Mapping[str, Any], name: str, heading: str) -> str:
    """Bars of one number; nothing where only we have it."""
    others = [Mark(row_label(row, run), row["numbers"][name]) for row in run["published"] if name in row["numbers"]]
    interval = run["summary"].get("intervals", {}).get(name)
    whisker = None if interval is None else (interval[0], interval[1])
    own = Mark(f"ours: {run['name']}", run["summary"][name], True, whisker)
    return bars(heading, [*others, own]) if others else ""


def _grid(items: Sequence[Item], records: Sequence[Record], pictures: Pictures, columns: Collection[str]) -> str:
    count = min(SHOWN, len(items))
    numbers = [place * len(items) // count for place in range(count)]
    cards = [_card(items[at], records[at], pictures[at], columns) for at in numbers]
    told = "all of them" if count == len(items) else f"{count} of {len(items)} at equal distances, none picked"
    return f'<h2>Pictures</h2><p class="faint">{told}</p><div class="grid">{"".join(cards)}</div>'


def _card(item: Item, record: Record, picture: Image.Image | None, columns: Collection[str]) -> str:
    shown = [("reference", image) for image in (item.references or tuple(item.prompt.images))[:REFERENCES]]
    shown += [("answer", picture)] if picture is not None else []
    shown += [("truth", item.target)] if item.target is not None else []
    figures = "".join(
        f"<figure>{_image(image, label)}<figcaption>{label}</figcaption></figure>" for label, image in shown
    )
    numbers = {name: value for name, value in record.numbers.items() if name in columns} or record.numbers
    told = ", ".join(f"{name} {number(value)}" for name, value in numbers.items())
    lines = [escape(item.text or item.prompt.text), f'<span class="faint">{escape(record.failure or told)}</span>']
    return f'<div class="item">{figures}<p>{"<br>".join(lines)}</p></div>'


def _image(image: Image.Image, label: str) -> str:
    """A picture as part of the page: small ones as they are, large ones made smaller and compressed."""
    image, buffer = image.convert("RGB"), io.BytesIO()
    small = max(image.size) <= THUMB
    if not small:
        image.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    image.save(buffer, "PNG" if small else "JPEG", **({} if small else {"quality": 85}))
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{label}" src="data:image/{"png" if small else "jpeg"};base64,{data}">'


def _failures(run: Mapping[str, Any], records: Sequence[Record]) -> str:
    rows = failure_rows(records)
    if not rows:
        return "<h2>Failures</h2><p>None.</p>"
    more = f'<p class="faint">The first {len(rows)} of {run["failures"]}.</p>' if len(rows) < run["failures"] else ""
    table = _table([["item", "why"], *rows]).replace("<table>", '<table class="failures">')
    return f"<h2>Failures: {run['failures']}</h2>{table}{more}"
