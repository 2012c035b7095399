"""What is copied into an exported folder; it imports nothing of ClickLab."""
