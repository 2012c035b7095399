"""docs/official_modes.md: our options exist, and the modes of the zoom-in are the official ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clicklab.commands.main import build_parser
from clicklab.inference.options import InferenceOptions
from clicklab.methods.ritm import RITMNet
from clicklab.methods.simpleclick import SimpleClickNet

PAGE = Path(__file__).resolve().parents[1] / "docs" / "official_modes.md"
SMALL = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 8, "head_channels": 8}


def rows() -> list[list[str]]:
    """Cells of every row of the page's tables, headings left out."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "official" and not set(row[0]) <= set("- ")]


def test_every_option_of_the_page_exists():
    evaluate = build_parser("evaluate")._subparsers._group_actions[0].choices["evaluate"]  # argparse has no other way
    known = {option for action in evaluate._actions for option in action.option_strings}
    named = {flag for row in rows() for flag in re.findall(r"--[a-z][\w-]+", row[3])}
    assert len(rows()) > 25 and named <= known | {"--n-clicks"}, named - known


# docs/official_modes.md: size and `skip_clicks` of each mode. The small RITM's own size is 64, released files have 400.
OFFICIAL = {
    (RITMNet, "cvpr"): (64, 1),
    (RITMNet, "fixed400"): ((400, 400), -1),
    (RITMNet, "fixed600"): ((600, 600), -1),
    (SimpleClickNet, "cvpr"): ((32, 32), -1),
    (SimpleClickNet, "fixed672"): ((672, 672), -1),
    (SimpleClickNet, "fixed400,600"): ((400, 600), -1),
}


@pytest.mark.parametrize(("kind", "mode"), OFFICIAL)
def test_the_zoom_in_of_official_modes(kind, mode):
    network = RITMNet.from_variant("mini") if kind is RITMNet else SimpleClickNet(**SMALL, neck_dims=[4, 8, 8, 8])
    rule = InferenceOptions(eval_mode=mode).zoom_for(network)
    assert (rule.target_size, rule.skip_clicks) == OFFICIAL[kind, mode]
    assert (rule.expansion_ratio, rule.min_crop_size, rule.recompute_iou) == (1.4, 200, 0.5)


def test_a_size_alone_is_not_the_fixed_mode_of_ritm():
    rule = InferenceOptions(zoom_size=(400, 400)).zoom_for(RITMNet.from_variant("mini"))
    assert rule.skip_clicks == 1
