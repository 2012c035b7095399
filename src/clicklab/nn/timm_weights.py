"""Published backbone weights by their timm name."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def fetch_through_timm(name: str, instead: str, **options: Any) -> dict[str, Tensor]:
    """The weights that timm downloads, or finds in its cache.

    Args:
        name: timm's name of the model and its weights.
        instead: which file `pretrained` may point at where there is no internet, for the error message.
        options: further arguments of `timm.create_model`.

    Raises:
        ValueError: timm could not get them; the message says what to do.
    """
    import timm  # here, because it is slow to import and only this needs it

    try:
        return timm.create_model(name, pretrained=True, **options).state_dict()
    except Exception as error:  # whatever the hub raises offline: OSError, RuntimeError, its own classes
        raise ValueError(
            f"could not fetch {name} through timm ({type(error).__name__}: {error}). Without internet, set pretrained "
            f"to the path of {instead}, or to null to start from scratch"
        ) from error
