"""What a pickle is going to build, seen without building it.

`torch.load(weights_only=True)` runs no foreign code, but a small file can still make it work for hours or fill the
memory: tuples in tuples as keys are hashed 2^n times, `bytearray(10**11)` is a few bytes of pickle. The stream of
opcodes is therefore gone through once beforehand, with a stack of placeholders in the place of values.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterable
from typing import IO, Any, NamedTuple

MAX_OPCODES = 500_000  # a training checkpoint has about 160 for each tensor of the network: 120 000 for a ViT-H
MAX_GLOBALS = 10_000  # names of classes; each is looked up anew while reading
MAX_DEPTH = 8  # of tuples in tuples

# What weights, optimisers and settings are made of, as far as PyTorch itself allows it.
HARMLESS = re.compile(
    r"collections\.(OrderedDict|Counter)|builtins\.(set|complex)|_codecs\.encode"
    r"|torch\.(Size|device|[a-z]+\d*(_\w+)?|\w+Storage)|torch\.storage\.\w+Storage"
    r"|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter|parameter_with_state)"
)
# Tensors that PyTorch can store and no network here can use.
UNUSABLE = {
    "torch._utils._rebuild_sparse_tensor": "sparse tensors",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse tensors",
    "torch._utils._rebuild_nested_tensor": "nested tensors",
    "torch._utils._rebuild_qtensor": "quantized tensors",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta tensors, which have no values",
}
MARK = object()
OTHER = object()


class _Tuple(NamedTuple):
    items: list[Any]
    depth: int


class _Global(NamedTuple):
    name: str


class Refused(ValueError):
    """The pickle asks for something that is not going to be done; the message says what."""


def scan(stream: IO[bytes], storage_elements: int, stand_ins: Iterable[str] = ()) -> None:
    """Goes through one pickle, up to and with its end.

    Args:
        stream: positioned where the pickle begins.
        storage_elements: how many numbers the tensors may have in all; a file holds one byte for each at least.
        stand_ins: names of classes that something harmless is put in the place of.

    Raises:
        Refused: too many steps, classes that are not known to be harmless, nested tuples, larger tensors than the file.
        ValueError, KeyError, IndexError: the stream is no pickle.
    """
    known = set(stand_ins)
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    storages: dict[Any, int] = {}
    names = 0
    for step, (opcode, operand, _) in enumerate(pickletools.genops(stream)):
        argument: Any = operand
        if step > MAX_OPCODES:
            raise Refused(f"refused: more than {MAX_OPCODES} steps to build it, which no checkpoint needs")
        name = opcode.name
        if name == "STOP":
            return
        if name == "MARK":
            stack.append(MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument)])
        elif name == "GLOBAL":
            names += 1
            stack.append(_Global(_checked_name(argument, known, names)))
        else:
            popped = _pop(stack, opcode)
            if name.startswith("TUPLE"):
                stack.append(_tuple(popped))
            elif name == "REDUCE":
                _check_call(*popped)
                stack.append(OTHER)
            elif name == "BINPERSID":
                _check_storage(popped[0], storages, storage_elements)
                stack.append(OTHER)
            else:
                value = argument if isinstance(argument, (int, str)) else OTHER
                stack += [value] * len(opcode.stack_after)
    raise ValueError("the pickle has no end")


def _pop(stack: list[Any], opcode: pickletools.OpcodeInfo) -> list[Any]:
    """What an opcode takes from the stack, the lowest first."""
    before = list(opcode.stack_before)
    items = []
    if pickletools.stackslice in before:
        while (top := stack.pop()) is not MARK:
            items.append(top)
        before = before[: before.index(pickletools.markobject)]
    items += [stack.pop() for _ in before]
    return items[::-1]


def _checked_name(argument: str, known: set[str], count: int) -> str:
    module, _, name = argument.partition(" ")
    full = f"{'builtins' if module == '__builtin__' else module}.{name}"
    if count > MAX_GLOBALS:
        raise Refused(f"refused: it names classes more than {MAX_GLOBALS} times, which no checkpoint needs")
    if full in UNUSABLE:
        raise Refused(f"holds {UNUSABLE[full]}: save the network's state_dict with ordinary tensors")
    if full not in known and not HARMLESS.fullmatch(full):
        shown = full.removeprefix("builtins.")[:60]
        raise Refused(
            f"refused: it holds the Python object {shown}, and reading that could run code; save the state_dict alone"
        )
    return full


def _tuple(items: list[Any]) -> _Tuple:
    depth = 1 + max((item.depth for item in items if isinstance(item, _Tuple)), default=0)
    if depth > MAX_DEPTH:
        raise Refused(f"refused: tuples nested more than {MAX_DEPTH} deep, which no checkpoint needs")
    return _Tuple(items, depth)


def _check_call(function: Any, arguments: Any) -> None:
    if function == _Global("_codecs.encode"):
        codec = arguments.items[1] if isinstance(arguments, _Tuple) and len(arguments.items) == 2 else None
        if codec not in ("latin1", "latin-1"):  # how Python writes bytes; some others take quadratic time
            raise Refused("refused: it encodes text in a way that no checkpoint needs")


def _check_storage(place: Any, storages: dict[Any, int], limit: int) -> None:
    """The numbers of a tensor: (`storage`, type, key, device, count ...)."""
    if not isinstance(place, _Tuple) or place.items[0] not in ("storage", b"storage"):
        raise Refused(
            "refused: a Python class is stored in it the way of PyTorch before 1.6; save it again with a newer one"
        )
    key, count = place.items[2], place.items[4]
    if not isinstance(key, (str, int)) or not isinstance(count, int):
        raise ValueError("a tensor without a place")
    storages[key] = max(count, 0)
    if sum(storages.values()) > limit:
        raise Refused("damaged, or made to fill the memory: its tensors are larger than the file")
