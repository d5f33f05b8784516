"""Typed configuration from plain data: dictionaries, YAML files and dotted overrides become dataclasses, and back.

Every mistake is a ``ValueError`` that names the key, what was expected and, for an unknown key, the nearest known one.
Written here rather than taken from a parser library because those report an unknown key without the nearest known one.
Imports no torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

T = TypeVar("T")


def from_dict(cls: type[T], values: Mapping[str, Any], *, where: str = "") -> T:
    """Builds dataclass ``cls`` from nested plain values, checking every key and type.

    ``where`` is the dotted path used in messages. Raises ValueError for an unknown key (naming the nearest known
    key), a missing key, or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where or cls.__name__}: expected keys and values, got {values!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields:
            below = _below(cls, str(key), where)
            meant = f"; did you mean {' or '.join(below)}?" if below else _nearest(str(key), fields)
            raise ValueError(f"unknown key '{_join(where, str(key))}'{meant}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where or cls.__name__}: missing key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    return cls(**{key: _convert(hints[key], value, _join(where, key)) for key, value in values.items()})


def to_dict(obj: Any) -> Any:
    """The plain data (dict, list, numbers, strings) of a dataclass, for JSON or YAML; ``from_dict`` reverses it."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {field.name: to_dict(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    if isinstance(obj, Mapping):
        return {key: to_dict(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [to_dict(value) for value in obj]
    return obj


def load_yaml(path: str | Path, cls: type[T], overrides: Sequence[str] = ()) -> T:
    """Reads a YAML file into dataclass ``cls``, then applies overrides such as ``"optim.lr=3e-4"``.

    A top-level key ``base: other.yaml`` (relative to the file) is read first and overlaid key by key. Raises ValueError
    for a missing or broken file, a circular base, and everything ``from_dict`` raises.
    """
    return from_dict(cls, with_overrides(read_yaml(path), overrides))


def read_yaml(path: str | Path, find: Callable[[str], Path] = Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The plain data of a YAML file with its ``base`` files merged in. Raises ValueError as ``load_yaml`` does.

    ``find`` gives the file that a ``base`` stands for, relative to the file that names it.
    """
    path = Path(path).resolve()
    if path in _seen:
        raise ValueError(f"{path.name}: 'base' goes round in a circle: {' -> '.join(p.name for p in (*_seen, path))}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected keys and values at the top level")
    base = values.pop("base", None)
    if base is None:
        return values
    return overlay(read_yaml(path.parent / find(str(base)), find, (*_seen, path)), values)


def merge(base: Mapping[str, Any], over: Mapping[str, Any], *, clears: bool = False) -> dict[str, Any]:
    """``base`` overlaid with ``over``: nested mappings merge key by key, anything else is replaced.

    ``clears``: an empty mapping replaces what it is laid over too, so that a recipe can be rid of what its base names.
    """
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and (value or not clears)
        merged[key] = merge(merged[key], value, clears=clears) if both else value
    return merged


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``merge`` with ``clears``; of ``schedule.steps`` and ``samples``, one in ``over`` displaces the other in ``base``."""
    merged, said = merge(base, over, clears=True), over.get("schedule")
    lengths = {"steps", "samples"} & set(said) if isinstance(said, Mapping) else set()
    if len(lengths) == 1:
        displaced = {"steps", "samples"} - lengths
        merged["schedule"] = {key: value for key, value in merged["schedule"].items() if key not in displaced}
    return merged


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Overlays ``a.b=value`` strings (values read as YAML) on nested data. Raises ValueError if one has no '='."""
    result = dict(values)
    for override in overrides:
        path, sign, text = override.partition("=")
        if not sign or not path.strip():
            raise ValueError(f"override '{override}': expected key=value, for example optim.lr=3e-4")
        try:
            value: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"override '{override}': the value is not valid YAML") from error
        result = overlay(result, nested(path.strip(), value))
    return result


def nested(path: str, value: Any) -> dict[str, Any]:
    """``value`` under a dotted path, for ``merge``: ``"optim.lr", 3`` -> ``{"optim": {"lr": 3}}``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Dotted keys at which two nested plain values differ, as ``"key: a -> b"``."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = sorted({*a, *b})
        return [line for key in keys for line in differences(a.get(key), b.get(key), _join(where, key))]
    return [] if a == b else [f"{where}: {a!r} -> {b!r}"]


def _convert(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the annotated type; only lossless changes are made (int or '3e-4' -> float, list -> tuple)."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value in arguments and type(value) in {type(choice) for choice in arguments}:
            return value
        choices = {str(choice): choice for choice in arguments}
        raise ValueError(f"{where}: expected one of {', '.join(choices)}, got {value!r}{_nearest(str(value), choices)}")
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where=where)  # type: ignore[arg-type]
    if origin in (tuple, list, Sequence):
        return _convert_sequence(origin, arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(where, "keys and values", value)
        return {str(key): _convert(arguments[1], item, _join(where, str(key))) for key, item in value.items()}
    return _convert_plain(hint, value, where)


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 3e-4 (no dot) as text
        except ValueError:
            raise _wrong(where, "a number", value) from None
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "nothing (null)"}
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _wrong(where, names.get(hint, getattr(hint, "__name__", str(hint))), value)
    return value


def _convert_sequence(origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _wrong(where, "a list", value)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        if len(value) != len(arguments):
            raise _wrong(where, f"a list of {len(arguments)} values", value)
        return tuple(
            _convert(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(arguments, value, strict=True))
        )
    items = [_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    return items if origin is list else tuple(items)


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    errors = []
    for hint in arguments:
        if hint is not type(None):
            try:
                return _convert(hint, value, where)
            except ValueError as error:
                errors.append(error)
    # Several alternatives failed: the message of the last is the readable one (the first is usually a plain type).
    raise errors[-1]


def _wrong(where: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{where}: expected {expected}, got {value!r}")


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def _below(cls: Any, key: str, where: str) -> list[str]:
    """The dotted names, in quotes, under which dataclass ``cls`` knows ``key`` further down."""
    found = []
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            here = _join(where, name)
            known = key in {field.name for field in dataclasses.fields(hint)}
            found += [f"'{here}.{key}'"] if known else _below(hint, key, here)
    return found


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
