"""What begins like a pickle, and what only looks like it."""

from __future__ import annotations

import io

import numpy as np

from adapters.inspection.pickles import recognise_pickle


def test_a_zip_archive_of_a_pickle_is_no_pickle() -> None:
    """Its first letter asks for a persistent id, which plain unpicklers do not know; what follows
    the first end of a line may well be a pickle."""
    made = io.BytesIO()
    np.savez(made, a=np.array([{"x": 1}, None], dtype=object))
    assert b"\n" in made.getvalue()[:200]
    assert recognise_pickle(made.getvalue()) is None


def test_a_persistent_id_after_a_call_does_not_hide_the_call() -> None:
    assert recognise_pickle(b"cposix\nsystem\n(S'true'\ntRPid\n.") == "pickle"
