"""Files of PyTorch (`.pth`, `.pt`, `.bin`) without PyTorch: arrays by name, nothing that could run.

`torch.save` writes a pickle (`pickled`) of which each tensor points to numbers that lie beside it:
since PyTorch 1.6 in parts of a ZIP archive that is not compressed, before that one behind the
other, each with its count in front. Numbers are read when they are asked for.
"""

import contextlib
import functools
import io
import math
import zipfile

import ml_dtypes
import numpy as np

from fundus_diag.models.weights import pickled
from fundus_diag.models.weights.pickled_values import Refused

KINDS = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the older form
DAMAGED = "a damaged archive"
MISSING = "numbers are missing: the file is cut off or damaged"
MAX_DIRECTORY = 4 * 2**20  # bytes of a ZIP archive's list of entries; each takes 46 and its name
MAX_EMPTY = 2**40  # numbers that an array without any would have, were its empty sides 1


def load(path):
    """What a file holds.

    Returns:
        (value, read): the value as `pickled.read` gives it; `read(tensor)` is the array of a
        `pickled_values.Tensor` in it.

    Raises:
        Refused: the file is damaged, or holds more than plain values and arrays. OSError: see
        `open`.
    """
    value, bytes_of = (_archive if zipfile.is_zipfile(path) else _older)(path)
    # Tensors may share a part: the last one is kept.
    return value, functools.partial(_array, functools.lru_cache(maxsize=1)(bytes_of))


def fits(tensor):
    """Whether a tensor lies within what is stored for it, none of its numbers used twice over."""
    if 0 in tensor.shape:
        return math.prod(side or 1 for side in tensor.shape) < MAX_EMPTY
    pairs = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((side - 1) * stride for side, stride in pairs)
    return last < tensor.stored.count and math.prod(tensor.shape) <= tensor.stored.count


def dtype(tensor):
    """NumPy's name of a tensor's type."""
    return KINDS[tensor.stored.kind].name


def _array(bytes_of, tensor):
    kind = KINDS[tensor.stored.kind]
    if not fits(tensor):
        raise Refused(MISSING)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, kind)
    content = bytes_of(tensor.stored)
    if len(content) != _size(tensor.stored):  # the file has changed since
        raise Refused(MISSING)
    numbers = np.frombuffer(content, kind)
    strides = [kind.itemsize * stride for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, strides, writeable=False
    )


def _size(part):
    """Bytes of what is stored."""
    if part.kind not in KINDS:
        raise Refused(f"numbers of the kind {part.kind[:80]}")
    return part.count * KINDS[part.kind].itemsize


def _older(path):
    """Of the form before PyTorch 1.6."""
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        file.seek(0)
        for wanted in (MAGIC, PROTOCOL):
            if pickled.read(file)[0] != wanted:
                raise Refused("not a file of PyTorch")
        about, _ = pickled.read(file)
        if not isinstance(about, dict) or about.get("little_endian") is not True:
            raise Refused("numbers in an order of bytes that is not read")
        value, parts = pickled.read(file)
        keys, _ = pickled.read(file)
        named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not named or sorted(keys) != sorted(parts):
            raise Refused(MISSING)
        places = {}
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            begin = file.tell()
            if count != parts[key].count or begin + _size(parts[key]) > end:
                raise Refused(MISSING)
            places[key] = begin
            file.seek(begin + _size(parts[key]))

    def bytes_of(part):
        with open(path, "rb") as file:
            file.seek(places[part.key])
            return file.read(_size(part))

    return value, bytes_of


def _archive(path):
    """Of the form since PyTorch 1.6."""
    with _opened(path) as archive:
        entries = _entries(archive)
        found = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1 or entries[found[0]].file_size > pickled.MAX_BYTES:
            raise Refused(DAMAGED)
        root = found[0].removesuffix("data.pkl")
        order = entries.get(f"{root}byteorder")
        if order is not None and (order.file_size > 16 or archive.read(order) != b"little"):
            raise Refused("numbers in an order of bytes that is not read")
        program = archive.read(found[0])
    value, parts = pickled.read(io.BytesIO(program))
    for part in parts.values():
        entry = entries.get(f"{root}data/{part.key}")
        if entry is None or entry.file_size != _size(part):
            raise Refused(MISSING)

    def bytes_of(part):
        with _opened(path) as archive:
            return archive.read(f"{root}data/{part.key}")  # its checksum is compared

    return value, bytes_of


class _Whole(io.BufferedReader):
    """A file of which no more than `most` bytes are read at once: `zipfile` makes an object of
    each entry that a directory lists, before any can be counted."""

    most = MAX_DIRECTORY

    def read(self, size=-1):
        if self.most is None:
            return super().read(size)
        content = super().read(self.most + 1 if size < 0 else min(size, self.most + 1))
        if len(content) > self.most:
            raise Refused(DAMAGED)
        return content


@contextlib.contextmanager
def _opened(path):
    # All that `zipfile` raises of what it reads: damage, a version or compression that it does not
    # know, an end too early, a name that is no UTF-8. Nothing else happens while it is open.
    try:
        with _Whole(open(path, "rb", buffering=0)) as file, zipfile.ZipFile(file) as archive:
            file.most = None
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise Refused(DAMAGED) from error


def _entries(archive):
    """{name: entry} of an archive, of which no two may share bytes or a name."""
    infos = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in infos):
        raise Refused("compressed, which PyTorch's files are not")
    ends = [entry.header_offset for entry in infos[1:]] + [archive.start_dir]
    for entry, end in zip(infos, ends, strict=True):
        if entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise Refused(DAMAGED)
        # A directory that lies about its own place puts entries before the file's first byte.
        if entry.header_offset < 0 or entry.header_offset + entry.file_size > end:
            raise Refused(DAMAGED)
        archive.fp.seek(entry.header_offset)
        header = archive.fp.read(30)  # and behind it a name, and more, in front of the numbers
        around = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        if entry.header_offset + len(header) + around + entry.file_size > end:
            raise Refused(DAMAGED)
    entries = {entry.filename: entry for entry in infos}
    if len(entries) != len(infos):
        raise Refused(DAMAGED)
    return entries
