"""HDF5, as Keras writes models and weights: every object is looked at, no link is followed.

What makes HDF5 read other files is refused: external links, external storage, virtual data sets.
Data are not read, only the configuration in the root's attributes. Sources: the HDF5 file format
specification 3.0; ``keras.src.legacy.saving.legacy_h5_format`` and ``keras.src.saving.saving_lib``;
CVE-2025-9905 (Lambda), CVE-2026-0897 (shapes far beyond the file), CVE-2026-1669 (external data).
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from math import prod
from typing import Any, BinaryIO

from adapters.inspection.formats.keras import check_keras_config
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import CUT_SHORT, LimitExceeded, Malformed, Stream

MOST_OBJECTS = 50_000
"""Links that are looked at; a model of a thousand layers has some 5,000."""
_DEPTH = 100
_MOST_CONFIG = 8 << 20
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_EXTERNAL = "hdf5.external"
_HEAP = b"GCOL\x01\0\0\0"
_HEAP_HEADER = 16
_LEAST_HEAP = 4096
_HEAPS_WITHIN = 16 << 20
# Filters that come with HDF5, and LZF, which comes with h5py; others are plugins.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})

# What Keras names groups and attributes: 1 and 2, and 3 from "layers" on.
_WEIGHT_ATTRIBUTES = (b"keras_version", b"layer_names", b"weight_names")
_WEIGHT_GROUPS = (b"model_weights", b"layers", b"_layer_checkpoint_dependencies", b"vars")
_OPTIMIZER = (b"optimizer", b"optimizer_weights")

_Link = tuple[bytes, int, int]
"""Name, type, and address of what a hard link points to."""


@dataclass(slots=True)
class _Found:
    """What was found in the data sets."""

    sizes: Counter[str] = field(default_factory=Counter)
    tensors: int = 0
    variables: bool = False
    """Whether there are weights in the way of Keras 3."""


def check_hdf5(stream: Stream, notes: Notes) -> None:
    """Walks all objects; lets a Keras configuration be judged.

    Raises:
        Malformed: it is not what the format says.
        LimitExceeded: data sets claim to be far larger than the file, or there are too many.
    """
    h5py = _h5py()
    file = stream.sought()
    _check_end(file)
    _check_heaps(file)
    try:
        with h5py.File(file, "r") as opened:
            found = _Found()
            _walk(opened.id, found, notes)
            _describe(opened, found, notes)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise Malformed(f"is no sound HDF5 ({shown(str(error))})") from error


def _h5py() -> Any:
    """h5py, where it is needed at all: with NumPy it takes half a second and 30 MB."""
    return import_module("h5py")


def _check_end(file: BinaryIO) -> None:
    """The superblock says where the file ends; what comes after that is none of HDF5's."""
    head = file.read(64)
    size = file.seek(0, 2)
    file.seek(0)
    if not head.startswith(_SIGNATURE) or len(head) < 48:
        raise Malformed(CUT_SHORT)
    version = head[8]
    width = head[13 if version < 2 else 9]
    if version > 3 or width not in {2, 4, 8}:
        raise Malformed(f"has an HDF5 superblock that is not known ({version})")
    start = 24 + 4 * version if version < 2 else 12
    base, _, end = (
        int.from_bytes(head[start + width * index : start + width * (index + 1)], "little")
        for index in range(3)
    )
    if base or end != size:
        raise Malformed(f"has {size} bytes; its header promises {end}")


def _check_heaps(file: BinaryIO) -> None:
    """The heaps that keep texts of any length (global heap collections, III.E of the format).

    libhdf5 goes from object to object by their sizes, and for ever where one has none (seen with
    HDF5 2.0.0). So they are looked at beforehand, in the part of a file where its attributes
    usually lie; elsewhere the limit of processor time stops it.
    """
    data = file.read(_HEAPS_WITHIN)
    file.seek(0)
    place = data.find(_HEAP)
    while place >= 0:
        size = int.from_bytes(data[place + 8 : place + 16], "little")
        if _LEAST_HEAP <= size <= len(data) - place:
            _check_heap(data[place : place + size])
        place = data.find(_HEAP, place + len(_HEAP))


def _check_heap(heap: bytes) -> None:
    place = _HEAP_HEADER
    while len(heap) - place >= _HEAP_HEADER:
        number, _, size = struct.unpack_from("<HHxxxxQ", heap, place)
        # Number 0 is what is free, with its own header.
        step = size if number == 0 else _HEAP_HEADER + -(-size // 8) * 8
        if not _HEAP_HEADER <= step <= len(heap) - place:
            raise Malformed("has a heap of texts with an object of no sensible size")
        place += step


def _walk(root: Any, found: _Found, notes: Notes) -> None:
    """Every object once, however many links lead to it; links alone are read, never followed."""
    h5py = _h5py()
    waiting = [b"/"]
    seen: set[int] = set()
    links = 0
    while waiting:
        path = waiting.pop()
        if path.count(b"/") > _DEPTH:
            raise Malformed(f"has groups that are nested more than {_DEPTH} deep")
        group = h5py.h5o.open(root, path)
        for name, kind, address in _links(group, MOST_OBJECTS - links):
            links += 1
            place = path.rstrip(b"/") + b"/" + name
            if kind == h5py.h5l.TYPE_SOFT:
                continue
            if kind != h5py.h5l.TYPE_HARD:
                _refuse_link(group, name, kind, place, notes)
            elif address not in seen:
                seen.add(address)
                found.variables |= name == b"vars"
                entry = h5py.h5o.open(group, name)
                if isinstance(entry, h5py.h5g.GroupID):
                    waiting.append(place)
                elif isinstance(entry, h5py.h5d.DatasetID):
                    _check_data_set(entry, place, found, notes)


def _links(group: Any, most: int) -> Iterator[_Link]:
    links: list[_Link] = []

    def add(name: bytes, info: Any) -> bool | None:
        links.append((name, info.type, info.u))
        return True if len(links) > most else None

    group.links.iterate(add, info=True)
    if len(links) > most:
        raise LimitExceeded(f"has more than {MOST_OBJECTS} objects", bomb=False)
    for link in links:
        if b"/" in link[0] or link[0] in {b"", b"."}:
            # HDF5 would take it for a path, which may lead through links.
            raise Malformed(f"has an object that is named like a path ({_text(link[0])})")
        yield link


def _refuse_link(group: Any, name: bytes, kind: int, place: bytes, notes: Notes) -> None:
    h5py = _h5py()
    target = "something that is not known here"
    if kind == h5py.h5l.TYPE_EXTERNAL:
        file, inside = group.links.get_val(name)
        target = f"{_text(inside)} in another file, {_text(file)}"
    message = f"{notes.place}: {_text(place)} is a link to {target}."
    notes.refuse(_EXTERNAL, message)


def _check_data_set(data: Any, place: bytes, found: _Found, notes: Notes) -> None:
    h5py = _h5py()
    plan = data.get_create_plist()
    others = {plan.get_external(index)[0] for index in range(plan.get_external_count())}
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        maps = range(plan.get_virtual_count())
        others |= {plan.get_virtual_filename(index).encode() for index in maps} - {b"."}
    for other in sorted(others)[:10]:
        message = f"{notes.place}: the data of {_text(place)} lie in another file, {_text(other)}."
        notes.refuse(_EXTERNAL, message)
    for index in range(plan.get_nfilters()):
        code = plan.get_filter(index)[0]
        if code not in _FILTERS:
            message = f"{notes.place}: reading {_text(place)} takes the HDF5 plugin {code}."
            notes.hold("hdf5.plugin", message)
    kind = data.get_type()
    elements = prod(data.shape) if data.shape is not None else 0
    notes.budget.spend_output(elements * kind.get_size())
    if place.split(b"/")[1] not in _OPTIMIZER:
        found.tensors += 1
        found.sizes[_dtype(kind)] += elements


def _dtype(kind: Any) -> str:
    """Its name in NumPy where it is a number, else "other"."""
    h5py = _h5py()
    bits = 8 * kind.get_size()
    if isinstance(kind, h5py.h5t.TypeFloatID):
        exponent = kind.get_fields()[2]
        return "bfloat16" if (bits, exponent) == (16, 8) else f"float{bits}"
    if isinstance(kind, h5py.h5t.TypeIntegerID):
        return f"{'int' if kind.get_sign() == h5py.h5t.SGN_2 else 'uint'}{bits}"
    return "other"


def _describe(file: Any, found: _Found, notes: Notes) -> None:
    configuration = _attribute(file.id, b"model_config")
    if configuration is not None:
        notes.format = "keras-h5"
        training = _attribute(file.id, b"training_config")
        if training is not None:
            wrapped = {"class_name": "training_config", "config": _parsed(training)}
            check_keras_config(wrapped, notes)
        check_keras_config(_parsed(configuration), notes)
    elif not _has_weights(file, found):
        message = f"{notes.place} is HDF5, but it is not laid out like a model's weights."
        notes.hold("file.no_model_structure", message)
    version = _attribute(file.id, b"keras_version")
    if version is not None:
        notes.fact("framework", "keras")
        notes.fact("framework_version", version)
    numbers = {name: size for name, size in found.sizes.items() if name != "other"}
    notes.fact("tensors", found.tensors)
    notes.fact("parameters", sum(numbers.values()))
    notes.fact("dtypes", numbers)


def _has_weights(file: Any, found: _Found) -> bool:
    h5py = _h5py()
    return (
        found.variables
        or any(map(file.id.links.exists, _WEIGHT_GROUPS))
        or any(map(partial(h5py.h5a.exists, file.id), _WEIGHT_ATTRIBUTES))
    )


def _attribute(group: Any, name: bytes) -> str | None:
    """A text among the attributes; None if there is none of this name.

    Raises:
        Malformed: it is no text.
        LimitExceeded: it is too long to be read.
    """
    h5py = _h5py()
    if not h5py.h5a.exists(group, name):
        return None
    attribute = h5py.h5a.open(group, name)
    kind = attribute.get_type()
    if (
        not isinstance(kind, h5py.h5t.TypeStringID)
        or attribute.get_space().get_simple_extent_npoints() != 1
    ):
        raise Malformed(f"has a {_text(name)} that is no text")
    if attribute.get_storage_size() > _MOST_CONFIG:
        raise LimitExceeded(f"has a {_text(name)} of more than {_MOST_CONFIG} bytes", bomb=False)
    value = h5py.AttributeManager(h5py.Group(group))[name.decode()]
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    if len(text) > _MOST_CONFIG:
        raise LimitExceeded(f"has a {_text(name)} of more than {_MOST_CONFIG} bytes", bomb=False)
    return text


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Malformed("has a configuration that is no JSON") from error


def _text(name: bytes) -> str:
    return shown(name.decode(errors="replace"))
