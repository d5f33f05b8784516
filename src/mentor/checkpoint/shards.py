"""Which files hold the tensors of a stem: STEM.safetensors, or STEM-00001-of-00003.safetensors ... and an index.

The names and the index STEM.safetensors.index.json are the model hub's convention.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from mentor.files import write_text


def shard_name(stem: str, number: int, count: int) -> str:
    """The name of file ``number`` (from 1) of ``count``."""
    return f"{stem}.safetensors" if count == 1 else f"{stem}-{number:05d}-of-{count:05d}.safetensors"


def patterns(stem: str) -> list[str]:
    """Glob patterns of all names that the files of ``stem`` may have."""
    return [f"{stem}.safetensors", f"{stem}-?????-of-?????.safetensors", f"{stem}.safetensors.index.json"]


def stored_files(folder: Path, stem: str) -> list[Path]:
    """The shards and the index of ``stem`` that are in ``folder``, whether or not they are complete."""
    return sorted(path for pattern in patterns(stem) for path in folder.glob(pattern))


def write_index(folder: Path, stem: str, files: Mapping[str, str], total_size: int) -> None:
    """Writes which file holds which tensor (name -> file's name); ``total_size`` is that of all tensors in bytes."""
    path = folder / f"{stem}.safetensors.index.json"
    index = {"metadata": {"total_size": total_size}, "weight_map": dict(files)}
    write_text(path, json.dumps(index, indent=2) + "\n")


def find_shards(folder: Path, stem: str) -> tuple[list[Path], dict[str, str] | None]:
    """The files that hold ``stem``, and what the index says where there is one (name of a tensor -> name of its file).

    ValueError for a missing file, a shard without an index, and an index that is broken or leads out of the folder.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        if single.is_file():
            return [single], None
        parts = stored_files(folder, stem)
        if parts:
            raise ValueError(f"{index} is missing, without which {parts[0].name} cannot be used; copy it again")
        raise ValueError(f"{single} is missing; the model folder is not complete, copy it again")
    weight_map = _read_index(index)
    shards = [folder / name for name in sorted(set(weight_map.values()))]
    missing = [path.name for path in shards if not path.is_file()]
    if missing:
        raise ValueError(
            f"{folder / missing[0]} is missing: {index.name} names {len(shards)} files and {len(missing)} of them cannot "
            f"be found ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); copy them again"
        )
    return shards, weight_map


def check_index(folder: Path, stem: str, weight_map: Mapping[str, str], files: Mapping[str, Path]) -> None:
    """ValueError where the index and the shards (name of a tensor -> the file it lies in) differ."""
    for name in {**weight_map, **files}:
        named, found = weight_map.get(name, "no file"), files[name].name if name in files else "no file"
        if named != found:
            raise ValueError(
                f"{folder / stem}.safetensors.index.json and its shards do not belong together: it names {named} for "
                f"{name}, which lies in {found}; copy the whole folder again"
            )


def _read_index(path: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable index of shards ({error!r}); copy it again") from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{path}: expected weight_map to give the file of each tensor, got {str(weight_map)[:50]!r}")
    for name, file in weight_map.items():
        # The index may come from anywhere: it must not make us open what lies outside its folder.
        inside = isinstance(file, str) and file == PurePosixPath(file).name == PureWindowsPath(file).name
        if not inside or not file.endswith(".safetensors"):
            raise ValueError(f"{path}: the file of {name} is {file!r}; expected the name of a shard beside the index")
    return weight_map
