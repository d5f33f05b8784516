"""Models by name: those of the package, folders, and the model hub, from which they come and to which they go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mentor.checkpoint.card import named_card
from mentor.checkpoint.layout import BUNDLE_FILES, CARD, CONFIG, WEIGHT_FILES, read_config, shipped, shipped_models
from mentor.config.presets import PRESETS
from mentor.files import write_text


@dataclass(frozen=True)
class HubOptions:
    """How the hub is asked, in huggingface_hub's words; the environment variable HF_HUB_OFFLINE=1 is heeded too."""

    revision: str | None = None
    """Branch, tag or commit; None: the newest."""
    cache_dir: str | Path | None = None
    token: str | bool | None = None
    local_files_only: bool = False


def locate(name: str, options: HubOptions, *, only_config: bool = False) -> Path:
    """The folder of a shipped model, a bundle's folder, or a model of the hub; ValueError if there is none.

    A model of the hub may be named with its revision: owner/name@revision.
    ``only_config``: of a bundle on the hub nothing but the configuration is fetched.
    """
    own = shipped(name.rstrip("/"))
    base, revision = split_revision(name)
    if revision is not None and options.revision is None and own is None:
        return locate(base, replace(options, revision=revision), only_config=only_config)
    path = own or here(name)
    if name and path is not None:
        if options.revision is not None:
            raise ValueError(f"revision: {name} lies on this computer; only a model of the hub has revisions")
        return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/"):
        return _from_hub(name, options, only_config)
    if name in PRESETS:
        raise ValueError(
            f"{name} is a preset, a shape without weights: `mentor convert official` makes a model of released weights "
            f"(docs/converting.md), `mentor bench {name} --random-weights` measures it"
        )
    known = ", ".join(shipped_models()) or "none in this installation"
    raise ValueError(f"unknown model {name!r}; known: {known}; or give a model folder or a hub name (owner/name)")


def _from_hub(name: str, options: HubOptions, only_config: bool) -> Path:
    from mentor.checkpoint.released import RAW, convert_released  # it writes bundles, so it stands above this file

    if name in RAW:
        return convert_released(name, options)
    # The configuration first: nobody should wait for ten gigabytes to be told that they are another kind of model.
    folder = download(name, options, options.revision, [CONFIG, "model_index.json"])
    read_config(folder)
    return folder if only_config else download(name, options, folder.name, BUNDLE_FILES)


def here(name: str) -> Path | None:
    """The file or folder of this computer that has this name, if any; any text may be asked for."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, the home of nobody, with a NUL
        return None


def split_revision(name: str) -> tuple[str, str | None]:
    """``owner/name@revision`` -> name and revision, None without one; what lies on this computer has none."""
    if here(name) is not None:
        return name, None
    base, _, revision = name.partition("@")
    return base, revision or None


def download(name: str, options: HubOptions, revision: str | None, patterns: list[str]) -> Path:
    """The snapshot folder of a hub repository, with the files that match ``patterns`` where it has them.

    ValueError if the hub cannot be reached and the files are not in its cache.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            cache_dir=options.cache_dir,
            token=options.token,
            local_files_only=options.local_files_only,
            allow_patterns=patterns,
        )
    except hub_errors() as error:
        raise ValueError(
            f"there is no folder {name}, and the model hub did not give {name!r}"
            f"{'' if revision is None else f' at {revision!r}'} ({_reason(error)}); without a network use a shipped model "
            f"({', '.join(shipped_models())}) or a local folder, for a private model a token (`hf auth login`); the same "
            "command goes on where a download broke off"
        ) from error
    return Path(folder)


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
) -> str:
    """Uploads a bundle folder as one commit, making the repository or the branch if it is not there; returns its address.

    Weights of an older version that the folder does not have are removed in the same commit. ValueError if the hub refuses.
    """
    from huggingface_hub import HfApi

    read_config(folder)
    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        card = folder / CARD
        if card.is_file():
            write_text(card, named_card(card.read_text(encoding="utf-8"), repo_id))
        if revision is not None and not create_pr:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message or "Upload model",
            create_pr=create_pr,
            allow_patterns=BUNDLE_FILES,
            delete_patterns=WEIGHT_FILES,
        )
    except hub_errors() as error:
        raise ValueError(
            f"the model hub did not take {repo_id!r} ({_reason(error)}); check the name, the network and the token "
            "(`hf auth login`)"
        ) from error
    return commit.pr_url or commit.commit_url


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's library raises when the hub refuses, cannot be reached, or the line breaks in the middle."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The transport's own errors reach us as they are; the hub's are a kind of them, whichever HTTP library it uses.
    transport = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    return (transport, HFValidationError, RuntimeError, OSError)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400] or 'no reason given'}"
