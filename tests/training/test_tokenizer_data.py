"""The stream of training pictures for the image tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mentor.data.corpus import Corpus
from mentor.data.pixels import picture_pixels
from mentor.data.reconstruction import held_out_pictures
from mentor.training.tokenizer_data import VIEWS, TokenizerFeed, held_out_scenes


def sample(feed: TokenizerFeed, index: int) -> torch.Tensor:
    """Picture ``index`` of the stream, alone."""
    return picture_pixels([feed.view(feed.scene(index // VIEWS), index)])[0]


def test_batches_are_the_samples_stacked_and_never_change(tiny_corpus: Corpus) -> None:
    feed = TokenizerFeed(tiny_corpus, batch_size=6, seed=3)
    late = feed.batch(2)["pixels"]
    assert late.shape == (6, 3, 64, 64) and late.dtype == torch.float32
    assert float(late.min()) >= -1 and float(late.max()) <= 1
    assert torch.equal(late, torch.stack([sample(feed, i) for i in range(12, 18)]))
    feed.batch(0)
    assert torch.equal(late, TokenizerFeed(tiny_corpus, batch_size=6, seed=3).batch(2)["pixels"])


def test_seed_and_number_matter(tiny_corpus: Corpus) -> None:
    feed = TokenizerFeed(tiny_corpus, batch_size=4, seed=0)
    assert not torch.equal(feed.batch(0)["pixels"], feed.batch(1)["pixels"])
    assert not torch.equal(feed.batch(0)["pixels"], TokenizerFeed(tiny_corpus, batch_size=4, seed=1).batch(0)["pixels"])


def test_last_view_is_the_whole_scene_and_the_others_are_cut_from_it(tiny_corpus: Corpus) -> None:
    feed = TokenizerFeed(tiny_corpus, batch_size=VIEWS, size=48)
    picture = feed.scene(5)
    assert picture.size == (128, 128)
    whole = picture.resize((48, 48), Image.Resampling.LANCZOS)
    assert torch.equal(sample(feed, 6 * VIEWS - 1), picture_pixels([whole])[0])
    array = np.array(picture)
    for index in range(5 * VIEWS, 6 * VIEWS - 1):
        crop = np.array(feed.view(picture, index))
        assert crop.shape == (48, 48, 3)
        places = np.argwhere((array[:81, :81] == crop[0, 0]).all(axis=-1))
        assert any(np.array_equal(array[y : y + 48, x : x + 48], crop) for y, x in places)


def test_crops_have_more_contrast_than_crops_from_anywhere(tiny_corpus: Corpus) -> None:
    feed = TokenizerFeed(tiny_corpus, batch_size=1)
    rng = np.random.default_rng(0)
    chosen, anywhere = [], []
    for number in range(40):
        picture = feed.scene(number)
        for index in range(number * VIEWS, (number + 1) * VIEWS - 1):
            x, y = rng.integers(0, 65, size=2).tolist()
            chosen.append(np.array(feed.view(picture, index).convert("L")).std())
            anywhere.append(np.array(picture.crop((x, y, x + 64, y + 64)).convert("L")).std())
    assert np.mean(chosen) > 1.1 * np.mean(anywhere)


def test_training_never_shows_a_held_out_subject(tiny_corpus: Corpus) -> None:
    feed = TokenizerFeed(tiny_corpus, batch_size=8)
    without = Corpus(
        cutouts=[cutout for cutout in tiny_corpus.cutouts if cutout.split == "train"],
        backgrounds=[background for background in tiny_corpus.backgrounds if background.split == "train"],
    )
    for index in range(5):
        assert torch.equal(feed.batch(index)["pixels"], TokenizerFeed(without, batch_size=8).batch(index)["pixels"])


def test_held_out_pictures_are_the_same_scenes_at_every_size(tiny_corpus: Corpus) -> None:
    large = held_out_pictures(tiny_corpus, count=12, seed=1, size=128)
    small = held_out_pictures(tiny_corpus, count=12, seed=1, size=64)
    for one, two in zip(large, small, strict=True):
        assert one.photo == two.photo and two.image.size == (64, 64)
        reduced = np.array(one.image.resize((64, 64), Image.Resampling.BOX), dtype=float)
        assert np.abs(reduced - np.array(two.image)).mean() < 12
    pixels, photos = held_out_scenes(tiny_corpus, count=12, seed=1, size=64)
    assert photos == [picture.photo for picture in small]
    assert torch.equal(pixels[3], picture_pixels([small[3].image])[0])


def test_unfit_requests_are_refused(tiny_corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="8 to 128"):
        TokenizerFeed(tiny_corpus, batch_size=4, size=129)
    with pytest.raises(ValueError, match="at least 1 picture"):
        TokenizerFeed(tiny_corpus, batch_size=0)
    with pytest.raises(ValueError, match="at least 1 held-out"):
        held_out_pictures(tiny_corpus, count=0, seed=0, size=64)
    with pytest.raises(ValueError, match="no held-out cut-outs"):
        held_out_pictures(tiny_corpus.split("train"), count=1, seed=0, size=64)
