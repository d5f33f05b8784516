"""``mentor bench``: the figures of a run, at a tiny size, and mistakes that are told in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from mentor.config.load import to_dict
from mentor.nn.native.library import describe
from tests.cli.conftest import Outcome
from tests.generation.tiny_bundle import CONFIG

Run = Callable[..., Outcome]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(CONFIG)))))
    return path


def test_the_figures_of_random_weights(run: Run, config: Path) -> None:
    threads = torch.get_num_threads()
    done = run("bench", "--config", config, "--random-weights", "--threads", 1, "--json")
    assert (done.status, done.err) == (0, "")
    values = json.loads(done.out)
    assert values["model"] == "tiny" and values["random_weights"] and "made up" in values["note"]
    assert values["image_tokens"] == 16 and values["complete"]
    assert list(values["seconds"]) == ["load", "encode", "prefill", "tokens", "per_token", "decode"]
    assert all(seconds >= 0 for seconds in values["seconds"].values())
    assert values["peak_rss_gb"] > 0
    assert values["ms_per_token"] == pytest.approx(1e3 * values["seconds"]["per_token"], rel=1e-3)
    ratio = values["ms_per_token"] / values["ms_to_read_weights"]
    assert values["ratio_to_weight_streaming"] == pytest.approx(ratio, rel=0.05)
    settings = values["settings"]
    assert (settings["dtype"], settings["threads"], settings["sequences"]) == ("bfloat16", 1, 2)
    assert settings["condition_tokens"] == CONFIG.tokens_per_image + 10
    assert settings["decoding_by"] == describe()
    assert settings["torch"] == torch.__version__ and settings["cpu"]
    assert torch.get_num_threads() == threads


def test_a_bundle_a_short_run_and_pytorch_alone(run: Run, tiny_model: Path) -> None:
    words = ("bench", tiny_model, "--tokens", 4, "--cfg-scale", 1, "--plain")
    done = run(*words, "--json")
    values = json.loads(done.out)
    assert not values["random_weights"] and "note" not in values
    assert (values["image_tokens"], values["complete"]) == (4, False)
    assert (values["settings"]["dtype"], values["settings"]["sequences"]) == ("float32", 1)
    assert values["settings"]["decoding_by"] == "PyTorch (asked for)"

    shown = run(*words, "--dtype", "bfloat16").out
    assert "tiny, bfloat16, 14 condition tokens, guidance 1" in shown
    assert "4 tokens in" in shown and "not a whole picture" in shown
    for part in ("peak memory", "load", "encode", "prefill", "per token", "decode", "memory gives", "decoding takes"):
        assert f"\n{part} " in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("xl",), "xl is a preset, for which no weights are here: add --random-weights"),
        (("mini", "--random-weights"), "--random-weights builds a preset, not 'mini'; known: mini-64"),
        (("nothing",), "unknown model 'nothing'"),
        (("--config", "x.yaml"), "add --random-weights"),
        (("--config", "x.yaml", "--random-weights"), "x.yaml"),
        (("xl", "--random-weights", "--cfg-scale", "0.5"), "cfg_scale: expected"),
        (("xl", "--random-weights", "--threads", "0"), "--threads: expected 1 or more, got 0"),
        (("xl", "--random-weights", "--tokens", "1"), "expected 2 to 1024"),
        (("xl", "--random-weights", "--dtype", "int8"), "--dtype"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, monkeypatch, words: tuple[str, ...], message: str) -> None:
    def built(*_):
        raise AssertionError("a model was built for what could be told before")

    monkeypatch.setattr("mentor.generation.random_model.random_bundle", built)
    done = run("bench", *words)
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1 and message in done.err
