"""Networks by name: a table of sizes per method, and the way back from what a checkpoint recorded."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints


class Variants:
    """For a network class whose sizes have names.

    Attributes:
        variants: name -> arguments of the constructor.
        arguments: the plain values that the constructor was given; they go into checkpoints.
    """

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    arguments: dict[str, Any]

    @classmethod
    def from_variant(cls, name: str, **overrides: Any) -> Self:
        """A network of `variants` with some arguments replaced.

        Raises:
            ValueError: on a name that is not in the table, or an argument that does not exist or is of another type.
        """
        if name not in cls.variants:
            method = cls.__name__.removesuffix("Net")
            raise ValueError(f"unknown {method} variant {str(name)[:40]!r}; known: {', '.join(cls.variants)}")
        check_options(cls, overrides)
        return cls(**{**cls.variants[name], **overrides})

    @classmethod
    def from_hyper_parameters(cls, values: Mapping[str, Any]) -> Self:
        """From `variant` (None: the options are complete) and `network_options` of a checkpoint; the rest is left."""
        variant, options = values.get("variant"), dict(values.get("network_options") or {})
        if variant is not None:
            return cls.from_variant(variant, **options)
        check_options(cls, options)
        return cls(**options)


def check_options(network: type, options: Mapping[Any, Any]) -> None:
    """Compares arguments with the signature of a network's constructor, by name and by type.

    Raises:
        ValueError: at the first that does not fit; the message says what would.
    """
    known = list(inspect.signature(network).parameters)
    hints = get_type_hints(network.__init__)
    for name, value in options.items():
        if name not in known:
            raise ValueError(unknown_name(f"{network.__name__} has no option", str(name), known))
        if not _fits(value, hints.get(name, Any)):
            raise ValueError(
                f"{network.__name__}: {name} is {repr(value)[:40]}, expected {_in_words(hints[name])}; "
                "the network's docstring says what it means"
            )


def unknown_name(what: str, name: str, known: Sequence[str], length: int = 190) -> str:
    """One line about a name that does not exist: the nearest that does, and as many known ones as fit.

    Args:
        what: how the line begins, e.g. `PiClickNet has no option`.
        name: the name that was given.
        known: those that exist.
        length: of the line, in characters.
    """
    near = get_close_matches(name, known, n=1)
    text = f"{what} {name[:40]!r}{f': did you mean {near[0]}?' if near else ';'} known: "
    listed: list[str] = []
    for entry in known:
        if len(text) + len(", ".join([*listed, entry])) > length - 5:
            return f"{text}{', '.join(listed)}, ..."
        listed.append(entry)
    return text + ", ".join(listed)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of a type of the kinds that constructors of networks name; others are let through."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (list, tuple, Sequence):
        return isinstance(value, (list, tuple)) and all(_fits(part, inner[0]) for part in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint in (int, bool, str, NoneType):
        return type(value) is hint
    return True


def _in_words(hint: Any) -> str:
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    return " or ".join(map(repr, choices)) or getattr(hint, "__name__", str(hint).replace("collections.abc.", ""))
