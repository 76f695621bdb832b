"""Pickles, read by a machine that imports nothing and runs nothing."""

from adapters.inspection.pickles.checks import check_joblib, check_pickle, check_torch_legacy
from adapters.inspection.pickles.imports import Trust, judge_import
from adapters.inspection.pickles.recognition import recognise_pickle

__all__ = [
    "Trust",
    "check_joblib",
    "check_pickle",
    "check_torch_legacy",
    "judge_import",
    "recognise_pickle",
]
