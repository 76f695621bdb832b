"""Pickles that no magic number begins: those of protocols 0 and 1, and hand-made ones.

They may look like a text, or like the beginning of another format. What tells is whether the bytes
make sense to an unpickler, operation by operation, from the first byte on.
"""

from __future__ import annotations

import pickletools
import re
from enum import Enum

_IMPORTS = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_CALLS = frozenset({"INST", "REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "STOP"})
# The letters of a text, read as a length, are far more.
_CUT = re.compile(r"no newline found|exhausted|not enough data|^expected \d{1,8} bytes")


class Sense(Enum):
    """What an unpickler would make of some bytes: nothing, or it would import something and use
    it, or the bytes end before that can be told."""

    NONE = "none"
    IMPORTS = "imports"
    OPEN = "open"


def sense_of(head: bytes, *, whole: bool) -> Sense:
    """Follows the operations as :func:`pickletools.dis` does, with the depth of the stack, until
    one uses what was imported, or makes no sense."""
    stack: list[bool] = []  # whether each entry is a mark
    imports = False
    try:
        for operation, argument, _ in pickletools.genops(head):
            if not _applies(operation, stack):
                return Sense.NONE
            if operation.name in _IMPORTS:
                imports = True
                if isinstance(argument, str) and not _names(argument):
                    return Sense.NONE
            if operation.name in _CALLS:
                if imports:
                    return Sense.IMPORTS
                if operation.name == "STOP":
                    return Sense.NONE
    except ValueError as error:
        cut = not whole and _CUT.search(str(error))
        return Sense.OPEN if cut else Sense.NONE
    return Sense.NONE


def _names(argument: str) -> bool:
    return all(part.isidentifier() for part in argument.replace(" ", ".").split("."))


def _applies(operation: pickletools.OpcodeInfo, stack: list[bool]) -> bool:
    """Does to the stack what the operation does; False where it has too few entries for that."""
    before, after = operation.stack_before, operation.stack_after
    pops = len(before)
    if pickletools.markobject in before:
        if True not in stack:
            return False
        while not stack.pop():
            pass
        pops = before.index(pickletools.markobject)
    if len(stack) < pops:
        return False
    if pops:
        del stack[-pops:]
    stack.extend(each is pickletools.markobject for each in after)
    return True
