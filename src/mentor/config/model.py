"""What a MENTOR model is made of: one frozen dataclass for each box of the paper's figure 3.

Nothing here imports torch, so that reading a configuration costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mentor.config.sampling import GenerationSettings


@dataclass(frozen=True)
class VisionConfig:
    """The frozen vision tower (paper 2.2): an image becomes ``tokens_per_image`` vectors of ``width`` numbers."""

    kind: Literal["efficientnet_lite0", "clip"]
    image_size: int
    """Side of the square input in pixels."""
    layers: tuple[int, ...]
    """Which hidden states are read. CLIP: one index into the hidden states (-2). EfficientNet-Lite0: the map after that
    many blocks; neighbouring cells of each map are concatenated until it has one cell a token, then the maps are."""
    width: int
    """Numbers in one visual token, after merging."""
    tokens_per_image: int
    """Visual tokens an image becomes: a square number, in row-major order."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    fit: Literal["pad", "crop"] = "pad"
    """How a picture becomes square: ``pad`` adds white, ``crop`` resizes the short side and cuts the centre (CLIP)."""
    hidden_size: int = 0
    num_layers: int = 0
    num_heads: int = 0
    mlp_width: int = 0
    patch_size: int = 0

    def __post_init__(self) -> None:
        _positive("vision", self, ("image_size", "width", "tokens_per_image"))
        if self.kind == "clip":
            _positive("vision", self, ("hidden_size", "num_layers", "num_heads", "mlp_width", "patch_size"))
            if any(not -self.num_layers - 1 <= layer <= self.num_layers for layer in self.layers):
                raise ValueError(
                    f"vision.layers: expected hidden states from {-self.num_layers - 1} to {self.num_layers}, got "
                    f"{list(self.layers)}"
                )


@dataclass(frozen=True)
class LanguageConfig:
    """The bidirectional language encoder whose input embeddings the visual tokens are spliced into (paper 2.2)."""

    kind: Literal["bert", "t5"]
    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    vocab_size: int
    image_token_id: int
    """Placeholder id that marks where a visual token goes."""
    pad_token_id: int = 0
    activation: Literal["gelu", "gelu_new", "relu", "silu"] = "gelu"
    head_width: int = 0
    """Width of one attention head; 0 means ``width // num_heads``."""
    max_positions: int = 512
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _positive("language", self, ("width", "num_layers", "num_heads", "mlp_width", "vocab_size"))


@dataclass(frozen=True)
class ConnectorConfig:
    """Projects visual tokens into the language encoder's embedding space (paper 2.2).

    ``mlp``: token by token. ``query_former``: ``queries`` learned queries, which read the image's tokens and a text that says
    what to look for, stand for the image (BLIP-2, InstructBLIP).
    """

    kind: Literal["mlp", "query_former"] = "mlp"
    hidden: int = 0
    """MLP: width between the two layers; 0 means the language encoder's width. Query-Former: its own width."""
    activation: Literal["gelu", "gelu_new", "silu"] = "gelu"
    # query_former
    queries: int = 0
    """Tokens that an image becomes."""
    num_layers: int = 0
    num_heads: int = 0
    mlp_width: int = 0
    vocab_size: int = 0
    """Of the Query-Former's own text tokenizer (BERT's)."""
    cross_attention_every: int = 2
    """Every this many layers, beginning with the first, read the image."""
    max_positions: int = 512
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _positive("connector", self, ("hidden", "queries", "num_layers", "num_heads", "mlp_width"), least=0)


@dataclass(frozen=True)
class ProjectorConfig:
    """Maps encoder states to the decoder's width; its output is the decoder's prefix (paper 2.1, appendix B)."""

    hidden: int = 0
    """Width between the two layers; 0 means the decoder's width."""
    activation: Literal["gelu_tanh", "silu"] = "gelu_tanh"
    bias: bool = False

    def __post_init__(self) -> None:
        _positive("projector", self, ("hidden",), least=0)


@dataclass(frozen=True)
class DecoderConfig:
    """The autoregressive decoder over image tokens (LlamaGen's transformer: RMSNorm, SwiGLU, 2-D RoPE)."""

    width: int
    num_layers: int
    num_heads: int
    vocab_size: int
    grid: int
    """Side of the token grid: an image is ``grid * grid`` tokens."""
    mlp_width: int = 0
    """0 means LlamaGen's rule: two thirds of 4 x width, rounded up to a multiple of 256."""
    prefix_rope: Literal["identity", "zero"] = "identity"
    """``identity`` leaves the prefix unrotated (the paper's correction), ``zero`` multiplies its q and k by 0 (LlamaGen)."""
    rope_base: float = 10000.0
    norm_eps: float = 1e-5
    token_dropout: float = 0.0
    residual_dropout: float = 0.0
    mlp_dropout: float = 0.0

    def __post_init__(self) -> None:
        _positive("decoder", self, ("width", "num_layers", "num_heads", "vocab_size", "grid"))
        _positive("decoder", self, ("mlp_width",), least=0)

    @property
    def num_tokens(self) -> int:
        """L, the number of image tokens."""
        return self.grid * self.grid

    @property
    def head_width(self) -> int:
        """K, the width of one attention head."""
        return self.width // self.num_heads


@dataclass(frozen=True)
class ImageTokenizerConfig:
    """The image tokenizer (VQGAN): pixels to ``codebook_size`` discrete codes on a grid, and back."""

    backbone: Literal["patchify", "llamagen"]
    downsample: int
    """Pixels on the side of one token: 8 or 16."""
    codebook_size: int
    code_width: int = 8
    # patchify backbone
    patch: int = 4
    widths: tuple[int, int] = (96, 192)
    encoder_blocks: tuple[int, int] = (1, 2)
    decoder_blocks: tuple[int, int] = (2, 3)
    # llamagen backbone
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks_per_level: int = 2
    latent_channels: int = 256

    def __post_init__(self) -> None:
        names = (
            "downsample",
            "codebook_size",
            "code_width",
            "patch",
            "channels",
            "blocks_per_level",
            "latent_channels",
        )
        _positive("image_tokenizer", self, names)


@dataclass(frozen=True)
class MentorConfig:
    """A whole model: the boxes of the paper's figure 3, left to right."""

    name: str
    language: LanguageConfig
    projector: ProjectorConfig
    decoder: DecoderConfig
    image_tokenizer: ImageTokenizerConfig
    context: int
    """The most condition tokens (text and visual) in one prompt; also the rows of the null condition."""
    vision: VisionConfig | None = None
    """None: the model reads text only (stock LlamaGen), and has no connector either."""
    connector: ConnectorConfig | None = None
    null_condition: Literal["learned", "frozen"] = "learned"
    """``learned``: a parameter (paper 2.3). ``frozen``: a buffer that no optimiser sees (the released code)."""
    encoder_dtype: Literal["float32", "bfloat16"] = "float32"
    """What the multimodal encoder is kept and run in unless a caller asks for another type; the rest is kept in float32."""
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    """How pictures are sampled where a caller does not say."""

    def __post_init__(self) -> None:
        if (self.vision is None) != (self.connector is None):
            raise ValueError("vision and connector go together: give both, or neither for a model that reads text only")
        if self.language.kind == "bert" and self.context > self.language.max_positions:
            raise ValueError(
                f"context {self.context} exceeds the language encoder's {self.language.max_positions} positions"
            )
        if self.context <= self.tokens_per_image:
            raise ValueError(
                f"context {self.context} leaves no room for a word beside one image of {self.tokens_per_image} tokens"
            )

    @property
    def tokens_per_image(self) -> int:
        """Condition tokens that a reference image takes; 0 where the model reads text only."""
        if self.vision is None or self.connector is None:
            return 0
        return self.connector.queries if self.connector.kind == "query_former" else self.vision.tokens_per_image

    @property
    def image_size(self) -> int:
        """Side of a generated picture in pixels."""
        return self.decoder.grid * self.image_tokenizer.downsample


def _positive(part: str, config: object, names: tuple[str, ...], least: int = 1) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{part}.{name}: expected {least} or more, got {getattr(config, name)}")
