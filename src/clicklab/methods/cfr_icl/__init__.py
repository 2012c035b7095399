"""CFR-ICL: a loss after every simulated click, for any network that answers one mask in one pass (AAAI 2024).

It has no network of its own, so it is not in `METHODS`: its checkpoints name the method of the network they hold. Its
other half, cascade-forward refinement, is `InferenceOptions.cascade`, its augmentation is `data_modules.training.suem`.
"""

from __future__ import annotations

from typing import Any

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    # the LightningModules are imported on demand, as in every method
    if name in ("CFRICL", "FineTune"):
        from clicklab.methods.cfr_icl import module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
