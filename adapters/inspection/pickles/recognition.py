"""How a pickle begins, and whose it is."""

from __future__ import annotations

import re

# torch/serialization.py: the first of five pickles is this number, in whatever protocol.
_TORCH = re.compile(rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
# What a pickler writes first, after PROTO and perhaps FRAME.
_NEW = re.compile(
    rb"\x80[\x00-\x05](?:\x95.{8})?[(\])}cXKMJGNUTqCBIFLSVPQg\x82-\x84\x88-\x8b\x8c-\x8f\x96.]",
    re.DOTALL,
)
_OLD = re.compile(
    rb"""
      \(* [ci] (?:[^\W\d]\w*\.)* [^\W\d]\w* \r?\n [^\W\d][\w.]* \r?\n   # GLOBAL, INST
    | \(* [SV] [^\n]{0,4096} \n [SV] [^\n]{0,4096} \n \x93              # names, STACK_GLOBAL
    | \(+ [dlt] p [0-9]{1,9} \n                                         # an empty container
    | [\]})] q \x00                                                     # in protocol 1
    | \( [dlt] (?: p0\n | [.] )
    """,
    re.VERBOSE,
)


def recognise_pickle(head: bytes) -> str | None:
    """ "pickle", "joblib" or "pytorch-legacy" by the first bytes; None if it is none of them."""
    if _TORCH.match(head):
        return "pytorch-legacy"
    if not (_NEW.match(head) or _OLD.match(head)):
        return None
    return "joblib" if b"NumpyArrayWrapper" in head else "pickle"
