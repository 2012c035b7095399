"""Compiled parts: where a compiler is missing they run as they are, with a warning; copies and keys are plain."""

import copy
import os
import subprocess
import sys

from torch import nn

from clicklab.nn.compiled import compile_parts

WITHOUT_COMPILER = """
import copy, torch
from torch import nn
from clicklab.nn.compiled import compile_parts
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
    def forward(self, image):
        return nn.functional.gelu(self.conv(image))
torch.manual_seed(0)
plain = nn.Sequential(Part())
compiled = copy.deepcopy(plain)
compile_parts(compiled)
image = torch.rand(1, 1, 8, 8)
with torch.no_grad():
    torch.testing.assert_close(compiled(image), plain(image))
"""


def test_without_a_compiler_it_warns_and_goes_on(tmp_path):
    """In a process of its own, because the compiler is looked up when PyTorch is imported."""
    environment = {**os.environ, "CXX": "/no/such/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "goes on without torch.compile" in done.stderr


def test_keys_stay_and_copies_are_plain():
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU())
    compiled = copy.deepcopy(plain)
    compile_parts(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert all(part._compiled_call_impl is not None for part in compiled.children())
    assert all(part._compiled_call_impl is None for part in copy.deepcopy(compiled).children())
