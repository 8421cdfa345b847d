"""Faults of files of kinds that disks, networks and people make."""

import numpy as np


def changed(content, rng, others):
    """The bytes with one to three faults.

    Args:
        content: of a file.
        rng: NumPy's generator.
        others: contents of sound files, whose heads may come before this one's.
    """
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, end = sorted(int(x) for x in rng.integers(0, len(data) + 1, 2))
        head = int(rng.integers(0, min(len(data), 600) + 1))  # damage there means most
        fault = rng.integers(0, 8)
        if fault == 0 and len(data):
            for place in rng.integers(0, len(data), rng.integers(1, 9)):
                data[place] ^= 1 << int(rng.integers(0, 8))
        elif fault == 1 and head < len(data):
            data[head] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
        elif fault == 2:
            del data[end:]
        elif fault == 3:
            del data[at : min(end, at + 300)]
        elif fault == 4:
            data[at:at] = data[at : min(end, at + 300)]
        elif fault == 5:
            data[:head] = others[int(rng.integers(len(others)))][:head]
        elif fault == 6:
            data[head : head + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
        else:
            data[at : at + 64] = rng.integers(0, 256, 64, np.uint8).tobytes()
    return bytes(data)
