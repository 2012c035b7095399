"""Freed memory is used again instead of being mapped anew page by page."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from data_modules.process_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def work():
    for side in range(700, 1000, 3):
        image = np.ones((side, side, 3), np.uint8)
        image = image[::-1].copy()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is what is set")
def test_a_process_stops_asking_the_system_for_memory():
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "give back")
    }
    assert faults["keep"] < 200 < faults["give back"]
