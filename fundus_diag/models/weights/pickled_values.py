"""What a pickle of a checkpoint may come to: names, tensors, dictionaries, objects without code."""

from typing import NamedTuple

MAX_AXES = 16
DAMAGED = "a damaged pickle"
MODULES = ("torch", "torch.cuda", "torch._utils")  # of types and of storages
CALLED = (("collections", "OrderedDict"), ("argparse", "Namespace"))


class Refused(Exception):
    """The pickle is damaged, or holds what is not read; says which."""


class Name(NamedTuple):
    """Something that the pickle names, and that is not looked up."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


class Stored(NamedTuple):
    """Numbers that lie in the file beside the pickle.

    Attributes:
        kind: name of the storage's type, such as "FloatStorage".
        key: which of the file's parts.
        count: numbers in it.
    """

    kind: str
    key: str
    count: int


class Tensor(NamedTuple):
    """An array as a view of what is stored: `offset`, `shape` and `strides` in numbers."""

    stored: Stored
    offset: int
    shape: tuple
    strides: tuple


class Parts(dict):
    """The parts of an object without code."""


def named(module, name):
    """The `Name` of what checkpoints name. Raises Refused: it is of anywhere else."""
    found = Name(module, name)
    if module not in MODULES and found not in CALLED:
        raise Refused(f"it names {shown(found)}")
    return found


def answer(name, given):
    """What a call of `name` stands for."""
    if not isinstance(name, Name):
        raise Refused(DAMAGED)
    if name in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
        return _tensor(*given[:4])
    if name == ("torch._utils", "_rebuild_parameter") and given:
        return only(given[0], Tensor)
    if name == ("collections", "OrderedDict"):
        pairs = [only(pair, list, tuple) for pair in (given[0] if given else ())]
        return {key_of(key): value for key, value in pairs}
    if name == ("torch", "Size") and len(given) == 1:
        sides = only(given[0], list, tuple)
        if len(sides) > MAX_AXES or not all(map(is_whole, sides)):
            raise Refused(DAMAGED)
        return tuple(sides)
    if name == ("argparse", "Namespace") and not given:
        return Parts()
    raise Refused(f"it calls {shown(name)}")


def _tensor(stored, offset, shape, strides):
    stored, shape, strides = only(stored, Stored), only(shape, tuple), only(strides, tuple)
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > MAX_AXES or not all(map(is_whole, numbers)):
        raise Refused(DAMAGED)
    return Tensor(stored, offset, shape, strides)


def key_of(key):
    # No tuples: a few operations nest them so deep that comparing them never ends.
    long = isinstance(key, int) and abs(key) >= 2**63  # Python writes none of many digits
    if long or not isinstance(key, str | int | float | bytes | None):
        raise Refused("a pickle with keys other than texts and numbers")
    return key


def only(value, *kinds):
    if type(value) not in kinds:  # a `Name` is a tuple, but none of the pickle's
        raise Refused(DAMAGED)
    return value


def is_whole(number):
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63


def shown(name):
    return "".join(x if x.isprintable() else "?" for x in str(name)[:80])
