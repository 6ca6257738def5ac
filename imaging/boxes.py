"""What a HEIC would cost to decode, read from its boxes (ISO 14496-12, ISO 23008-12) before a decoder sees it.

A HEIC holds items: the picture, which is one coded image or a grid of tiles, and what belongs to it (transparency,
depth, a gain map, metadata). A decoder follows the references between them, however often they name one large image.
"""

import struct
from collections.abc import Iterator

CODED = b"hvc1"
MAX_DEPTH = 4  # of references from item to item; a phone's picture has one
MAX_META_BYTES = 2**20  # of all that is not pixels; a phone writes some kilobytes


class BoxError(ValueError):
    """The boxes do not say what they must."""


def heif_pixels(data: bytes) -> int | None:
    """Pixels that a decoder handles for the main picture: its own or those of all its tiles, and of its transparency.

    None: there is no main picture of a kind that phones write (a sequence without one, an overlay, another codec).
    Raises BoxError where the boxes are damaged.
    """
    try:
        return _Items(data).pixels()
    except (struct.error, IndexError, KeyError, RecursionError) as error:
        raise BoxError(str(error)) from error


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start and end of the body) of each box from `at` to `end`. One that runs over the end is damaged."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        if size == 0:
            size = end - at
        if size < head or at + size > end:
            raise BoxError(f"box {kind!r}")
        yield kind, at + head, at + size
        at += size


class _Items:
    """The items of a file: their types, sizes and references."""

    def __init__(self, data: bytes):
        self.data = data
        self.main: int | None = None
        self.types: dict[int, bytes] = {}
        self.sizes: dict[int, int] = {}  # item -> pixels
        self.parts: dict[int, list[int]] = {}  # item -> those it is put together from
        self.belongings: dict[int, list[int]] = {}  # item -> those that belong to it
        self.known: dict[int, int | None] = {}  # item -> its cost
        readers = {b"pitm": self._pitm, b"iinf": self._iinf, b"iref": self._iref, b"iprp": self._iprp}
        for kind, start, end in self._meta():
            if kind in readers:
                readers.pop(kind)(start, end)
            elif kind in (b"pitm", b"iinf", b"iref", b"iprp"):  # decoders differ in which one they read
                raise BoxError(f"a second box {kind!r}")

    def pixels(self) -> int | None:
        return None if self.main is None else self._cost(self.main, 0)

    def _cost(self, item: int, depth: int) -> int | None:
        """Pixels of an item, of what it is put together from and of what belongs to it; None: of an unknown kind."""
        if depth > MAX_DEPTH:
            raise BoxError("references go round in a circle")
        if item not in self.known:
            own, parts = self.sizes.get(item, 0), self.parts.get(item, ())
            each = {part: self._cost(part, depth + 1) for part in set(parts)}
            if self.types[item] not in (CODED, b"grid", b"iden") or None in each.values():
                self.known[item] = None
            else:
                more = [self._cost(other, depth + 1) or 0 for other in self.belongings.get(item, ())]
                self.known[item] = own + sum(each[part] for part in parts) + sum(more)
        return self.known[item]

    def _meta(self) -> list[tuple[bytes, int, int]]:
        """The boxes of the first `meta`, none where a film (`moov`) comes before it. What follows may be anything."""
        for kind, start, stop in _boxes(self.data, 0, len(self.data)):
            if kind == b"meta":
                if stop - start > MAX_META_BYTES:
                    raise BoxError("too large")
                return list(_boxes(self.data, start + 4, stop))
            if kind == b"moov":
                return []
        raise BoxError("no picture and no film")

    def _number(self, at: int, size: int) -> int:
        if at + size > len(self.data):
            raise BoxError("cut short")
        return int.from_bytes(self.data[at : at + size], "big")

    def _pitm(self, start: int, end: int) -> None:
        self.main = self._number(start + 4, 4 if self.data[start] else 2)

    def _iinf(self, start: int, end: int) -> None:
        for kind, entry, _ in _boxes(self.data, start + (8 if self.data[start] else 6), end):
            if kind == b"infe" and self.data[entry] >= 2:
                wide = 4 if self.data[entry] >= 3 else 2
                item = self._number(entry + 4, wide)
                if item in self.types:
                    raise BoxError(f"a second item {item}")
                self.types[item] = self.data[entry + 6 + wide : entry + 10 + wide]

    def _iref(self, start: int, end: int) -> None:
        wide = 4 if self.data[start] else 2
        for kind, at, stop in _boxes(self.data, start + 4, end):
            item, count = self._number(at, wide), self._number(at + wide, 2)
            first = at + wide + 2
            if first + count * wide > stop:
                raise BoxError("references are cut short")
            named = [self._number(first + wide * place, wide) for place in range(count)]
            if kind == b"dimg":
                self.parts.setdefault(item, []).extend(named)
            elif kind == b"auxl":
                for owner in named:
                    self.belongings.setdefault(owner, []).append(item)

    def _iprp(self, start: int, end: int) -> None:
        sizes: list[int | None] = []  # of each property, in pixels where it is a size
        for kind, at, stop in _boxes(self.data, start, end):
            if kind == b"ipco":
                for name, body, _ in _boxes(self.data, at, stop):
                    width, height = struct.unpack_from(">II", self.data, body + 4) if name == b"ispe" else (0, 0)
                    sizes.append(width * height if name == b"ispe" else None)
            elif kind == b"ipma":
                self._ipma(at, stop, sizes)

    def _ipma(self, at: int, stop: int, sizes: list[int | None]) -> None:
        wide, entry = 4 if self.data[at] else 2, 2 if self.data[at + 3] & 1 else 1
        count, at = self._number(at + 4, 4), at + 8
        for _ in range(count):
            if at + wide >= stop:
                raise BoxError("properties are cut short")
            item, properties = self._number(at, wide), self.data[at + wide]
            at += wide + 1
            for _ in range(properties):
                index = self._number(at, entry) & (0x7FFF if entry == 2 else 0x7F)
                at += entry
                if 0 < index <= len(sizes) and sizes[index - 1] is not None:
                    self.sizes[item] = max(sizes[index - 1], self.sizes.get(item, 0))
