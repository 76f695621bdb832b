"""Messages of protocol buffers, written by hand: honest ones and others."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """A number, seven bits a byte."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    """A field with a number; negative ones take 64 bits."""
    return varint(field << 3) + varint(value % (1 << 64))


def part(field: int, content: bytes | str) -> bytes:
    """A field with a text, bytes or a message."""
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data


def entry(key: str, value: bytes | str) -> bytes:
    """The entry of a map."""
    return part(1, key) + part(2, value)
