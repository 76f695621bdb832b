"""The checks of pickles: plain ones, those of joblib, and those of PyTorch before 1.6."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from adapters.inspection.pickles import opinion
from adapters.inspection.pickles.facts import note_facts
from adapters.inspection.pickles.imports import Trust, judge_import
from adapters.inspection.pickles.machine import Machine
from adapters.inspection.pickles.recognition import OLD_JOBLIB
from adapters.inspection.pickles.torch_legacy import read_legacy
from adapters.inspection.pickles.trace import Trace
from adapters.inspection.pickles.values import Cut, Result, Value
from adapters.inspection.report import Notes, listed, shown
from adapters.inspection.streams import LimitExceeded, Malformed, Stream

_CODE = "pickle.code_execution"
_MOST_PICKLES = 1000
_MOST_LOADED = 64 << 20
_MOST_INSIDE = 1000
_MOST_REREAD = 10
_MOST_SHOWN = 5
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MOST_BEHIND = 1 << 20
_MOST_TRIED = 100
_PICKLE = re.compile(rb"\x80[\x02-\x05]|[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

Reader = Callable[[Stream, Trace], list[Value]]


def check_pickle(stream: Stream, notes: Notes) -> None:
    """A pickle of any protocol, or several one after another, from where the stream stands.

    Raises:
        Malformed: no unpickler reads it to its end.
        LimitExceeded: it was not read to its end.
    """
    _check(stream, notes, _read_pickles)


def check_joblib(stream: Stream, notes: Notes) -> None:
    """A pickle with raw arrays between its opcodes; otherwise as :func:`check_pickle`."""
    if stream.peek(4) == OLD_JOBLIB:
        notes.not_all_read("is compressed as joblib did before 0.10")
        return
    _check(stream, notes, _read_pickles)


def check_torch_legacy(stream: Stream, notes: Notes) -> None:
    """Five pickles and raw storages, as ``torch.save`` wrote before PyTorch 1.6.

    Raises:
        Malformed, LimitExceeded: as for :func:`check_pickle`
    """
    _check(stream, notes, read_legacy)


def _check(stream: Stream, notes: Notes, reader: Reader) -> None:
    """Notes what was seen also where reading fails: a payload runs before the error."""
    trace = Trace(notes.budget)
    start, opcodes = stream.tell(), notes.budget.opcodes
    roots: list[Value] = []
    try:
        roots = reader(stream, trace)
    finally:
        few = opcodes - notes.budget.opcodes <= opinion.MOST_OPCODES
        trace.close()
        _read_plainly(stream, start, trace)
        _note_dangers(trace, notes)
        if few:
            _note_second_opinion(stream, start, notes)
        _note_unknown(trace, notes)
        _note_nature(trace, notes, whole=bool(roots))
        note_facts(trace, roots, notes)
    _check_loaded(stream, trace, notes)


def _read_pickles(stream: Stream, trace: Trace) -> list[Value]:
    roots: list[Value] = []
    while not roots or not stream.at_end():
        if len(roots) >= _MOST_PICKLES:
            raise LimitExceeded(f"has more than {_MOST_PICKLES} pickles", bomb=False)
        head, place = stream.peek(4), stream.tell()
        if roots and head.startswith(_ZIP):
            raise Malformed("has a ZIP archive behind its end")
        try:
            roots.append(Machine(stream, trace).run())
        except Malformed as error:
            if not roots or head.startswith(_STARTS):
                raise
            trace.doubt(f"it has bytes behind its end that no unpickler reads ({error})")
            _look_behind(stream, place, trace)
            break
    return roots


def _look_behind(stream: Stream, place: int, trace: Trace) -> None:
    """Notes calls of pickles among bytes that one unpickler leaves, and another may be led to."""
    again = stream.again()
    if again is None:
        return
    with again.file:
        again.skip(place)
        data = again.read(_MOST_BEHIND)
    for found in islice(_PICKLE.finditer(data), _MOST_TRIED):
        hidden = Trace(trace.budget)
        with suppress(Malformed, LimitExceeded):
            Machine(Stream.of_bytes(data[found.start() :]), hidden).run()
        for key, known in hidden.imports.items():
            if known.dangerous and known.call:
                trace.imports.setdefault(key, known)


def _read_plainly(stream: Stream, start: int, trace: Trace) -> None:
    """Where joblib would pass over an array, ``pickle.load`` takes its bytes for opcodes."""
    if not trace.unaligned:
        return
    again = stream.again()
    if again is None:
        trace.doubt("it has arrays that could be read as instructions where it is no joblib file")
        return
    plain = Trace(trace.budget)
    # The usual end is an error: an array is no pickle.
    with again.file, suppress(Malformed, LimitExceeded):
        again.skip(start)
        Machine(again, plain, arrays=False).run()
    for key, found in plain.imports.items():
        if found.dangerous:
            trace.imports.setdefault(key, found)


def _note_dangers(trace: Trace, notes: Notes) -> None:
    for found in trace.imports.values():
        if found.dangerous:
            what = f"loading it would run {found.call}" if found.call else _imports(found.full_name)
            notes.refuse(_CODE, f"{notes.place}: {what}.")
    for sentence in trace.dangers:
        notes.refuse(_CODE, f"{notes.place}: {sentence}.")
    for sentence in trace.doubts:
        notes.hold("pickle.doubtful", f"{notes.place}: {sentence}.")


def _imports(name: str) -> str:
    return f"it imports {shown(name)}"


def _note_second_opinion(stream: Stream, start: int, notes: Notes) -> None:
    """Adds what is dangerous to picklescan and nothing but unknown here."""
    count = stream.tell() - start
    most = opinion.MOST_BYTES if stream.seekable else opinion.MOST_REREAD
    again = stream.again() if count <= most else None
    if again is None:
        return
    with again.file:
        again.skip(start)
        data = again.read(count + opinion.BEYOND)
    for module, name in opinion.dangerous_imports(data):
        if judge_import(module, name) is Trust.UNKNOWN and not _carries_code(module):
            notes.refuse(_CODE, f"{notes.place}: {_imports(f'{module}.{name}')}.")


def _carries_code(module: str) -> bool:
    return module.partition(".")[0] in {"cloudpickle", "dill"}


def _note_unknown(trace: Trace, notes: Notes) -> None:
    for found in trace.imports.values():
        if found.trust is not Trust.UNKNOWN:
            continue
        name = shown(found.full_name)
        if _carries_code(found.module):
            reason = "which makes functions or classes of code that the file carries"
            notes.hold(
                "pickle.carries_code",
                f"{notes.place}: it imports {name}, {reason}.",
                subject=found.full_name,
            )
        else:
            reason = "which is not known here: somebody has to look at what it does"
            notes.hold(
                "pickle.unknown_import",
                f"{notes.place}: it imports {name}, {reason}.",
                subject=found.full_name,
            )


def _note_nature(trace: Trace, notes: Notes, *, whole: bool) -> None:
    sentence = f"{notes.place} is a pickle, which can run code when it is loaded"
    imports = trace.imports.values()
    unknown = any(each.dangerous or each.trust is Trust.UNKNOWN for each in imports)
    if unknown or trace.dangers or trace.doubts or not whole:
        notes.can_carry_code(f"{sentence}.")
        return
    names = sorted({shown(found.full_name) for found in imports})
    known = f"only what is known to be harmless: {listed(names, _MOST_SHOWN)}"
    notes.can_carry_code(f"{sentence}; this one imports {known if names else 'nothing'}.")


def _check_loaded(stream: Stream, trace: Trace, notes: Notes) -> None:
    """The files inside of a plain pickle of PyTorch's tensors, each of which is loaded as such."""
    # Where the bytes cannot be sought, each is reached by reading from the start.
    if len(trace.loaded) > (_MOST_INSIDE if stream.seekable else _MOST_REREAD):
        notes.not_all_read("loads more files inside it than are looked into")
        return
    for index, value in enumerate(trace.loaded, 1):
        data = value if isinstance(value, bytes) else _bytes_of(stream, value)
        if data is None:
            notes.not_all_read("loads a file inside it that could not be read")
            return
        name = f"storage {index}"
        notes.inspect(Stream.of_bytes(data), f"{name}.pth", notes.member(name))


def _bytes_of(stream: Stream, value: Value) -> bytes | None:
    """What is too long to be kept. Before protocol 3, bytes are pickled as a text to be encoded."""
    if isinstance(value, Result) and value.origin and value.origin.full_name == "_codecs.encode":
        text = value.args[0] if isinstance(value.args, tuple) and value.args else None
        data = text.encode() if isinstance(text, str) else _bytes_at(stream, text)
        try:
            return None if data is None else data.decode().encode("latin-1")
        except UnicodeError:
            return None
    return _bytes_at(stream, value)


def _bytes_at(stream: Stream, value: Value) -> bytes | None:
    if not isinstance(value, Cut) or not 0 < value.count <= _MOST_LOADED:
        return None
    # What has no place is a line, which stands there with escapes.
    again = stream.again() if value.at else None
    if again is None:
        return None
    with again.file:
        again.skip(value.at)
        return again.exactly(value.count)
