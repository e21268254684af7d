"""Write the smallest old Excel workbook (BIFF8 in an OLE container) that readers accept; no library for it is left."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_SECTOR = 512
_END, _FAT, _FREE = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def _record(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def _text(text: str) -> bytes:
    return struct.pack("<HB", len(text), 1) + text.encode("utf-16-le")


def _sheet(rows: Sequence[Sequence[str | float]]) -> bytes:
    out = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0, 1997, 0, 6))
    out += _record(0x0200, struct.pack("<IIHHH", 0, len(rows), 0, max(map(len, rows), default=0), 0))
    for line, row in enumerate(rows):
        for column, cell in enumerate(row):
            place = struct.pack("<HHH", line, column, 0)
            if isinstance(cell, str):
                if cell:
                    out += _record(0x0204, place + _text(cell))
            else:
                out += _record(0x0203, place + struct.pack("<d", cell))
    return out + _record(0x000A)


def _workbook(sheets: dict[str, Sequence[Sequence[str | float]]], hidden: Sequence[str], is_1904: bool) -> bytes:
    contents = {name: _sheet(rows) for name, rows in sheets.items()}
    head = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0005, 0, 1997, 0, 6))
    head += _record(0x0042, struct.pack("<H", 1200)) + _record(0x0022, struct.pack("<H", int(is_1904)))
    head += _record(0x00E0, bytes(20))

    def bound(name: str, offset: int) -> bytes:
        title = struct.pack("<BB", len(name), 1) + name.encode("utf-16-le")
        return _record(0x0085, struct.pack("<IBB", offset, int(name in hidden), 0) + title)

    offset = len(head) + sum(len(bound(name, 0)) for name in contents) + 4
    bounds = b""
    for name, content in contents.items():
        bounds += bound(name, offset)
        offset += len(content)
    return head + bounds + _record(0x000A) + b"".join(contents.values())


def _entry(name: str, kind: int, start: int, size: int, child: int) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    return (
        text.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(text), kind, 1, _FREE, _FREE, child)
        + bytes(36)
        + struct.pack("<IQ", start, size)
    )


def xls_bytes(
    sheets: dict[str, Sequence[Sequence[str | float]]], *, hidden: Sequence[str] = (), is_1904: bool = False
) -> bytes:
    """Bytes of a workbook.

    Args:
        sheets: name -> rows of texts and numbers.
        hidden: names of hidden sheets.
        is_1904: dates count from 1904.
    """
    stream = _workbook(sheets, hidden, is_1904)
    # streams below 4096 bytes would have to live in the mini stream
    stream = stream.ljust(max(4096, -(-len(stream) // _SECTOR) * _SECTOR), b"\0")
    sectors = len(stream) // _SECTOR
    fat = [_FAT, _END, *range(3, sectors + 2), _END]
    if len(fat) > _SECTOR // 4:
        raise ValueError("more than one allocation sector; the test workbook is too large")
    fat += [_FREE] * (_SECTOR // 4 - len(fat))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, _END, 0, _END, 0)
    header += struct.pack("<I", 0) + struct.pack("<I", _FREE) * 108
    folder = _entry("Root Entry", 5, _END, 0, 1) + _entry("Workbook", 2, 2, len(stream), _FREE)
    folder += _entry("", 0, 0, 0, _FREE) * 2
    return header + struct.pack("<128I", *fat) + folder + stream
