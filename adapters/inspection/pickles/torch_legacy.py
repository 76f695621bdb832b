"""Files that ``torch.save`` wrote before PyTorch 1.6 (``torch/serialization.py``, _legacy_save):

pickles of a magic number, the protocol, the sizes of C types, the object, and the keys of its
storages; then of each storage in that order the count of its elements in 8 bytes, and its bytes.
"""

from __future__ import annotations

from adapters.inspection.pickles.machine import Machine
from adapters.inspection.pickles.trace import Trace
from adapters.inspection.pickles.values import Items, Value
from adapters.inspection.streams import LimitExceeded, Malformed, Stream

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_STORAGES = 100_000
SIZES = {
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("QInt8Storage", "QUInt8Storage", "QUInt4x2Storage", "QUInt2x4Storage"), 1),
    "ComplexDoubleStorage": 16,
}
"""Bytes of an element, by the class of the storage."""


def read_legacy(stream: Stream, trace: Trace) -> list[Value]:
    """The object that the file is about.

    Raises:
        Malformed: it is cut short, or goes on behind its end.
        LimitExceeded: it was not read to its end.
    """
    magic, protocol, _ = [Machine(stream, trace, arrays=False).run() for _ in range(3)]
    if magic != MAGIC or protocol != _PROTOCOL:
        raise Malformed("is no file of PyTorch, though it begins like one")
    root = Machine(stream, trace, arrays=False).run()
    keys = Machine(stream, trace, arrays=False, items=_MOST_STORAGES).run()
    if not isinstance(keys, Items) or keys.count != len(keys.kept):
        raise LimitExceeded("has more storages than are followed", bomb=False)
    for key in keys.kept:
        size = SIZES.get(trace.storages.get(key, "")) if isinstance(key, str) else None
        if size is None:
            raise Malformed("has a storage of an unknown type")
        count = int.from_bytes(stream.exactly(8), "little", signed=True)
        if count < 0:
            raise Malformed("has a storage of negative length")
        stream.skip(count * size)
    if not stream.at_end():
        raise Malformed("goes on behind its end")
    return [root]
