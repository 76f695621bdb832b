"""What PyTorch writes as ZIP archives: state dicts and modules, TorchScript, exported programs.

``data.pkl`` is a pickle that refers to the tensors beside it; those are raw bytes, never read by
an unpickler. Everything else is inspected like any file, under whatever name (CVE-2025-1889).

Source: ``torch/serialization.py``, ``torch/export/pt2_archive``, and
``caffe2/serialize/inline_container.cc`` of PyTorch.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

from adapters.inspection.archives.folders import Folder
from adapters.inspection.pickles import check_pickle
from adapters.inspection.report import Notes
from adapters.inspection.streams import Malformed, Stream
from domain.validation import CAN_CARRY_CODE, Severity

_STORAGE = re.compile(
    r"""
      (?:[^/]+/)? (?: data | constants | bytecode | tensors ) /\d+
    | (?:[^/]+/)? data/(?:weights|constants)/ (?: weight | tensor ) _\d+
    """,
    re.VERBOSE,
)
_PICKLE = re.compile(r"(?:.*/)?(?:data|constants|bytecode|attributes)\.pkl|.*\.debug_pkl")
_PACKAGE = re.compile(r"(?:^|/)\.data/(?:extern_modules|python_version)$")
_PICKLED = re.compile(rb"\x80[\x02-\x05]")
KINDS = frozenset({"pytorch-zip", "torchscript", "torch-pt2"})


def is_storage(name: str) -> bool:
    """Whether a member is the raw bytes of a tensor."""
    return bool(_STORAGE.fullmatch(name))


def is_pickle(name: str) -> bool:
    """Whether PyTorch unpickles a member, however it begins."""
    return bool(_PICKLE.fullmatch(name))


def look_into_storage(stream: Stream, notes: Notes) -> None:
    """Refuses a storage that is a pickle which runs something: PyTorch does not unpickle it, but
    nothing honest looks like that. What else begins like a pickle is just numbers.

    Raises:
        LimitExceeded
    """
    if not _PICKLED.match(stream.peek(2)):
        return
    aside = replace(notes, findings=[], facts={}, format="pickle")
    with suppress(Malformed):
        check_pickle(stream, aside)
    for finding in aside.findings:
        if finding.code == "pickle.code_execution":
            notes.refuse(finding.code, finding.message)


def check(stream: Stream, notes: Notes) -> None:
    """Reads a pickle of PyTorch's.

    Raises:
        Malformed, LimitExceeded
    """
    notes.format = "pickle"
    check_pickle(stream, notes)
    notes.facts.pop("format_version", None)
    if not notes.location.endswith("/data.pkl"):
        # That a pickle can carry code need be said once, not for each of hundreds.
        notes.forget(lambda each: each.code == CAN_CARRY_CODE and each.location == notes.location)


def describe(kind: str | None, folder: Folder) -> None:
    """The facts of the pickle that holds the model, and what such an archive may do."""
    notes = folder.notes
    main = min(
        (name for name in folder.reports if name.endswith("data.pkl")),
        key=lambda name: name.count("/"),
        default=None,
    )
    if main is not None:
        notes.facts.update(folder.reports[main].facts)
    notes.fact("framework", "pytorch")
    if kind == "torchscript":
        _trust_own_classes(notes)
        what = "holds TorchScript code, which runs in PyTorch's interpreter when it is used"
        notes.can_carry_code(f"{notes.place} {what}.")
    if any(_PACKAGE.search(name) for name in folder.files):
        what = "is a torch.package: loading it imports the Python code in it"
        notes.hold("pytorch.package", f"{notes.place} {what}.")


def _trust_own_classes(notes: Notes) -> None:
    """Classes below ``__torch__`` are those of the archive's own TorchScript: no Python runs."""
    notes.forget(
        lambda finding: (
            finding.severity is Severity.WARNING
            and (finding.subject or "").startswith("__torch__.")
            and (finding.location or "").startswith(notes.location)
        )
    )
