"""Numbers on the CPU that say they are not: what runs on GPUs, without one."""

import torch


class Elsewhere(torch.Tensor):
    """A tensor whose device reads `cuda`."""

    device = torch.device("cuda")
