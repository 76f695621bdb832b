"""ZIP archives: what readers agree on passes, anything else is refused; members are inspected."""

from __future__ import annotations

import io
import json
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from adapters.inspection.archives.zip_directory import zip_at_end
from domain.validation import NOT_A_MODEL
from tests.support.containers import CAT, MODEL, PAYLOAD, STATE_DICT, zipped
from tests.support.corpus import CORPUS
from tests.support.inspecting import codes, inspected, judged, messages, verdict

DEFLATED = zipfile.ZIP_DEFLATED


def replaced(data: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in data
    return data.replace(old, new, count)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, DEFLATED, zipfile.ZIP_BZIP2])
def test_an_archive_is_the_model_in_it(method: int) -> None:
    data = zipped([("m/config.json", b"{}"), ("m/model.safetensors", MODEL)], method)

    report = inspected(data, "m.zip")

    assert report.findings == ()
    assert report.format == "zip"
    assert report.facts["parameters"] == 516
    assert report.facts["members"] == 2
    assert report.facts["formats"] == ["safetensors"]


def test_an_archive_of_cats_is_no_model() -> None:
    data = zipped([("cat1.jpg", CAT), ("cat2.jpg", CAT)])

    sentence = "model.pt is a ZIP archive of cat1.jpg, cat2.jpg, not a model."
    assert messages(data, "model.pt") == sentence
    assert codes(data, "model.pt") == {NOT_A_MODEL}
    assert inspected(data, "model.pt").format is None


def test_a_picture_beside_a_model_is_told_and_a_program_is_held() -> None:
    cat = zipped([("model.safetensors", MODEL), ("cat.jpg", CAT)])
    library = (CORPUS / "notmodels/lib.onnx").read_bytes()
    script = b"#!/bin/sh\nrm -rf ~\n"

    assert verdict(cat, "m.zip") == "accept"
    assert messages(cat, "m.zip") == "cat.jpg in m.zip is JPEG image data."
    for name, program in (("ops.so", library), ("weights.bin", library), ("run.sh", script)):
        data = zipped([("model.safetensors", MODEL), (name, program)])
        assert verdict(data, "m.zip") == "review"
        assert "archive.holds_program" in codes(data, "m.zip")


def test_payloads_are_found_whatever_their_name_and_depth() -> None:
    for name in ("scaler.pkl", "notes.txt", "a/b/c/data.bin", "README"):
        data = zipped([("model.safetensors", MODEL), (name, PAYLOAD)], DEFLATED)
        assert f"{name} in m.zip: loading it would run posix.system('true')." in messages(
            data, "m.zip"
        )
    inner = zipped([("x.dat", PAYLOAD)])
    data = zipped([("inner.zip", inner), ("model.safetensors", MODEL)])
    assert "inner.zip/x.dat in m.zip: loading it would run" in messages(data, "m.zip")


def test_archives_that_nobody_can_look_into_are_held_beside_a_model() -> None:
    closed = (CORPUS / "attacks/payload.7z").read_bytes()
    office = zipped([("[Content_Types].xml", b"<Types/>"), ("word/a.pkl", PAYLOAD)])

    assert verdict(zipped([("m.safetensors", MODEL), ("a.7z", closed)]), "m.zip") == "review"
    assert verdict(zipped([("m.safetensors", MODEL), ("a.docx", office)]), "m.zip") == "reject"


def test_a_third_layer_is_refused_and_a_model_format_is_no_layer() -> None:
    one = zipped([("model.pt", STATE_DICT)])
    two = zipped([("a.zip", one)])

    assert verdict(two, "m.zip") == "accept"
    assert verdict(zipped([("b.zip", two)]), "m.zip") == "reject"


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../evil", "a/../../evil", "C:/evil", "C:evil", "a\\..\\evil", "..", "a\x01b"],
)
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    data = zipped([("model.safetensors", MODEL), (name, b"x")])

    assert verdict(data, "m.zip") == "reject"
    assert "archive.unsafe_name" in codes(data, "m.zip")


def test_names_that_nothing_can_unpack_are_refused() -> None:
    for name in ("a" * 5000, "a/" * 200 + "a", "/".join(["a"] * 30_000)):
        data = zipped([("model.safetensors", MODEL), (name, b"x")])
        assert "archive.unsafe_name" in codes(data, "m.zip")
    data = zipped([("m.safetensors", MODEL), ("m.safetensors/x.txt", b"x")])
    assert "archive.duplicate" in codes(data, "m.zip")


def test_names_with_a_nul_are_refused() -> None:
    data = replaced(zipped([("model.safetensors", MODEL), ("a.bXpkl", b"x")]), b"bX", b"b\0")

    assert verdict(data, "m.zip") == "reject"
    assert "\0" not in str(inspected(data, "m.zip"))


@pytest.mark.parametrize(
    "second", ["model.safetensors", "MODEL.safetensors", "./model.safetensors"]
)
def test_two_members_of_one_name_are_refused(second: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = zipped([("model.safetensors", MODEL), (second, MODEL)])

    assert "archive.duplicate" in codes(data, "m.zip")
    assert verdict(data, "m.zip") == "reject"


@pytest.mark.parametrize("mode", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_are_refused(mode: int) -> None:
    info = zipfile.ZipInfo("device")
    info.external_attr = (mode | 0o644) << 16

    assert verdict(zipped([("model.safetensors", MODEL), (info, b"")]), "m.zip") == "reject"


@pytest.mark.parametrize(
    ("target", "right"),
    [
        ("/etc/passwd", "reject"),
        ("../../etc", "reject"),
        ("..", "review"),
        ("model.safetensors", "accept"),
        ("../m/model.safetensors", "accept"),
        ("nowhere", "review"),
    ],
)
def test_links_may_lead_to_a_member_only(target: str, right: str) -> None:
    info = zipfile.ZipInfo("m/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    data = zipped([("m/model.safetensors", MODEL), (info, target.encode())])

    assert verdict(data, "m.zip") == right


def test_a_member_behind_a_link_is_refused() -> None:
    info = zipfile.ZipInfo("m")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16

    data = zipped([(info, b"other"), ("m/model.safetensors", MODEL), ("other", b"x")])

    assert "lies behind the link m" in messages(data, "m.zip")
    assert verdict(data, "m.zip") == "reject"


def _flag(bit: int) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        local, central = bytearray(data), data.rfind(b"PK\x01\x02")
        local[6] |= bit
        local[central + 8] |= bit
        return bytes(local)

    return changed


def _prefixed(data: bytes) -> bytes:
    return b"MZ" + data


def _followed(data: bytes) -> bytes:
    return data + b"more"


def _gap(data: bytes) -> bytes:
    """Hidden bytes between the member and the directory, with the offset put right."""
    at = data.rfind(b"PK\x01\x02")
    end = bytearray(data[at:])
    where = end.rfind(b"PK\x05\x06") + 16
    struct.pack_into("<I", end, where, at + len(PAYLOAD))
    return data[:at] + PAYLOAD + bytes(end)


def _other_local_name(data: bytes) -> bytes:
    return data.replace(b"model.safetensors", b"model.safetensorz", 1)


def _other_local_method(data: bytes) -> bytes:
    return data[:8] + b"\x08" + data[9:]


def _other_local_size(data: bytes) -> bytes:
    return data[:22] + b"\x01" + data[23:]


def _wrong_crc(data: bytes) -> bytes:
    crc = data[14:18]
    return data.replace(crc, b"\xde\xad\xbe\xef")


def _unknown_method(data: bytes) -> bytes:
    local, central = bytearray(data), data.rfind(b"PK\x01\x02")
    local[8] = local[central + 10] = 97
    return bytes(local)


def _cut(data: bytes) -> bytes:
    return data[:-30]


def _several_disks(data: bytes) -> bytes:
    at = data.rfind(b"PK\x05\x06")
    return data[: at + 4] + b"\1\0" + data[at + 6 :]


def _fewer_entries(data: bytes) -> bytes:
    at = data.rfind(b"PK\x05\x06")
    return data[: at + 8] + b"\0\0\0\0" + data[at + 12 :]


@pytest.mark.parametrize(
    "changed",
    [
        _flag(0x01),
        _flag(0x20),
        _flag(0x40),
        _prefixed,
        _followed,
        _gap,
        _other_local_name,
        _other_local_method,
        _other_local_size,
        _wrong_crc,
        _unknown_method,
        _cut,
        _several_disks,
        _fewer_entries,
    ],
)
def test_what_readers_disagree_on_is_refused(changed: Callable[[bytes], bytes]) -> None:
    data = zipped([("model.safetensors", MODEL)])

    assert verdict(data, "m.zip") == "accept"
    expected = {"reject"} if changed is not _unknown_method else {"reject", "review"}
    assert verdict(changed(data), "m.zip") in expected


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, DEFLATED])
def test_a_wrong_checksum_hides_nothing(method: int) -> None:
    data = _wrong_crc(zipped([("x.pkl", PAYLOAD)], method))

    assert "has another checksum (CRC-32)" in messages(data, "m.zip")
    assert "loading it would run posix.system('true')." in messages(data, "m.zip")


def test_a_comment_is_no_fault() -> None:
    data = zipped([("model.safetensors", MODEL)], comment=b"made by hand")

    assert verdict(data, "m.zip") == "accept"


def test_members_that_overlap_are_refused() -> None:
    """One member, named twice in the directory: how small bombs are made."""
    data = zipped([("a", bytes(1000)), ("b", bytes(1000))], DEFLATED)
    first, second = (at for at in range(len(data)) if data.startswith(b"PK\x01\x02", at))
    bomb = bytearray(data)
    bomb[second + 42 : second + 46] = bomb[first + 42 : first + 46]

    assert "overlap" in messages(bytes(bomb), "m.zip")
    assert verdict(bytes(bomb), "m.zip") == "reject"


def test_bombs_are_refused_by_what_they_say_and_by_what_they_do() -> None:
    honest = zipped([("model.bin", bytes(100 << 20))], DEFLATED)
    liar = replaced(honest, struct.pack("<I", 100 << 20), struct.pack("<I", 1_000_000))

    assert "file.bomb" in codes(honest, "m.zip")
    assert verdict(liar, "m.zip") == "reject"
    assert "expands to more bytes than its archive says" in messages(liar, "m.zip")


def test_bombs_of_many_members_and_of_large_directories_are_refused() -> None:
    many = zipped([(f"{number}.txt", b"") for number in range(10_001)])
    large = zipfile.ZipInfo("a")
    large.extra = struct.pack("<HH", 0x9999, 65_000) + bytes(65_000)
    members: list[tuple[str | zipfile.ZipInfo, bytes]] = []
    for number in range(300):
        info = zipfile.ZipInfo(f"a{number}")
        info.extra = large.extra
        members.append((info, b""))

    assert "more than 10000 members" in messages(many, "m.zip")
    assert verdict(zipped(members), "m.zip") == "reject"


def test_streamed_and_large_archives_pass() -> None:
    """Sizes behind the members, as writers to a pipe put them; sizes in ZIP64 fields."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            part = bytes(data)  # type: ignore[call-overload]
            self.data += part
            return len(part)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", DEFLATED) as archive:
        archive.writestr("model.safetensors", MODEL)
        archive.writestr("config.json", b"{}")
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w") as archive,
        archive.open("model.safetensors", "w", force_zip64=True) as member,
    ):
        member.write(MODEL)

    assert verdict(pipe.data, "m.zip") == "accept"
    assert verdict(file.getvalue(), "m.zip") == "accept"


def test_an_end_of_zip64_is_read_and_must_agree() -> None:
    data = zipped([("model.safetensors", MODEL)])
    at = data.rfind(b"PK\x05\x06")
    start = data.rfind(b"PK\x01\x02")
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, at - start, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    unknown = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, *[0xFFFFFFFF] * 2, 0)
    wrong = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, at - start, 7, 0)

    assert verdict(data[:at] + record + locator + unknown, "m.zip") == "accept"
    assert verdict(data[:at] + record + locator + data[at:], "m.zip") == "accept"
    assert verdict(data[:at] + record + locator + wrong, "m.zip") == "reject"


def test_a_file_that_ends_as_an_archive_is_refused() -> None:
    archive = zipped([("data.pkl", PAYLOAD)])
    text = (CORPUS / "models/lgbm.txt").read_bytes()

    assert "file.polyglot" in codes(text + archive, "model.txt")
    assert verdict(text + archive, "model.txt") == "reject"
    assert zip_at_end(io.BytesIO(b"GIF89a" + archive), 6 + len(archive))
    assert not zip_at_end(io.BytesIO(MODEL), len(MODEL))
    assert not zip_at_end(io.BytesIO(b""), 0)


# --- kinds --------------------------------------------------------------------------------------


def test_torch_archives_are_described_by_their_pickle() -> None:
    report = inspected(STATE_DICT, "model.pt")

    assert report.format == "pytorch-zip"
    assert report.facts["parameters"] == 195
    assert report.facts["framework"] == "pytorch"


def test_data_pkl_is_a_pickle_however_it_begins() -> None:
    """Without PROTO, nothing else would recognise it; the unpickler takes it."""
    data = zipped(
        [("a/data.pkl", b"I1\n0" + b"cposix\nsystem\n(S'true'\ntR."), ("a/version", b"3")]
    )

    assert "posix.system" in messages(data, "model.pt")
    assert verdict(data, "model.pt") == "reject"


def test_tensors_are_not_read_but_all_beside_them_is() -> None:
    numbers = b"\x80\x04" + bytes(range(256))
    clean = [("a/data.pkl", b"\x80\x02}."), ("a/version", b"3\n"), ("a/data/0", numbers)]

    assert verdict(zipped(clean), "model.pt") == "accept"
    assert verdict(zipped([*clean, ("a/data/1", PAYLOAD)]), "model.pt") == "reject"
    assert verdict(zipped([*clean, ("a/data/extra", PAYLOAD)]), "model.pt") == "reject"
    assert verdict(zipped([*clean, ("b/c/data/0", PAYLOAD)]), "model.pt") == "reject"


def test_torch_packages_are_held() -> None:
    members = [("a/data.pkl", b"\x80\x02}."), ("a/.data/extern_modules", b"sys\n")]

    assert verdict(zipped([*members, ("a/net.py", b"import os\n")]), "model.pt") == "review"


def test_npz_is_one_model_of_all_its_arrays() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros((3, 4)), b=np.zeros(5))

    report = inspected(file.getvalue(), "weights.npz")

    assert report.findings == ()
    assert report.format == "npz"
    assert report.facts["parameters"] == 17


def test_onnx_finds_its_data_in_the_archive() -> None:
    model = (CORPUS / "models/mlp_external_data.onnx").read_bytes()
    weights = np.linspace(0, 1, 128, dtype=np.float32).tobytes()

    whole = zipped([("m/model.onnx", model), ("m/weights.bin", weights)])
    without = zipped([("m/model.onnx", model)])

    assert inspected(whole, "m.zip").findings == ()
    assert "m.zip needs m/weights.bin, which is not in it." in messages(without, "m.zip")
    assert verdict(zipped([("m/model.onnx", model), ("x.bin", weights)]), "m.zip") == "review"


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["[Content_Types].xml", "ppt/slide.xml"], "a Microsoft PowerPoint presentation"),
        (["mimetype", "content.xml"], "an OpenDocument document"),
        (["mimetype", "META-INF/container.xml"], "an EPUB book"),
        (["AndroidManifest.xml", "classes.dex"], "an Android package"),
        (["META-INF/MANIFEST.MF", "A.class"], "a Java archive"),
        (["a/__init__.py", "a-1.dist-info/WHEEL"], "a Python wheel"),
        (["Payload/A.app/Info.plist"], "an iOS app"),
    ],
)
def test_archives_of_other_kinds_are_named(names: list[str], what: str) -> None:
    data = zipped([(name, b"x") for name in names])

    assert messages(data, "model.keras") == f"model.keras is {what}, not a model."


def test_zips_made_on_a_mac_pass() -> None:
    fork = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(80)
    data = zipped([("m.safetensors", MODEL), ("__MACOSX/._m.safetensors", fork)])

    assert verdict(data, "m.zip") == "accept"


# --- skops --------------------------------------------------------------------------------------


def skops_of(**changes: object) -> bytes:
    node: dict[str, object] = {
        "__class__": "LogisticRegression",
        "__module__": "sklearn.linear_model._logistic",
        "__loader__": "ObjectNode",
        "_skops_version": "0.16.0",
        "content": [],
    }
    return zipped([("schema.json", json.dumps({**node, **changes}).encode())])


def test_skops_files_are_described() -> None:
    report = inspected((CORPUS / "models/pipeline.skops").read_bytes(), "pipeline.skops")

    assert report.format == "skops"
    assert report.facts["framework"] == "scikit-learn"
    assert report.facts["framework_version"] == "1.9.1"
    assert report.facts["architecture"] == "Pipeline"


@pytest.mark.parametrize(
    ("node", "right"),
    [
        ({}, "accept"),
        ({"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}, "reject"),
        ({"__class__": "Popen", "__module__": "subprocess", "__loader__": "TypeNode"}, "reject"),
        ({"__class__": "eval", "__module__": "builtins", "__loader__": "JsonNode"}, "reject"),
        ({"__class__": "Net", "__module__": "mycompany", "__loader__": "ObjectNode"}, "review"),
        ({"__class__": "log1p", "__module__": "numpy", "__loader__": "FunctionNode"}, "accept"),
        ({"__class__": "dict", "__module__": "builtins", "__loader__": "EvilNode"}, "review"),
        ({"__class__": "itemgetter", "__loader__": "OperatorFuncNode"}, "review"),
        ({"__class__": "methodcaller", "__loader__": "OperatorFuncNode"}, "reject"),
        ({"__class__": ["x"], "__module__": "os", "__loader__": "TypeNode"}, "reject"),
        ({"module_path": "os", "function": "system"}, "reject"),
        (
            {"__loader__": "MethodNode", "content": {"func": "fit", "obj": {}}},
            "review",
        ),
    ],
)
def test_every_type_of_a_skops_file_is_judged(node: dict[str, object], right: str) -> None:
    inner = {"__class__": "Pipeline", "__module__": "sklearn.pipeline", "__loader__": "ObjectNode"}
    data = skops_of(content=[{"deep": {**inner, **node}}])

    assert verdict(data, "model.skops") == right


def test_subjects_of_skops_findings_can_be_allowed() -> None:
    data = skops_of(__class__="Net", __module__="mycompany.models")

    subjects = [each.subject for each in judged(data, "m.skops").findings if each.subject]

    assert subjects == ["mycompany.models.Net"]


def test_what_archives_in_an_archive_promise_is_added_up() -> None:
    """Each of them alone is just no bomb."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", bytes(60 << 20))
    members = [(f"{number}.zip", inner.getvalue()) for number in range(4)]

    assert "expands to more than" in messages(zipped(members), "m.zip")


def test_an_archive_whose_beginning_is_broken_is_still_one_to_those_who_look_at_its_end() -> None:
    data = b"\0\0" + zipped([("m.pkl", PAYLOAD)])[2:]

    assert verdict(data, "model.bin") == "reject"
    assert "depends on who opens it" in messages(data, "model.bin")
