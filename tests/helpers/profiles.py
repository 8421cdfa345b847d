"""ICC profiles made by hand, and what their formulas make of colours."""

import struct

import numpy as np

# x, y of the primaries of Adobe RGB (1998) and of the white D50, to which profiles are adapted.
ADOBE = ((0.6484, 0.3309), (0.2302, 0.7016), (0.1559, 0.0660))
XYZ_OF_SRGB = np.array(  # from linear sRGB to XYZ, both under D50
    [[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]
)
D50 = np.array([0.9642, 1.0, 0.8249])


def matrix(primaries):
    """From linear RGB of three primaries under D50 to XYZ, (3, 3)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    return columns * np.linalg.solve(columns, D50)


def profile(name="made here", space=b"RGB ", gamma=2.2, primaries=ADOBE):
    """An ICC profile of version 2 from its primaries and one gamma; made by hand."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * x) for x in values))

    text = name.encode()
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + bytes(80)}
    tags[b"wtpt"] = xyz(D50)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        columns = matrix(primaries).T
        tags |= {b"rgb"[k : k + 1] + b"XYZ": xyz(columns[k]) for k in range(3)}
        tags |= {b"rgb"[k : k + 1] + b"TRC": curve for k in range(3)}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", 0, b"none", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += xyz(D50)[8:] + bytes(48)
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def to_srgb(levels, gamma=2.2, primaries=ADOBE):
    """Levels [0, 255] of a profile as sRGB, by its formulas."""
    linear = (levels / 255.0) ** gamma
    if levels.shape[-1] == 3:
        linear = linear @ (np.linalg.inv(XYZ_OF_SRGB) @ matrix(primaries)).T
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * curved
