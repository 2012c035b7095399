"""Official FocalClick files (`segformerB0_S2_cclvs.pth`, ...): keys, and what tells one network from another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import count_layers, recorded_settings, rename_keys
from clicklab.nn.click_hrnet import CLICK_HRNET_KEYS, infer_click_hrnet_arguments
from clicklab.nn.click_mit import CLICK_MIT_KEYS
from clicklab.nn.coarse_to_fine import HRNET, MAPS, MIT
from clicklab.nn.refiner import REFINER_KEYS

RELEASED = {"use_disks": True, "with_prev_mask": True, "binary_prev_mask": False, "use_rgb_conv": False}
RADIUS = {
    "s2": (5, 5),
    "s1": (3, 2),
}  # of the coarse view's discs, with SegFormer and HRNet; not recorded in files
_STEM = "feature_extractor.backbone.patch_embed_side1.proj.weight"


def is_official(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of ClickSEG's `SegFormerModel` or `HRNetModel` with refiner."""
    return "refiner.refine_trimap.weight" in weights and any(key.startswith("feature_extractor.") for key in weights)


def read_official(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments of `CoarseToFine` and weights by our names.

    Raises:
        ValueError: unknown keys, settings or sizes that no released model has, or a file that does not say whether it
            is S1 or S2 (both have the same keys).
    """
    settings = recorded_settings(checkpoint, "FocalClick", RELEASED)
    pipeline = settings.get("pipeline_version")
    if pipeline not in RADIUS:
        raise ValueError(
            f"config.params.pipeline_version.value is {pipeline!r}, expected s1 or s2 (the released files record it)"
        )
    hrnet = _STEM not in checkpoint["state_dict"]
    table = [*(CLICK_HRNET_KEYS if hrnet else CLICK_MIT_KEYS), *REFINER_KEYS]
    weights = rename_keys(checkpoint["state_dict"], table)
    arguments = {"backbone": _hrnet_name(weights) if hrnet else _mit_name(weights)}
    return arguments | {"halve": pipeline == "s1", "click_radius": RADIUS[pipeline][hrnet]}, weights


def _mit_name(weights: Mapping[str, Tensor]) -> str:
    prefix = "segmentor.backbone.stages."
    needed = [f"{prefix}{stage}.norm.weight" for stage in range(4)]
    missing = [key for key in needed if key not in weights]
    if missing:
        raise ValueError(f"{len(missing)} keys missing (our names): {', '.join(missing)}")
    dims = tuple(weights[key].shape[0] for key in needed)
    depths = tuple(count_layers(weights, f"{prefix}{stage}.blocks.") for stage in range(4))
    for name, sizes in MIT.items():
        if (sizes["dims"], sizes["depths"]) == (dims, depths):
            return name
    raise ValueError(f"a Mix Transformer of widths {dims} and depths {depths} is no released one")


def _hrnet_name(weights: Mapping[str, Tensor]) -> str:
    found = infer_click_hrnet_arguments(weights)
    for name, sizes in HRNET.items():
        if found["maps"] == MAPS and all(_plain(found[key]) == _plain(value) for key, value in sizes.items()):
            return name
    raise ValueError(f"an HRNet of {found} is no released one")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
