"""The options of a dataset's reader: which there are, and whether a value is of their type."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from data_modules.formats.image_reading import ImageReading
from data_modules.formats.notes import brief

READING = "reading"  # the argument of a reader that takes an `ImageReading`
WORDS = {str: "text", Path: "a path", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}


def option_types(kind: type) -> dict[str, Any]:
    """Option -> its type, of a reader's constructor; `reading` is replaced by the fields of `ImageReading`."""
    hints = get_type_hints(kind.__init__)
    names = [name for name in inspect.signature(kind).parameters if name != "root"]
    types = {name: hints.get(name, Any) for name in names if name != READING}
    if READING in names:
        reading = get_type_hints(ImageReading)
        types |= {field.name: reading[field.name] for field in fields(ImageReading)}
        types[READING] = ImageReading
    return types


def gather_reading(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as arguments of the constructor: fields of `ImageReading` become its argument `reading`."""
    names = {field.name for field in fields(ImageReading)}
    chosen = {name: value for name, value in options.items() if name in names}
    others = {name: value for name, value in options.items() if name not in names}
    return others | ({READING: ImageReading(**chosen)} if chosen else {})


def need_type(name: str, value: Any, kind: Any) -> None:
    """Raises ValueError naming the option unless `value` is of its type."""
    if not _fits(value, kind):
        raise ValueError(f"{name} is {brief(repr(value), 40)}; give {_in_words(kind)}")


def option_value(text: str, kind: Any) -> Any:
    """The value that a command line means: the text itself where an option takes text, else as YAML reads it.

    Raises yaml.YAMLError.
    """
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if all(get_origin(choice) is Literal or choice in (str, Path, NoneType) for choice in choices):
        return None if text in ("", "null") and NoneType in choices else text
    return yaml.safe_load(text)


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in get_args(kind))
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        parts = get_args(kind)
        return isinstance(value, list | tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float)
    return kind is Any or isinstance(value, origin or kind)


def _in_words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return " or ".join(_in_words(choice) for choice in get_args(kind))
    if origin is Literal:
        return " or ".join(map(str, get_args(kind)))
    if origin is tuple:
        return f"{len(get_args(kind))} values, each {_in_words(get_args(kind)[0])}"
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))
