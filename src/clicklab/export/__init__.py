"""Networks that leave the house: ONNX graphs with a runtime that needs no torch, and folders for a model hub."""
