"""PyTorch's files without PyTorch: equal to what it wrote, and nothing else is taken."""

import io
import pickletools
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from narrow import GOLDENS

from fundus_diag.models.weights import pickled, pth
from fundus_diag.models.weights.pickled_values import Refused, Tensor

FILES = ("checkpoint.pth", "checkpoint_older.pth")
ALLOWED = (Refused, OSError)


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


def all_of(path):
    """{name: array} of all tensors below "model" that lie within what is stored."""
    content, read = pth.load(path)
    model = content.get("model", content) if isinstance(content, dict) else {}
    fine = {k: v for k, v in model.items() if isinstance(v, Tensor) and pth.fits(v)}
    return content, {name: read(tensor) for name, tensor in fine.items()}


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("file", FILES)
def test_a_file_holds_what_pytorch_wrote(file):
    content, found = all_of(GOLDENS / file)
    with np.load(GOLDENS / "checkpoint.npz") as wanted:
        assert list(found) == list(content["model"]) == list(wanted)
        for name, array in found.items():
            assert array.shape == wanted[name].shape
            assert pth.dtype(content["model"][name]) == array.dtype.name
            if name == "bfloat16":
                array = array.astype(np.float32)
            assert array.dtype == wanted[name].dtype
            np.testing.assert_array_equal(array, wanted[name])
    assert content["epoch"] == 7
    assert content["args"] == {
        "lr": 1.5e-3, "name": "größe", "sizes": [1, 2], "pair": (1, None), "no": False
    }  # fmt: skip
    assert content["scaler"] == {"scale": 65536.0, "big": 2**70}
    assert content["optimizer"]["state"][0]["step"] == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pytorch_writes_now_is_what_it_reads(tmp_path, older, protocol):
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(protocol)
    state = {}
    for k in range(60):
        sides = torch.randint(0, 5, (k % 5,), generator=generator).tolist()
        tensor = torch.randn(sides, generator=generator)
        tensor = tensor.to([torch.float32, torch.float16, torch.bfloat16, torch.float64][k % 4])
        state[f"layer{k}.weight"] = tensor.transpose(0, 1) if k % 3 == 0 and k % 5 > 1 else tensor
    path = tmp_path / "a.pth"
    torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not older)
    _, found = all_of(path)
    wanted = torch.load(path, weights_only=protocol < 4)  # later ones it does not read so
    assert list(found) == list(wanted)
    for name, array in found.items():
        np.testing.assert_array_equal(array.astype(np.float64), wanted[name].double().numpy())


def older_form(program, keys=(), parts=b""):
    """A file of the older form around a pickle's operations."""
    magic = b"\x80\x02\x8a\x0a" + pth.MAGIC.to_bytes(10, "little") + b"."
    about = b"\x80\x02}X\x0d\0\0\0little_endian\x88s."
    names = b"".join(b"X" + struct.pack("<I", len(key)) + key for key in keys)
    listed = b"\x80\x02](" + names + b"e."
    return magic + b"\x80\x02M\xe9\x03." + about + b"\x80\x02" + program + b"." + listed + parts


def stored(count, key=b"0", kind=b"FloatStorage"):
    """Operations that point to what is stored."""
    number = b"\x8a\x08" + struct.pack("<q", count)
    named = b"X" + struct.pack("<I", len(key)) + key
    return (
        b"(X\x07\0\0\0storagectorch\n" + kind + b"\n" + named + b"X\x03\0\0\0cpu" + number + b"tQ"
    )


def tensor(of, offset=0, side=3, stride=1):
    """Operations of {"a": a tensor with one side}."""
    numbers = [b"\x8a\x08" + struct.pack("<q", x) for x in (offset, side, stride)]
    call = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return (
        b"}X\x01\0\0\0a" + call + of + numbers[0] + numbers[1] + b"\x85" + numbers[2] + b"\x85tRs"
    )


def numbers(count):
    return struct.pack("<q", count) + np.arange(count, dtype="<f4").tobytes()


def test_a_file_put_together_by_hand_is_read(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(older_form(tensor(stored(3)), [b"0"], numbers(3)))
    np.testing.assert_array_equal(all_of(path)[1]["a"], [0, 1, 2])
    path.write_bytes(older_form(tensor(stored(6), 1, 3, 2), [b"0"], numbers(6)))
    np.testing.assert_array_equal(all_of(path)[1]["a"], [1, 3, 5])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cos\nsystem\nX\x02\0\0\0ls\x85R", r"it names os\.system"),
        (b"c__builtin__\neval\nX\x01\0\0\x001\x85R", r"it names __builtin__\.eval"),
        (b"c__builtin__\nbytearray\n\x8a\x06\0\0\0\0\0\x40\x85R", r"it names __builtin__"),
        (b"ctorch\ndevice\nX\x03\0\0\0cpu\x85R", r"it calls torch\.device"),
        (b"cargparse\nNamespace\n)\x81}X\x01\0\0\0ab", "damaged"),
        (b"(ios\nsystem\n", "operation INST"),
        (b"\x82\x01", "operation EXT1"),
        (b"}(K\x01K\x02K\x03u", "damaged"),
        (b"}(K\x01\x85K\x02u", "keys other than"),
        (b"h\x05", "damaged"),
        (b"t", "damaged"),
        (b"K\x01K\x02R", "damaged"),
        (b"K\x01}b", "damaged"),
        (b"B\xff\xff\xff\xffx", "text of more than"),
        (stored(3, kind=b"QUInt8Storage"), "numbers of the kind QUInt8Storage"),
        (stored(-1), "damaged"),
        (b"K\x07Q", "damaged"),
        (tensor(stored(3), -1), "damaged"),
        (tensor(stored(3), side=-1), "damaged"),
        (tensor(stored(3)) + b"0" + tensor(stored(4)), "damaged"),
        (tensor(stored(3, b"1")), "numbers are missing"),
        (b"}\x8b\x00\x10\x00\x00" + b"\x7f" * 4096 + b"K\x01s", "keys other than"),
    ],
)
def test_a_program_that_does_something_else_is_refused_by_its_name(tmp_path, program, message):
    path = tmp_path / "a.pth"
    path.write_bytes(older_form(program, [b"0"], numbers(3)))
    with pytest.raises(Refused, match=message):
        pth.load(path)


def test_a_name_is_not_looked_up(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(older_form(b"cantigravity\nfly\n"))
    with pytest.raises(Refused, match=r"it names antigravity\.fly"):  # though it calls nothing
        pth.load(path)
    assert "antigravity" not in sys.modules
    path.write_bytes(older_form(b"ctorch\nfloat32\n"))
    assert pth.load(path)[0] == ("torch", "float32")


@pytest.mark.parametrize(
    ("offset", "side", "stride"),
    [(0, 4, 1), (1, 3, 1), (0, 2, 3), (0, 2**40, 0), (0, 2, 2**62), (2**62, 1, 1)],
)
def test_what_lies_beyond_what_is_stored_does_not_fit(tmp_path, offset, side, stride):
    path = tmp_path / "a.pth"
    path.write_bytes(older_form(tensor(stored(3), offset, side, stride), [b"0"], numbers(3)))
    content, read = pth.load(path)
    assert not pth.fits(content["a"])
    with pytest.raises(Refused, match="numbers are missing"):  # never read beyond the end
        read(content["a"])


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ([], numbers(3)),
        ([b"0", b"0"], numbers(3) * 2),
        ([b"0", b"1"], numbers(3) * 2),
        ([b"0"], numbers(2)),
        ([b"0"], numbers(4)),
        ([b"0"], numbers(3)[:-1]),
        ([b"0"], b""),
    ],
)
def test_numbers_that_are_missing_or_left_over_are_refused(tmp_path, keys, parts):
    path = tmp_path / "a.pth"
    path.write_bytes(older_form(tensor(stored(3)), keys, parts))
    with pytest.raises(Refused, match="numbers are missing"):
        pth.load(path)


def test_keys_of_numbers_that_are_no_texts_are_refused_at_once(tmp_path):
    """Tuples that hold the one before twice: to write one out would never end."""
    path = tmp_path / "a.pth"
    whole = older_form(tensor(stored(3)), [b"0"], numbers(3))
    for key in (b"K\0", b"K\x01" + b"q\x00h\x00\x86" * 100):
        path.write_bytes(whole.replace(b"](X\x01\0\0\x000e.", b"](" + key + b"e."))
        assert path.read_bytes() != whole
        with pytest.raises(Refused, match="numbers are missing"):
            pth.load(path)
    deep = stored(3).replace(b"ctorch\nFloatStorage\n", b"K\x01" + b"q\x00h\x00\x86" * 100)
    path.write_bytes(older_form(deep, [b"0"], numbers(3)))
    with pytest.raises(Refused, match="damaged"):
        pth.load(path)


def test_a_file_that_was_cut_off_since_is_not_read_beyond_its_end(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(older_form(tensor(stored(3)), [b"0"], numbers(3)))
    content, read = pth.load(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(Refused, match="numbers are missing"):
        read(content["a"])


def test_a_count_without_its_numbers_takes_no_memory(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(older_form(tensor(stored(2**40)), [b"0"], struct.pack("<q", 2**40)))
    tracemalloc.start()
    with pytest.raises(Refused, match="numbers are missing"):
        pth.load(path)
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_tuples_within_tuples_and_long_programs_end(tmp_path):
    path = tmp_path / "a.pth"
    deep = b"K\x01" + b"q\x00h\x00\x86" * 100  # each holds the one before twice
    path.write_bytes(older_form(deep))
    pth.load(path)
    path.write_bytes(older_form(b"}" + deep + b"K\x01s"))
    with pytest.raises(Refused, match="keys other than"):
        pth.load(path)
    endless = io.BytesIO(b"\x80\x02" + b"N0" * pickled.MAX_OPERATIONS)
    with pytest.raises(Refused, match="operations"):
        pickled.read(endless)


def test_what_a_pickle_has_copied_again_and_again_is_bounded():
    def text(letters):
        return b"X" + struct.pack("<I", len(letters)) + letters

    size = b"\x80\x02]ctorch\nSize\nq\x000" + text(b"a" * 2**20) + b"q\x010"
    with pytest.raises(Refused, match="damaged"):  # a text is no size
        pickled.read(io.BytesIO(size + b"h\x00h\x01\x85Ra" * 3 + b"."))
    many = b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(20_000))
    parts = b"\x80\x02]}q\x00(" + many + b"u0cargparse\nNamespace\nq\x010"
    pickled.read(io.BytesIO(parts + b"h\x01)Rh\x00ba" + b"."))
    with pytest.raises(Refused, match="operations"):
        pickled.read(io.BytesIO(parts + b"h\x01)Rh\x00ba" * 30 + b"."))


def test_a_pickle_is_no_longer_than_so_many_bytes_in_either_form(tmp_path, monkeypatch):
    long = b"\x80\x02" + (b"X" + struct.pack("<I", 1000) + b"a" * 1000 + b"0") * 9 + b"N."
    pickled.read(io.BytesIO(long))
    monkeypatch.setattr(pickled, "MAX_BYTES", len(long))
    pickled.read(io.BytesIO(long))
    monkeypatch.setattr(pickled, "MAX_BYTES", len(long) - 1)
    with pytest.raises(Refused, match="pickle of more than .* bytes"):
        pickled.read(io.BytesIO(long))
    path = tmp_path / "a.pth"
    path.write_bytes(older_form(long[2:-1]))
    with pytest.raises(Refused, match="pickle of more than .* bytes"):
        pth.load(path)
    lines = rewritten(path, replaced("data.pkl", b"\x80\x02" + b"L1\n0" * 4000 + b"N."))
    with pytest.raises(Refused, match="damaged archive"):
        pth.load(lines)


def test_a_directory_of_very_many_entries_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
    content = (tmp_path / "a.pth").read_bytes()
    begin, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    count = pth.MAX_DIRECTORY // (end - begin) + 1
    numbers = struct.pack("<HHII", 0xFFFF, 0xFFFF, (end - begin) * count, begin)
    many = content[:begin] + content[begin:end] * count
    many += content[end : end + 8] + numbers + content[end + 20 :]
    (tmp_path / "a.pth").write_bytes(many)
    tracemalloc.start()
    with pytest.raises(Refused, match="damaged archive"):
        pth.load(tmp_path / "a.pth")
    assert tracemalloc.get_traced_memory()[1] < 3 * pth.MAX_DIRECTORY
    tracemalloc.stop()


def rewritten(path, change):
    """The archive with its entries (name, content) changed, not compressed."""
    with zipfile.ZipFile(GOLDENS / "checkpoint.pth") as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in change(entries):
            archive.writestr(name, content)
    return path


def replaced(name, content):
    return lambda entries: [(n, content if n.endswith(name) else c) for n, c in entries]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: [x for x in entries if not x[0].endswith("/data/0")], "missing"),
        (replaced("/data/0", b"\0" * 4), "missing"),
        (lambda entries: [x for x in entries if not x[0].endswith("data.pkl")], "damaged archive"),
        (lambda entries: [*entries, ("b/data.pkl", b"N.")], "damaged archive"),
        (lambda entries: [*entries, entries[0]], "damaged archive"),
        (replaced("byteorder", b"big"), "order of bytes"),
        (replaced("data.pkl", b"\x80\x02cos\nsystem\n)R."), r"os\.system"),
    ],
)
def test_an_archive_that_is_not_pytorchs_is_refused(tmp_path, change, message):
    path = rewritten(tmp_path / "a.pth", lambda entries: entries)
    assert all_of(path)[1]
    with pytest.raises(Refused, match=message):
        pth.load(rewritten(path, change))


def test_parts_that_lie_over_each_other_are_refused(tmp_path):
    content = bytearray((GOLDENS / "checkpoint.pth").read_bytes())
    with zipfile.ZipFile(GOLDENS / "checkpoint.pth") as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    # In the archive's directory the size of one part reaches over the next one.
    one = next(x for x in entries if x.filename.endswith("/data/0"))
    at = content.rindex(one.filename.encode()) - 46
    assert content[at : at + 4] == b"PK\x01\x02"
    larger = struct.pack("<II", one.compress_size + 4096, one.file_size + 4096)
    content[at + 20 : at + 28] = larger
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(Refused, match="damaged archive"):
        pth.load(tmp_path / "a.pth")


def test_parts_that_what_lies_before_them_pushes_over_the_next_are_refused(tmp_path):
    content = bytearray((GOLDENS / "checkpoint.pth").read_bytes())
    with zipfile.ZipFile(GOLDENS / "checkpoint.pth") as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    # The header in front of the numbers has a longer extra field than the directory knows of.
    place = next(x for x in entries if x.filename.endswith("/data/0")).header_offset + 28
    content[place : place + 2] = struct.pack("<H", 4096)
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(Refused, match="damaged archive"):
        pth.load(tmp_path / "a.pth")


def test_a_directory_that_lies_about_its_place_is_refused(tmp_path):
    file = tmp_path / "a.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
    data = bytearray(file.read_bytes())
    place = data.rindex(b"PK\5\6") + 16
    data[place : place + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(Refused, match="damaged archive"):
        pth.load(file)


def test_a_directory_that_places_an_entry_beyond_all_files_is_refused(tmp_path):
    file = tmp_path / "a.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
    data = bytearray(file.read_bytes())
    entry, end = data.rindex(b"PK\1\2"), data.rindex(b"PK\5\6")
    for offset in (2**62, 2**64 - 1):  # in a field of ZIP64
        extra = struct.pack("<HHQ", 1, 8, offset)
        changed = data[:end] + extra + data[end:]
        changed[entry + 30 : entry + 32] = struct.pack("<H", len(extra))
        changed[entry + 42 : entry + 46] = b"\xff" * 4
        size = end + len(extra) - entry
        changed[end + len(extra) + 12 : end + len(extra) + 16] = struct.pack("<I", size)
        file.write_bytes(changed)
        with pytest.raises(Refused, match="damaged archive"):
            pth.load(file)


def test_a_changed_number_is_found_by_its_checksum(tmp_path):
    content = bytearray((GOLDENS / "checkpoint.pth").read_bytes())
    with np.load(GOLDENS / "checkpoint.npz") as arrays:
        at = content.index(arrays["conv"].tobytes())
    content[at + 5] ^= 1
    (tmp_path / "a.pth").write_bytes(content)
    content, read = pth.load(tmp_path / "a.pth")
    with pytest.raises(Refused, match="damaged archive"):
        read(content["model"]["conv"])


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_changed_files_end_in_arrays_or_a_line(tmp_path, file, seed):
    """Bytes flipped, put in, left out; the pickle's, where most can go wrong, more than others."""
    whole = (GOLDENS / file).read_bytes()
    start = whole.index(b"\x80\x02}")
    pickle = slice(start, start + len(whole) // 3)
    rng = np.random.default_rng(seed)
    path = tmp_path / "a.pth"
    ended = {"read": 0, "refused": 0}
    tracemalloc.start()
    for turn in range(400 if seed == 0 else 2000):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            within = pickle if turn % 3 else slice(0, len(content))
            at = int(rng.integers(*within.indices(len(content))[:2]))
            kind = rng.integers(4)
            if kind == 0:
                content[at] = int(rng.integers(256))
            elif kind == 1:
                content[at : at + int(rng.integers(1, 9))] = b""
            elif kind == 2:
                content[at:at] = rng.bytes(int(rng.integers(1, 9)))
            else:
                there = int(rng.integers(len(content)))
                content[at : at + 8] = content[there : there + 8]
        if turn % 20 == 0:
            content = content[: int(rng.integers(len(content)))]
        path.write_bytes(content)
        try:
            all_of(path)
            ended["read"] += 1
        except ALLOWED:
            ended["refused"] += 1
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * 2**20
    assert min(ended.values()) > 10, ended


def test_every_operation_that_pytorch_writes_is_known():
    """Of both files; the others are refused by name."""
    with zipfile.ZipFile(GOLDENS / "checkpoint.pth") as archive:
        name = next(x for x in archive.namelist() if x.endswith("data.pkl"))
        written = {x.name for x, _, _ in pickletools.genops(archive.read(name))}
    known = {*pickled._GIVEN, *pickled._CONSTANTS, *pickled._NOTHING, *pickled._OPERATIONS, "STOP"}
    assert written <= known
