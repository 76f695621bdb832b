"""How a pickle begins."""

from __future__ import annotations


def recognise_pickle(head: bytes) -> str | None:
    """ "pickle", "joblib" or "pytorch-legacy" by the first bytes; None if it is none of them."""
    return (
        "pickle" if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")) else None
    )
