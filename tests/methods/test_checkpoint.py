"""`clicklab.load` and `convert`: files of ours, official ones, and files that must be refused."""

import errno
import os

import pytest
import torch
from official_simpleclick import official_checkpoint

import clicklab
from clicklab.checkpoint import convert, load
from clicklab.external_checkpoint import read_foreign
from clicklab.methods import method_package
from clicklab.methods.simpleclick import SimpleClickNet
from clicklab.records import Clicks


def answer(network):
    torch.manual_seed(1)
    image, prev_mask = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        return network(image, Clicks.from_list([[(9, 30, 1)]]), prev_mask).logits


@pytest.fixture
def trained(tmp_path):
    """What Lightning writes for a module that names its method (`ClickModule.on_save_checkpoint`)."""
    network = SimpleClickNet.from_variant("mini", image_size=64, click_radius=3.0).eval()
    checkpoint = {
        "clicklab_method": "simpleclick",
        "hyper_parameters": {
            "variant": "mini",
            "network_options": {"image_size": 64, "click_radius": 3.0},
            "learning_rate": 5e-5,
        },
        "state_dict": {f"network.{k}": v for k, v in network.state_dict().items()} | {"metric.total": torch.zeros(1)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]}],
        "epoch": 3,
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    return network, checkpoint, tmp_path / "last.ckpt"


def test_training_checkpoint(trained):
    network, _, path = trained
    opened = clicklab.load(path)
    assert not opened.training
    assert opened.arguments == network.arguments
    assert torch.equal(answer(opened), answer(network))


def test_convert_own_and_official(trained, official_file, tmp_path):
    _, _, ours = trained
    for source in (ours, official_file("mini")):
        out = tmp_path / "new" / "converted.ckpt"
        convert(source, out)
        assert torch.equal(answer(load(out)), answer(load(source)))
        assert load(out).arguments == load(source).arguments
        plain = torch.load(out, weights_only=True)
        assert plain.keys() == {"clicklab_method", "hyper_parameters", "state_dict"}
        convert(source, out.with_suffix(".safetensors"))
        assert torch.equal(answer(load(out.with_suffix(".safetensors"))), answer(load(source)))
        assert len(list(out.parent.iterdir())) == 2  # nothing unfinished is left
    with pytest.raises(ValueError, match="another file"):
        convert(ours, ours)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file data/0")],
)
def test_a_full_disk_leaves_the_file_before_and_is_named(trained, tmp_path, monkeypatch, error):
    out = tmp_path / "out.ckpt"
    out.write_bytes(b"before")

    def half(content, part):
        part.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match=r"out\.ckpt"):
        convert(trained[2], out)
    assert out.read_bytes() == b"before" and sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "out.ckpt"]


def test_network_options_that_need_no_other_weights(official_file, tmp_path):
    """The answer is that of a network built with them; one that needs other weights is refused."""
    source = official_file("mini")
    right = SimpleClickNet(**{**load(source).arguments, "click_radius": 9.0})
    right.load_state_dict(load(source).state_dict())
    found = load(source, network_options={"click_radius": 9.0})
    assert torch.equal(answer(found), answer(right.eval()))
    assert not torch.equal(answer(found), answer(load(source)))
    assert found.arguments["click_radius"] == 9.0
    for options, words in (
        ({"depth": 12}, "not trained with it"),
        ({"depth": 10**9}, "not trained with it"),
        ({"click_radios": 3}, r"no option 'click_radios': did you mean click_radius\? known: image_size, "),
        ({"click_radius": "wide"}, "click_radius is 'wide', expected float"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            load(source, network_options=options)
        assert len(str(error.value)) <= 200 and "\n" not in str(error.value)


def test_official_file_in_the_old_format(tmp_path):
    checkpoint = official_checkpoint("mini")
    torch.save(checkpoint, tmp_path / "new.pth")
    torch.save(checkpoint, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(answer(load(tmp_path / "old.pth")), answer(load(tmp_path / "new.pth")))


class Malicious:
    def __reduce__(self):
        return (os.mkdir, (os.environ["MALICIOUS_TARGET"],))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_never_runs(tmp_path, monkeypatch, zipped):
    target = tmp_path / "it-ran"
    monkeypatch.setenv("MALICIOUS_TARGET", str(target))
    path = tmp_path / "bad.pth"
    torch.save({"state_dict": {}, "config": Malicious()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"bad\.pth: refused: it holds the Python object posix\.mkdir"):
        load(path)
    assert not target.exists()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_class_in_the_old_format_is_refused(official_file):
    with pytest.raises(ValueError, match=r"before 1\.6; save it again"):
        read_foreign(official_file("mini", zipped=False))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no checkpoint at all", "not a PyTorch checkpoint"),
        (b"", "not a PyTorch checkpoint"),
        ([1, 2], "holds a list"),
        ({"state_dict": {"a.b": torch.zeros(1)}}, r"of no known method .*simpleclick.*begin with: a\.b"),
        ({"weights": 1}, "of no known method.*begin with: weights"),
        ({"model": {"patch_embed.proj.weight": torch.zeros(1)}}, "backbone only.*set `pretrained`"),
        ({"patch_embed.proj.weight": torch.zeros(1)}, "backbone only"),
        (
            {"clicklab_method": "magic", "hyper_parameters": {}, "state_dict": {}},
            "unknown method 'magic'; known: .*simpleclick",
        ),
        ({"clicklab_method": "simpleclick", "state_dict": {}}, "no hyper_parameters"),
        (
            {"clicklab_method": "simpleclick", "hyper_parameters": {"variant": "mini"}, "state_dict": {}},
            "keys missing: backbone",
        ),
    ],
)
def test_files_that_are_no_model(tmp_path, content, message):
    path = tmp_path / "file.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_checkpoints_of_ours_with_something_else_inside(tmp_path):
    fine = {"clicklab_method": "simpleclick", "hyper_parameters": {"variant": "mini"}, "state_dict": {}}
    wrong = [{"hyper_parameters": None}, {"hyper_parameters": []}, {"hyper_parameters": {"network_options": "x"}}]
    wrong += [{"state_dict": None}, {"state_dict": []}, {"state_dict": {"network.a": "text"}}]
    for changes in wrong:
        torch.save(fine | changes, tmp_path / "odd.ckpt")
        with pytest.raises(ValueError, match=r"odd\.ckpt: its (hyper_parameters|state_dict)"):
            load(tmp_path / "odd.ckpt")
    torch.save({"model": None}, tmp_path / "odd.ckpt")
    with pytest.raises(ValueError, match="of no known method"):
        load(tmp_path / "odd.ckpt")


def test_truncated_and_absent_files(trained, tmp_path):
    *_, path = trained
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ValueError, match="damaged"):
        load(path)
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        load(tmp_path / "nothing-here.ckpt")
    with pytest.raises(ValueError, match="a folder"):
        load(tmp_path.parent)


def test_unknown_method():
    with pytest.raises(ValueError, match=r"unknown method 'sam'; known: .*simpleclick"):
        method_package("sam")
