"""TAR archives in each of their dialects: read forward, members inspected, the rest refused."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from domain.validation import NOT_A_MODEL
from tests.support.containers import CAT, MODEL, PAYLOAD, STATE_DICT, tarred, zipped
from tests.support.inspecting import codes, inspected, messages, verdict

LONG = "m/" + "x" * 90 + "/" + "y" * 120 + "/model.safetensors"
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def member(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info, b""


def resealed(header: bytes) -> bytes:
    """With the checksum that belongs to it."""
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


@pytest.mark.parametrize("format", FORMATS)
def test_an_archive_is_the_model_in_it(format: int) -> None:
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [
        member("m", tarfile.DIRTYPE),
        ("m/config.json", b"{}"),
        ("m/model.safetensors", MODEL),
    ]

    report = inspected(tarred(members, format), "m.tar")

    assert report.findings == ()
    assert report.format == "tar"
    assert report.facts["parameters"] == 516
    assert report.facts["members"] == 2


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_those_that_count(format: int) -> None:
    good = tarred([(LONG, MODEL)], format)
    bad = tarred([(f"{'x' * 120}/../../../evil", b"x"), ("m.safetensors", MODEL)], format)

    assert verdict(good, "m.tar") == "accept"
    assert verdict(bad, "m.tar") == "reject"
    assert "leaves the folder" in messages(bad, "m.tar")


def test_the_oldest_form_passes() -> None:
    data = tarred([("model.safetensors", MODEL)], tarfile.USTAR_FORMAT)
    header = data[:257] + bytes(8) + data[265:512]

    assert verdict(resealed(header) + data[512:], "m.tar") == "accept"


def test_names_of_pax_headers_replace_those_of_members() -> None:
    info = tarfile.TarInfo("harmless.txt")
    info.pax_headers = {"path": "../../evil"}

    data = tarred([("m.safetensors", MODEL), (info, b"x")])

    assert "archive.unsafe_name" in codes(data, "m.tar")
    assert verdict(data, "m.tar") == "reject"


@pytest.mark.parametrize(
    ("kind", "target", "right"),
    [
        (tarfile.SYMTYPE, "/etc/passwd", "reject"),
        (tarfile.SYMTYPE, "../../etc", "reject"),
        (tarfile.SYMTYPE, "model.safetensors", "accept"),
        (tarfile.SYMTYPE, "../m/model.safetensors", "accept"),
        (tarfile.SYMTYPE, "nowhere", "review"),
        (tarfile.LNKTYPE, "m/model.safetensors", "accept"),
        (tarfile.LNKTYPE, "/etc/passwd", "reject"),
        (tarfile.LNKTYPE, "../x", "reject"),
        (tarfile.LNKTYPE, "m/later", "reject"),
        (tarfile.CHRTYPE, "", "reject"),
        (tarfile.BLKTYPE, "", "reject"),
        (tarfile.FIFOTYPE, "", "reject"),
        (b"V", "", "reject"),
    ],
)
def test_only_files_folders_and_links_to_members_may_be_in_it(
    kind: bytes, target: str, right: str
) -> None:
    data = tarred([("m/model.safetensors", MODEL), member("m/other", kind, target)])

    assert verdict(data, "m.tar") == right


def test_a_member_behind_a_link_is_refused() -> None:
    data = tarred(
        [
            member("m/a", tarfile.SYMTYPE, "b"),
            ("m/a/evil.txt", b"x"),
            ("m/b", b"x"),
            ("m/model.safetensors", MODEL),
        ]
    )

    assert "lies behind the link m/a" in messages(data, "m.tar")
    assert verdict(data, "m.tar") == "reject"


def test_payloads_are_found_whatever_their_name() -> None:
    data = tarred([("m/model.safetensors", MODEL), ("m/README.md", PAYLOAD)])

    for name, archive in (("m.tar", data), ("m.tar.gz", gzip.compress(data))):
        expected = f"m/README.md in {name}: loading it would run posix.system('true')."
        assert expected in messages(archive, name)
        assert verdict(archive, name) == "reject"


def test_an_archive_without_a_model_is_refused_by_what_is_in_it() -> None:
    data = tarred([("a/cat1.jpg", CAT), ("a/cat2.jpg", CAT)])

    assert messages(data, "m.tar") == "m.tar is a TAR archive of cat1.jpg, cat2.jpg, not a model."
    assert codes(gzip.compress(data), "m.tar.gz") == {NOT_A_MODEL}


def _after_the_end(data: bytes) -> bytes:
    return data + bytes(512) + PAYLOAD


def _cut_in_a_member(data: bytes) -> bytes:
    return data[:1000]


def _without_an_end(data: bytes) -> bytes:
    return data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512)


def _behind_one_block_of_zeros(data: bytes) -> bytes:
    start = 512 + -(-len(MODEL) // 512) * 512
    return data[:start] + bytes(512) + data


def _broken_checksum(data: bytes) -> bytes:
    return b"N" + data[1:]


def _negative_size(data: bytes) -> bytes:
    return resealed(data[:124] + b"\xff" * 12 + data[136:512]) + data[512:]


def _endless_size(data: bytes) -> bytes:
    return resealed(data[:124] + b"\x80" + b"\x3f" * 11 + data[136:512]) + data[512:]


def _huge_size(data: bytes) -> bytes:
    return resealed(data[:124] + b"77777777777\0" + data[136:512]) + data[512:]


@pytest.mark.parametrize(
    "changed",
    [
        _after_the_end,
        _cut_in_a_member,
        _without_an_end,
        _behind_one_block_of_zeros,
        _broken_checksum,
        _negative_size,
        _endless_size,
        _huge_size,
    ],
)
def test_what_is_broken_or_hidden_is_refused(changed: object) -> None:
    data = tarred([("model.safetensors", MODEL)])

    assert callable(changed)
    assert verdict(data, "m.tar") == "accept"
    assert verdict(changed(data), "m.tar") == "reject"
    assert verdict(gzip.compress(changed(data)), "m.tar.gz") == "reject"


@pytest.mark.parametrize(
    "record",
    [b"99 path=x\n", b"0 path=x\n", b"x path=y\n", b"5 p=\n\n", b"10 path=xx\0", b"13 size=-512\n"],
)
def test_broken_pax_headers_are_refused(record: bytes) -> None:
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE

    data = tarred([(header, record), ("model.safetensors", MODEL)], tarfile.USTAR_FORMAT)

    assert verdict(data, "m.tar") == "reject"


def test_headers_of_all_members_may_comment_but_not_name() -> None:
    def with_global(**headers: str) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", pax_headers=headers) as archive:
            info = tarfile.TarInfo("model.safetensors")
            info.size = len(MODEL)
            archive.addfile(info, io.BytesIO(MODEL))
        return file.getvalue()

    assert verdict(with_global(comment="2f9f2c"), "m.tar") == "accept"
    assert verdict(with_global(path="/etc/passwd"), "m.tar") == "reject"


def test_sparse_and_endless_headers_are_refused() -> None:
    info = tarfile.TarInfo("model.safetensors")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type = tarfile.GNUTYPE_LONGNAME

    assert verdict(tarred([(info, MODEL)]), "m.tar") == "reject"
    assert verdict(tarred([(long_name, b"x" * (2 << 20)), ("m", MODEL)]), "m.tar") == "reject"


def test_two_members_of_one_name_are_refused() -> None:
    data = tarred([("model.safetensors", MODEL), ("model.safetensors", MODEL)])

    assert "archive.duplicate" in codes(data, "m.tar")


def test_archives_of_many_members_are_refused() -> None:
    data = tarred([(f"{number}", b"") for number in range(10_001)], tarfile.USTAR_FORMAT)

    assert "more than 10000 members" in messages(data, "m.tar")


def test_archives_in_archives_are_looked_into_twice() -> None:
    one = zipped([("model.pt", STATE_DICT)])
    two = tarred([("a.zip", one)])

    assert inspected(gzip.compress(two), "m.tar.gz").facts["parameters"] == 195
    assert verdict(gzip.compress(two), "m.tar.gz") == "accept"
    assert verdict(tarred([("b.tar", two)]), "m.tar") == "reject"


def test_large_members_are_read_where_they_lie() -> None:
    """One that does not fit into memory: sought in a plain archive, forward in a compressed one."""
    size = 40 << 20
    header = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    large = len(header).to_bytes(8, "little") + header + bytes(size)

    data = tarred([("a.txt", b"a"), ("model.safetensors", large), ("z.pkl", PAYLOAD)])

    for name, archive in (("m.tar", data), ("m.tar.gz", gzip.compress(data, 1))):
        report = inspected(archive, name)
        assert report.facts["parameters"] == size
        assert any("posix.system" in each.message for each in report.findings)
