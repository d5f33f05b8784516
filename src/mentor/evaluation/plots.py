"""Small SVG drawings for the report: bars, and the plane of concept preservation and prompt following."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, BAR, GAP, LABEL, VALUE = 560, 14, 6, 230, 60
SIDE, LEFT, TOP, BOTTOM = 420, 52, 16, 44
CHARACTER, LINE = 6.3, 12
"""Width of a letter and height of a line of small text in pixels, about."""


@dataclass(frozen=True)
class Mark:
    """One bar or point; ``ours`` is drawn in the accent colour."""

    label: str
    value: float
    ours: bool = False
    interval: tuple[float, float] | None = None
    other: float = 0.0
    """The second coordinate in the plane."""


def bars(title: str, marks: Sequence[Mark]) -> str:
    """Horizontal bars from zero, with the 95 % interval as a line where there is one; "" for no marks."""
    if not marks:
        return ""
    ends = [end for mark in marks for end in (mark.value, *(mark.interval or ()))]
    low, high = min(0.0, *ends), max(0.0, *ends)
    scale = (WIDTH - LABEL - VALUE) / ((high - low) or 1)

    def x(value: float) -> float:
        return LABEL + (value - low) * scale

    height = 8 + len(marks) * (BAR + GAP)
    parts = [_open(WIDTH, height, title)]
    for number, mark in enumerate(marks):
        top = 4 + number * (BAR + GAP)
        left, right = sorted((x(0), x(mark.value)))
        parts.append(_text(LABEL - 8, top + 11, _short(mark.label, 34), "end", mark.ours))
        parts.append(
            f'<rect class="{_kind(mark)}" x="{left:.1f}" y="{top}" width="{max(right - left, 1):.1f}" height="{BAR}" rx="2">'
            f"<title>{escape(mark.label)}: {mark.value:.3f}</title></rect>"
        )
        if mark.interval is not None:
            one, two, middle = x(mark.interval[0]), x(mark.interval[1]), top + BAR / 2
            parts.append(
                f'<path class="whisker" d="M{one:.1f} {middle}H{two:.1f}M{one:.1f} {middle - 4}v8M{two:.1f} {middle - 4}v8"/>'
            )
        reach = max([right, *(x(end) for end in mark.interval or ())])
        parts.append(_text(reach + 6, top + 11, f"{mark.value:.3f}", "start", mark.ours))
    return "".join([*parts, "</svg>"])


def plane(title: str, marks: Sequence[Mark], levels: Sequence[float] = (0.1, 0.25, 0.5)) -> str:
    """CP (``value``) to the right, PF (``other``) upwards, both from 0 to 1; the dashed line is CP = PF.

    The thin curves join points of equal CP x PF.
    """
    inner = SIDE - LEFT - 12

    def x(value: float) -> float:
        return LEFT + inner * min(max(value, 0.0), 1.0)

    def y(value: float) -> float:
        return TOP + inner * (1 - min(max(value, 0.0), 1.0))

    parts = [_open(SIDE + 120, TOP + inner + BOTTOM, title)]
    for step in range(6):
        at = step / 5
        parts.append(f'<path class="mesh" d="M{x(at):.1f} {y(0):.1f}V{y(1):.1f}M{x(0):.1f} {y(at):.1f}H{x(1):.1f}"/>')
        parts.append(_text(x(at), y(0) + 16, f"{at:.1f}", "middle"))
        parts.append(_text(x(0) - 8, y(at) + 4, f"{at:.1f}", "end"))
    for level in levels:
        steps = [level + (1 - level) * number / 40 for number in range(41)]
        points = " ".join(f"{x(cp):.1f},{y(level / cp):.1f}" for cp in steps)
        parts.append(f'<polyline class="level" points="{points}"/>')
        parts.append(_text(x(1) + 6, y(level) + 4, f"CP x PF = {level:g}", "start"))
    parts.append(f'<path class="balance" d="M{x(0):.1f} {y(0):.1f}L{x(1):.1f} {y(1):.1f}"/>')
    parts.append(_text(x(1) + 6, y(1) + 4, "CP = PF (balance)", "start"))
    parts.append(_text(x(0.5), y(0) + 36, "concept preservation (CP)", "middle"))
    turned = f'transform="translate(14 {y(0.5):.1f}) rotate(-90)"'
    parts.append(f'<text class="small" text-anchor="middle" {turned}>prompt following (PF)</text>')
    captions = [(x(1), y(level) - LINE, SIDE + 120.0, y(level) + 6) for level in (1.0, *levels)]
    taken = [*captions, *((x(m.value) - 6, y(m.other) - 6, x(m.value) + 6, y(m.other) + 6) for m in marks)]
    for mark in sorted(marks, key=lambda each: not each.ours):
        across, up = x(mark.value), y(mark.other)
        parts.append(
            f'<circle class="{_kind(mark)}" cx="{across:.1f}" cy="{up:.1f}" r="{6 if mark.ours else 4}">'
            f"<title>{escape(mark.label)}: CP {mark.value:.3f}, PF {mark.other:.3f}</title></circle>"
        )
        parts.append(_placed(mark, across, up, taken))
    return "".join([*parts, "</svg>"])


def _placed(mark: Mark, x: float, y: float, taken: list[tuple[float, float, float, float]]) -> str:
    """The label of a point at the first free place around it; none where all are taken (the point still has its title)."""
    label = _short(mark.label, 30)
    width = CHARACTER * len(label)
    sides = ((8, 4), (-8 - width, 4), (-width / 2, -9), (-width / 2, 19), (8, -8), (8, 16), (-8 - width, 16))
    for across, down in sides:
        box = (x + across, y + down - LINE, x + across + width, y + down)
        inside = box[0] >= LEFT and box[2] <= SIDE + 120
        if inside and not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            taken.append(box)
            return _text(box[0], y + down, label, "start", mark.ours)
    return ""


def _kind(mark: Mark) -> str:
    return "ours" if mark.ours else "theirs"


def _open(width: float, height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img"><title>{escape(title)}</title>'
    )


def _text(x: float, y: float, text: str, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text class="small" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
