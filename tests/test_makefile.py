"""The Makefile lists what it knows and says so when a name is wrong."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make with a stand-in environment, so that nothing is installed."""
    return subprocess.run(
        ["make", "--no-print-directory", "-o", ".venv/.installed", "-o", "setup", "BIN=/nonexistent", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_the_targets_and_the_methods():
    answer = make("help")
    assert answer.returncode == 0
    targets = ("setup", "demo", "test", "lint", "docs", "train-%", "smoke-%", "eval-%", "sweep-%", "bench")
    for word in (*targets, "simpleclick"):
        assert word in answer.stdout


def test_a_wrong_target_lists_the_known_ones():
    answer = make("trian-simpleclick")
    assert answer.returncode == 2
    assert "train-%" in answer.stdout


def test_a_wrong_method_lists_the_known_ones():
    answer = make("train-simpleclack")
    assert answer.returncode == 2
    assert "simpleclick" in answer.stdout + answer.stderr


def test_a_wrong_variant_lists_the_files():
    answer = make("train-simpleclick", "VARIANT=gigantic")
    assert answer.returncode == 2
    assert "huge.yaml" in answer.stdout + answer.stderr


def test_variants_are_merged_in_order_after_the_method_and_shared_ones_last():
    """`tiny` behind `photos` would train on generated shapes instead of the photos."""
    answer = make("--dry-run", "train-simpleclick", "VARIANT=ddp sbd photos large", "DEVICES=8")
    assert answer.returncode == 0
    files = re.findall(r"--config (\S+)", answer.stdout)
    names = ["_base/trainer", "simpleclick/config", "simpleclick/sbd", "simpleclick/large", "_base/ddp", "_base/photos"]
    assert files == [f"experiments/{name}.yaml" for name in names]
    assert "--trainer.devices=8" in answer.stdout and "runs/simpleclick-ddp-sbd-photos-large" in answer.stdout


def test_a_sweep_honours_the_variant_and_says_what_to_do_without_an_account():
    answer = make("--dry-run", "sweep-simpleclick", "VARIANT=tiny")
    assert answer.returncode == 0
    assert answer.stdout.count("experiments/simpleclick/sweep.yaml --variant tiny") == 2  # registered, or run here
