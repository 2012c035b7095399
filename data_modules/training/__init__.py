"""From scene to training sample: targets, crops, augmentation, first clicks."""
