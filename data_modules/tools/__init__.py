"""`clicklab data`: check, show and export datasets."""
