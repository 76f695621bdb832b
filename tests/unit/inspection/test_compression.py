"""Compressed files are what is inside them; bombs, junk and broken compression are refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable

import lz4.frame  # type: ignore[import-untyped]
import pytest

from domain.validation import Coverage
from tests.support.containers import CAT, MODEL, PAYLOAD, STATE_DICT, tarred, zipped
from tests.support.corpus import CORPUS
from tests.support.inspecting import codes, inspected, messages, verdict


def _old_lzma(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


METHODS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": _old_lzma,
    "zlib": zlib.compress,
    "lz4": lz4.frame.compress,
}
each_method = pytest.mark.parametrize("method", METHODS)


@each_method
def test_a_compressed_model_is_that_model(method: str) -> None:
    report = inspected(METHODS[method](MODEL), "model.safetensors")

    assert report.findings == ()
    assert report.format == f"safetensors+{method}"
    assert report.facts["parameters"] == 516


@each_method
def test_a_compressed_payload_is_that_payload(method: str) -> None:
    data = METHODS[method](PAYLOAD)

    assert "loading it would run posix.system('true')." in messages(data, "model.pkl.gz")
    assert verdict(data, "model.pkl.gz") == "reject"


@each_method
def test_bombs_are_stopped(method: str) -> None:
    data = METHODS[method](b"\x80\x04]" + bytes(66 << 20))

    assert verdict(data, "model.joblib") == "reject"
    assert "file.bomb" in codes(METHODS[method](bytes(66 << 20)), "model.joblib")


@each_method
def test_what_is_cut_short_is_refused(method: str) -> None:
    noise = tarred([("m.safetensors", MODEL), ("noise.txt", os.urandom(2000).hex().encode())])
    whole = METHODS[method](noise)

    assert verdict(whole, "m.tar.gz") == "accept"
    assert verdict(whole[: len(whole) * 2 // 3], "m.tar.gz") == "reject"


@each_method
def test_what_follows_is_refused(method: str) -> None:
    data = METHODS[method](MODEL) + PAYLOAD

    assert verdict(data, "model.safetensors") == "reject"


@pytest.mark.parametrize("method", ["gzip", "bz2", "xz", "lz4"])
def test_parts_one_behind_the_other_are_one_file(method: str) -> None:
    compress = METHODS[method]
    data = compress(MODEL[:1000]) + compress(b"") + compress(MODEL[1000:])

    assert verdict(data, "model.safetensors") == "accept"
    assert verdict(compress(MODEL) + compress(PAYLOAD), "model.safetensors") == "reject"


def test_zeros_may_fill_up_a_block() -> None:
    assert verdict(gzip.compress(MODEL) + bytes(1000), "model.safetensors.gz") == "accept"
    padded = gzip.compress(MODEL) + bytes(1000) + PAYLOAD
    assert verdict(padded, "model.safetensors.gz") == "reject"


def test_endless_small_parts_are_not_read_on() -> None:
    report = inspected(gzip.compress(b"") * 60_000, "model.pkl.gz")

    assert report.coverage is Coverage.PARTIAL


def test_a_broken_checksum_is_refused() -> None:
    data = bytearray(gzip.compress(MODEL))
    data[-8] ^= 1

    assert "has broken gzip compression" in messages(bytes(data), "model.safetensors.gz")
    assert verdict(bytes(data), "model.safetensors.gz") == "reject"


@pytest.mark.parametrize(("preset", "right"), [(6, "accept"), (9, "accept")])
def test_xz_of_every_preset_is_read(preset: int, right: str) -> None:
    assert verdict(lzma.compress(MODEL, preset=preset), "model.safetensors.xz") == right


def test_dictionaries_of_gigabytes_are_not() -> None:
    small = bytearray(lzma.compress(MODEL))
    # The byte that gives the size of the dictionary (512 MiB), and the checksum of its header.
    small[small.index(b"\x21\x01") + 2] = 34
    end = 12 + (small[12] + 1) * 4
    small[end - 4 : end] = zlib.crc32(bytes(small[12 : end - 4])).to_bytes(4, "little")

    report = inspected(bytes(small), "model.safetensors.xz")

    assert report.coverage is Coverage.PARTIAL
    assert "needs too much memory" in report.findings[0].message


def test_archives_of_folders_are_named_after_both() -> None:
    tar = tarred([("m/model.safetensors", MODEL)])

    assert inspected(gzip.compress(tar), "m.tgz").format == "tar.gz"
    assert inspected(bz2.compress(tar), "m.tar.bz2").format == "tar.bz2"
    assert inspected(lzma.compress(tar), "m.tar.xz").format == "tar.xz"
    assert inspected(zlib.compress(tar), "m.bin").format == "tar+zlib"


def test_archives_that_must_be_sought_are_read_from_memory() -> None:
    data = gzip.compress(STATE_DICT)
    archive = gzip.compress(zipped([("x.pkl", PAYLOAD)]))

    assert inspected(data, "model.pt.gz").format == "pytorch-zip+gzip"
    assert inspected(data, "model.pt.gz").facts["parameters"] == 195
    assert verdict(archive, "m.zip.gz") == "reject"


def test_compressed_text_is_a_companion_and_a_compressed_picture_is_refused() -> None:
    text = inspected(gzip.compress(b"meow\n"), "log.txt.gz")

    assert text.format is None
    assert text.findings == ()
    assert "JPEG" in messages(gzip.compress(CAT), "model.pkl.gz")
    assert verdict(gzip.compress(CAT), "model.pkl.gz") == "reject"


def test_layers_of_compression_end() -> None:
    data = MODEL
    for _ in range(3):
        data = gzip.compress(data)
    assert verdict(data, "model.safetensors.gz") == "accept"
    assert verdict(gzip.compress(data), "model.safetensors.gz") == "reject"


def test_what_cannot_be_decompressed_is_held() -> None:
    zstd = b"\x28\xb5\x2f\xfd\x04\x58" + bytes(100)

    report = inspected(zstd, "model.safetensors.zst")

    assert report.coverage is Coverage.PARTIAL
    assert verdict(zstd, "model.safetensors.zst") in {"review", "reject"}


@pytest.mark.parametrize("ending", ["bz2", "gz", "lz4", "lzma", "xz", "zlib"])
def test_joblib_is_read_through_each_of_its_compressions(ending: str) -> None:
    data = (CORPUS / f"models/sklearn_rf_{ending}.joblib").read_bytes()

    report = inspected(data, f"sklearn_rf_{ending}.joblib")

    method = {"gz": "gzip"}.get(ending, ending)
    assert report.format == f"joblib+{method}"
    assert report.facts["framework"] == "scikit-learn"
