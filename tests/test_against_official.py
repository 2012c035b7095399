"""The comparison with released code, run against a package that has its names and computes with our own network.

The released code itself is not part of this repository. With this stand-in both sides must click the same pixels, reach
the same IoUs and start from the same loss; that much the measuring code can be held to without it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_modules.datasets import Shapes
from data_modules.tools.export_shapes import export_scenes

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "benchmarks" / "against_official"
FILES = {
    "model/is_plainvit_model.py": """
        from isegm.model.modeling.transformer_helper.cross_entropy_loss import CrossEntropyLoss
        from mmcv.cnn import ConvModule
        from official_simpleclick import official_checkpoint
        from torch import nn
        from clicklab.methods import method_package
        from clicklab.records import Clicks

        class PlainVitModel(nn.Module):
            def __init__(self, **sizes):
                super().__init__()
                assert sizes["backbone_params"]["embed_dim"] == 160 and ConvModule(1, 1, 1)
                self.released = official_checkpoint("xtiny")
                self._config = self.released["config"]
                self.load_state_dict(self.released["state_dict"])

            def state_dict(self):
                return self.released["state_dict"]

            def load_state_dict(self, weights):
                checkpoint = {"state_dict": weights, "config": self._config}
                self.inner = method_package("simpleclick").from_official(checkpoint)

            def forward(self, image, points):
                assert points.shape[1:] == (48, 3) and not (points[:, :, 2] == 0).any()
                clicks = [[(y, x, int(slot < 24)) for slot, (y, x, order) in enumerate(row.tolist()) if order > 0]
                          for row in points]
                answer = self.inner(image[:, :3], Clicks.from_list(clicks), image[:, 3:])
                return {"instances": answer.logits}
    """,
    "model/modeling/transformer_helper/cross_entropy_loss.py": "class CrossEntropyLoss: ...",
    "model/losses.py": """
        from functools import partial
        from clicklab.losses.nfl import normalized_focal_loss

        def NormalizedFocalLossSigmoid(alpha, gamma):
            return partial(normalized_focal_loss, alpha=alpha, gamma=gamma)

        SigmoidBinaryCrossEntropyLoss = None
    """,
    "model/metrics.py": "AdaptiveIoU = object",
    "engine/optimizer.py": """
        import torch

        def get_optimizer(network, name, settings):
            return torch.optim.Adam(network.parameters(), **settings)
    """,
    "engine/trainer.py": """
        import random
        import torch
        from torch.utils.tensorboard import SummaryWriter

        class ISTrainer:
            def batch_forward(self, data):
                rounds.append(random.randint(0, self.max_num_next_clicks))
                before = torch.zeros_like(data["images"][:, :1])
                logits = self.net(torch.cat([data["images"], before], dim=1), data["points"])["instances"]
                loss = self.loss_cfg.instance_loss(logits, data["instances"]).mean()
                return loss * self.loss_cfg.instance_loss_weight, {}, data, {}

        rounds = []
    """,
    "data/transforms.py": "from albumentations.core.transforms_interface import to_tuple  # of another version",
    "data/datasets.py": """
        from types import SimpleNamespace
        from isegm.data.transforms import remove_image_only_transforms
        from data_modules.datasets import open_dataset

        class GrabCutDataset:
            def __init__(self, root):
                self.scenes = open_dataset("GrabCut", root)
                self.dataset_samples = [self.scenes[number].name + ".jpg" for number in range(len(self.scenes))]

            def get_sample(self, number):
                scene = self.scenes[number]
                (key,) = scene.objects
                return SimpleNamespace(image=scene.image, objects_ids=[key], gt_mask=scene.mask)
    """,
    "inference/predictors.py": """
        from clicklab.inference.predictor import predictor_for
        from clicklab.evaluation.protocol import EvaluationProtocol

        def get_predictor(network, mode, device, with_flip, zoom_in_params):
            assert (mode, with_flip, zoom_in_params["skip_clicks"]) == ("NoBRS", True, -1)
            return predictor_for(network.inner, EvaluationProtocol(), device=device)
    """,
    "inference/evaluation.py": """
        from types import SimpleNamespace
        import numpy as np
        import torch
        from clicklab.clicks.next_click import robot_click
        from clicklab.inference.session import Session

        def evaluate_sample(image, target, predictor, target_iou, max_clicks):
            session, target, ious = Session(predictor), torch.from_numpy(target)[None], []
            session.set_image(image)
            seen = before = torch.zeros_like(target, dtype=torch.bool)
            for _ in range(max_clicks):
                yx, label = robot_click(seen, target, before)
                (y, x), before = yx[0].int().tolist(), before.clone()
                session.add_click(y, x, bool(label[0]))
                before[0, y, x] = True
                seen, known = session.probability_tensor[None] > 0.49, target != -1
                union = ((seen | (target == 1)) & known).sum()
                ious.append(float((seen & (target == 1)).sum() / union))
                if ious[-1] >= target_iou:
                    break
            clicks = [SimpleNamespace(coords=(y, x), is_positive=label == 1) for y, x, label in session.clicks]
            return clicks, np.array(ious), None
    """,
}


@pytest.fixture
def code(tmp_path):
    """A folder like a clone of the released code."""
    for name, text in FILES.items():
        file = tmp_path / "code" / "isegm" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        file.write_text("\n".join(line[indent:] for line in lines))
    return tmp_path / "code"


def run(script: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    paths = [REPOSITORY / "src", REPOSITORY, REPOSITORY / "tests" / "helpers"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder, env=environment)


def test_evaluation_counts_the_clicks_that_are_the_same(code, tmp_path):
    export_scenes([Shapes(length=3, size=(60, 80))[n] for n in range(3)], tmp_path / "GrabCut", "grabcut", split="val")
    sizes = ["--grabcut", str(tmp_path / "GrabCut"), "--turn", "2", "--clicks", "2", "--batch", "2"]
    done = run("evaluate.py", [str(code), "xtiny", *sizes, "--output", "record.json"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "record.json").read_text())
    ours = record["rows"]["32-true"]
    assert record["objects"] == ours["same objects"] == 3 and record["clicks"] == ours["same clicks"] == 6
    assert ours["largest IoU difference"] < 1e-4 and 0 < record["share"] < 1
    assert len(ours["seconds"]) == 2 and ours["ratio"] > 0
    for row in record["rows"].values():
        assert row["NoC@85"] <= row["NoC@90"] <= 2
    assert "same clicks 6" in done.stdout


def test_training_steps_start_from_the_same_loss(code, tmp_path):
    sizes = ["--batch", "1", "--steps", "2", "--warm-up", "0", "--ways", "32-true", "bf16-mixed"]
    done = run("train_step.py", [str(code), "xtiny", *sizes, "--output", "record.json"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "record.json").read_text())["rows"]
    assert rows["32-true"]["first loss"] == pytest.approx(rows["official"]["first loss"], rel=1e-5)
    assert rows["bf16-mixed"]["first loss"] == pytest.approx(rows["official"]["first loss"], rel=0.05)
    assert all(len(row["seconds"]) == 2 and row["samples per second"] > 0 for row in rows.values())
    assert 0 < rows["32-true"]["share of clicks"] < 1


def test_briefly_trained_weights_serve_both_sides(code, tmp_path):
    export_scenes([Shapes(length=2, size=(60, 80))[n] for n in range(2)], tmp_path / "GrabCut", "grabcut", split="val")
    grabcut = ["--grabcut", str(tmp_path / "GrabCut"), "--batch", "1"]
    done = run("brief_training.py", [str(code), "xtiny", *grabcut, "--seconds", "0", "--output", "new/a.pth"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("1 steps of 1, loss ")
    weights = ["--weights", "new/a.pth", "--clicks", "1", "--target-iou", "0.9", "--output", "record.json"]
    done = run("evaluate.py", [str(code), "xtiny", *grabcut, *weights], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "record.json").read_text())["rows"]["32-true"]["same clicks"] == 2


def test_an_iou_below_the_thresholds_is_refused_before_anything_begins(code, tmp_path):
    done = run("evaluate.py", [str(code), "xtiny", "--grabcut", "nowhere", "--target-iou", "0.8"], tmp_path)
    assert done.returncode == 2 and "target_iou is 0.8" in done.stderr and "Traceback" not in done.stderr


def test_a_side_that_ends_before_it_is_asked_says_why(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from turns import Side
def prepare():
    raise ValueError("no such thing")
if __name__ == "__main__":
    side = Side(prepare)
    side._process.join()
    side("a job")
"""
    (tmp_path / "ends.py").write_text(script)
    done = run(str(tmp_path / "ends.py"), [], tmp_path)
    assert done.returncode == 1 and "RuntimeError: prepare: ValueError: no such thing" in done.stderr


def test_a_wrong_folder_is_one_message(code, tmp_path):
    done = run("train_step.py", [str(code), "hrnet18s"], tmp_path)
    assert done.returncode == 2 and "is_hrnet_model.py" in done.stderr and "SamsungLabs" in done.stderr


def test_what_goes_wrong_on_one_side_is_said(code, tmp_path):
    (code / "isegm" / "engine" / "optimizer.py").write_text("raise RuntimeError('an old function is gone')")
    done = run("train_step.py", [str(code), "xtiny", "--batch", "1"], tmp_path)
    assert done.returncode == 1 and "prepare_released: RuntimeError: an old function is gone" in done.stderr
