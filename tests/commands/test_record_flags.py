"""Every field of the protocol can be set from the command line, under the names that papers and scripts know."""

import argparse
from dataclasses import fields

import pytest

from clicklab.commands.evaluate import IN_WORDS, add_options, protocol_fields
from clicklab.commands.record_flags import field_descriptions, given_fields
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.views.zoom_in import ZoomIn


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--preset clean", {"preset": "clean"}),
        ("--mask-threshold 0.4", {"mask_threshold": 0.4}),
        ("--no-flip", {"flip": False}),
        ("--flip", {"flip": True}),
        ("--eval-mode fixed400", {"eval_mode": "fixed400"}),
        ("--no-zoom", {"zoom": False}),
        ("--zoom-size 400", {"zoom_size": 400}),
        ("--zoom-size 300 400", {"zoom_size": (300, 400)}),
        ("--view-scale 1.5", {"view_scale": 1.5}),
        ("--longest-side 800", {"longest_side": 800}),
        ("--net-clicks-limit 3", {"net_clicks_limit": 3}),
        ("--cfr 4", {"cascade": 4, "cascade_adaptive": False}),
        ("--a-cfr 4 --cfr-pixels 7", {"cascade": 4, "cascade_adaptive": True, "cascade_pixels": 7}),
        ("--cfr 1 --cfr-clicks all", {"cascade": 1, "cascade_adaptive": False, "cascade_once": False}),
        ("--precision bf16-mixed", {"precision": "bf16-mixed"}),
        ("--stale-region", {"stale_region": True}),
        ("--no-logit-memory", {"logit_memory": False}),
        ("--no-crossed-pairs", {"crossed_pairs": False}),
        ("--focus-on-logits", {"focus_on_logits": True}),
        ("--unchanged-click", {"unchanged_click": True}),
        ("--max-clicks 5 --min-clicks 2", {"max_clicks": 5, "min_clicks": 2}),
        ("--thresholds 0.8 0.9 --target-iou 1.01", {"thresholds": (0.8, 0.9), "target_iou": 1.01}),
        ("--thresholds 0.9", {"thresholds": (0.9,)}),
        ("--boundary-iou", {"boundary_iou": True}),
        ("--perturb-iou 0.8 --repeats 3", {"perturb_iou": 0.8, "repeats": 3}),
        ("--initial-masks", {"initial_masks": True}),
        ("--choice oracle", {"choice": "oracle"}),
        ("--no-late-success-fails", {"late_success_fails": False}),
        ("", {}),
    ],
)
def test_flags_set_fields(words, wanted):
    given = protocol_fields(parsed(*words.split()))
    assert given == wanted
    EvaluationProtocol(**given)


def test_the_parts_of_the_zoom_in_rule():
    options = parsed("--zoom-skip-clicks", "-1", "--zoom-probability", "0.4", "--zoom-size", "200")
    assert given_fields(ZoomIn, options, prefix="zoom_") == {"skip_clicks": -1, "probability": 0.4}
    assert protocol_fields(options) == {"zoom_size": 200}


def test_every_field_is_described_and_has_a_flag():
    descriptions = field_descriptions(EvaluationProtocol)
    names = {field.name for field in fields(EvaluationProtocol)}
    assert names <= descriptions.keys() and all(descriptions[name] for name in names)
    parser = argparse.ArgumentParser()
    add_options(parser)
    reached = {action.dest for action in parser._actions}
    assert names - reached == set(IN_WORDS) - {"initial_masks"}  # set by --cfr, --a-cfr, --cfr-clicks and --zoom-...
    text = " ".join(parser.format_help().split())
    assert "clicks per object; an object that never reaches a threshold counts with this number (default 20)" in text
