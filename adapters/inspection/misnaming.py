"""Files whose content is not what their name promises."""

from __future__ import annotations

from adapters.inspection import naming
from adapters.inspection.report import Notes
from domain.validation import CAN_CARRY_CODE, UNKNOWN_FORMAT

_MISNAMED = "file.misnamed"
_PICKLES = ("pickle", "joblib", "pytorch", "torch", "dill", "cloudpickle")


def check_name(name: str, notes: Notes) -> None:
    """Compares the format that was found with the extension.

    What can carry code under the name of what cannot is refused: nobody does that by accident, and
    people and scanners that go by names would trust it.
    """
    promise = naming.promised(name)
    if promise is None or (notes.format or "").split("+")[0] in promise[1]:
        return
    called, expected = promise
    if notes.format is None:
        if expected and naming.is_binary(name) and not _refused(notes):
            notes.tell(_MISNAMED, f"{notes.place} is named like {called}, but is no model.")
        return
    what = f"{notes.place} is named like {called}, but is {_described(notes.format)}."
    if _carries_code(notes) and not naming.may_be_a_pickle(name):
        notes.refuse(_MISNAMED, what)
    else:
        notes.tell(_MISNAMED, what)


def hold_unknown(name: str, notes: Notes) -> None:
    """Holds what nobody knows, whatever its name says."""
    promise = naming.promised(name)
    like = f"is named like {promise[0]}, but " if promise and promise[1] else ""
    message = f"{notes.place} {like}is in no format that is known here; it was not checked."
    notes.hold(UNKNOWN_FORMAT, message)


def _described(format: str) -> str:
    return "a pickle" if format == "pickle" else format


def _carries_code(notes: Notes) -> bool:
    here = notes.location or None
    return notes.format is not None and (
        notes.format.startswith(_PICKLES)
        or any(each.code == CAN_CARRY_CODE and each.location == here for each in notes.findings)
    )


def _refused(notes: Notes) -> bool:
    """Whether it was said already that this is something else."""
    return any(each.location == (notes.location or None) for each in notes.findings)
