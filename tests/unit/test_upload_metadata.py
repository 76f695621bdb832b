"""What a client says of an upload: read as it was meant, or refused."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidDigest, MalformedRequest
from domain.upload import UploadMetadata


def metadata(**values: bytes) -> UploadMetadata:
    pairs = (f"{key} {b64encode(value).decode()}" for key, value in values.items())
    return UploadMetadata(",".join(pairs))


KEYS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1
)


@given(
    st.dictionaries(KEYS.filter(lambda key: key != "sha256"), st.binary(max_size=40), max_size=8)
)
def test_metadata_reads_back(values: dict[str, bytes]) -> None:
    written = metadata(**values)
    assert written.values == values
    assert UploadMetadata(f" {written.replace(',', ' , ')} ").values == values
    assert written.sha256 is None


@given(st.text(max_size=60))
def test_whatever_is_said_is_read_or_refused(text: str) -> None:
    try:
        written = UploadMetadata(text)
    except (MalformedRequest, InvalidDigest):
        return
    assert written.isascii()
    assert written.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        *(",", "a,", "a b c", "a =", "a YQ", "a YQ=", "a Y Q==", "a YQ==,a", "a,a", "é YQ=="),
        *("a YQ==\r\nX: y", "a\tYQ==", "a YQ==;b", "x" * 8193, "a b\x00"),
    ],
)
def test_metadata_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        UploadMetadata(text)


@pytest.mark.parametrize("value", [b"", b"x", b"0" * 63, b"g" * 64, b"\xff" * 64, b"0" * 31])
def test_a_promise_that_is_no_digest_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidDigest):
        metadata(sha256=value)


def test_keys_may_stand_alone() -> None:
    assert UploadMetadata("filename YS5iaW4=,is_confidential").values == {
        "filename": b"a.bin",
        "is_confidential": b"",
    }
    assert UploadMetadata("").values == {}
