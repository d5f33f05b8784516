"""The vision probe: its heads find what is there and only that, its error is the textbook's, its table is complete."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from mentor.cli.main import main
from mentor.data.corpus import Corpus
from mentor.evaluation.probe import Candidate, Probe, _network, _patches, _psnr, _ridge, candidates
from mentor.evaluation.probe_pictures import SIDE, Picture, pictures_of
from mentor.models.vision import EfficientNetTower
from tests.construction.published import write_wheels
from tests.generation.tiny_bundle import CONFIG


def test_only_maps_that_can_be_cut_are_candidates():
    found = candidates([(3,), (5,), (3, 11)], [64, 96], [16, 36])
    assert Candidate((3,), 96, 36) in found  # 24 cells
    assert Candidate((3,), 64, 36) not in found  # 16 cells
    assert Candidate((3, 11), 64, 16) in found
    assert Candidate((3, 11), 96, 16) not in found  # 6 cells of layer 11
    assert Candidate((3, 11), 64, 16).width == 24 * 16 + 112


def test_the_linear_head_recovers_a_linear_relation_and_nothing_from_noise():
    generator = torch.Generator().manual_seed(0)
    x, unseen = torch.randn(300, 4, 10, generator=generator), torch.randn(50, 4, 10, generator=generator)
    weight = torch.randn(10, 6, generator=generator)
    torch.testing.assert_close(_ridge(x, x @ weight + 3, unseen), unseen @ weight + 3, atol=0.05, rtol=0.05)
    noise = _ridge(x, torch.randn(300, 4, 6, generator=generator), unseen)
    assert noise.abs().mean() < 0.2


def test_the_network_head_learns_what_a_line_cannot_and_repeats_itself():
    generator = torch.Generator().manual_seed(0)
    x, unseen = (torch.rand(count, 16, 8, generator=generator) * 2 - 1 for count in (200, 30))
    bent, truth = x.abs(), unseen.abs()
    runs = [_network(x, bent, unseen, steps=150, seed=4) for _ in range(2)]
    assert torch.equal(*runs)
    network, line = ((guess - truth).square().mean() for guess in (runs[0], _ridge(x, bent, unseen)))
    assert network < 0.5 * line


def test_error_in_decibel_where_marked():
    truth = torch.zeros(1, 2, 3)
    predicted = truth + torch.tensor([[[0.1], [0.5]]])
    where = torch.tensor([[[1.0], [0.0]]]).expand_as(truth)
    assert _psnr(predicted, truth, where) == pytest.approx(20)
    assert _psnr(predicted, truth, torch.ones_like(truth)) == pytest.approx(-10 * math.log10((0.01 + 0.25) / 2))


def test_patches_are_the_squares_of_the_picture_in_row_major_order():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    patches = _patches([Picture(Image.fromarray(pixels), np.ones((64, 64), bool))], 4, 16)
    square = torch.from_numpy(pixels[16:32, 32:48]).permute(2, 0, 1).flatten() / 255
    torch.testing.assert_close(patches[0, 6], square)


def test_pictures_mark_their_subject(tiny_corpus):
    pictures = pictures_of(tiny_corpus.split("train"), 8, seed=0)
    assert [picture.category for picture in pictures] == ["thing"] * 4 + [None] * 4
    for picture in pictures:
        assert picture.image.size == (SIDE, SIDE)
        assert picture.subject.shape == (SIDE, SIDE)
        assert 0.02 < picture.subject.mean() < 0.95
    alone = np.asarray(pictures[0].image)
    assert (alone[~pictures[0].subject].mean(-1) > 100).all(), "what is not subject must be white or its soft edge"
    again = pictures_of(tiny_corpus.split("train"), 8, seed=0)
    assert all(np.array_equal(one.image, two.image) for one, two in zip(pictures, again, strict=True))


def test_a_tower_that_keeps_more_scores_higher(tiny_corpus):
    def tower(config):
        torch.manual_seed(0)
        return EfficientNetTower(config)

    train, test = (pictures_of(tiny_corpus.split(split), 24, seed=1) for split in ("train", "test"))
    probe = Probe(tower, train, test, steps=20)
    probe.prepare([1, 11], 32)
    early = probe.score(Candidate((1,), 32, 16))
    late = probe.score(Candidate((11,), 32, 4), network=False)
    assert early.linear > late.linear
    assert early.mlp is not None
    assert late.mlp is None
    assert early.category == 1  # the tiny corpus has one category


def test_the_command_prints_a_row_for_each_candidate(tmp_path, tiny_corpus, monkeypatch, capsys):
    language = dataclasses.replace(CONFIG.language, vocab_size=30)
    write_wheels(tmp_path, language, 1, monkeypatch)
    monkeypatch.setattr(Corpus, "load", classmethod(lambda cls, folder=None: tiny_corpus))
    arguments = ["probe", "--cache", str(tmp_path), "--pictures", "12", "--sizes", "32", "--steps", "2"]
    assert main([*arguments, "--layers", "1", "1+5", "--out", str(tmp_path / "table.md")]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "table.md").read_text()
    rows = [line.split("|") for line in printed.splitlines()]
    assert [row[1].strip() for row in rows] == ["layers", "---", "1", "1+5"]
    assert {len(row) for row in rows} == {11}

    assert main([*arguments, "--layers", "one"]) == 2
    assert main([*arguments, "--layers", "16"]) == 2
    assert "can be cut into [16] tokens" in capsys.readouterr().err
