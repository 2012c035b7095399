"""Whether two runs may stand side by side: which of their settings differ, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a network sees. Methods differ here on purpose (FocalClick: no mirrored view, mask > 0.5): it is noted, and they
# may be compared all the same.
SEEN = {
    "flip": "mirrored view",
    "mask_threshold": "mask threshold",
    "zoom": "zoom-in",
    "zoom_in": "zoom-in",
    "zoom_size": "zoom-in size",
    "eval_mode": "evaluation mode",
    "view_scale": "view scale",
    "longest_side": "longest side",
    "net_clicks_limit": "clicks shown to the network",
    "cascade": "refinement passes (CFR)",
    "cascade_adaptive": "adaptive refinement (A-CFR)",
    "cascade_pixels": "pixels of A-CFR",
    "cascade_once": "refinement after the first click only",
    "precision": "precision",
    "stale_region": "quirk stale_region",
    "logit_memory": "quirk logit_memory",
    "crossed_pairs": "quirk crossed_pairs",
    "focus_on_logits": "quirk focus_on_logits",
    "unchanged_click": "quirk unchanged_click",
}
# What moves no NoC: names, versions, which thresholds were counted, when an object stops, how candidates are chosen
# (rows of their own), the numbers of repeats that were not asked for, numbers that stand beside NoC.
FREE = {"network", "versions", "thresholds", "target_iou", "min_clicks", "choice", "boundary_iou", "late_success_fails"}
ONLY_WITH = {"repeats": ("perturb_iou", "click_spread"), "cascade_pixels": ("cascade_adaptive",)}
ONLY_WITH |= {"cascade_once": ("cascade",)}
# How the papers' tables were played; what they saw is their methods' own matter.
CAPPED_PUBLISHED = {"preset": "official", "max_clicks": 20, "initial_masks": False, "perturb_iou": None}


def counted_differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Settings by which objects were played or counted otherwise, as "name value (first value)"; an unknown one too."""
    keys = [key for key in other if key not in SEEN and key not in FREE]
    return [_said(key, key, first, other) for key in keys if _differs(key, first, other)]


def seen_differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Settings by which the network saw the image otherwise.

    Returns:
        The settings in words, and whether somebody chose them so: two runs of one kind of network need not differ.
    """
    keys = [key for key in SEEN if key in first or key in other]
    if first.get("preset") != other.get("preset"):  # then all quirks differ, and the preset says so
        keys = [key for key in keys if not SEEN[key].startswith("quirk") and key != "cascade_once"]
    found = dict.fromkeys(_said(SEEN[key], key, first, other) for key in keys if _differs(key, first, other))
    return list(found), first.get("network") == other.get("network")


def _differs(key: str, first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    needed = ONLY_WITH.get(key)
    if needed and not any(settings.get(name) for settings in (first, other) for name in needed):
        return False
    return first.get(key) != other.get(key)


def _said(name: str, key: str, first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    here, there = _short(other.get(key)), _short(first.get(key))
    if here == there:  # it is another part of the rule than its size that differs
        here, there = str(other.get(key)), str(first.get(key))
    return f"{name} {here} (there {there})"


def _short(value: Any) -> str:
    """A setting in a few characters."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, Mapping):  # a zoom-in rule: its size tells it apart, or else all of it
        return str(value.get("target_size", dict(value)))
    return str(value)
