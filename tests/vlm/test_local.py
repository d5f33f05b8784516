"""A model on this computer: a tiny LLaVA with random weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from mentor.evaluation.panel import Panel, Question
from mentor.vlm.client import Turn, encode_jpeg
from mentor.vlm.local import LocalModel

WORDS = ["<pad>", "<unk>", "<image>", "</s>", "Score:", "0", "1", "2", "3", "4", "told", "yes", "user", "assistant"]
TEMPLATE = (
    "{% for turn in messages %}{{ turn['role'] }} {% for part in turn['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
)
RED, BLUE = (encode_jpeg(Image.new("RGB", (50, 50), colour)) for colour in ("red", "blue"))
DIALOGUE = (Turn("user", "told"), Turn("assistant", "yes"), Turn("user", "", (RED, BLUE)))


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                image_size=32, patch_size=16, num_hidden_layers=2, projection_dim=16, **small
            ),
            text_config=LlamaConfig(vocab_size=len(WORDS), num_hidden_layers=1, num_key_value_heads=2, **small),
            image_token_index=2,
            image_seq_length=4,
        )
    )
    # Large steps from token to token, so that pictures decide and no two logits tie.
    for parameter in model.parameters():
        parameter.data *= 8
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 3, 0
    return model.eval(), processor


def test_greedy_answers_are_the_models_own(parts: tuple[Any, Any]) -> None:
    model, processor = parts
    reply = LocalModel(model, processor, "tiny", temperature=0.0, max_tokens=6).ask(DIALOGUE, seed=0)
    # By hand: the words of the template with four places for each picture, pixels as CLIP has them, arg max.
    prompt = ["user", "told", "assistant", "yes", "user", *["<image>"] * 8]
    tokens = [WORDS.index(word) for word in prompt]
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    colours = torch.tensor([[254.0, 0, 0], [0, 0, 254.0]]).view(2, 3, 1, 1) / 255  # what JPEG makes of pure colours
    pixels = ((colours - mean) / std).expand(2, 3, 32, 32)
    made: list[int] = []
    with torch.inference_mode():
        while len(made) < 6 and 3 not in made:
            logits = model(input_ids=torch.tensor([tokens + made]), pixel_values=pixels).logits
            made.append(int(logits[0, -1].argmax()))
    shown = [WORDS[token] for token in made if token not in (0, 1, 2, 3)]
    assert reply.text.split() == shown
    assert (reply.prompt_tokens, reply.completion_tokens) == (len(prompt), len(made))


def test_a_seed_gives_one_answer_and_leaves_the_random_state(parts: tuple[Any, Any]) -> None:
    judge = LocalModel(*parts, "tiny", temperature=5.0, max_tokens=12)
    state = torch.random.get_rng_state()
    answers = [judge.ask(DIALOGUE, seed).text for seed in (0, 0, 1, 2, 3)]
    assert answers[0] == answers[1] and len(set(answers)) > 1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_it_is_loaded_from_a_folder_and_asked_by_a_panel(parts: tuple[Any, Any], tmp_path: Path) -> None:
    for part in parts:
        part.save_pretrained(tmp_path / "model")
    judge = LocalModel.load(str(tmp_path / "model"), temperature=0.0)
    assert judge.ask(DIALOGUE, 0) == LocalModel(*parts, judge.name, temperature=0.0).ask(DIALOGUE, 0)
    panel = Panel(judge, tmp_path / "answers")
    (verdict,) = panel.ask([Question(DIALOGUE)])
    assert verdict.failure is not None and "score" in verdict.failure  # random weights talk at random
    assert panel.usage.answers == 3


def test_what_cannot_judge_is_refused(parts: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image-text-to-text model .* cannot be loaded"):
        LocalModel.load(str(tmp_path))
    model, _ = parts
    with pytest.raises(ValueError, match="no chat template"):
        LocalModel(model, object(), "tiny")


def test_a_models_own_sampling_settings_do_not_fix_its_answers(parts: tuple[Any, Any]) -> None:
    """Some judges come with top_k 1 in their generation_config: every pass would give the same answer."""
    model, processor = parts
    own = copy.deepcopy(model)
    own.generation_config.do_sample, own.generation_config.top_k, own.generation_config.top_p = True, 1, 0.001
    own.generation_config.repetition_penalty = 1.5
    judge = LocalModel(own, processor, "tiny", temperature=20.0, max_tokens=6)
    assert len({judge.ask(DIALOGUE, seed).text for seed in range(6)}) > 1
    free = LocalModel(model, processor, "tiny", temperature=20.0, max_tokens=6)
    assert [judge.ask(DIALOGUE, seed).text for seed in range(3)] == [free.ask(DIALOGUE, seed).text for seed in range(3)]
    assert judge.settings["top_k"] == 0 and judge.settings["repetition_penalty"] == 1.0
