"""What the documents point at is there: files, classes, pictures and commands."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

from mentor.cli.main import COMMANDS, _parse, build_parser
from mentor.config.study import REFERENCE, load_study
from mentor.evaluation.ablations import ablation_table, summarise_rows

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", document.read_text())
    assert [target for target in targets if "://" not in target and not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    named = re.findall(r"(?:^|`)(?:\.venv/bin/)?mentor ([a-z][a-z-]*)", document.read_text(), flags=re.MULTILINE)
    assert [name for name in named if name not in COMMANDS] == []


def documented(document: Path) -> list[list[str]]:
    """The words of every ``mentor`` command in a document's code blocks; comments and shell variables left out."""
    blocks = re.findall(
        r"^```\w*\n(.*?)^```|((?:^    [^\n]*\n)+)", document.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    lines = [line.strip() for block in blocks for line in "".join(block).replace("\\\n", " ").splitlines()]
    calls = [shlex.split(part, comments=True) for line in lines if "mentor " in line for part in line.split("&&")]
    found = [words[words.index("mentor") + 1 :] for words in calls if "mentor" in words[:6] and words[0] != "from"]
    return [[word for word in words if "$" not in word] for words in found if words]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_are_understood(document: Path) -> None:
    """Every documented command is one that the command line takes, with all its flags and words."""
    for words in documented(document):
        _parse(build_parser(words[0]), words)


def test_documented_commands_are_found() -> None:
    words = [words for document in DOCUMENTS for words in documented(document)]
    assert len(words) > 60
    assert {"generate", "train", "evaluate", "convert", "precompute", "ablate"} <= {each[0] for each in words}


def test_the_map_of_the_figure_names_real_files_and_classes() -> None:
    rows = re.findall(r"^\|[^|]+\| `(\w+)` \| `([\w/]+\.py)` \|", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    assert len(rows) > 10
    for name, file in rows:
        module = importlib.import_module("mentor." + file.removesuffix(".py").replace("/", "."))
        assert getattr(module, name).__module__ == module.__name__, (name, file)


def test_the_readmes_tree_lists_every_package() -> None:
    tree = (ROOT / "README.md").read_text().partition("src/mentor/\n")[2]
    packages = {
        path.name for path in (ROOT / "src" / "mentor").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert {name for name in packages if f"  {name}/" not in tree} == set()


def test_the_ablations_table_is_that_of_the_kept_result() -> None:
    kept = json.loads(next((ROOT / "benchmarks" / "results").glob("ablations_mini_*.json")).read_text())
    text = (ROOT / "docs" / "ablations.md").read_text()
    assert "\n".join(ablation_table(kept["rows"], kept["held_out_losses"])) in text
    scores = {row: {int(seed): numbers for seed, numbers in found.items()} for row, found in kept["scores"].items()}
    paper = load_study(kept["study"]).paper
    again = json.loads(json.dumps(summarise_rows(scores, REFERENCE, paper)))
    assert again == kept["rows"]
