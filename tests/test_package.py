"""The package as a user gets it: light to import, every module importable, and a wheel with all that it needs."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mentor

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000


def loaded_by(statement: str) -> set[str]:
    """Names of the modules in memory after ``statement``, in a fresh interpreter."""
    program = f"import sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "numpy", "PIL", "yaml", "rich", "tensorboard", "scipy"}
    assert loaded_by("import mentor") & heavy == set()


@pytest.mark.parametrize("module", ["mentor.config.model", "mentor.config.load", "mentor.config.run", "mentor.prompt"])
def test_configuration_and_prompt_know_no_torch(module: str) -> None:
    assert loaded_by(f"import {module}") & {"torch", "transformers"} == set()


def test_the_pipeline_loads_no_compiler_and_no_training_code() -> None:
    loaded = loaded_by("from mentor import MentorPipeline")
    assert loaded & {"transformers", "torch._inductor", "tensorboard", "vtk", "scipy", "skimage"} == set()
    assert [
        name for name in loaded if name.startswith(("mentor.training", "mentor.evaluation", "mentor.construction"))
    ] == []


def test_public_names_resolve_and_others_do_not() -> None:
    assert {name: getattr(mentor, name).__name__ for name in mentor.__all__ if name != "__version__"} == {
        name: name
        for name in (
            "GenerationSettings",
            "Mentor",
            "MentorConfig",
            "MentorPipeline",
            "PipelineOutput",
            "Prompt",
            "build_prompt",
        )
    }
    assert set(mentor.__all__) <= set(dir(mentor))
    with pytest.raises(AttributeError, match="has no attribute 'Painter'"):
        mentor.Painter  # noqa: B018


def test_every_module_imports() -> None:
    names = [
        info.name for info in pkgutil.walk_packages(mentor.__path__, "mentor.") if not info.name.endswith("__main__")
    ]
    assert len(names) > 40
    for name in names:
        assert importlib.import_module(name).__doc__ or name.count(".") < 2 or importlib.import_module(name).__path__, (
            name
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built here without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    assert wheel.stat().st_size <= 64 * MEGABYTE
    names = set(zipfile.ZipFile(wheel).namelist())
    source = {
        str(Path("mentor") / path.relative_to(ROOT / "src" / "mentor"))
        for path in (ROOT / "src" / "mentor").rglob("*")
        if path.is_file() and not {"__pycache__", "towers"} & set(path.parts)
    }
    metadata = f"mentor-{mentor.__version__}.dist-info"
    assert {name for name in names if not name.startswith(metadata)} == source
    assert "mentor/py.typed" in names
    assert {f"{metadata}/licenses/LICENSE", f"{metadata}/licenses/NOTICE"} <= names
    assert "mentor = mentor.cli.main:main" in zipfile.ZipFile(wheel).read(f"{metadata}/entry_points.txt").decode()


def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = "import mentor; from mentor.cli.main import main; print(mentor.__file__); main(['recipes'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site"))
    folder = ROOT / "src" / "mentor" / "assets" / "recipes"
    recipes = [path.stem for path in folder.rglob("*.yaml") if not path.stem.startswith("_")]
    assert recipes
    assert all(recipe in done.stdout for recipe in recipes)


def test_pinned_versions_cover_every_requirement() -> None:
    """What pyproject.toml asks for is pinned, so that a set-up next year installs what was tested."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {
        canonicalize_name(line.partition("==")[0]): line.partition("==")[2].strip()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    asked = [Requirement(text) for text in requires("mentor") or []]
    assert asked
    for requirement in asked:
        name = canonicalize_name(requirement.name)
        if name != "mentor":
            assert name in pins, f"{name} is not pinned in constraints.txt"
            assert requirement.specifier.contains(pins[name]), f"{requirement} does not allow {pins[name]}"
