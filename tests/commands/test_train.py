"""What a run folder keeps and refuses, and what several configuration files amount to."""

from __future__ import annotations

import errno
import fcntl
import json
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from pkgutil import resolve_name

import lightning.pytorch as pl
import pytest
import torch
import wandb
import yaml
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.plugins import TorchCheckpointIO

from clicklab.commands.main import main
from clicklab.commands.train import go_on_at_wandb, with_all_network_options
from clicklab.methods.simpleclick import module as simpleclick
from data_modules.datasets import Shapes
from data_modules.scenes import SceneDataset
from data_modules.tools.export_shapes import export_scenes

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def files(*names: str) -> list[str]:
    return [part for name in names for part in ("--config", str(EXPERIMENTS / f"{name}.yaml"))]


def smoke(folder: Path, *more: str) -> int:
    """`make smoke-simpleclick`, in a folder that a second command goes on in; four objects are measured."""
    recipe = files("_base/trainer", "simpleclick/config", "simpleclick/smoke")
    options = [f"--trainer.default_root_dir={folder}", "--ckpt_path=last", "--trainer.enable_progress_bar=false"]
    return main(["fit", *recipe, *options, *more])


def steps(file: Path) -> int:
    return torch.load(file, weights_only=True)["global_step"]


@pytest.mark.parametrize("more", [[], ["--data.init_args.val=null"], ["--trainer.check_val_every_n_epoch=10"]])
def test_last_checkpoint_is_that_of_the_last_epoch(tmp_path, more):
    """An untrained network misses every object at first and at last: the metric to monitor never improves."""
    assert smoke(tmp_path, "--trainer.max_epochs=3", *more) == 0
    assert steps(tmp_path / "checkpoints" / "last.ckpt") == 6
    assert smoke(tmp_path, "--trainer.max_epochs=4", *more) == 0
    assert steps(tmp_path / "checkpoints" / "last.ckpt") == 8
    best = [steps(path) for path in (tmp_path / "checkpoints").glob("best-*.ckpt")]
    assert best == ([] if more else [2])


def test_every_epoch_is_kept_before_the_next_begins(tmp_path, monkeypatch):
    """A killed run loses what came after its last epoch, and no more."""
    seen = []
    look = pl.LightningModule.on_train_epoch_start
    last = tmp_path / "checkpoints" / "last.ckpt"
    monkeypatch.setattr(
        pl.LightningModule,
        "on_train_epoch_start",
        lambda self: (seen.append(steps(last) if last.exists() else 0), look(self)),
    )
    assert smoke(tmp_path, "--trainer.max_epochs=3") == 0
    assert seen == [0, 2, 4]


def test_a_run_that_its_time_limit_ends_is_measured(tmp_path, monkeypatch):
    """The small recipes measure once, behind the last epoch, which a slow machine does not reach."""
    monkeypatch.setattr(Timer, "on_fit_start", lambda *_: None)  # where it would end before the first step
    assert smoke(tmp_path, "--trainer.max_time=00:00:00:00", "--trainer.check_val_every_n_epoch=10") == 0
    assert [path.parent.name for path in tmp_path.rglob("results.json")] == ["step0000001"]


def test_a_trial_step_leaves_no_run(tmp_path):
    assert smoke(tmp_path, "--trainer.fast_dev_run=true") == 0
    assert not (tmp_path / "checkpoints").exists()


def test_another_model_or_seed_is_not_trained_into_a_run(tmp_path, capsys):
    assert smoke(tmp_path) == 0
    kept = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    assert smoke(tmp_path, "--model.init_args.learning_rate=1e-2", "--seed_everything=5", "--trainer.max_epochs=2") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "learning_rate was 5e-05, now 0.01" in said and "seed_everything was 0, now 5" in said
    assert smoke(tmp_path, "--model.init_args.network_options.click_radius=3") == 2
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == kept
    free = ["--model.init_args.network_options.checkpoint_blocks=true", "--data.init_args.num_workers=1"]
    assert smoke(tmp_path, *free, "--trainer.max_epochs=2") == 0
    assert steps(tmp_path / "checkpoints" / "last.ckpt") == 4
    assert smoke(tmp_path, "--model.init_args.learning_rate=1e-2", "--ckpt_path=null") == 0  # from the start
    assert steps(tmp_path / "checkpoints" / "last.ckpt") == 2


def group_at_wandb(folder: Path) -> str:
    """What the checkpoint keeps of it."""
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["clicklab_settings"]
    return json.loads(kept)["wandb"]["group"]


def test_offline_parts_of_a_run_survive_each_other_at_wandb(tmp_path):
    """Of two offline parts with one id the later upload takes the place of the earlier: each has its own."""
    wandb.finish()  # of the tests before
    groups = []
    for more in ([], ["--trainer.max_epochs=2"], ["--ckpt_path=null"]):  # the last begins anew
        assert smoke(tmp_path, *more) == 0
        wandb.finish()
        groups.append(group_at_wandb(tmp_path))
    parts = sorted(tmp_path.glob("wandb/offline-run-*"))
    assert len({path.name.split("-")[-1] for path in parts}) == 3
    assert groups[0] == groups[1] != groups[2]
    sent = [next(path.glob("*.wandb")).read_bytes() for path in parts]
    # parts begun within one second are sorted by their id
    assert sorted(group.encode() in content for content in sent for group in groups[1:]) == [False] * 3 + [True] * 3


def test_online_a_run_goes_on_under_its_id():
    """W&B itself resumes it; of a part that was offline nothing is known there."""
    logger = Namespace(offline=False, id=None, group=None)
    go_on_at_wandb(logger, {"group": "g", "id": "first"})
    assert (logger.group, logger.id) == ("g", "first")
    logger = Namespace(offline=False, id=None, group=None)
    go_on_at_wandb(logger, {"group": "g", "id": None})
    assert (logger.group, logger.id) == ("g", None)


def test_two_runs_do_not_train_into_one_folder(tmp_path, capsys):
    """The other one is a process of its own; killed, it leaves nothing that would be in the way."""
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    )
    other = [sys.executable, "-c", hold, str(tmp_path / ".lock")]
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert smoke(tmp_path) == 2
        assert f"another process is training into {tmp_path}" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        assert smoke(tmp_path, "--trainer.fast_dev_run=true") == 0  # a trial writes nothing
        process.kill()
    assert smoke(tmp_path) == 0


def test_a_file_system_without_locks_is_trained_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert smoke(tmp_path) == 0


def test_measuring_a_run_in_another_way_does_not_change_whose_it_is(tmp_path):
    """The checkpoint tells which run it is, not the last configuration that was written beside it."""
    assert smoke(tmp_path) == 0
    recipe = files("_base/trainer", "simpleclick/config", "simpleclick/smoke")
    options = ["--ckpt_path=last", f"--trainer.default_root_dir={tmp_path}", "--model.init_args.learning_rate=1"]
    assert main(["validate", *recipe, *options]) == 0
    assert smoke(tmp_path, "--model.init_args.learning_rate=1", "--trainer.max_epochs=2") == 2
    assert smoke(tmp_path, "--trainer.max_epochs=2") == 0


def test_a_damaged_checkpoint_is_named(tmp_path, capsys):
    assert smoke(tmp_path) == 0
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:20_000])
    assert smoke(tmp_path) == 2
    assert "last.ckpt is damaged" in capsys.readouterr().err
    assert smoke(tmp_path, f"--ckpt_path={last}") == 2
    assert "last.ckpt is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_a_checkpoint_of_no_training_run_is_named(content, tmp_path, capsys):
    """Released files and what `clicklab convert` writes."""
    torch.save(content, tmp_path / "released.pth")
    assert smoke(tmp_path, f"--ckpt_path={tmp_path / 'released.pth'}") == 2
    assert "released.pth is not the checkpoint of a training run" in capsys.readouterr().err


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, capsys):
    assert smoke(tmp_path) == 0

    def half(self, checkpoint, path, storage_options=None):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", half)
    assert smoke(tmp_path, "--trainer.max_epochs=2") == 2
    assert "No space left" in capsys.readouterr().err
    monkeypatch.undo()
    assert sorted(steps(path) for path in (tmp_path / "checkpoints").iterdir()) == [2, 2]  # the last and the best one
    assert smoke(tmp_path, "--trainer.max_epochs=2") == 0


def test_weights_that_are_no_numbers_are_not_kept(tmp_path, monkeypatch, capsys):
    """Whoever finds the run diverged goes on from the epoch before."""
    assert smoke(tmp_path) == 0

    def diverge(self):
        if self.current_epoch == 2:
            for parameter in self.network.parameters():
                parameter.data.fill_(float("nan"))

    monkeypatch.setattr(pl.LightningModule, "on_train_epoch_start", diverge)
    with pytest.warns(UserWarning, match="NaN or infinity"):
        assert smoke(tmp_path, "--trainer.max_epochs=4") == 2
    assert "lower learning rate" in capsys.readouterr().err
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 4 and all(value.isfinite().all() for value in kept["state_dict"].values())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_before_it_is_learnt_from(tmp_path, monkeypatch, capsys, wrong):
    """Nothing is measured here that would notice; the weights are those after three steps."""
    real = simpleclick.click_loss
    losses = iter([1.0, 1.0, 1.0, wrong, 1.0, 1.0])
    monkeypatch.setattr(simpleclick, "click_loss", lambda *given: real(*given) * next(losses))
    no_measuring = ["--data.init_args.val=null", "--trainer.max_epochs=3"]
    assert smoke(tmp_path, *no_measuring) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"the loss of step 4 is {wrong}" in said and "lower learning rate" in said and len(said) <= 200
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3 and all(value.isfinite().all() for value in kept["state_dict"].values())


def test_a_checkpoint_that_lacks_parts_is_named(tmp_path, capsys):
    assert smoke(tmp_path) == 0
    last = tmp_path / "checkpoints" / "last.ckpt"
    for part in ("optimizer_states", "callbacks", "loops/fit_loop"):
        content = whole = torch.load(last, weights_only=True)
        inner, _, name = part.rpartition("/")
        content = whole | ({inner: {}} if inner else {})
        content.pop(name, None)
        torch.save(content, last)
        capsys.readouterr()
        assert smoke(tmp_path, "--trainer.max_epochs=2") == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "lacks" in said and name in said and "--ckpt_path=null" in said
        torch.save(whole, last)


def test_one_image_per_device_under_batch_norm(tmp_path, capsys):
    recipe = files("_base/trainer", "ritm/config", "ritm/smoke")
    small = ["--data.init_args.batch_size=1", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["fit", *recipe, *small, "--trainer.enable_progress_bar=false"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "batch_size" in said and "--trainer.devices" in said and len(said) <= 200


EDITS = {
    "--model.init_args.learning_rat=1": "did you mean learning_rate?",
    "--model.init_args.network_options.dept=3": "did you mean depth?",
    "--data.init_args.batchsize=3": "did you mean batch_size?",
    "--data.init_args.targets.min_area=4": "min_object_area",
    "--data.init_args.batch_size=x": "'x' is not of type int",
    "--model=clicklab.methods.simpleclick.SimpleClik": "did you mean SimpleClick?",
    "--trainer.bogus=1": "--trainer has no setting 'bogus'",
    "--nonsense=1": "there is no --nonsense",
    "model: {init_args: null}": "init_args is empty",
    "trainer: {default_root_dir: '${nothing.here}'}": "Interpolation key 'nothing.here' not found",
    "trainer: {default_root_dir: '${oc.env:NOPE}'}": "'NOPE' not found",
    "model: {a: [1": "line",
    "none.yaml": "there is no such file",
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_wrong_setting_ends_in_one_line(tmp_path, capsys, edit):
    """The last line, under 200 characters but for names of files; nothing else is printed as an error."""
    given = [edit]
    if not edit.startswith("--"):
        (tmp_path / "edit.yaml").write_text(edit)
        given = ["--config", str(tmp_path / ("none.yaml" if edit == "none.yaml" else "edit.yaml"))]
    assert smoke(tmp_path / "run", *given) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and not line.startswith("Seed set")]
    assert len(lines) == 1 and lines[0].startswith("clicklab: error: "), lines
    assert EDITS[edit] in lines[0]
    assert len(lines[0].replace(str(tmp_path), "")) - len("clicklab: error: ") <= 200
    assert not (tmp_path / "run").exists()


def test_nothing_is_measured_that_was_not_trained(tmp_path, capsys):
    recipe = files("_base/trainer", "simpleclick/config", "simpleclick/smoke")
    assert main(["validate", *recipe, "--ckpt_path=last", f"--trainer.default_root_dir={tmp_path}"]) == 2
    assert "there is no" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_measuring_needs_neither_training_data_nor_the_run_s_variant_to_be_guessed(tmp_path, monkeypatch, capsys):
    assert smoke(tmp_path) == 0
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nothing"))  # COCO_LVIS is not there
    val = tmp_path / "val.yaml"
    val.write_text(
        "data: {init_args: {val: {Shapes: {class_path: data_modules.datasets.Shapes, init_args: {length: 2}}}}}"
    )
    recipe = [*files("_base/trainer", "simpleclick/config"), "--config", str(val)]
    network = ["--model.init_args.variant=mini", "--model.init_args.pretrained=null", "--trainer.accelerator=cpu"]
    small = ["--model.init_args.network_options={image_size: 64, patch_size: 8}", "--data.init_args.num_workers=0"]
    place = [f"--trainer.default_root_dir={tmp_path}", "--data.init_args.limit=2"]
    assert main(["validate", *recipe, *network, *small, *place]) == 0
    capsys.readouterr()
    assert main(["validate", *recipe, *network, *place, "--data.init_args.num_workers=0"]) == 2
    assert "another network than these settings" in capsys.readouterr().err


def test_a_terminated_run_says_so(tmp_path, monkeypatch):
    """Kubernetes and `make a && make b` go by the exit code."""
    monkeypatch.setattr(
        pl.LightningModule, "on_train_epoch_start", lambda self: signal.raise_signal(signal.SIGTERM), raising=True
    )
    assert smoke(tmp_path, "--trainer.max_epochs=3") == 143
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def options_of(arguments: list[str]) -> dict:
    (option,) = [word for word in with_all_network_options(arguments) if "network_options=" in word]
    return yaml.safe_load(option.partition("=")[2])


def test_network_options_of_several_overlays_are_taken_together():
    base = yaml.safe_load((EXPERIMENTS / "disnet" / "config.yaml").read_text())["model"]["init_args"]["network_options"]
    both = options_of(["fit", *files("disnet/config", "disnet/nomca", "disnet/nofcg"), "--x=1"])
    assert both == base | {"token_attention": "sam", "feature_guidance": "sam"}
    joined = options_of(
        ["fit", *files("piclick/config", "piclick/queries3"), f"--config={EXPERIMENTS}/piclick/maps.yaml"]
    )
    assert (joined["num_queries"], joined["click_encoding"]) == (3, "maps")


def test_options_of_another_variant_begin_anew():
    """bsds_gpu.yaml names its variant and that it has none; nomca.yaml then adds one."""
    assert options_of(["fit", *files("disnet/config", "disnet/bsds", "disnet/bsds_gpu")]) == {}
    added = options_of(["fit", *files("disnet/config", "disnet/bsds", "disnet/bsds_gpu", "disnet/nomca")])
    assert added == {"token_attention": "sam"}


def test_the_command_line_has_the_last_word(tmp_path):
    words = ["fit", *files("disnet/config", "disnet/nomca"), "--model.init_args.network_options.num_queries=3"]
    for more in ([], files("_base/sweep")):  # which names no options
        merged = with_all_network_options([*words, *more])
        assert merged[: len(words) - 1] == words[:-1] and merged[len(words) :] == [words[-1], *more]
    (tmp_path / "short.yaml").write_text("model: clicklab.methods.simpleclick.SimpleClick")
    (tmp_path / "wrong.yaml").write_text("model: {init_args: {network_options: [a]}}")
    odd = ["--config", str(tmp_path / "short.yaml"), "--config", str(tmp_path / "wrong.yaml")]
    assert with_all_network_options(["fit", *odd]) == ["fit", *odd]  # the parser has its say
    one = ["fit", *files("disnet/config"), "--config", str(tmp_path / "missing.yaml")]
    assert with_all_network_options(one) == one


@pytest.mark.parametrize(("photos", "ends"), [(6, 0), (4, 2)])
def test_photos_of_ones_own_need_an_overlay_only(photos, ends, tmp_path, monkeypatch, capsys):
    """Every fifth photo is kept apart to measure on, so that four are too few, which is said."""
    export_scenes(Shapes(length=photos, size=128), tmp_path / "photos", "folder")
    monkeypatch.setenv("PHOTOS", str(tmp_path / "photos"))
    recipe = files("_base/trainer", "simpleclick/config", "_base/photos")
    small = ["--data.init_args.crop_size=128", "--data.init_args.batch_size=2", "--data.init_args.num_workers=0"]
    small += ["--model.init_args.variant=mini", "--model.init_args.pretrained=null", "--trainer.accelerator=cpu"]
    small += ["--model.init_args.network_options={image_size: 128, patch_size: 8}", "--trainer.fast_dev_run=2"]
    assert main(["fit", *recipe, *small, f"--trainer.default_root_dir={tmp_path}"]) == ends
    assert ("fewer than 5 images" in capsys.readouterr().err) == (ends == 2)


def test_the_benchmarks_that_are_measured_are_readers(capsys, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "/data")
    recipe = files("_base/trainer", "simpleclick/config", "_base/benchmarks")
    with pytest.raises(SystemExit) as ended:
        main(["test", *recipe, "--print_config"])
    sets = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["test"]
    assert ended.value.code in (0, None) and {"GrabCut", "Berkeley", "SBD", "DAVIS"} <= set(sets)
    for entry in sets.values():
        assert issubclass(resolve_name(entry["class_path"]), SceneDataset)
        assert entry["init_args"]["root"].startswith("/data/")


@pytest.mark.parametrize(
    ("word", "offline"), [(None, True), ("1", True), ("true", True), ("0", False), ("False", False)]
)
def test_whether_wandb_is_offline_may_be_said_in_either_way(word, offline, capsys, monkeypatch):
    monkeypatch.delenv("WANDB_OFFLINE", raising=False)
    if word is not None:
        monkeypatch.setenv("WANDB_OFFLINE", word)
    with pytest.raises(SystemExit):
        main(["fit", *files("_base/trainer", "simpleclick/config", "simpleclick/smoke"), "--print_config"])
    loggers = yaml.safe_load(capsys.readouterr().out)["trainer"]["logger"]
    assert loggers[1]["init_args"]["offline"] is offline
