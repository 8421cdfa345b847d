"""What a pickle says, read without running any of it.

A pickle is a program for a small stack machine (Python's `pickletools` documents the operations).
`pickle` itself lets it call any function by name; here a name is a name, and the few calls that
checkpoints consist of are answered by values: tensors as the description of where they lie,
dictionaries, and objects without code (`argparse.Namespace`) as the dictionary of their parts. All
else is refused by its name.
"""

import pickletools
import warnings

from fundus_diag.models.weights.pickled_values import (
    DAMAGED,
    Name,
    Parts,
    Refused,
    Stored,
    answer,
    is_whole,
    key_of,
    named,
    only,
    shown,
)

MAX_OPERATIONS = 500_000  # a checkpoint of ViT-Large with its optimizer has 60,000
MAX_TEXT = 2**20  # bytes of one text or number
MAX_BYTES = 64 * 2**20  # of a pickle
_MARK = object()


def read(file):
    """The value of the pickle that begins where `file` (binary, open) stands.

    `file` stands behind it then. Of pickles as PyTorch's programs write them, protocol 2 and later.

    Returns:
        (value, {key: Stored}): the value is of texts, numbers, bytes, lists, tuples, dictionaries,
        and of `Name`, `Stored` and `Tensor`. Beside it all that is stored in the file's parts.

    Raises:
        Refused: see there.
    """
    machine = _Machine()
    try:
        # `pickletools` decodes the texts of old operations before they can be refused.
        with warnings.catch_warnings(action="ignore"):
            return machine.run(_Short(file))
    except (ValueError, OverflowError, MemoryError, LookupError, TypeError) as error:
        raise Refused(DAMAGED) from error


class _Short:
    """A file of which nothing long is read at once, nor much in all, whatever a pickle says."""

    def __init__(self, file):
        self.file = file
        self.tell = file.tell
        self.left = MAX_BYTES

    def read(self, count):
        if not 0 <= count <= MAX_TEXT:
            raise Refused(f"a pickle with a text of more than {MAX_TEXT} bytes")
        return self.counted(self.file.read(count))

    def readline(self):
        return self.counted(self.file.readline(MAX_TEXT))

    def counted(self, content):
        self.left -= len(content)
        if self.left < 0:
            raise Refused(f"a pickle of more than {MAX_BYTES} bytes")
        return content


_CONSTANTS = {
    **{"NONE": None, "NEWTRUE": True, "NEWFALSE": False},
    **{"EMPTY_TUPLE": (), "EMPTY_LIST": list, "EMPTY_DICT": dict},
}
_GIVEN = (
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE BINUNICODE8 SHORT_BINUNICODE "
    "BINSTRING SHORT_BINSTRING BINBYTES BINBYTES8 SHORT_BINBYTES"
).split()
_NOTHING = ("PROTO", "FRAME")


class _Machine:
    """The stack with its marks, the numbered memory, and the parts of the file that are named."""

    def __init__(self):
        self.stack, self.memory, self.parts = [], {}, {}
        self.copied = 0

    def run(self, file):
        """What is left at the end of the pickle in `file`, and the parts."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
            if count >= MAX_OPERATIONS:
                raise Refused(f"a pickle of more than {MAX_OPERATIONS} operations")
            if operation.name == "STOP":
                return self.pop(), self.parts
            self.do(operation.name, argument)
        raise Refused(DAMAGED)

    def pop(self):
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused(DAMAGED)
        return self.stack.pop()

    def since_mark(self):
        found = []
        while self.stack and self.stack[-1] is not _MARK:
            found.append(self.stack.pop())
        if not self.stack:
            raise Refused(DAMAGED)
        self.stack.pop()
        return found[::-1]

    def do(self, name, argument):
        if name in _GIVEN:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            value = _CONSTANTS[name]
            self.stack.append(value() if isinstance(value, type) else value)
        elif name in _OPERATIONS:
            _OPERATIONS[name](self, argument)
        elif name not in _NOTHING:
            raise Refused(f"a pickle with the operation {name}")

    def mark(self, _):
        self.stack.append(_MARK)

    def pop_one(self, _):
        if not self.stack:
            raise Refused(DAMAGED)
        self.stack.pop()

    def put(self, number):
        value = self.pop()
        self.memory[len(self.memory) if number is None else number] = value
        self.stack.append(value)

    def get(self, number):
        self.stack.append(self.memory[number])

    def tuple_of(self, count):
        self.stack.append(tuple([self.pop() for _ in range(count)][::-1]))

    def tuple_since_mark(self, _):
        self.stack.append(tuple(self.since_mark()))

    def append(self, _):
        value = self.pop()
        only(self.stack[-1], list).append(value)

    def extend(self, _):
        values = self.since_mark()
        only(self.stack[-1], list).extend(values)

    def set_item(self, _):
        value, key = self.pop(), self.pop()
        only(self.stack[-1], dict)[key_of(key)] = value

    def set_items(self, _):
        found = _pairs(self.since_mark())
        only(self.stack[-1], dict).update(found)

    def named(self, argument):
        self.stack.append(named(*argument.split(" ", 1)))

    def named_on_stack(self, _):
        name, module = only(self.pop(), str), only(self.pop(), str)
        self.stack.append(named(module, name))

    def call(self, _):
        given, name = only(self.pop(), tuple), self.pop()
        if name == ("collections", "OrderedDict") and given:
            self.copies(only(given[0], list, tuple))
        self.stack.append(answer(name, given))

    def copies(self, given):
        """Counts what is copied: a file of two bytes a time could have it copied for ever."""
        self.copied += len(given)
        if self.copied > MAX_OPERATIONS:
            raise Refused(f"a pickle of more than {MAX_OPERATIONS} operations")

    def build(self, _):
        parts, built = self.pop(), self.pop()
        # Parts of an object; what PyTorch hangs on a dictionary of weights says nothing of them.
        if isinstance(built, Parts):
            self.copies(only(parts, dict))
            built.update(parts)
        elif not isinstance(built, dict):
            raise Refused(DAMAGED)
        self.stack.append(built)

    def stored(self, _):
        found = only(self.pop(), tuple)
        if len(found) not in (5, 6) or found[0] != "storage" or found[5:] not in ((), (None,)):
            raise Refused(DAMAGED)
        kind, key, count = found[1], found[2], found[4]
        if not isinstance(kind, Name) or not isinstance(key, str) or not is_whole(count):
            raise Refused(DAMAGED)
        if kind.module not in ("torch", "torch.cuda"):
            raise Refused(f"numbers of the kind {shown(kind)}")
        found = Stored(kind.name, key, count)
        if self.parts.setdefault(key, found) != found:
            raise Refused(DAMAGED)
        self.stack.append(found)


_OPERATIONS = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop_one,
    "POP_MARK": lambda machine, _: machine.since_mark(),
    **{name: _Machine.put for name in ("BINPUT", "LONG_BINPUT", "MEMOIZE")},
    **{name: _Machine.get for name in ("BINGET", "LONG_BINGET")},
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": _Machine.tuple_since_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_on_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.stored,
}


def _pairs(values):
    if len(values) % 2:
        raise Refused(DAMAGED)
    return {key_of(key): value for key, value in zip(values[::2], values[1::2], strict=True)}
