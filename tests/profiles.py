"""Colour profiles, made by code: what cameras, phones and editors embed. ICC.1:2001-04 (version 2)."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

# name -> (x, y of red, green and blue; x, y of white; gamma, or None for the curve of sRGB)
SPACES = {
    "sRGB": ((0.64, 0.33, 0.30, 0.60, 0.15, 0.06), (0.3127, 0.3290), None),
    "P3": ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), (0.3127, 0.3290), None),
    "AdobeRGB": ((0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (0.3127, 0.3290), 563 / 256),
    "ProPhoto": ((0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), (0.3457, 0.3585), 1.8),
    "linear": ((0.64, 0.33, 0.30, 0.60, 0.15, 0.06), (0.3127, 0.3290), 1.0),
}


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def to_xyz(name: str) -> np.ndarray:
    """(3, 3): linear RGB of a space to XYZ under D50, by Bradford's adaptation."""
    points, white, _ = SPACES[name]
    primaries = np.stack([_xyz(*points[at : at + 2]) for at in (0, 2, 4)], axis=1)
    scaled = primaries * np.linalg.solve(primaries, _xyz(*white))
    cone = np.diag(BRADFORD @ np.array(D50) / (BRADFORD @ _xyz(*white)))
    return np.linalg.inv(BRADFORD) @ cone @ BRADFORD @ scaled


def decode(levels: np.ndarray, name: str) -> np.ndarray:
    """Stored values 0..1 to linear light."""
    gamma = SPACES[name][2]
    if gamma is not None:
        return levels**gamma
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def encode(light: np.ndarray, name: str) -> np.ndarray:
    """Linear light to stored values 0..1."""
    light, gamma = light.clip(0, 1), SPACES[name][2]
    if gamma is not None:
        return light ** (1 / gamma)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def stored_in(image: np.ndarray, name: str) -> np.ndarray:
    """(h, w, 3) uint8 sRGB to the uint8 values that show the same colours in another space."""
    light = decode(image / 255, "sRGB") @ to_xyz("sRGB").T @ np.linalg.inv(to_xyz(name)).T
    return (encode(light, name) * 255).round().astype(np.uint8)


def _s15(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    values = (decode(np.linspace(0, 1, 1024), "sRGB") * 65535).round().astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + values.tobytes()


def profile(name: str, *, grey: bool = False) -> bytes:
    """A profile of a display: three primaries and a curve, or a curve alone."""
    _, _, gamma = SPACES[name]
    text = name.encode() + b"\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": b"XYZ " + bytes(4) + _s15(*D50)}
    if grey:
        tags[b"kTRC"] = _curve(gamma)
    else:
        for column, colour in zip(to_xyz(name).T, b"rgb", strict=True):
            tags[bytes([colour]) + b"XYZ"] = b"XYZ " + bytes(4) + _s15(*column)
            tags[bytes([colour]) + b"TRC"] = _curve(gamma)
    return _file(b"mntr", b"GRAY" if grey else b"RGB ", b"XYZ ", tags)


def printer() -> bytes:
    """A profile of inks: (C, M, Y, K) to L*a*b* through a table of 2 points a side, black ink only dimming."""
    rows = []
    for corner in np.ndindex(2, 2, 2, 2):
        cyan, magenta, yellow, black = corner
        light = decode((1 - np.array([cyan, magenta, yellow])) * (1 - black) * 0.9 + 0.05, "sRGB")
        ratio = np.cbrt((to_xyz("sRGB") @ light) / np.array(D50))
        lab = [116 * ratio[1] - 16, 500 * (ratio[0] - ratio[1]), 200 * (ratio[1] - ratio[2])]
        rows.append([round(lab[0] * 65280 / 100), round((lab[1] + 128) * 256), round((lab[2] + 128) * 256)])
    table = np.array(rows).clip(0, 65535).astype(">u2").tobytes()
    straight = struct.pack(">2H", 0, 65535)
    body = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + _s15(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack(">2H", 2, 2)
    body += straight * 4 + table + straight * 3
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(78), b"A2B0": body, b"A2B1": body}
    tags |= {b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": b"XYZ " + bytes(4) + _s15(*D50)}
    return _file(b"prtr", b"CMYK", b"Lab ", tags)


def _file(device: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    at, table, bodies = 128 + 4 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(bodies), b"none", 0x02400000, device, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + struct.pack(">I", 0) + _s15(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + bodies
