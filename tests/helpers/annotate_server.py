"""`clicklab annotate` with the network without weights, as a process of its own that a test may kill.

python annotate_server.py PHOTOS PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from colour_network import ColourNetwork

from clicklab import Session
from clicklab.annotate.serve import Job, serve
from clicklab.inference.options import InferenceOptions

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    options = InferenceOptions(zoom=False, flip=False)
    job = Job(folder, classes=("cat", "dog"), network="colours", port=port, show=False)
    serve(job, lambda: Session(ColourNetwork(), options))
