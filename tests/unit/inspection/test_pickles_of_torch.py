"""Files of PyTorch before 1.6: five pickles, then raw storages."""

from __future__ import annotations

import struct

import pytest

from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import FileReport, ValidationPolicy, Verdict
from domain.values import FilePath

PATH = FilePath("model.pth")
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}q\0."
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x06NtQ"
    b"K\0K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
)
ROOT = b"\x80\x02}U\x01w" + TENSOR + b"s."
KEYS = b"\x80\x02]U\x010a."
STORAGE = struct.pack("<q", 6) + bytes(24)
PAYLOAD = b"cos\nsystem\nU\x04true\x85R"


def inspected(*parts: bytes) -> FileReport:
    return inspect_file(Stream.of_bytes(b"".join(parts)), PATH)


def verdict(*parts: bytes) -> Verdict:
    return ValidationPolicy().judge({PATH: inspected(*parts)}).verdict


def test_a_sound_file_is_accepted_and_described() -> None:
    report = inspected(MAGIC, PROTOCOL, SYSTEM, ROOT, KEYS, STORAGE)
    assert report.format == "pytorch-legacy"
    assert [each.code for each in report.findings] == ["format.can_carry_code"]
    facts = report.facts
    assert (facts["tensors"], facts["parameters"], facts["dtypes"]) == (1, 6, ["F32"])
    assert facts["framework"] == "pytorch"


@pytest.mark.parametrize("index", range(1, 5))
def test_a_payload_in_any_of_the_pickles_is_found(index: int) -> None:
    parts = [MAGIC, PROTOCOL, SYSTEM, ROOT, KEYS, STORAGE]
    parts[index] = parts[index][:2] + PAYLOAD + b"0" + parts[index][2:]
    messages = [each.message for each in inspected(*parts).findings]
    assert "model.pth: loading it would run os.system('true')." in messages


@pytest.mark.parametrize(
    "parts",
    [
        (MAGIC,),
        (MAGIC, PROTOCOL),
        (MAGIC, PROTOCOL, SYSTEM, ROOT),
        (MAGIC, PROTOCOL, SYSTEM, ROOT, KEYS),
        (MAGIC, PROTOCOL, SYSTEM, ROOT, KEYS, STORAGE[:-1]),
        (MAGIC, PROTOCOL, SYSTEM, ROOT, KEYS, STORAGE, b"more"),
        (MAGIC, PROTOCOL, SYSTEM, ROOT, KEYS, struct.pack("<q", -1)),
        (MAGIC, PROTOCOL, SYSTEM, ROOT, KEYS, struct.pack("<q", 1 << 62)),
        (MAGIC, PROTOCOL, SYSTEM, ROOT, b"\x80\x02]U\x011a.", STORAGE),
        (MAGIC, PROTOCOL, SYSTEM, ROOT, b"\x80\x02]}a.", STORAGE),
        (MAGIC, b"\x80\x02K\x01.", SYSTEM, ROOT, KEYS, STORAGE),
    ],
)
def test_broken_files_are_refused(parts: tuple[bytes, ...]) -> None:
    assert verdict(*parts) is Verdict.REJECT


def test_many_storages_are_followed() -> None:
    tensors = b"".join(TENSOR.replace(b"U\x010", b"U\x05%05d" % n) + b"a" for n in range(300))
    keys = b"".join(b"U\x05%05da" % n for n in range(300))
    root, keys = b"\x80\x02]" + tensors + b".", b"\x80\x02]" + keys + b"."
    assert verdict(MAGIC, PROTOCOL, SYSTEM, root, keys, STORAGE * 300) is Verdict.ACCEPT
    assert verdict(MAGIC, PROTOCOL, SYSTEM, root, keys, STORAGE * 299) is Verdict.REJECT
