"""Pickles, read by a machine that imports nothing and runs nothing."""

from adapters.inspection.pickles.checks import check_joblib, check_pickle, check_torch_legacy

__all__ = ["check_joblib", "check_pickle", "check_torch_legacy"]
