"""Damaged MATLAB files are named; scipy alone crashes on some of them, which takes the whole process along."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from data_modules.datasets.sbd import read_instances
from data_modules.scenes import BrokenScene

LABELS = (np.arange(1600).reshape(40, 40) // 400).astype(np.uint8)


@pytest.mark.parametrize("compressed", [True, False])
def test_no_damaged_byte_ends_the_process(tmp_path, compressed):
    path = tmp_path / "a.mat"
    savemat(path, {"GTinst": {"Segmentation": LABELS, "Categories": np.ones((4, 1))}}, do_compression=compressed)
    whole = path.read_bytes()
    assert np.array_equal(read_instances(path), LABELS)
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(200):
        content = bytearray(whole)
        for place in rng.integers(min(len(content), 700), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            read += np.array_equal(read_instances(path), LABELS)  # damage in the header's text does not matter
        except BrokenScene as error:
            assert "a.mat" in str(error)
    assert read < 150


def test_cut_off_files_are_named(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"GTinst": {"Segmentation": LABELS}}, do_compression=True)
    whole = path.read_bytes()
    for share in (0.4, 0.7, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BrokenScene, match=r"a\.mat"):
            read_instances(path)
