"""Names, references, digests, paths and maps: what may enter the registry at all."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import (
    FieldError,
    InvalidAliasName,
    InvalidDigest,
    InvalidFilePath,
    InvalidManifest,
    InvalidModelName,
    InvalidReference,
    InvalidRequest,
    ModelyardError,
)
from domain.values import (
    MAX_ENTRIES,
    MAX_FILES,
    MAX_INTEGER,
    MAX_NAME,
    MAX_PATH,
    MAX_VALUE,
    MAX_VERSION,
    AliasName,
    Digest,
    FilePath,
    Latest,
    ModelName,
    VersionNumber,
    check_actor,
    check_metrics,
    check_parameters,
    check_tags,
    check_text,
    parse_reference,
    relocated,
    unique,
)
from domain.version import check_paths

BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
IGNORABLE_LETTERS_AND_MARKS = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\ufe00\ufe0f\uffa0"
    "\U000e0100\U000e01ef"
)
# Texts that reach into every corner, and into the darkest ones often.
ANY_TEXT = st.text(
    st.characters(exclude_categories=()) | st.sampled_from("\ud800\udfff\0\n\u202e\u3164 /\\.:~@"),
    max_size=80,
)
DIGITS_OF_ALL_SCRIPTS = st.text(st.characters(categories=["Nd"]), min_size=1, max_size=20)


def assert_speaks_utf8(error: ModelyardError) -> None:
    """A refusal must be writable as JSON, whatever was refused."""
    assert error.detail.encode()
    for field in error.errors:
        assert field.pointer.startswith("/")
        assert field.pointer.encode()
        assert field.message.encode()


# --- model names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a", "a" * MAX_NAME, "churn v2 (eu)+x-y_z.w", "模型", "Μοντέλο", "नमूना", "٣", "...", "ǅ"],
    ids=lambda name: name[:20],
)
def test_a_model_may_have_a_name_in_any_script(name: str) -> None:
    assert ModelName(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " a",
        "a ",
        ".",
        "..",
        "a" * (MAX_NAME + 1),
        *(f"a{c}b" for c in "/:@%\\#?,;'\"<>|*&=!~^`[]{}$"),
        *(f"a{c}b" for c in "\0\t\n\r\x1b\x7f\x85\u00a0\u2028\u2029"),
        *(f"a{c}b" for c in "½①Ⅳ😀\u2800\ue000\u0378\ufeff\u00ad\u200b\u200d"),
        *(f"a{c}b" for c in BIDI_CONTROLS),
        *(f"a{c}b" for c in IGNORABLE_LETTERS_AND_MARKS),
        "\ud800",
        "a\udfffb",
        "\u3164",
    ],
    ids=ascii,
)
def test_a_model_name_that_misleads_or_breaks_a_url_is_refused(name: str) -> None:
    with pytest.raises(InvalidModelName) as refusal:
        ModelName(name)
    assert [field.pointer for field in refusal.value.errors] == ["/name"]
    assert_speaks_utf8(refusal.value)


def test_the_two_unicode_spellings_of_a_name_are_one_name() -> None:
    composed, decomposed = ModelName("caf\u00e9"), ModelName("cafe\u0301")
    assert composed == decomposed
    assert len({composed, decomposed}) == 1


def test_a_name_is_measured_after_composition() -> None:
    assert len(ModelName("e\u0301" * MAX_NAME)) == MAX_NAME


@given(ANY_TEXT)
@example("\u2126")  # OHM SIGN, of which NFC makes OMEGA
@example("\u0344")  # a mark that NFC takes apart
def test_any_text_is_a_stable_model_name_or_refused_in_words(text: str) -> None:
    try:
        name = ModelName(text)
    except InvalidModelName as refusal:
        assert_speaks_utf8(refusal)
        return
    assert ModelName(name) == name == unicodedata.normalize("NFC", name)
    assert 1 <= len(name) <= MAX_NAME
    assert name == name.strip()
    assert name.encode()
    assert not set(name) & set("/:@%\\\0" + BIDI_CONTROLS + IGNORABLE_LETTERS_AND_MARKS)


@given(st.text(st.sampled_from("abcXYZ019 ._-()+"), min_size=1, max_size=MAX_NAME - 2))
def test_a_name_of_allowed_characters_is_taken_as_it_is(inner: str) -> None:
    assert ModelName(f"m{inner}1") == f"m{inner}1"


# --- aliases ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alias",
    ["champion", "v", "v1.0", "v-1", "1a", "latest-eu", "prod_eu.2", "冠军", "f" * 39, "f" * 41],
)
def test_an_alias_that_cannot_be_a_version_is_taken(alias: str) -> None:
    assert AliasName(alias) == alias


@pytest.mark.parametrize(
    "alias",
    [
        *("1", "0", "007", "٣", "१२", "3٣"),
        *("latest", "LATEST", "Latest", "late\u017ft"),
        *("v1", "V22", "v007", "v٣"),
        *("a" * 40, "0123456789abcdef" * 4, "ABCDEF0123" * 4, "A" * 64),
    ],
)
def test_an_alias_that_could_be_a_version_is_refused(alias: str) -> None:
    with pytest.raises(InvalidAliasName) as refusal:
        AliasName(alias)
    assert [field.pointer for field in refusal.value.errors] == ["/alias"]


@pytest.mark.parametrize(
    "alias",
    [
        *("", " ", "a b", ".", "..", "a" * (MAX_NAME + 1), "\ud800", "a\0b"),
        *(f"a{c}b" for c in "/:@%+()\\\n\u200d\u202e\u3164"),
    ],
    ids=ascii,
)
def test_an_alias_that_misleads_or_breaks_a_url_is_refused(alias: str) -> None:
    with pytest.raises(InvalidAliasName) as refusal:
        AliasName(alias)
    assert_speaks_utf8(refusal.value)


@given(DIGITS_OF_ALL_SCRIPTS)
def test_digits_of_no_script_are_an_alias(digits: str) -> None:
    with pytest.raises(InvalidAliasName):
        AliasName(digits)


@given(ANY_TEXT)
def test_any_text_is_an_alias_that_no_version_shares_or_refused(text: str) -> None:
    try:
        alias = AliasName(text)
    except InvalidAliasName as refusal:
        assert_speaks_utf8(refusal)
        return
    assert AliasName(alias) == alias
    assert parse_reference(f"@{alias}") == alias
    with pytest.raises(InvalidReference):
        parse_reference(alias)


# --- references ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "00", "03", "٣", "१", "+1", "-1", "1.0", "1e3", "1_000", " 1", "1 ", "1\n"),
        *(str(MAX_VERSION + 1), "9" * 10, "9" * 11, "9" * 5_000),
        *("LATEST", "Latest", "latest ", "v1", "champion", "\ud800", "1\0"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_what_is_not_a_number_latest_or_an_alias_is_refused_as_a_reference(text: str) -> None:
    with pytest.raises(InvalidReference) as refusal:
        parse_reference(text)
    assert_speaks_utf8(refusal.value)


@pytest.mark.parametrize("text", ["@", "@1", "@latest", "@v1", "@@a", "@a b"])
def test_a_reference_to_an_impossible_alias_says_that_the_alias_is_wrong(text: str) -> None:
    with pytest.raises(InvalidAliasName):
        parse_reference(text)


@given(st.integers(1, MAX_VERSION))
@example(1)
@example(MAX_VERSION)
def test_a_number_is_read_back_from_its_digits(number: int) -> None:
    parsed = parse_reference(str(number))
    assert isinstance(parsed, VersionNumber)
    assert parsed == number == VersionNumber.parse(str(number))


def test_latest_is_its_own_reference() -> None:
    assert parse_reference("latest") == Latest()


@given(ANY_TEXT)
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except (InvalidReference, InvalidAliasName) as refusal:
        assert_speaks_utf8(refusal)
        return
    assert isinstance(reference, VersionNumber | AliasName | Latest)


@pytest.mark.parametrize("number", [0, -1, MAX_VERSION + 1, 10**400])
def test_a_version_number_out_of_bounds_is_refused(number: int) -> None:
    with pytest.raises(InvalidReference):
        VersionNumber(number)


@pytest.mark.parametrize("text", ["", "0", "03", "٣", "latest", "@a", "1\n", "9" * 5_000])
def test_only_plain_digits_are_parsed_as_a_version_number(text: str) -> None:
    with pytest.raises(InvalidReference):
        VersionNumber.parse(text)


# --- digests ------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32))
def test_64_lower_case_hex_digits_are_a_digest(raw: bytes) -> None:
    assert Digest(raw.hex()) == raw.hex()


@pytest.mark.parametrize(
    "text",
    ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "٣" * 64, "sha256:" + "a" * 64],
    ids=ascii,
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest(text)


# --- file paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "model.onnx",
        "a/b/c",
        ".hidden",
        "...",
        "a b/c d.bin",
        "模型/权重.safetensors",
        "a/b:c",
        "x" * 255,
        f"{'x' * 255}/{'y' * 254}/z",
    ],
    ids=lambda path: path[:20],
)
def test_a_relative_path_is_taken_as_it_is(path: str) -> None:
    assert FilePath(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "../a", "a/..", "a/../b", "a/./b", "./a"),
        *("/", "/a", "//a", "a//b", "a/", "///"),
        *("C:", "C:/a", "c:a", "1:a", "é:a", "_:/a"),
        *("\\", "a\\b", "..\\a", "\\\\server\\share", "a/\\..\\b"),
        *("a\0b", "\0", "a\nb", "a\rb", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b"),
        *("\ud800", "a/\udc80"),
        *(f"a{c}b" for c in BIDI_CONTROLS),
        *("a" * (MAX_PATH + 1), "a" * 256, "é" * 128, "d/" + "模" * 86),
        "/".join("a" * 257),
    ],
    ids=lambda path: ascii(path[:20]),
)
def test_a_path_that_leaves_its_folder_or_hides_its_name_is_refused(path: str) -> None:
    with pytest.raises(InvalidFilePath) as refusal:
        FilePath(path)
    assert_speaks_utf8(refusal.value)


@given(
    st.lists(
        st.sampled_from(["..", ".", "/", "\\", "a", "C:", "~", "\0", ":", "é", "\u202e", "1"]),
        max_size=8,
    ).map("".join)
    | st.lists(st.sampled_from(["..", ".", "", "a", "B:", "c"]), max_size=5).map("/".join)
    | ANY_TEXT
)
def test_whatever_path_is_taken_stays_inside_its_folder_on_every_system(text: str) -> None:
    try:
        path = FilePath(text)
    except InvalidFilePath as refusal:
        assert_speaks_utf8(refusal)
        return
    assert FilePath(path) == path == unicodedata.normalize("NFC", path)
    assert path.encode()
    for flavour, root in ((PurePosixPath, "/srv/files"), (PureWindowsPath, "C:/files")):
        joined = flavour(root) / path
        assert joined.is_relative_to(root)
        assert joined != flavour(root)
        assert ".." not in joined.parts


def test_the_two_unicode_spellings_of_a_path_are_one_path() -> None:
    assert FilePath("mode\u0301le.bin") == FilePath("mod\u00e9le.bin")


def test_a_path_knows_its_last_segment() -> None:
    assert FilePath("a/b/model.onnx").name == "model.onnx"
    assert FilePath("model.onnx").name == "model.onnx"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Model.onnx", "model.ONNX"),
        ("a/B/c", "A/b/C"),
        ("straße", "STRASSE"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("É", "e\u0301"),
        ("ǆ", "ǅ"),
        ("same", "same"),
    ],
)
def test_paths_that_differ_in_case_only_cannot_stand_together(one: str, other: str) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        check_paths([FilePath(one), FilePath(other)])
    assert_speaks_utf8(refusal.value)


@pytest.mark.parametrize(
    "paths", [("a", "a/b"), ("a/b", "a"), ("A", "a/b"), ("x/Y", "X/y/z/w"), ("b", "a", "a/b/c")]
)
def test_a_file_cannot_be_the_folder_of_another(paths: tuple[str, ...]) -> None:
    with pytest.raises(InvalidManifest):
        check_paths([FilePath(path) for path in paths])


@pytest.mark.parametrize("count", [0, MAX_FILES + 1])
def test_a_version_has_at_least_one_file_and_not_too_many(count: int) -> None:
    with pytest.raises(InvalidManifest):
        check_paths([FilePath(f"f{index}") for index in range(count)])


SEGMENTS = st.text(st.characters(exclude_characters="/\\"), min_size=1, max_size=12)


@given(
    st.lists(
        st.lists(SEGMENTS | st.sampled_from("aAbB"), min_size=1, max_size=3).map("/".join),
        min_size=1,
        max_size=6,
    )
)
def test_paths_that_are_taken_together_can_be_written_side_by_side(texts: list[str]) -> None:
    try:
        paths = [FilePath(text) for text in texts]
        check_paths(paths)
    except (InvalidFilePath, InvalidManifest):
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path, encoding="utf-8")
        found = sorted(file for file in Path(folder).rglob("*") if file.is_file())
        assert [file.read_text(encoding="utf-8") for file in found] == [
            file.relative_to(folder).as_posix() for file in found
        ]
        assert len(found) == len(paths)


# --- texts and actors ---------------------------------------------------------------------------


@given(ANY_TEXT)
def test_a_text_is_kept_unchanged_or_refused(text: str) -> None:
    try:
        assert check_text(text, "/description") == text
        assert text.encode().decode() == text
        assert "\0" not in text
    except InvalidRequest as refusal:
        assert_speaks_utf8(refusal)
        assert "\0" in text or any("\ud800" <= c <= "\udfff" for c in text)


def test_a_text_that_is_too_long_is_refused_with_its_length() -> None:
    assert check_text("x" * 10, "/t", most=10) == "x" * 10
    with pytest.raises(InvalidRequest, match=r"11 characters.*10"):
        check_text("x" * 11, "/t", most=10)


@pytest.mark.parametrize("actor", ["ada", "Ada Lovelace", "ada@example.org", "冠军", "a" * 250])
def test_a_visible_name_may_act(actor: str) -> None:
    assert check_actor(actor) == actor


@pytest.mark.parametrize(
    "actor",
    ["", " ", "\t", "a\nb", "a\0", "\x1b[31m", "a\u202eb", "a\u200bb", "\ud800", "a" * 251],
    ids=lambda actor: ascii(actor[:10]),
)
def test_an_invisible_or_endless_actor_is_refused(actor: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_actor(actor)
    assert refusal.value.errors[0].pointer == "/creator"


# --- maps ---------------------------------------------------------------------------------------

CHECKS = [check_tags, check_metrics, check_parameters]
VALUES: dict[object, object] = {check_tags: "x", check_metrics: 1.5, check_parameters: True}


@pytest.mark.parametrize("check", CHECKS)
def test_a_map_has_at_most_a_thousand_entries(check: object) -> None:
    entries = {f"k{index}": VALUES[check] for index in range(MAX_ENTRIES)}
    assert check(entries) == entries  # type: ignore[operator]
    with pytest.raises(InvalidRequest, match="1001 entries"):
        check({**entries, "one more": VALUES[check]})  # type: ignore[operator]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "key", ["", "k" * (MAX_NAME + 1), "a\0b", "a\ud800b"], ids=lambda key: ascii(key[:10])
)
def test_a_key_that_cannot_be_stored_is_refused(check: object, key: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check({key: VALUES[check]})  # type: ignore[operator]
    assert_speaks_utf8(refusal.value)


@pytest.mark.parametrize("check", CHECKS)
@given(data=st.data())
def test_any_key_is_kept_unchanged_or_refused_in_words(check: object, data: st.DataObject) -> None:
    key = data.draw(ANY_TEXT)
    try:
        assert check({key: VALUES[check]}) == {key: VALUES[check]}  # type: ignore[operator]
    except InvalidRequest as refusal:
        assert_speaks_utf8(refusal)


@pytest.mark.parametrize("check", CHECKS)
def test_a_key_of_the_greatest_length_is_taken(check: object) -> None:
    key = "k" * MAX_NAME
    assert check({key: VALUES[check]}) == {key: VALUES[check]}  # type: ignore[operator]


def test_a_wrong_entry_is_pointed_at_by_an_escaped_json_pointer() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_tags({"a/b~c": 1})
    assert refusal.value.errors == (FieldError("/tags/a~1b~0c", "a string is expected"),)


@pytest.mark.parametrize("value", [1, 1.5, True, None, ["x"], {"a": "b"}, b"x"])
def test_a_tag_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="/tags/k"):
        check_tags({"k": value})


@pytest.mark.parametrize("check", [check_tags, check_parameters])
@pytest.mark.parametrize("value", ["x" * (MAX_VALUE + 1), "a\0b", "\udc00"], ids=lambda v: v[:1])
def test_a_value_that_cannot_be_stored_is_refused(check: object, value: str) -> None:
    with pytest.raises(InvalidRequest):
        check({"k": value})  # type: ignore[operator]


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**400, -(10**400), True, False, "1", None, [1], 1j],
    ids=lambda value: ascii(value)[:10],
)
def test_a_metric_that_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_metrics({"auc": value})
    assert refusal.value.errors[0].pointer == "/metrics/auc"


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**300), 10**300))
def test_a_finite_metric_is_kept_as_the_nearest_double(value: float) -> None:
    kept = check_metrics({"auc": value})["auc"]
    assert isinstance(kept, float)
    assert kept == float(value)
    assert math.copysign(1, kept) == math.copysign(1, float(value))


@pytest.mark.parametrize(
    "value", ["x", "", True, False, None, 0, MAX_INTEGER, -MAX_INTEGER - 1, 0.1, -0.0, 5e-324]
)
def test_a_parameter_is_any_json_scalar(value: object) -> None:
    kept = check_parameters({"p": value})["p"]
    assert kept == value
    assert type(kept) is type(value)


@pytest.mark.parametrize(
    "value",
    [MAX_INTEGER + 1, -MAX_INTEGER - 2, 10**400, math.nan, math.inf, -math.inf, [1], {}, b"x", 1j],
    ids=lambda value: ascii(value)[:10],
)
def test_a_parameter_that_no_json_scalar_of_64_bits_holds_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_parameters({"p": value})
    assert refusal.value.errors[0].pointer == "/parameters/p"


# --- telling of faults --------------------------------------------------------------------------


def test_a_list_that_names_something_twice_points_at_the_second() -> None:
    unique(["a", "b", "c"], "/aliases")
    with pytest.raises(InvalidRequest) as refusal:
        unique(["a", "b", "a"], "/aliases")
    assert [field.pointer for field in refusal.value.errors] == ["/aliases/2"]


def test_an_error_can_be_told_of_the_field_it_came_from() -> None:
    with pytest.raises(InvalidDigest) as refusal:
        Digest("x")
    told = relocated("/files/3/sha256", refusal.value)
    assert type(told) is InvalidDigest
    assert told.detail == refusal.value.detail
    assert [field.pointer for field in told.errors] == ["/files/3/sha256"]
    plain = relocated("/parents/0/version", InvalidReference("no fields"))
    assert plain.errors == (FieldError("/parents/0/version", "no fields"),)


def test_no_code_point_but_visible_letters_marks_digits_and_punctuation_is_in_a_name() -> None:
    planes = (
        *range(0x32400),
        *range(0xE0000, 0xE1000),
        0x10FFFF,
    )  # what lies between is unassigned
    taken = {character for character in map(chr, planes) if is_in_a_name(character)}
    lettering = taken - set(" ._-()+")
    assert taken - lettering == set(" ._-()+")
    assert {unicodedata.category(character) for character in lettering} <= {
        *("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd")
    }
    assert not lettering & set(IGNORABLE_LETTERS_AND_MARKS)


_ENDLESS = """
from domain.errors import InvalidAliasName, InvalidFilePath, InvalidModelName
from domain.values import AliasName, FilePath, ModelName

marks = "a" + "\\u0316\\u0301" * 500_000
for kind, error in (
    (ModelName, InvalidModelName), (AliasName, InvalidAliasName), (FilePath, InvalidFilePath)
):
    try:
        kind(marks)
    except error as refusal:
        assert "it has 1000001 characters" in refusal.detail
    else:
        raise AssertionError(kind)
"""


def test_an_endless_name_is_refused_before_it_is_composed() -> None:
    """Composing takes a time that is quadratic in combining marks: for these, many minutes."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _ENDLESS], cwd=root, timeout=15, check=True)


def test_the_length_of_a_name_is_that_of_its_composed_form() -> None:
    longest = "\u1faf" * MAX_NAME
    assert ModelName(unicodedata.normalize("NFD", longest)) == longest
    longest = "/".join(["\u1faf" * 84] * 6)
    assert FilePath(unicodedata.normalize("NFD", longest)) == longest


def is_in_a_name(character: str) -> bool:
    try:
        return character in ModelName(f"a{character}b")
    except InvalidModelName:
        return False
