"""PiClick: several masks for the same clicks, and a module that picks the one meant (Neurocomputing 2024)."""

from clicklab.methods.piclick.net import SCORE_RULES, VARIANTS, PiClickNet
from clicklab.methods.piclick.official import build, from_official, matches

__all__ = ["SCORE_RULES", "VARIANTS", "PiClickNet", "build", "from_official", "matches"]
