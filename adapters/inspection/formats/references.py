"""Files that a model names, to be read when it is loaded."""

from __future__ import annotations

import re

_LEAVING = re.compile(
    r"""
      ^ (?: [/~] | [A-Za-z]: | [A-Za-z][\w+.-]+:/ )     # /etc, ~/.ssh, C:, file:/, https://
    | [\\\x00-\x1f\x7f*]
    | (?: ^ | / ) \.\. (?: / | $ )
    | ^ [./]* $                                         # the folder itself
    """,
    re.VERBOSE,
)


def leaves_folder(name: str) -> bool:
    """Whether a name may lead out of the folder that the model lies in, on any system.

    Names with backslashes or asterisks count as such: the former separate folders on Windows, the
    latter mark addresses in memory (``*/_ORT_MEM_ADDR_/*``) for ONNX Runtime.
    """
    return _LEAVING.search(name) is not None
