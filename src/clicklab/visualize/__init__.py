"""Pictures: dialogue sheets, candidates, curves."""
