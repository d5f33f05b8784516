"""Text tokenizers: as saved, as their authors publish them, missing, damaged."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from mentor.checkpoint.text_tokenizer import read_text_tokenizers, read_tokenizer
from mentor.config.model import ConnectorConfig
from tests.generation.tiny_bundle import CONFIG, text_tokenizer

WORDS = {"[UNK]": 0, "fox": 1}


def write(path, words=WORDS) -> None:
    path.write_text(Tokenizer(WordLevel(words, unk_token="[UNK]")).to_str())


def with_image_at(number: int, **changes):
    return replace(CONFIG, language=replace(CONFIG.language, image_token_id=number), **changes)


def test_a_saved_tokenizer_comes_back_as_it_was(tmp_path):
    (tmp_path / "tokenizer.json").write_text(text_tokenizer().to_str())
    text, queries = read_text_tokenizers(tmp_path, CONFIG)
    assert text.to_str() == text_tokenizer().to_str()
    assert queries is None


def test_a_published_tokenizer_gets_the_placeholder_as_its_next_entry(tmp_path):
    write(tmp_path / "tokenizer.json")
    text, _ = read_text_tokenizers(tmp_path, with_image_at(2))
    assert text.token_to_id("<image>") == 2
    text.encode_special_tokens = True
    assert text.encode("fox<image><image>fox").ids == [1, 2, 2, 1]
    text, _ = read_text_tokenizers(tmp_path, with_image_at(7))
    assert text.token_to_id("<image>") is None, "an entry at another place was invented"


def test_a_missing_tokenizer_says_which_file_belongs_there(tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer.json is missing; put the tokenizer.json .* trained with there"):
        read_text_tokenizers(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"tokenizer.json is missing; put .*google/flan-t5-xl\) there"):
        read_text_tokenizers(tmp_path, replace(CONFIG, language=replace(CONFIG.language, kind="t5")))


def test_a_query_former_needs_its_own(tmp_path):
    config = replace(CONFIG, connector=ConnectorConfig(kind="query_former", queries=4))
    write(tmp_path / "tokenizer.json")
    with pytest.raises(
        ValueError, match=r"query_tokenizer.json is missing; put the tokenizer.json of the Query-Former"
    ):
        read_text_tokenizers(tmp_path, config)
    write(tmp_path / "query_tokenizer.json", {"[UNK]": 0, "hat": 1})
    text, queries = read_text_tokenizers(tmp_path, config)
    assert queries is not None
    assert (text.token_to_id("fox"), queries.token_to_id("hat")) == (1, 1)


@pytest.mark.parametrize("text", ['{"a": 1}', "[]", "3", '"word"', "", "\xff", "[" * 100_000])
def test_what_is_no_tokenizer_is_named(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"tokenizer.json is not a"):
        read_tokenizer(tmp_path / "tokenizer.json")


def test_the_right_keys_with_broken_content_are_one_line(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"version": "1.0", "added_tokens": [], "pre_tokenizer": null, "model": {"type": "none of these"}}')
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a readable tokenizer: .*; copy it again"):
        read_tokenizer(path)
