"""Networks by name: a table of sizes per method, and the way back from what a checkpoint recorded."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self


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
            ValueError: on a name that is not in the table, or an argument that does not exist.
        """
        if name not in cls.variants:
            method = cls.__name__.removesuffix("Net")
            raise ValueError(f"unknown {method} variant {name!r}; known: {', '.join(cls.variants)}")
        unknown = overrides.keys() - inspect.signature(cls).parameters.keys()
        if unknown:
            raise ValueError(f"{cls.__name__} has no option {', '.join(sorted(unknown))}")
        return cls(**{**cls.variants[name], **overrides})

    @classmethod
    def from_hyper_parameters(cls, values: Mapping[str, Any]) -> Self:
        """From `variant` (None: the options are complete) and `network_options` of a checkpoint; the rest is left."""
        variant, options = values.get("variant"), dict(values.get("network_options") or {})
        return cls(**options) if variant is None else cls.from_variant(variant, **options)
