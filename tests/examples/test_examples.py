"""Every program in examples/ runs to its end, over a tiny random model, and leaves the pictures that it promises."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import mentor
from mentor import MentorPipeline
from mentor.checkpoint.store import save_bundle
from mentor.data.images import load_image
from mentor.generation.png_metadata import read_metadata
from tests.generation.tiny_bundle import tiny_bundle

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    bundle = tiny_bundle(context=64)
    folder = tmp_path_factory.mktemp("examples") / "tiny"
    return str(save_bundle(folder, bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer))


def test_no_example_goes_untested() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [path.stem for path in EXAMPLES.glob("*.py") if path.stem not in tests] == []


@pytest.mark.parametrize("name", ["segment", "two_images"])
def test_reference_examples(name: str, model: str, tmp_path: Path) -> None:
    example(name).main(out=tmp_path / "a.png", model=model)
    assert load_image(tmp_path / "a.png").size == (32, 32)


def test_generate(model: str, tmp_path: Path) -> None:
    example("generate").main("a red fox", tmp_path / "a.png", model)
    expected = MentorPipeline.from_pretrained(model)("a red fox", seed=0).images[0]
    assert load_image(tmp_path / "a.png").tobytes() == expected.tobytes()


def test_demo_writes_every_task_and_a_sheet(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = example("demo")
    demo.main(out=tmp_path / "out", model=model, seeds=2)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted([*(f"{name}.png" for name in demo.PROMPTS), "demo.png"])
    assert "8 pictures in" in capsys.readouterr().out
    # Each picture can be made again from what its file says.
    metadata = read_metadata(tmp_path / "out" / "segmentation.png")
    again = MentorPipeline.from_pretrained(model)(demo.PROMPTS["segmentation"], seed=metadata["seeds"][0])
    assert load_image(tmp_path / "out" / "segmentation.png").tobytes() == again.images[0].tobytes()


def test_every_example_picture_is_attributed_and_small() -> None:
    attribution = (EXAMPLES / "images" / "ATTRIBUTION.md").read_text()
    pictures = [path for path in (EXAMPLES / "images").iterdir() if path.suffix != ".md"]
    assert len(pictures) >= 3
    for path in pictures:
        assert f"| {path.name} |" in attribution
        assert max(load_image(path).size) <= 512


def test_the_readme_shows_only_files_and_names_that_exist() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text()
    for word in readme.replace("`", " ").replace('"', " ").split():
        if word.startswith("examples/"):
            assert (EXAMPLES.parent / word).exists(), word
    snippet = readme.partition("```python\n")[2].partition("```")[0]
    imported = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.ImportFrom)]
    assert imported
    for node in imported:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
    assert all(hasattr(mentor, name) for name in mentor.__all__)
