"""Models by name: the hub's own cache layout without a network, and what is sent to the hub when a model is published."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock, patch

import huggingface_hub
import pytest
from huggingface_hub import HfApi, RepoUrl, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from mentor.checkpoint import layout
from mentor.checkpoint.hub import HubOptions, locate, push_folder
from mentor.checkpoint.store import load_bundle, save_bundle
from tests.generation.tiny_bundle import CONFIG, tiny_bundle

OLD, NEW = "1" * 40, "2" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle = tiny_bundle()
    return save_bundle(tmp_path / "tiny", bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub; reaching for the network is an error."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return tmp_path / "hub"


def put(cache: Path, name: str, commit: str, folder: Path, **refs: str) -> Path:
    """``folder`` as one commit of the hub's cache: files are links to blobs, branches and tags are files with a commit."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for part in ("blobs", "refs"):
        (repository / part).mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        blob = repository / "blobs" / f"{commit}-{file.name}"
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    for ref, to in refs.items():
        (repository / "refs" / ref).write_text(to)
    return snapshot


def renamed(folder: Path, name: str) -> Path:
    """The same bundle with another name in its configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    return folder


OFFLINE = HubOptions(local_files_only=True)


def test_a_hub_name_is_found_in_the_hubs_own_layout(cache, folder):
    put(cache, "someone/tiny", NEW, folder, main=NEW)
    assert load_bundle("someone/tiny", local_files_only=True).config == CONFIG


def test_offline_mode_needs_no_argument(cache, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    put(cache, "someone/tiny", NEW, folder, main=NEW)
    assert load_bundle("someone/tiny").config == CONFIG


@pytest.mark.parametrize(
    ("revision", "name"), [(None, "new"), ("main", "new"), ("v1", "old"), (OLD, "old"), (NEW, "new")]
)
def test_a_revision_is_a_branch_a_tag_or_a_commit(cache, folder, revision, name):
    put(cache, "someone/tiny", OLD, renamed(folder, "old"), v1=OLD)
    put(cache, "someone/tiny", NEW, renamed(folder, "new"), main=NEW)
    assert load_bundle("someone/tiny", revision=revision, local_files_only=True).config.name == name


def test_the_cache_may_lie_elsewhere(cache, folder, tmp_path):
    put(tmp_path / "elsewhere", "someone/tiny", NEW, folder, main=NEW)
    assert load_bundle("someone/tiny", cache_dir=tmp_path / "elsewhere", local_files_only=True).config == CONFIG
    with pytest.raises(ValueError, match="did not give 'someone/tiny'"):
        load_bundle("someone/tiny", local_files_only=True)


def test_what_is_not_in_the_cache_is_one_line(cache, folder, monkeypatch):
    put(cache, "someone/tiny", NEW, folder, main=NEW)
    for name, revision, message in [
        ("someone/else", None, "there is no folder someone/else, and the model hub did not give 'someone/else'"),
        ("someone/tiny", "v9", "did not give 'someone/tiny' at 'v9'"),
        ("some one/else", None, "did not give 'some one/else'"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            locate(name, HubOptions(revision=revision, local_files_only=True))
        assert "\n" not in str(error.value)
        assert "without a network use a shipped model (mini) or a local folder" in str(error.value)


@pytest.mark.filterwarnings("ignore::UserWarning:huggingface_hub.*")
def test_no_network_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="the model hub did not give 'someone/else'") as error:
        load_bundle("someone/else")
    assert "\n" not in str(error.value)


def test_the_hub_is_asked_for_the_configuration_first_and_only_for_a_bundles_files(folder, monkeypatch):
    asked = []

    def snapshot_download(name: str, **arguments: object) -> str:
        asked.append((name, arguments))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    options = HubOptions(revision="v1", cache_dir="there", token="secret")
    assert locate("someone/tiny", options) == folder
    (_, first), (_, second) = asked
    assert [name for name, _ in asked] == ["someone/tiny"] * 2
    assert first["allow_patterns"] == ["config.json", "model_index.json"]
    assert (first["revision"], second["revision"]) == ("v1", folder.name), "both must be of one commit"
    for arguments in (first, second):
        assert (arguments["cache_dir"], arguments["token"], arguments["local_files_only"]) == ("there", "secret", False)

    (folder / "config.json").write_text('{"model_type": "t5"}')
    asked.clear()
    with pytest.raises(ValueError, match="is a transformers model of type t5; expected a model folder of mentor"):
        locate("google/flan-t5-xl", options)
    assert len(asked) == 1, "weights of another model were downloaded"


def test_a_name_may_hold_its_revision(cache, folder):
    put(cache, "someone/tiny", OLD, renamed(folder, "old"), v1=OLD)
    put(cache, "someone/tiny", NEW, renamed(folder, "new"), main=NEW)
    for name, expected in (("someone/tiny@v1", "old"), (f"someone/tiny@{NEW}", "new"), ("someone/tiny", "new")):
        assert load_bundle(name, local_files_only=True).config.name == expected
    with pytest.raises(ValueError, match="did not give 'someone/tiny' at 'v9'"):
        locate("someone/tiny@v9", OFFLINE)


def test_a_snapshot_that_is_not_complete_names_the_missing_file(cache, folder):
    snapshot = put(cache, "someone/tiny", NEW, folder, main=NEW)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model.safetensors is missing"):
        load_bundle("someone/tiny", local_files_only=True)


def test_names_on_this_computer_come_first_and_have_no_revision(cache, folder, monkeypatch):
    monkeypatch.setattr(layout, "ASSETS", folder.parent)
    assert locate("tiny", OFFLINE) == folder
    assert locate(str(folder), OFFLINE) == folder
    for name in ("tiny", str(folder)):
        with pytest.raises(ValueError, match="only a model of the hub has revisions"):
            locate(name, HubOptions(revision="main"))
    for name in ("tinny", "../nowhere/else", "/no/such/folder", "a/b/c", "a/", ""):
        with pytest.raises(ValueError, match="unknown model .*known: tiny"):
            locate(name, OFFLINE)


@pytest.fixture
def api() -> Iterator[SimpleNamespace]:
    """The three calls that publishing makes, with the library's own signatures, answered without a network."""
    with (
        patch.object(HfApi, "create_repo", autospec=True) as create_repo,
        patch.object(HfApi, "create_branch", autospec=True) as create_branch,
        patch.object(HfApi, "upload_folder", autospec=True) as upload_folder,
    ):
        create_repo.side_effect = lambda self, repo_id, **_: RepoUrl(f"https://huggingface.co/someone/{repo_id[-4:]}")
        upload_folder.return_value = SimpleNamespace(commit_url="https://commit", pr_url=None)
        yield SimpleNamespace(create_repo=create_repo, create_branch=create_branch, upload_folder=upload_folder)


def arguments(call: MagicMock) -> dict:
    call.assert_called_once()
    return call.call_args.kwargs


def test_publishing_makes_the_repository_and_uploads_one_commit(api, folder):
    assert push_folder(folder, "tiny", private=True, token="secret", commit_message="First") == "https://commit"
    assert arguments(api.create_repo) == {"private": True, "exist_ok": True}
    assert api.create_repo.call_args.args[0].token == "secret"
    api.create_branch.assert_not_called()
    sent = arguments(api.upload_folder)
    assert (sent["repo_id"], sent["folder_path"], sent["revision"]) == ("someone/tiny", folder, None)
    assert (sent["commit_message"], sent["create_pr"]) == ("First", False)
    # Old shards must not stay beside new ones, and nothing but the bundle goes out.
    assert "model-?????-of-?????.safetensors" in sent["delete_patterns"]
    assert not {"README.md", "config.json"} & set(sent["delete_patterns"])
    assert all(any(path.match(pattern) for pattern in sent["allow_patterns"]) for path in folder.iterdir())
    assert 'from_pretrained("someone/tiny")' in (folder / "README.md").read_text()


def test_a_branch_is_made_and_a_pull_request_makes_none(api, folder):
    push_folder(folder, "tiny", revision="v2")
    assert arguments(api.create_branch) == {"branch": "v2", "exist_ok": True}
    assert arguments(api.upload_folder)["revision"] == "v2"
    api.create_branch.reset_mock()
    api.upload_folder.return_value = SimpleNamespace(commit_url="https://commit", pr_url="https://pr")
    assert push_folder(folder, "tiny", create_pr=True) == "https://pr"
    api.create_branch.assert_not_called()


def test_nothing_is_published_that_is_no_bundle(api, tmp_path):
    with pytest.raises(ValueError, match=r"config.json cannot be read"):
        push_folder(tmp_path, "tiny")
    api.create_repo.assert_not_called()


def test_a_hub_that_refuses_is_one_line(api, folder):
    request = SimpleNamespace(headers={}, status_code=401, request=None)
    for error in (
        RepositoryNotFoundError("401 Client Error.\nmany lines", response=request),
        HfHubHTTPError("403", response=request),
    ):
        api.create_repo.side_effect = error
        with pytest.raises(ValueError, match=r"the model hub did not take 'tiny' \(.*40.*\); check the name") as told:
            push_folder(folder, "tiny")
        assert "\n" not in str(told.value)
    api.create_repo.side_effect = HFValidationError("bad name")
    with pytest.raises(ValueError, match="did not take 'a/b/c'"):
        push_folder(folder, "a/b/c")
    api.upload_folder.assert_not_called()


def test_a_line_that_breaks_is_one_line(api, folder, monkeypatch):
    """The HTTP library's own errors are no kind of OSError, and reach whoever calls the hub's library."""
    (transport,) = {base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"}
    for error in (transport("peer closed\nthe connection"), RuntimeError("data processing failed")):
        api.upload_folder.side_effect = error
        with pytest.raises(ValueError, match="did not take 'someone/tiny'"):
            push_folder(folder, "tiny")
        monkeypatch.setattr("huggingface_hub.snapshot_download", MagicMock(side_effect=error))
        with pytest.raises(ValueError, match="did not give 'someone/else'.*goes on where a download broke off") as told:
            locate("someone/else", HubOptions())
        assert "\n" not in str(told.value)


def test_publishing_while_offline_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="the model hub did not take 'someone/tiny'"):
        push_folder(folder, "someone/tiny")


@pytest.mark.parametrize("name", ["~nosuchuser-at-all/m", "a" * 300, "nul\0name"])
def test_any_text_may_be_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match="unknown model"):
        locate(name, OFFLINE)


def test_a_shipped_name_may_end_as_a_folders_does() -> None:
    assert locate("mini/", HubOptions()) == locate("mini", HubOptions())


def test_a_preset_is_no_model_and_a_run_holds_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="xl is a preset, a shape without weights"):
        locate("xl", HubOptions())
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="folder of a training run; its model is .*final"):
        load_bundle(tmp_path)


def test_an_image_tokenizer_alone_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(asdict(CONFIG.image_tokenizer)))
    with pytest.raises(ValueError, match="holds an image tokenizer alone; expected a whole model"):
        load_bundle(tmp_path)
