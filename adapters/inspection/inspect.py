"""The inspection of one file: recognise it, let the checker of its format read it, note the rest.

Pure and synchronous: it imports nothing that a file names, and runs nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from adapters.inspection.archives.compression import check_compressed
from adapters.inspection.archives.tars import check_tar
from adapters.inspection.archives.zip_directory import names_at_end
from adapters.inspection.archives.zips import check_zip
from adapters.inspection.formats.boosters import (
    check_lightgbm,
    check_xgboost_binary,
    check_xgboost_json,
    check_xgboost_ubj,
)
from adapters.inspection.formats.catboost import check_catboost_cbm, check_catboost_json
from adapters.inspection.formats.companions import check_companion, is_acted_on
from adapters.inspection.formats.coreml import check_coreml
from adapters.inspection.formats.flax import check_flax
from adapters.inspection.formats.gguf import check_gguf
from adapters.inspection.formats.hdf5 import check_hdf5
from adapters.inspection.formats.keras import check_keras_metadata
from adapters.inspection.formats.numpy_arrays import check_npy
from adapters.inspection.formats.onnx import check_onnx
from adapters.inspection.formats.ort import check_ort
from adapters.inspection.formats.safetensors import check_safetensors
from adapters.inspection.formats.tensorflow import check_graph_def, check_saved_model
from adapters.inspection.formats.tflite import check_tflite
from adapters.inspection.formats.xml_models import check_openvino, check_pmml
from adapters.inspection.misnaming import check_name, hold_unknown
from adapters.inspection.pickles import check_joblib, check_pickle, check_torch_legacy
from adapters.inspection.recognition import HEAD, NotAModel, recognise
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import Budget, LimitExceeded, Malformed, Stream
from domain.validation import NOT_A_MODEL, FileReport
from domain.values import FilePath

_LABELS = re.compile(r"[\w. -]+\.(?:txt|csv|tsv|vocab)", re.ASCII | re.IGNORECASE)
Checker = Callable[[Stream, Notes], None]

# By the format that recognition gives. A checker may correct it in its notes, e.g. from "zip" to
# "pytorch-zip", or to None where the content turns out to be no model.
_CHECKERS: dict[str | None, Checker] = {
    None: check_companion,
    "bz2": check_compressed,
    "catboost-cbm": check_catboost_cbm,
    "catboost-json": check_catboost_json,
    "coreml": check_coreml,
    "flax-msgpack": check_flax,
    "gguf": check_gguf,
    "gzip": check_compressed,
    "hdf5": check_hdf5,
    "joblib": check_joblib,
    "keras-metadata": check_keras_metadata,
    "lightgbm-json": check_lightgbm,
    "lightgbm-text": check_lightgbm,
    "lz4": check_compressed,
    "lzma": check_compressed,
    "npy": check_npy,
    "onnx": check_onnx,
    "onnxruntime-ort": check_ort,
    "openvino-ir": check_openvino,
    "pickle": check_pickle,
    "pmml": check_pmml,
    "pytorch-legacy": check_torch_legacy,
    "safetensors": check_safetensors,
    "tar": check_tar,
    "tf-graphdef": check_graph_def,
    "tf-savedmodel-pb": check_saved_model,
    "tflite": check_tflite,
    "xgboost-binary": check_xgboost_binary,
    "xgboost-json": check_xgboost_json,
    "xgboost-ubj": check_xgboost_ubj,
    "xz": check_compressed,
    "zip": check_zip,
    "zlib": check_compressed,
    "zstd": check_compressed,
}


def inspect_file(stream: Stream, path: FilePath) -> FileReport:
    """Everything that is to be said about a file. Never raises for bad content."""
    notes = Notes(path, Budget(stream.size or 0), inspect_part)
    try:
        inspect_part(stream, path.name, notes)
    except LimitExceeded as error:
        _note_limit(error, notes)
    return notes.report()


def inspect_part(stream: Stream, name: str, notes: Notes) -> None:
    """Recognises and checks a file, or what is inside one; see :class:`Inspector`.

    Raises:
        LimitExceeded: a budget is spent; where it happened has been noted. Nothing else is raised.
    """
    try:
        _inspect(stream, name, notes)
    except LimitExceeded as error:
        _note_limit(error, notes)
        if error.bomb:
            raise
    except Malformed as error:
        notes.refuse("file.malformed", f"{notes.place} {error}.")
    except (MemoryError, RecursionError):
        notes.refuse("file.malformed", f"{notes.place} is nested or claims more than can be read.")
    except Exception as error:  # noqa: BLE001 - whatever a parser trips over is a broken file
        message = f"{notes.place} cannot be read ({type(error).__name__}: {shown(str(error))})."
        notes.refuse("file.malformed", message)


def _inspect(stream: Stream, name: str, notes: Notes) -> None:
    head = stream.peek(HEAD)
    known = recognise(head, name, whole=stream.size == len(head))
    if isinstance(known, NotAModel):
        notes.media_type = known.media_type
        notes.refuse(NOT_A_MODEL, f"{notes.place} is {known.what}, not a model.")
        return
    if known is None:
        hold_unknown(name, notes)
        _check_end(stream, notes)
        return
    notes.format, notes.media_type = known.format, known.media_type
    if known.format in _CHECKERS:
        _CHECKERS[known.format](stream, notes)
    else:
        message = f"{notes.place} was recognised as {known.format}, but not looked into further."
        notes.tell("format.not_inspected", message)
    check_name(name, notes)
    if known.format is not None and is_acted_on(name):
        _check_as_companion(stream, notes)
    if known.format != "zip":
        _check_end(stream, notes)


def _check_as_companion(stream: Stream, notes: Notes) -> None:
    """Programs go by the name of this one, so it is judged though it looks like a model."""
    again = stream.again()
    if again is not None:
        with again.file:
            check_companion(again, notes)


def _check_end(stream: Stream, notes: Notes) -> None:
    """Whether another tool would take the end of the file for an archive, and load that."""
    again = stream.again() if stream.seekable and stream.size else None
    if again is None:
        return
    with again.file as file:
        names = names_at_end(file, stream.size or 0)
    if names is None:
        return
    if notes.format == "tflite" and names and all(map(_LABELS.fullmatch, names)):
        # TensorFlow Lite's tools attach the names of classes like this.
        listed = ", ".join(shown(name) for name in names[:3])
        notes.tell("tflite.attached_files", f"{notes.place} has texts attached: {listed}.")
        return
    message = f"{notes.place} ends as a ZIP archive: what it holds depends on who opens it."
    notes.refuse("file.polyglot", message)


def _note_limit(error: LimitExceeded, notes: Notes) -> None:
    if notes.budget.exhausted:
        return
    if error.bomb:
        notes.budget.exhausted = True
        notes.refuse("file.bomb", f"{notes.place} {error}.")
    else:
        notes.not_all_read(str(error))
