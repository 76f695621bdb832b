"""How much a run measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of one run.

    ``workdir`` is a folder that is deleted afterwards; ``rounds`` the repetitions of each
    measurement; ``seconds`` how long load lasts in each; ``big`` the bytes of a big file, ``huge``
    those of one that memory must not grow with;
    ``few`` and ``many`` the versions in the two registries whose latencies are compared;
    ``requests`` how often each of these latencies is taken.
    """

    workdir: Path
    rounds: int = 5
    seconds: float = 3
    big: int = GIB
    huge: int = 5 * GIB
    few: int = 1_000
    many: int = 100_000
    requests: int = 100

    @classmethod
    def quick(cls, workdir: Path) -> Plan:
        """A smoke run: does every driver still work? Its figures mean little."""
        big = GIB // 16
        return cls(
            workdir, rounds=1, seconds=1, big=big, huge=2 * big, few=600, many=3_000, requests=3
        )
