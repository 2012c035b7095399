"""Compiled parts: where a compiler is missing they run as they are, with a warning; copies and keys are plain."""

import copy
import logging

import torch
from torch import nn

from clicklab.nn.compiled import compile_parts


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.GELU(), nn.Conv2d(2, 1, 1)))


def test_without_a_compiler_it_warns_and_goes_on(monkeypatch, caplog):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("/no/such/compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    monkeypatch.setattr(torch._dynamo.config, "suppress_errors", False)
    torch._dynamo.reset()
    plain = network()
    compiled = copy.deepcopy(plain)
    compile_parts(compiled)
    image = torch.rand(1, 1, 8, 8)
    with caplog.at_level(logging.WARNING, logger="torch._dynamo"), torch.no_grad():
        answer = compiled(image)
    torch.testing.assert_close(answer, plain(image))
    assert "WON'T CONVERT" in caplog.text
    torch._dynamo.reset()


def test_keys_stay_and_copies_are_plain():
    plain, compiled = network(), network()
    compile_parts(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert all(part._compiled_call_impl is not None for part in compiled.children())
    assert all(part._compiled_call_impl is None for part in copy.deepcopy(compiled).children())
