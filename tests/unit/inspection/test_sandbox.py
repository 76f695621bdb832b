"""The processes that read files: what they may do, and what becomes of a file that ends one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from adapters.inspection import validator as validators
from adapters.inspection import wire
from adapters.inspection.sandbox import Child
from adapters.inspection.source import RangedFile, Ranges
from adapters.inspection.validator import SandboxedFileValidator
from domain.errors import StoreUnavailable, ValidationUnavailable
from domain.validation import Coverage, FileReport, Finding, Severity
from domain.values import FilePath
from tests.contracts.file_validator import GGUF, BrokenSource, BytesSource
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

ROOT = Path(__file__).parents[3]
PATH = FilePath("model.pkl")


@pytest.fixture
async def validator() -> AsyncIterator[SandboxedFileValidator]:
    async with SandboxedFileValidator(timeout=20) as validator:
        await validator.start()
        yield validator


class ActingSource(BytesSource):
    """Does something whenever more than the beginning is asked for."""

    def __init__(self, act: Any) -> None:
        super().__init__(b"\x80\4" + b"\x8c\1a0" * 500_000 + b"N.")
        self._act = act

    async def read_at(self, offset: int, length: int) -> bytes:
        if offset:
            await self._act()
        return await super().read_at(offset, length)


def pid_of(validator: SandboxedFileValidator) -> int:
    (child,) = validator._idle
    return child.pid


def not_checked(report: FileReport) -> str:
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("file.not_checked", Severity.CRITICAL)
    assert finding.path == PATH
    return finding.message


def running(pid: int) -> bool:
    try:
        return proc(pid, "stat").rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


async def ended(pid: int) -> None:
    await asyncio.to_thread(eventually, lambda: not running(pid))


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def assert_works(validator: SandboxedFileValidator) -> None:
    report = await validator.validate(BytesSource(GGUF), FilePath("model.gguf"))
    assert report.format == "gguf"
    assert "file.not_checked" not in {finding.code for finding in report.findings}


# --- what a process has ---------------------------------------------------------------------------


async def test_it_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@db/models")
    async with SandboxedFileValidator() as validator:
        await validator.start()
        environment = proc(pid_of(validator), "environ")
    assert "hunter2" not in environment
    assert "DATABASE_URL" not in environment
    assert "OPENBLAS_NUM_THREADS=1" in environment


async def test_it_can_open_nothing_and_write_nothing(validator: SandboxedFileValidator) -> None:
    pid = pid_of(validator)
    descriptors = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    most, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert descriptors == set(range(most))
    assert resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    assert resource.prlimit(pid, resource.RLIMIT_AS) == (1 << 30, 1 << 30)


async def test_it_has_no_privileges_and_gets_none(validator: SandboxedFileValidator) -> None:
    lines = proc(pid_of(validator), "status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Threads"] == "1"


async def test_the_terminal_does_not_interrupt_it(validator: SandboxedFileValidator) -> None:
    assert os.getsid(pid_of(validator)) == pid_of(validator)


async def test_processor_time_is_limited_for_each_file(validator: SandboxedFileValidator) -> None:
    for _ in range(2):
        await assert_works(validator)
        most, _ = resource.prlimit(pid_of(validator), resource.RLIMIT_CPU)
        assert 10 <= most < 20


# --- when a process fails -------------------------------------------------------------------------


async def test_a_process_that_is_killed_has_not_checked_the_file(
    validator: SandboxedFileValidator,
) -> None:
    pid = pid_of(validator)

    async def kill() -> None:
        os.kill(pid, signal.SIGKILL)

    message = not_checked(await validator.validate(ActingSource(kill), PATH))
    assert message.startswith("model.pkl could not be checked: the process that read it was kill")
    await assert_works(validator)
    assert pid_of(validator) != pid


async def test_a_process_that_hangs_is_killed() -> None:
    async with SandboxedFileValidator(timeout=1) as validator:
        await validator.start()
        pid = pid_of(validator)
        os.kill(pid, signal.SIGSTOP)
        message = not_checked(await validator.validate(BytesSource(GGUF), PATH))
        assert message == "model.pkl could not be checked: reading it took longer than 1 s."
        await ended(pid)
        validator._timeout = 20
        await assert_works(validator)


async def test_a_store_that_hangs_does_not_hold_a_process_for_ever() -> None:
    async with SandboxedFileValidator(timeout=1) as validator:
        await validator.start()
        not_checked(await validator.validate(ActingSource(asyncio.Event().wait), PATH))


async def test_too_much_processor_time_is_told_from_a_crash(
    validator: SandboxedFileValidator,
) -> None:
    pid = pid_of(validator)

    async def kill(number: int) -> None:
        os.kill(pid, number)

    source = ActingSource(lambda: kill(signal.SIGXCPU))
    assert "too much processor time" in not_checked(await validator.validate(source, PATH))
    await validator.start()
    pid = pid_of(validator)
    source = ActingSource(lambda: kill(signal.SIGSEGV))
    assert "ended unexpectedly" in not_checked(await validator.validate(source, PATH))


async def test_a_process_that_died_while_it_waited_is_replaced(
    validator: SandboxedFileValidator,
) -> None:
    pid = pid_of(validator)
    os.kill(pid, signal.SIGKILL)
    await ended(pid)
    await assert_works(validator)


async def test_a_client_that_leaves_is_not_in_the_way_of_the_next(
    validator: SandboxedFileValidator,
) -> None:
    pid, asked = pid_of(validator), asyncio.Event()

    async def hang() -> None:
        asked.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(validator.validate(ActingSource(hang), PATH))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended(pid)
    await assert_works(validator)


async def test_a_store_that_fails_halfway_is_an_error_and_no_verdict(
    validator: SandboxedFileValidator,
) -> None:
    for _ in range(2):
        source = BrokenSource(ActingSource(None)._content, after=1)
        with pytest.raises(StoreUnavailable, match="disk is gone"):
            await validator.validate(source, PATH)
        await assert_works(validator)


@pytest.mark.parametrize(
    "answer",
    [
        wire.framed(wire.REPORT, b"{}"),
        wire.framed(wire.REPORT, b"\x80\4cos\nsystem\n"),
        wire.framed(wire.READ, wire.RANGE.pack(10**12, 10)),
        wire.framed(wire.READ, b"?"),
        wire.framed(b"x", b""),
        wire.FRAME.pack(wire.REPORT, 1 << 31),
    ],
)
async def test_a_process_that_talks_nonsense_has_not_checked_the_file(
    validator: SandboxedFileValidator, answer: bytes
) -> None:
    (child,) = validator._idle
    ours, theirs = socket.socketpair()
    with theirs, child._socket:
        ours.setblocking(False)
        child._socket = ours
        theirs.sendall(answer)
        message = not_checked(await validator.validate(BytesSource(GGUF), PATH))
    assert "no sensible answer" in message
    await assert_works(validator)


async def test_memory_beyond_the_limit_is_not_had() -> None:
    """A process that may have next to nothing beyond what it has: no answer is no acceptance."""
    async with SandboxedFileValidator() as validator:
        await validator.start()
        pid = pid_of(validator)
        size = int(proc(pid, "statm").split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
        report = await validator.validate(ActingSource(lambda: asyncio.sleep(0)), PATH)
        assert Severity.CRITICAL in {finding.severity for finding in report.findings}
        await assert_works(validator)


# --- how many there are ---------------------------------------------------------------------------


async def test_there_are_as_many_processes_as_wanted_and_no_more() -> None:
    async with SandboxedFileValidator(workers=2) as validator:
        barrier, seen = asyncio.Barrier(8), set[int]()

        async def judge() -> FileReport:
            await barrier.wait()
            return await validator.validate(BytesSource(GGUF), FilePath("m.gguf"))

        for _ in range(3):
            reports = await asyncio.gather(*(judge() for _ in range(8)))
            assert {report.format for report in reports} == {"gguf"}
            seen |= {child.pid for child in validator._idle}
        assert len(seen) == 2


async def test_a_file_waits_for_its_turn_only_so_long() -> None:
    async with SandboxedFileValidator(timeout=30, workers=1) as validator:
        await validator.start()
        hanging = asyncio.create_task(validator.validate(ActingSource(asyncio.Event().wait), PATH))
        await asyncio.sleep(0.1)
        validator._timeout = 0.1
        with pytest.raises(ValidationUnavailable, match="Too many files"):
            await validator.validate(BytesSource(GGUF), PATH)
        hanging.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hanging


async def test_a_process_is_replaced_after_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validators, "_MOST_JOBS", 2)
    async with SandboxedFileValidator() as validator:
        await assert_works(validator)
        pid = pid_of(validator)
        await assert_works(validator)
        await ended(pid)
        await assert_works(validator)


async def test_a_process_that_keeps_much_memory_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with SandboxedFileValidator() as validator:
        await assert_works(validator)
        pid = pid_of(validator)
        await assert_works(validator)
        assert pid_of(validator) == pid
        monkeypatch.setattr(validators, "_MOST_RESIDENT", 1 << 20)
        await assert_works(validator)
        await ended(pid)


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"])
async def test_without_processes_nothing_is_judged(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    async with SandboxedFileValidator() as validator:
        with pytest.raises(ValidationUnavailable):
            await validator.validate(BytesSource(GGUF), PATH)
        with pytest.raises(ValidationUnavailable):
            await validator.start()


async def test_closing_ends_all_and_one_that_works_after_its_file() -> None:
    validator = SandboxedFileValidator()
    await validator.start()
    pid, asked, go_on = pid_of(validator), asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await go_on.wait()

    task = asyncio.create_task(validator.validate(ActingSource(wait), PATH))
    await asked.wait()
    await validator.close()
    assert running(pid)
    go_on.set()
    await task
    await ended(pid)


def test_it_works_on_the_loop_of_the_service() -> None:
    async def judge() -> None:
        async with SandboxedFileValidator() as validator:
            await assert_works(validator)
            source = ActingSource(lambda: asyncio.sleep(0))
            report = await validator.validate(source, PATH)
            assert "file.not_checked" not in {finding.code for finding in report.findings}
            assert source.read == source.size or source.read > 256 * 1024

    uvloop.run(judge())


# --- when the service dies ------------------------------------------------------------------------

_PARENT = """
import asyncio, os, signal, sys
from adapters.inspection.validator import SandboxedFileValidator

async def main():
    validator = SandboxedFileValidator()
    await validator.start()
    pid = validator._idle[0].pid
    if sys.argv[1] == "busy":
        os.kill(pid, signal.SIGSTOP)  # it cannot notice that its socket has ended
    print(pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture(params=["idle", "busy"])
def parent(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, request.param], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


async def test_no_process_outlives_the_service(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    assert running(pid)
    parent.kill()
    await ended(pid)


# --- what is said ---------------------------------------------------------------------------------

_TEXTS = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=50)
_FINDINGS = st.builds(
    Finding,
    _TEXTS,
    st.sampled_from(Severity),
    _TEXTS,
    st.just(PATH),
    st.none() | _TEXTS,
    st.none() | _TEXTS,
)
_VALUES = (
    _TEXTS
    | st.integers(-(1 << 63) + 1, (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.lists(_TEXTS)
)


@given(
    st.builds(
        FileReport,
        st.sampled_from(["application/x-gguf", "text/plain"]),
        st.none() | _TEXTS,
        st.lists(_FINDINGS, max_size=5).map(tuple),
        st.dictionaries(_TEXTS, _VALUES, max_size=5),
        st.sampled_from(Coverage),
    )
)
def test_a_report_arrives_as_it_was_sent(report: FileReport) -> None:
    message = wire.encode_report(report)
    assert wire.FRAME.unpack_from(message) == (wire.REPORT, len(message) - wire.FRAME.size)
    assert wire.decode_report(message[wire.FRAME.size :], PATH) == report


def test_the_longest_report_is_not_too_long() -> None:
    texts = ["\U0001f600" * 250] * 100
    finding = Finding("code", Severity.INFO, "\U0001f600" * 500, PATH, "m" * 70_000, texts[0])
    report = FileReport("a/b", None, (finding,) * 100, {f"fact{n}": texts for n in range(20)})
    message = wire.encode_report(report)
    assert len(message) < wire.MOST_REPORT
    decoded = wire.decode_report(message[wire.FRAME.size :], PATH)
    assert len(decoded.findings) == 100
    assert decoded.facts == report.facts


_REPORT: dict[str, Any] = {
    "media_type": "a/b",
    "format": None,
    "findings": [],
    "facts": {},
    "coverage": "complete",
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"media_type": "a/b\r\nset-cookie: x"},
        {"media_type": 1},
        {"format": 3},
        {"findings": None},
        {"findings": [["a", "info", "b", None, None]] * 201},
        {"findings": [["a", "fatal", "b", None, None]]},
        {"findings": [["a", "info", "b"]]},
        {"findings": ["abcde"]},
        {"facts": []},
        {"facts": {"a": None}},
        {"facts": {"a": {"b": "c"}}},
        {"facts": {"a": [1]}},
        {"facts": {"a": ["b"] * 2_000}},
        {"facts": {f"{n}": 1 for n in range(101)}},
        {"coverage": "none"},
        {"coverage": []},
    ],
)
def test_a_report_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    assert wire.decode_report(json.dumps(_REPORT).encode(), PATH).format is None
    with pytest.raises(wire.Nonsense):
        wire.decode_report(json.dumps(_REPORT | wrong).encode(), PATH)


@pytest.mark.parametrize("message", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(message: bytes) -> None:
    with pytest.raises(wire.Nonsense):
        wire.decode_report(message, PATH)


def test_texts_and_numbers_of_a_report_can_be_shown_and_stored() -> None:
    facts = {"a\n": "\ud800\x1b", "big": 1 << 80, "nan": float("nan"), "fine": 1.5}
    finding = ["a", "info", "line\nline " + "x" * 5_000, "member\0", None]
    told = json.dumps(_REPORT | {"facts": facts, "findings": [finding]}).encode()
    report = wire.decode_report(told, PATH)
    assert report.facts == {"a?": "??", "fine": 1.5}
    (found,) = report.findings
    assert found.message.startswith("line?line ")
    assert len(found.message) == 1_000
    assert found.location == "member?"


# --- what is asked for ----------------------------------------------------------------------------


class Asked(Ranges):
    """Ranges of these bytes, that notes what was asked for."""

    def __init__(self, content: bytes, head: int = 1_000) -> None:
        self.asked: list[tuple[int, int]] = []

        def fetch(offset: int, length: int) -> bytes:
            assert length > 0
            self.asked.append((offset, length))
            part = content[offset : offset + length]
            assert len(part) == length
            return part

        super().__init__(content[:head], len(content), fetch)


CONTENT = bytes(range(251)) * 40_000


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(0, 300_000)), max_size=20))
def test_any_place_can_be_read_in_any_order(places: list[tuple[int, int]]) -> None:
    file = RangedFile(Asked(CONTENT))
    for place, count in places:
        assert file.seek(place) == file.tell() == place
        buffer = bytearray(count)
        got = file.readinto(buffer)
        assert got or not count or place >= len(CONTENT)
        assert bytes(buffer[:got]) == CONTENT[place : place + got]


def test_reading_on_takes_few_requests() -> None:
    ranges = Asked(CONTENT)
    assert RangedFile(ranges).readall() == CONTENT
    assert len(ranges.asked) < 10
    assert sum(length for _, length in ranges.asked) == len(CONTENT) - 1_000


def test_going_to_and_fro_between_two_places_asks_once_for_each() -> None:
    ranges = Asked(CONTENT)
    file = RangedFile(ranges)
    for _ in range(50):
        for place in (0, 5_000_000, len(CONTENT) - 22, len(CONTENT) - 60_000):
            file.seek(place)
            assert file.readinto(bytearray(20)) == 20
    assert len(ranges.asked) <= 4


def test_a_file_knows_its_end_and_its_beginning() -> None:
    file = RangedFile(Asked(CONTENT))
    assert file.seek(0, os.SEEK_END) == len(CONTENT)
    assert file.readinto(bytearray(9)) == 0
    assert file.seek(-5, os.SEEK_CUR) == len(CONTENT) - 5
    with pytest.raises(ValueError, match="before the beginning"):
        file.seek(-1)


async def test_a_process_can_be_ended_twice() -> None:
    child = Child(1 << 30)
    await child.ready()
    child.end()
    child.end()
    await child.gone()
    assert not child.alive
