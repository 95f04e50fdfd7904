"""A Parquet file written as it goes: one row group a page of rows, so memory holds one page.

pyarrow would do it too, in 150 MB of installed code. The layout: https://parquet.apache.org/docs/file-format/ ; headers
are Thrift's compact protocol. Every column is optional, pages are PLAIN and gzip'd.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Kind = Literal["text", "double", "int", "time"]
_MAGIC = b"PAR1"
# (physical type, converted type): BYTE_ARRAY + UTF8, DOUBLE, INT64, INT64 + TIMESTAMP_MICROS.
_TYPES: dict[Kind, tuple[int, int | None]] = {
    "text": (6, 0),
    "double": (5, None),
    "int": (2, None),
    "time": (2, 10),
}
_GZIP, _PLAIN, _RLE, _OPTIONAL = 2, 0, 3, 1
_TRUE, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 5, 6, 8, 9, 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Field = tuple[int, int, Any]
# LogicalType.TIMESTAMP: adjusted to UTC, in microseconds.
_UTC_MICROS: list[Field] = [(8, _STRUCT, [(1, _TRUE, True), (2, _STRUCT, [(2, _STRUCT, [])])])]


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _value(kind: int, value: Any) -> bytes:
    if kind == _TRUE:
        return b""  # a field's kind says it all
    if kind in (_I32, _I64):
        return _varint((value << 1) ^ (value >> 63))
    if kind == _BINARY:
        raw: bytes = value.encode()
        return _varint(len(raw)) + raw
    if kind == _LIST:
        inner, items = value
        head = (
            bytes([len(items) << 4 | inner])
            if len(items) < 15
            else bytes([0xF0 | inner]) + _varint(len(items))
        )
        return head + b"".join(_value(inner, item) for item in items)
    return _struct(value)


def _struct(fields: Sequence[Field]) -> bytes:
    """Write fields (number, type, value), ascending; those with the value None are left out."""
    out, last = b"", 0
    for number, kind, value in fields:
        if value is None:
            continue
        out += bytes([(number - last) << 4 | kind]) + _value(kind, value)
        last = number
    return out + b"\0"


def _plain(kind: Kind, value: Any) -> bytes:
    if kind == "text":
        raw = str(value).encode()
        return struct.pack("<I", len(raw)) + raw
    if kind == "double":
        return struct.pack("<d", value)
    return struct.pack("<q", (value - _EPOCH) // timedelta(microseconds=1) if kind == "time" else value)


def _page(kind: Kind, values: Sequence[Any]) -> tuple[bytes, int]:
    """Return (page with its header, its size without compression) of a column's values; None is a null."""
    bits = bytearray((len(values) + 7) // 8)
    for n, value in enumerate(values):
        bits[n // 8] |= (value is not None) << n % 8
    levels = _varint(len(bits) << 1 | 1) + bytes(bits)  # one bit-packed run of definition levels
    raw = struct.pack("<I", len(levels)) + levels + b"".join(_plain(kind, v) for v in values if v is not None)
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    packed = packer.compress(raw) + packer.flush()
    inner = [(1, _I32, len(values)), (2, _I32, _PLAIN), (3, _I32, _RLE), (4, _I32, _RLE)]
    header = _struct([(1, _I32, 0), (2, _I32, len(raw)), (3, _I32, len(packed)), (5, _STRUCT, inner)])
    return header + packed, len(header) + len(raw)


def parquet(columns: dict[str, Kind], groups: Iterable[Sequence[dict[str, Any]]]) -> Iterator[bytes]:
    """Yield a Parquet file. Each item of `groups` is a row group: rows by column name; times carry their offset."""
    yield _MAGIC
    at, rows_in_all = len(_MAGIC), 0
    told: list[list[Field]] = []
    for rows in groups:
        chunks: list[list[Field]] = []
        size = 0
        for name, kind in columns.items():
            page, whole = _page(kind, [row.get(name) for row in rows])
            meta: list[Field] = [
                (1, _I32, _TYPES[kind][0]), (2, _LIST, (_I32, [_PLAIN, _RLE])), (3, _LIST, (_BINARY, [name])),
                (4, _I32, _GZIP), (5, _I64, len(rows)), (6, _I64, whole), (7, _I64, len(page)), (9, _I64, at),
            ]  # fmt: skip
            chunks.append([(2, _I64, at), (3, _STRUCT, meta)])
            yield page
            at += len(page)
            size += whole
        told.append([(1, _LIST, (_STRUCT, chunks)), (2, _I64, size), (3, _I64, len(rows))])
        rows_in_all += len(rows)
    schema: list[list[Field]] = [[(4, _BINARY, "cases"), (5, _I32, len(columns))]]
    for name, kind in columns.items():
        known: list[Field] = [(1, _I32, _TYPES[kind][0]), (3, _I32, _OPTIONAL), (4, _BINARY, name)]
        more: list[Field] = [
            (6, _I32, _TYPES[kind][1]),
            (10, _STRUCT, _UTC_MICROS if kind == "time" else None),
        ]
        schema.append(known + more)
    footer = _struct(
        [(1, _I32, 1), (2, _LIST, (_STRUCT, schema)), (3, _I64, rows_in_all), (4, _LIST, (_STRUCT, told)), (6, _BINARY, "curbwatch")]
    )  # fmt: skip
    yield footer + struct.pack("<I", len(footer)) + _MAGIC
