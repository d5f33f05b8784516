"""What every pipeline begins and ends with: a model comes from a folder or the hub, and goes there."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from mentor.checkpoint.adapters import locate_adapter, merge_adapter
from mentor.checkpoint.hub import HubOptions, push_folder
from mentor.checkpoint.store import Bundle, load_bundle, save_bundle
from mentor.checkpoint.tensors import Storage
from mentor.data.processor import Processor
from mentor.nn.device import resolve_device, resolve_dtype


class PretrainedModel:
    """A bundle on the device it will be used on.

    The weights keep the number format that they come in unless ``dtype`` is given; ``self.dtype`` is that of the decoder, the
    multimodal encoder's may differ (``MentorConfig.encoder_dtype``).
    """

    def __init__(
        self, bundle: Bundle, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
    ) -> None:
        self.device = resolve_device(device)
        self.bundle, self.config = bundle, bundle.config
        self.mentor, self.image_tokenizer = bundle.mentor.eval(), bundle.image_tokenizer.eval()
        self.to(dtype=dtype)
        self.processor = Processor(bundle.config, bundle.text_tokenizer, bundle.query_tokenizer)

    def to(
        self, device: str | torch.device | torch.dtype | None = None, dtype: str | torch.dtype | None = None
    ) -> Self:
        """Moves the model to another device, casts it to another number format, or both (None: as it is); returns itself.

        A number format alone may stand first, as in PyTorch. ValueError for a device or number format that is not there.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        target = resolve_dtype(dtype)
        if device is not None:
            self.device = resolve_device(device)
        self.mentor.to(self.device)
        self.image_tokenizer.to(self.device, target)
        if target is not None:
            self.mentor.cast(target)
        self.dtype = self.mentor.decoder.output.weight.dtype
        return self

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "mini",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load ``mini`` (inside the package), a bundle's folder, or a model of the hub (``owner/name``).

        Args:
            dtype: the number format that the weights are cast to while they are read; None: float32, but the multimodal
                encoder as the model's configuration says.
            revision, cache_dir, token, local_files_only: how the hub is asked, as in huggingface_hub. A ``revision`` is a
                branch, a tag or a commit.

        Raises:
            ValueError: unknown model, device or dtype; weights that are damaged or belong to another configuration.
        """
        resolve_device(device)  # a wrong name is told before the weights are read
        bundle = load_bundle(
            str(name),
            dtype=resolve_dtype(dtype),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
        )
        return cls(bundle, device=device)

    def load_adapter(
        self,
        name: str | os.PathLike[str],
        scale: float = 1.0,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Adds a fine-tune's LoRA or DoRA adapters, times ``scale``, to the weights, for good; returns itself.

        ``name`` is a folder with adapters, the folder of a fine-tune that holds them, or a repository of the hub
        (``owner/name``). Several add up. Raises ``ValueError`` for adapters that are not there, damaged, or another model's.
        """
        hub = HubOptions(revision, cache_dir, token, local_files_only)
        merge_adapter(self.mentor, locate_adapter(str(name), hub), scale)
        self.bundle = replace(self.bundle, card=None)  # it described another model
        return self

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        card: str | None = None,
        storage: Storage = "compact",
        **hub: Any,
    ) -> Path:
        """Write the model as a folder that ``from_pretrained`` loads, complete or not at all; returns the folder.

        Every number is kept; those that were read from 16 or 8 bits go back to them. ``storage="half"`` rounds all to 16 bits,
        ``"eight_bit"`` weights of 100,000 numbers and more to 8, with a scale for each row. ``card`` is the model card's own
        part, in Markdown; None: the card that was loaded with the model, if any. With ``push_to_hub`` the folder is uploaded
        too, to ``repo_id`` (None: the folder's name) with the settings in ``hub``, see ``push_to_hub``.

        Raises:
            ValueError: the folder holds something else, ``storage`` is unknown, or the hub does not take the model.
        """
        if hub and not push_to_hub:
            raise ValueError(f"{', '.join(hub)}: only with push_to_hub=True")
        bundle = self.bundle
        folder = save_bundle(
            Path(directory),
            self.mentor,
            self.image_tokenizer,
            bundle.text_tokenizer,
            query_tokenizer=bundle.query_tokenizer,
            card=card,
            whole_card=bundle.card if card is None else None,
            storage=storage,
        )
        if push_to_hub:
            push_folder(folder, repo_id or folder.resolve().name, **hub)
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        card: str | None = None,
    ) -> str:
        """Upload the model to the hub as one commit, to a new repository or over an older version; returns its address.

        Args:
            repo_id: ``owner/name``, or ``name`` for an own model.
            private: whether a new repository is seen by its owner alone; None: the owner's default.
            revision: the branch, made if it is not there; None: the main one.
            create_pr: propose the change instead of making it.
            card: the model card's own part, in Markdown; None: the card that was loaded with the model, if any.

        Raises:
            ValueError: the hub cannot be reached or does not take the model.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.save_pretrained(Path(temporary) / "model", card=card)
            return push_folder(
                folder,
                repo_id,
                private=private,
                token=token,
                revision=revision,
                commit_message=commit_message,
                create_pr=create_pr,
            )
