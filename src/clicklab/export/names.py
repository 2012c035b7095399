"""Files of an exported network and the number of its click slots, for whoever writes or reads them."""

SLOTS = 24  # clicks of a dialogue; what is not filled has the label -1
IMAGE, CLICK, WHOLE, REFINE, PROPOSE = "image.onnx", "click.onnx", "model.onnx", "refine.onnx", "propose.onnx"
