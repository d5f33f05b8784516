"""Random ``diffusers`` pipelines of a few thousand weights, saved as folders."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

WIDTH = 32


def tokenizer(folder: Path):  # type: ignore[no-untyped-def]
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77)


def save_stable_diffusion(folder: Path) -> Path:
    """A Stable Diffusion pipeline that draws 16 x 16 pixels."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    words = tokenizer(folder)
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=WIDTH, intermediate_size=37, num_hidden_layers=2, num_attention_heads=2
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=[4, 8],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=2,
        latent_channels=4,
    )
    diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=words,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_ip_adapter(folder: Path, pipeline: Path) -> Path:
    """An IP-Adapter for that pipeline, with its image encoder."""
    import diffusers
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(1)
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH,
            projection_dim=WIDTH,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=224,
            patch_size=56,
        )
    )
    encoder.save_pretrained(folder / "image_encoder")
    unet = diffusers.UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet")
    weights = {
        "image_proj.proj.weight": torch.randn(4 * WIDTH, WIDTH),
        "image_proj.proj.bias": torch.randn(4 * WIDTH),
        "image_proj.norm.weight": torch.ones(WIDTH),
        "image_proj.norm.bias": torch.zeros(WIDTH),
    }
    crosses = [
        name for name in unet.attn_processors if not name.endswith("attn1.processor") and "motion_modules" not in name
    ]
    states = unet.state_dict()
    for number, name in enumerate(crosses):
        width = states[f"{name.removesuffix('.processor')}.to_k.weight"].shape[0]
        for part in ("to_k_ip", "to_v_ip"):
            weights[f"ip_adapter.{2 * number + 1}.{part}.weight"] = torch.randn(width, WIDTH)
    save_file(weights, folder / "adapter.safetensors")
    return folder


def save_embedding(path: Path, seed: int) -> None:
    """A textual inversion of one token."""
    generator = torch.Generator().manual_seed(seed)
    save_file({"<subject>": 9 * torch.randn(1, WIDTH, generator=generator)}, path)


def save_lora(path: Path, pipeline: Path, seed: int) -> None:
    """LoRA weights of rank 2 for the pipeline's cross attention."""
    import diffusers

    unet = diffusers.UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet")
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, tensor in unet.state_dict().items():
        if name.endswith("attn2.to_q.weight"):
            base = f"unet.{name.removesuffix('.weight')}"
            weights[f"{base}.lora_A.weight"] = torch.randn(2, tensor.shape[1], generator=generator)
            weights[f"{base}.lora_B.weight"] = 5 * torch.randn(tensor.shape[0], 2, generator=generator)
    save_file(weights, path)
