"""Reading other people's checkpoint files without running their code, and renaming their keys by a table."""

from clicklab.external_checkpoint.backbone import read_backbone
from clicklab.external_checkpoint.budget import no_larger_than
from clicklab.external_checkpoint.keys import (
    PREFIX,
    KeyTable,
    count_layers,
    fill,
    recorded_settings,
    rename_keys,
)
from clicklab.external_checkpoint.read import check_whole, read_foreign
from clicklab.external_checkpoint.wrappers import find_weights, plain_weights, without_wrappers

__all__ = [
    "PREFIX",
    "KeyTable",
    "check_whole",
    "count_layers",
    "fill",
    "find_weights",
    "no_larger_than",
    "plain_weights",
    "read_backbone",
    "read_foreign",
    "recorded_settings",
    "rename_keys",
    "without_wrappers",
]
