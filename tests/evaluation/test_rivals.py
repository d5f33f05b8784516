"""Rivals, drawn by tiny random ``diffusers`` pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from mentor.cli.main import main
from mentor.evaluation.protocol import Item
from mentor.evaluation.rival_settings import RivalSettings, find_rival, shipped_rivals
from mentor.prompt import Prompt

pytest.importorskip("diffusers")

from mentor.evaluation.rivals import Rival
from tests.evaluation.tiny_diffusion import save_embedding, save_ip_adapter, save_lora, save_stable_diffusion

TEXT = "The cat in <image>.\na cat on a mat"
RED, BLUE = (Prompt(TEXT, [Image.new("RGB", (20, 20), colour)]) for colour in ("red", "blue"))
SMALL = ["steps=2", "size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rivals")
    save_stable_diffusion(made / "sd")
    save_ip_adapter(made / "adapter", made / "sd")
    return made


def settings(folder: Path, *more: str) -> RivalSettings:
    return find_rival(f"diffusers:{folder / 'sd'}", [*SMALL, *more])


def bytes_of(pictures: list[Image.Image]) -> list[bytes]:
    return [picture.tobytes() for picture in pictures]


def test_a_text_pipeline_draws_by_seed_and_never_sees_the_reference(folder: Path) -> None:
    rival = Rival(settings(folder))
    painter = rival.painter(Item("a/0_0", RED))
    red, again, blue, other = bytes_of(painter([RED, RED, BLUE, RED], [1, 1, 1, 2]))
    assert red == again == blue != other
    assert painter([RED], [1])[0].size == (16, 16) and rival.name.endswith("(sees the text only)")


def test_the_pictures_name_changes_with_weights_and_settings(folder: Path) -> None:
    one, same, steps = (Rival(settings(folder, *more)) for more in ((), (), ("steps=3",)))
    fingerprints = [rival.painter(Item("a/0_0", RED)).fingerprint for rival in (one, same, steps)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    with torch.no_grad():
        next(same.pipeline.unet.parameters()).add_(1)
    from mentor.evaluation.rivals import _weights

    assert _weights(same.pipeline) != one.weights


def test_an_ip_adapter_sees_the_reference(folder: Path) -> None:
    words = (f"adapter.repo={folder / 'adapter'}", "adapter.weights=adapter.safetensors")
    rival = Rival(settings(folder, *words))
    painter = rival.painter(Item("a/0_0", RED))
    red, blue, again = bytes_of(painter([RED, BLUE, RED], [1, 1, 1]))
    assert red != blue and red == again
    off = Rival(settings(folder, *words, "adapter.scale=0.0"))
    without = bytes_of(off.painter(Item("a/0_0", RED))([RED, BLUE], [1, 1]))
    plain = bytes_of(Rival(settings(folder)).painter(Item("a/0_0", RED))([RED], [1]))
    assert without == [plain[0], plain[0]]
    with pytest.raises(ValueError, match="no reference picture"):
        painter([Prompt("a cat")], [1])


@pytest.mark.parametrize("kind", ["embedding", "lora"])
def test_weights_tuned_on_a_subject_draw_that_subject_only(folder: Path, kind: str) -> None:
    for seed, name in enumerate(("cat", "dog")):
        path = folder / f"{kind}-{name}.safetensors"
        if kind == "embedding":
            save_embedding(path, seed)
        else:
            save_lora(path, folder / "sd", seed)
    pattern = f"tuned.path={folder}/{kind}-{{collection}}.safetensors"
    rival = Rival(settings(folder, f"tuned.kind={kind}", pattern, "tuned.words=<subject>"))
    painters = [rival.painter(Item(f"{name}/0_0", RED)) for name in ("cat", "dog", "cat")]
    cat, dog, again = (painter([RED], [1])[0].tobytes() for painter in painters)
    assert cat == again != dog
    assert painters[0].fingerprint == painters[2].fingerprint != painters[1].fingerprint
    with pytest.raises(ValueError, match="expected weights tuned on this subject at .*fox.safetensors"):
        rival.painter(Item("fox/0_0", RED))([RED], [1])
    with pytest.raises(ValueError, match="cannot be part of a file's name"):
        rival.painter(Item("../0_0", RED))


def test_the_tuned_words_stand_where_the_subject_stood() -> None:
    from mentor.evaluation.rivals import _with_words

    assert _with_words("A Cat on a mat with a cat", "cat", "sks {subject}") == "A sks cat on a mat with a cat"
    assert _with_words("a catalogue", "cat", "<x>") == "<x>, a catalogue"
    assert _with_words("on a mat", "", "<x>") == "<x>, on a mat"


def test_shipped_rivals_are_valid_and_name_their_base() -> None:
    assert shipped_rivals() == ["dreambooth-lora", "ip-adapter", "ip-adapter-plus", "textual-inversion"]
    for name in shipped_rivals():
        rival = find_rival(name)
        assert (rival.steps, rival.guidance) == (100, 7.5)
        assert (rival.adapter is None) != (rival.tuned is None)
    assert find_rival("ip-adapter", ["adapter.scale=1.0", "steps=7"]).adapter.scale == 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "overrides", "told"),
    [
        ("ip-adaptor", [], "unknown rival 'ip-adaptor'; expected diffusers:NAME_OR_FOLDER, a YAML file, or one of"),
        ("diffusers:", [], "unknown rival"),
        ("diffusers:x", ["step=3"], "unknown key 'step'.*steps"),
        ("diffusers:x", ["steps=0"], "expected steps of 1 or more"),
        ("diffusers:x", ["size=20"], "a size that 8 divides"),
        ("none.yaml", [], "cannot read"),
    ],
)
def test_mistakes_in_settings(name: str, overrides: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        find_rival(name, overrides)


def test_a_pipeline_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="rival"):
        Rival(find_rival(f"diffusers:{tmp_path}"))
    with pytest.raises(ValueError, match="rival nobody/nothing"):
        Rival(find_rival("diffusers:nobody/nothing"))


def test_a_rival_goes_through_the_whole_command(folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", "dreambench", "--sample", "-n", "2", "--rival", f"diffusers:{folder / 'sd'}"]
    changed = ["--rival-set", "steps=1", "--rival-set", "size=16"]
    assert main([*words, *changed, "--out", str(tmp_path / "out")]) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["settings"]["steps"] == 1 and run["settings"]["library"].startswith("diffusers ")
    assert len(run["fingerprint"]) == 64 and len(list((tmp_path / "out" / "images").iterdir())) == 2
