"""What a cloud's client refuses, in the words of the port: no address, no signature, no key."""

from __future__ import annotations

import re

from domain.errors import ModelyardError, StoreFull, StoreUnavailable

_FULL = {
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "quotaExceeded",
}
NO_BUCKET = {"ContainerNotFound", "NoSuchBucket"}
_WORD = re.compile(r"[A-Za-z0-9]{1,60}")


def failure(*, status: int | None, code: str = "", slow: bool = False) -> ModelyardError:
    """The error for an answer with this HTTP status and code of the store, or for none at all."""
    code = code if _WORD.fullmatch(code) else ""
    if code in _FULL or status == 507:
        return StoreFull("The object store has no room left; free some, or try again later.")
    if code in NO_BUCKET:
        reason = "its bucket does not exist"
    elif status in {401, 403}:
        reason = f"it denies access{_said(code)}: look at the credentials and what they permit"
    elif status is not None:
        reason = f"it answered {status}{_said(code)}"
    else:
        reason = "it does not answer in time" if slow else "it cannot be reached"
    return StoreUnavailable(f"The object store cannot be used now: {reason}; try again later.")


def _said(code: str) -> str:
    return f" ({code})" if code else ""
