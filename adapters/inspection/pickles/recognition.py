"""Whether bytes are the beginning of a pickle, and whose."""

from __future__ import annotations

import re

from adapters.inspection.pickles.machine import Machine
from adapters.inspection.pickles.trace import Trace
from adapters.inspection.pickles.values import Value
from adapters.inspection.streams import CUT_SHORT, Budget, LimitExceeded, Malformed, Stream

# torch/serialization.py: the first of five pickles is this number, in whatever protocol.
_TORCH = re.compile(rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
# PROTO, perhaps FRAME, and what a pickler writes next.
_NEW = re.compile(
    rb"\x80[\x00-\x05](?:\x95.{6}\0\0)?[()\]}cXKMJGNUTqCBIFLSVPQg\x82-\x84\x88-\x8b\x8c-\x8f\x96]",
    re.DOTALL,
)
_STEPS = 3000
OLD_JOBLIB = b"ZF0x"
"""How files begin that joblib compressed before 0.10."""


def recognise_pickle(head: bytes) -> str | None:
    """ "pickle", "joblib" or "pytorch-legacy" by the first bytes; None if it is none of them.

    Before protocol 2 a pickle has no mark: it is one if it can be read as one, to its end or over
    a call at least. (Text may begin like a pickle, but goes on differently.)
    """
    if _TORCH.match(head):
        return "pytorch-legacy"
    if head.startswith(OLD_JOBLIB):
        return "joblib"
    if not (_NEW.match(head) or _runs(head)):
        return None
    return "joblib" if b"NumpyArrayWrapper" in head else "pickle"


def goes_beyond(head: bytes) -> bool:
    """Whether an unpickler would read on behind these bytes: no opcode in them is wrong."""
    budget = Budget(0)
    budget.opcodes = _STEPS
    try:
        Machine(Stream.of_bytes(head), _Plain(budget)).run()
    except Malformed as error:
        return str(error) == CUT_SHORT
    except LimitExceeded:
        pass
    return True


class _Plain(Trace):
    """What an unpickler sees that knows no persistent ids: it fails where one is asked for. (ZIP
    archives begin with "P", which asks for one.)"""

    def persistent(self, pid: Value) -> Value:  # noqa: ARG002
        raise Malformed("asks for a persistent id")


def _runs(head: bytes) -> bool:
    budget = Budget(0)
    budget.opcodes = _STEPS
    trace = _Plain(budget)
    stream = Stream.of_bytes(head)
    try:
        while not trace.calls and not stream.at_end():
            Machine(stream, trace).run()
    except LimitExceeded:
        return True
    except Malformed:
        return trace.calls > 0
    return bool(head)
