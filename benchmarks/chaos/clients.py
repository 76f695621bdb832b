"""Clients that publish until it is acknowledged, as an honest client would."""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Self

from benchmarks.chaos.jobs import Job, job
from benchmarks.chaos.plan import Plan
from benchmarks.wire import Connection, Response, WireError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_GIVING_UP = 400.0
"""Longer than the doom of a blob lasts where a collection was cut off: five minutes."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A publish that was answered with a version.

    Attributes:
        digests: the sha256 of each file that was sent.
        again: the answer said that an earlier attempt had succeeded.
        at: seconds since the start.
    """

    key: str
    model: str
    number: int
    digests: Mapping[str, str]
    again: bool
    at: float


class _NotNow(Exception):
    """Try again; the text is the cause, to be counted.

    Attributes:
        collected: a blob that was uploaded ahead is gone.
    """

    def __init__(self, cause: str, *, collected: bool = False) -> None:
        super().__init__(cause)
        self.collected = collected


class _Refused(Exception):
    """An answer that no client should get."""


class Clients:
    """Threads that publish the jobs of the plan, while the block lasts."""

    def __init__(self, plan: Plan, ports: Sequence[int]) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.retries: Counter[str] = Counter()
        self.defects: list[str] = []
        self._plan = plan
        self._ports = ports
        self._taken = self._allowed = 0
        self._resumed: list[float] = []
        self._progress = threading.Condition()
        self._start = time.monotonic()
        self._threads = [
            threading.Thread(target=self._work, args=(client,), daemon=True)
            for client in range(plan.clients)
        ]

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            for thread in self._threads:
                thread.join()

    @property
    def clock(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def allow(self, count: int) -> None:
        """Lets them take jobs until they have taken so many of the run."""
        with self._progress:
            if self._ended == self._allowed:
                self._resumed.append(self.clock)
            self._allowed = min(count, self._plan.versions)
            self._progress.notify_all()

    def wait_for(self, count: int) -> None:
        """Returns when so many jobs have ended."""
        with self._progress:
            self._progress.wait_for(lambda: self._ended >= count)

    @property
    def _ended(self) -> int:
        return len(self.acknowledged) + len(self.defects)

    def longest_silence(self) -> tuple[float, float]:
        """The longest time in which clients waited and none got its version; when it began."""
        times = sorted([*self._resumed, *(one.at for one in self.acknowledged)])
        return max(
            ((end - begin, begin) for begin, end in pairwise(times) if end not in self._resumed),
            default=(0.0, 0.0),
        )

    def _work(self, client: int) -> None:
        dice = random.Random(f"{self._plan.seed}/client {client}")
        link = _Link(self._ports, client, self._plan.patience)
        while (serial := self._next()) is not None:
            one = job(self._plan, serial)
            try:
                answer = self._persist(link, one, dice)
            except Exception as error:  # noqa: BLE001 - else its thread would be missing
                self._tell(defect=f"{one.key}: {type(error).__name__}: {error}")
                continue
            number, again = answer.json()["version"], answer.status == 200
            self._tell(Acknowledged(one.key, one.model, number, one.digests, again, self.clock))
        link.close()

    def _next(self) -> int | None:
        """The serial number of a job; waits for one to be allowed, None when there are no more."""
        with self._progress:
            most = self._plan.versions
            self._progress.wait_for(lambda: self._taken < self._allowed or self._taken == most)
            if self._taken == most:
                return None
            self._taken += 1
            return self._taken - 1

    def _tell(self, done: Acknowledged | None = None, defect: str = "") -> None:
        with self._progress:
            if done is not None:
                self.acknowledged.append(done)
            else:
                self.defects.append(defect)
            self._progress.notify_all()

    def _persist(self, link: _Link, one: Job, dice: random.Random) -> Response:
        """Tries until there is an answer that counts, with longer and longer pauses."""
        publish, to_upload = one.publish(), one.uploads()
        if one.broken_off:
            link.break_off(publish)
        deadline = time.monotonic() + _GIVING_UP
        for attempt in itertools.count():
            try:
                while to_upload:
                    link.ask(to_upload[-1])
                    to_upload.pop()
                return link.ask(publish)
            except _NotNow as cause:
                if time.monotonic() > deadline:
                    raise _Refused(f"not within {_GIVING_UP:g} s; at last {cause}") from None
                with self._progress:
                    self.retries[str(cause)] += 1
                if cause.collected:
                    to_upload = one.uploads()
            time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * dice.uniform(0.5, 1))
        raise AssertionError


class _Link:
    """A kept connection; where it breaks, the next is one to the next address."""

    def __init__(self, ports: Sequence[int], client: int, patience: float) -> None:
        self._turns = itertools.islice(itertools.cycle(ports), client % len(ports), None)
        self._patience = patience
        self._connection: Connection | None = None

    def ask(self, request: bytes) -> Response:
        """The answer, if it is 200 or 201.

        Raises:
            _NotNow: the connection broke, or the answer says that it may work later.
            _Refused: any other answer.
        """
        try:
            if self._connection is None:
                self._connection = Connection(next(self._turns), timeout=self._patience)
            answer = self._connection.exchange(request)
        except TimeoutError:
            self.close()
            raise _NotNow(f"no answer in {self._patience:g} s") from None
        except (OSError, WireError, ValueError) as error:
            self.close()
            raise _NotNow(f"connection broken ({type(error).__name__})") from None
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        if answer.status not in {200, 201}:
            raise _complaint(answer)
        return answer

    def break_off(self, request: bytes) -> None:
        """Sends one half of it and is gone."""
        self.close()
        with suppress(OSError), socket.create_connection(("127.0.0.1", next(self._turns))) as half:
            half.sendall(request[: len(request) // 2])

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if self._connection is not None:
            self._connection.__exit__(None, None, None)
            self._connection = None


def _complaint(answer: Response) -> Exception:
    try:
        code = answer.json()["code"]
    except (ValueError, KeyError):
        code = "from nginx"
    cause = f"{answer.status} {code}"
    if answer.status in {500, 502, 503, 504}:
        return _NotNow(cause)
    if code == "blob.not_uploaded":
        return _NotNow(f"{cause}: collected before the publish", collected=True)
    return _Refused(f"{cause}: {answer.body[:500]!r}")
