"""The report: complete, self-contained, and with everything that came from outside escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mentor.evaluation.pictures import PictureStore, check_folder
from mentor.evaluation.plots import Mark, bars, plane
from mentor.evaluation.run import Author, evaluate, paint
from mentor.evaluation.tables import headline, markdown_table, number, short_table, stand_ins
from tests.evaluation.conftest import FakePainter
from tests.evaluation.toy import Toy, toy_items, toy_tools

_VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Raises for a tag that closes another one than was opened; keeps every address."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("page")
    out = folder / "out"
    check_folder(out)
    items = toy_items(30)
    painter = FakePainter(lambda prompt, seed: Image.new("RGB", (300, 200), (51, 51, 51)))
    pictures = paint(items, lambda item: painter, PictureStore(out), 0)
    return evaluate(Toy(), items, pictures, Author("<script>x</script>"), toy_tools(folder), out), out


def test_the_page_is_well_formed_and_asks_no_server(written: tuple[dict[str, Any], Path]) -> None:
    text = (written[1] / "report.html").read_text()
    page = Balance()
    page.feed(text)
    assert page.open == [] and "script" not in page.tags and "link" not in page.tags
    assert len(page.addresses) == 24 * 2
    assert all(address.startswith("data:image/") for address in page.addresses)
    # The only addresses in the text are names of the SVG standard.
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_the_page_holds_what_a_reader_needs(written: tuple[dict[str, Any], Path]) -> None:
    text = (written[1] / "report.html").read_text()
    for expected in (
        "Rival &lt;b&gt;&amp;",
        "CP = PF (balance)",
        "paper, table 3",
        "ours: &lt;script&gt;",
        "By category",
    ):
        assert expected in text
    assert "A note with &lt;angles&gt;." in text and "SHA-256" in text and "24 of 30" in text
    assert text.index("Pictures") < text.index("How it was measured") < text.index("<h2>Failures</h2><p>None.</p>")


def test_markdown_and_page_show_the_same_rows(written: tuple[dict[str, Any], Path]) -> None:
    run, out = written
    table = headline(run)
    assert table[0] == ["", "CP", "PF", "CP x PF", "from"]
    assert table[1] == ["MENTOR", "0.550", "0.840", "0.470", "paper, table 3"]
    assert table[2][1:4] == ["0.900 ± 0.010", "0.200", "-"]
    assert table[-1][:2] == ["ours: <script>x</script>", "0.200 [0.200, 0.200]"]
    lines = (out / "report.md").read_text().splitlines()
    assert all(line in lines for line in markdown_table(table))


def test_the_terminal_shows_ours_beside_the_papers_model(written: tuple[dict[str, Any], Path]) -> None:
    table = short_table(written[0])
    assert table[0] == ["", "ours: <script>x</script>", "paper: MENTOR"]
    assert table[3] == ["CP x PF", "0.100", "0.470"]


def test_rows_of_one_name_are_told_apart_by_their_groups() -> None:
    row = {"label": "MENTOR", "numbers": {"cp": 0.1}, "source": "paper", "spread": {}}
    published = [{**row, "group": group} for group in ("COCO", "JourneyDB")] + [{**row, "label": "X", "group": "COCO"}]
    run = {"name": "m", "columns": {"cp": "CP"}, "summary": {"cp": 0.2}, "published": published}
    assert [cells[0] for cells in headline(run)[1:]] == ["MENTOR (COCO)", "MENTOR (JourneyDB)", "X", "ours: m"]


def test_stand_ins_are_told() -> None:
    assert stand_ins({"backbones": {"clip": "Stand-in: pooled pixels", "dino": "real"}}) == (
        "Stand-ins measured this (clip): compare with nothing published."
    )
    assert stand_ins({"backbones": {"dino": "real"}}) == ""


def test_numbers_and_cells() -> None:
    assert [number(value) for value in (0.12345, 9.9994, 19.92, -0.5, None)] == [
        "0.123",
        "9.999",
        "19.92",
        "-0.500",
        "-",
    ]
    assert markdown_table([["a|b", "c"], ["d", "e\nf"]]) == ["| a\\|b | c |", "|---|---|", "| d | e f |"]


def test_bars_are_as_long_as_their_numbers() -> None:
    svg = bars("x", [Mark("a", 0.5), Mark("b", 1.0, True, (0.9, 1.1)), Mark("c", -0.5)])
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', svg)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.1) and widths[2] == pytest.approx(widths[0], abs=0.1)
    assert svg.count('class="whisker"') == 1 and svg.count('class="ours"') == 1
    assert bars("x", []) == ""


def test_points_lie_where_their_numbers_say() -> None:
    svg = plane("x", [Mark("a", 0.0, other=0.0), Mark("b", 1.0, True, other=1.0), Mark("c", 0.5, other=0.5)])
    points = [(float(x), float(y)) for x, y in re.findall(r'<circle [^>]*cx="([\d.]+)" cy="([\d.]+)"', svg)]
    ours, first, middle = points
    assert middle == pytest.approx(((ours[0] + first[0]) / 2, (ours[1] + first[1]) / 2), abs=0.1)
    line = re.search(r'class="balance" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', svg)
    assert line is not None
    assert [float(each) for each in line.groups()] == [*first, *ours]
