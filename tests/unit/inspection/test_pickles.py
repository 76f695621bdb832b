"""Pickles: what loading one would do is found out without doing it."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.inspection.pickles import check_pickle, recognise_pickle
from adapters.inspection.pickles.machine import Machine
from adapters.inspection.pickles.opinion import dangerous_imports
from adapters.inspection.pickles.trace import Trace
from adapters.inspection.streams import Budget, Stream
from domain.validation import FileReport, Severity, ValidationPolicy, Verdict
from domain.values import FilePath
from tests.support.inspecting import checked

SYSTEM = b"cposix\nsystem\n"
PATH = FilePath("model.pkl")


def inspected(data: bytes) -> FileReport:
    """The report of the pickle checker alone, with what stopped it."""
    return checked(check_pickle, data, PATH, "pickle")


def verdict(data: bytes, allowed: tuple[str, ...] = ()) -> Verdict:
    """Under the standard policy."""
    return ValidationPolicy(allowed=allowed).judge({PATH: inspected(data)}).verdict


def messages(data: bytes, severity: Severity = Severity.CRITICAL) -> list[str]:
    return [each.message for each in inspected(data).findings if each.severity is severity]


def text(value: str) -> bytes:
    """SHORT_BINUNICODE"""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


# --- every way to call --------------------------------------------------------------------------

RUNS = {
    "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93" + text("true") + b"\x85R.",
    "names in the memo": b"\x80\x04" + text("os") + b"\x940" + text("system") + b"\x940"
    b"h\x00h\x01\x93" + text("true") + b"\x85R.",
    "names in STRING": b"S'os'\nS'system'\n\x93S'true'\n\x85R.",
    "names in BINSTRING": b"T\x02\0\0\0osU\x06system\x93U\x04true\x85R.",
    "names in BINUNICODE8": b"\x8d\x02" + bytes(7) + b"osX\x06\0\0\0system\x93U\x04true\x85R.",
    "names in escapes": b"V\\u006fs\nVsystem\n\x93U\x04true\x85R.",
    "names in escaped STRING": b"S'\\x6fs'\nS'system'\n\x93U\x04true\x85R.",
    "NEWOBJ": b"\x80\x02cos\nsystem\nU\x04true\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\nU\x04true\x85}\x92.",
    "popped": b"cos\nsystem\n(S'true'\ntR0N.",
    "popped with its mark": b"(cos\nsystem\n(S'true'\ntR1N.",
    "duplicated": b"cos\nsystem\n2(S'true'\ntR.",
    "from a list": b"(lcos\nsystem\na0cos\nsystem\n(S'true'\ntR.",
    "in a dict": b"}S'a'\ncos\nsystem\n(S'true'\ntRs.",
    "in a tuple": b"\x80\x02cos\nsystem\nU\x04true\x85R\x85.",
    "in a state": b"ccollections\nOrderedDict\n)Rcos\nsystem\n(S'true'\ntRb.",
    "in a set": b"\x80\x04\x8f(cos\nsystem\nU\x04true\x85R\x90.",
    "as an argument": b"ccollections\nOrderedDict\n(cos\nsystem\n(S'true'\ntRtR.",
    "without arguments as a tuple": b"\x80\x02cos\nsystem\n](U\x04trueeR.",
    "in a persistent id": b"\x80\x02cos\nsystem\nU\x04true\x85RQ.",
    "behind a frame that lies": b"\x80\x04\x95"
    + struct.pack("<Q", 1 << 62)
    + b"cos\nsystem\nU\x04true\x85R.",
    "protocol named late": b"cos\nsystem\n\x80\x02U\x04true\x85R.",
    "cut short": b"cos\nsystem\n(S'true'\ntR",
    "unknown opcode behind it": b"cos\nsystem\n(S'true'\ntR\xff",
    "stack runs empty behind it": b"cos\nsystem\n(S'true'\ntR0000.",
    "memo lacks it behind it": b"cos\nsystem\n(S'true'\ntRh\x7f.",
    "second pickle": b"N.cos\nsystem\n(S'true'\ntR.",
    "third pickle": pickle.dumps(1) + pickle.dumps(2) + b"\x80\x02cos\nsystem\nU\x04true\x85R.",
    "behind long bytes": b"\x80\x03B"
    + struct.pack("<I", 300_000)
    + bytes(300_000)
    + b"0cos\nsystem\nU\x04true\x85R.",
    "behind a long text": b"\x80\x03X"
    + struct.pack("<I", 300_000)
    + b"x" * 300_000
    + b"0cos\nsystem\nU\x04true\x85R.",
    "behind a long line": b"V" + b"x" * 300_000 + b"\n0cos\nsystem\n(S'true'\ntR.",
    "behind a long number": b"\x80\x02\x8b"
    + struct.pack("<i", 9000)
    + bytes(9000)
    + b"0cos\nsystem\nU\x04true\x85R.",
}


@pytest.mark.parametrize("name", RUNS)
def test_what_would_run_is_refused_and_said(name: str) -> None:
    data = RUNS[name]
    assert verdict(data) is Verdict.REJECT
    assert "model.pkl: loading it would run os.system('true')." in messages(data) or (
        name == "without arguments as a tuple"
        and "model.pkl: loading it would run os.system(*['true'])." in messages(data)
    )


def test_a_payload_before_an_error_is_reported_with_the_error() -> None:
    first, second = messages(RUNS["cut short"])
    assert "os.system('true')" in first
    assert second == "model.pkl ends too early: it was cut short."


def test_names_of_python_2_are_shown_as_what_they_are_today() -> None:
    assert messages(b"c__builtin__\neval\n(S'1'\ntR.") == [
        "model.pkl: loading it would run builtins.eval('1')."
    ]


def test_what_is_imported_but_not_called_is_refused() -> None:
    assert messages(SYSTEM + b".") == ["model.pkl: it imports posix.system."]


def test_all_dangerous_imports_are_listed() -> None:
    data = b"(cos\nsystem\ncsubprocess\nPopen\ncbuiltins\neval\nt."
    assert len(messages(data)) == 3


# --- roundabout ways ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x02\x82\x01)R.", "extension 1"),
        (b"\x80\x02\x83\x01\x02)R.", "extension 513"),
        (b"\x80\x02\x84\x01\0\0\0)R.", "extension 1"),
        (b"\x80\x04" + text("os") + b"K*\x93.", "put together"),
        (b"\x80\x04" + text("os") + b"cbuiltins\nstr\nN\x85R\x93.", "put together"),
        (b"ctorch\n_utils\n}S'_rebuild_tensor'\ncos\nsystem\nsb.", "changes torch._utils itself"),
        (b"csklearn.svm\nSVC\n}S'fit'\nNsb.", "changes sklearn.svm.SVC itself"),
        (b"cmycompany\nREGISTRY\nS'a'\nNs.", "changes mycompany.REGISTRY itself"),
        (b"cmycompany\nHOOKS\nNa.", "changes mycompany.HOOKS itself"),
        (b"cfunctools\npartial\n(csklearn.svm\nSVC\ntR)R.", "an earlier call returned"),
        (b"csklearn.svm\nSVC\n)R)R.", "an earlier call returned"),
        (b"\x80\x02csklearn.svm\nSVC\n)R)\x81.", "an earlier call returned"),
        (b"\x80\x02NQ)R.", "an earlier call returned"),
        (b"cbuiltins\ntype\n(S'X'\n)}tR.", "type('X', (), {})"),
        (b"cnumpy.core\n_ufunc_reconstruct\n(S'os'\nS'system'\ntR.", "os.system"),
        (b"cbuiltins\ngetattr\n(csklearn.svm\nSVC\nS'__init__'\ntR.", "builtins.getattr"),
        (b"cbuiltins\ngetattr\n(csklearn.svm\nSVC\nS'fit'\ntR)R.", "SVC.fit(), which no pickler"),
        (b"cbuiltins\ngetattr\n(cbuiltins\nstr\nS'lower'\ntR(S'A'\ntR.", "str.lower('A'), which"),
        (b"cbuiltins\ngetattr\n(cbuiltins\nstr\nS'format'\ntR.", "builtins.getattr"),
        (b"cjoblib.memory\nMemory\n(S'/tmp/x'\ntR.", "joblib.memory.Memory('/tmp/x')"),
        (b"cgensim.similarities.docsim\nSimilarity\n(S'/x'\ntR.", "may act on what it is given"),
        (
            b"cscipy.stats._distn_infrastructure\nrv_continuous_frozen\n(ctorch\nSize\n)RtR.",
            "may act on what it is given",
        ),
        (
            b"\x80\x02cscipy.stats._continuous_distns\nnorm_gen\n)\x81(U\x01aU\x01btb.",
            "of which a text is run",
        ),
        (b"c_operator\ngetitem\n(cos\nenviron\nS'a'\ntR.", "operator.getitem"),
        (b"cnumpy\npercentile\n(I1\nI2\ntR.", "numpy.percentile(1, 2), which no pickler does"),
        (
            (
                b"cbuiltins\ngetattr\np0\n(czoneinfo\nZoneInfo\nS'_unpickle'\ntR0"
                b"g0\n(csklearn.svm\nSVC\nS'__call__'\ntR."
            ),
            "builtins.getattr",
        ),
        (b"cfunctools\npartial\n(cbuiltins\ngetattr\ntR.", "builtins.getattr"),
        (
            b"\x80\x02ccloudpickle.cloudpickle\n_make_function\n)R)R.",
            "runs code that it carries",
        ),
        (b"ccloudpickle.cloudpickle\nsubimport\n(S'os'\ntR}S'a'\nNsb.", "for the whole program"),
        (b"cdill._dill\n_import_module\n(S'os.system'\ntR.", "os.system"),
        (
            (
                b"ccopy_reg\n_reconstructor\n(cjoblib.numpy_pickle\nNDArrayWrapper\n"
                b"c__builtin__\nobject\nNtR(dS'filename'\nS'/etc/x.npy'\nsb."
            ),
            "loads another file, '/etc/x.npy'",
        ),
        (
            b"\x80\x02cstatsmodels.base.data\nModelData\n)\x81ccollections\nOrderedDict\n)Rb.",
            "hides the state",
        ),
        (
            (
                b"\x80\x02cscipy.stats._continuous_distns\nnorm_gen\n)\x81"
                b"}U\x13_parse_arg_templateU\x0fimport antigravsb."
            ),
            "'import antigrav' as Python",
        ),
    ],
)
def test_roundabout_ways_to_run_something_are_refused(data: bytes, said: str) -> None:
    assert verdict(data) is Verdict.REJECT
    assert any(said in message for message in messages(data))


@pytest.mark.parametrize("allowed", [("*",), ("os.*", "posix.*"), ("*.system",)])
def test_no_allow_list_lifts_what_is_dangerous(allowed: tuple[str, ...]) -> None:
    assert verdict(RUNS["protocol 0"], allowed) is Verdict.REJECT
    assert verdict(b"csklearn.svm\nSVC\n)R)R.", allowed) is Verdict.REJECT


# --- what people have to judge ------------------------------------------------------------------


def test_an_unknown_import_is_held_under_its_name() -> None:
    data = b"\x80\x02cmycompany.models\nNet\n)\x81}U\x01aK\x01sb."
    (finding,) = (each for each in inspected(data).findings if each.subject)
    assert (finding.severity, finding.subject) == (Severity.WARNING, "mycompany.models.Net")
    assert verdict(data) is Verdict.REVIEW
    assert verdict(data, ("mycompany.models.*",)) is Verdict.ACCEPT
    assert verdict(data, ("mycompany.other.*",)) is Verdict.REVIEW


def test_an_allowed_import_does_not_allow_the_others() -> None:
    data = b"(cmycompany\nNet\ncothers\nNet\nt."
    assert verdict(data, ("mycompany.*",)) is Verdict.REVIEW


@pytest.mark.parametrize(
    "data",
    [
        b"ccloudpickle.cloudpickle\n_make_function\n)R.",
        b"ccloudpickle.cloudpickle\nsubimport\n(S'os'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",
        b"}S'formula'\nS'y ~ exit(1)'\ns.",
        b"cxgboost.core\nBooster\n(NNS'/etc/passwd'\ntR.",
        b"cbuiltins\nstr\n(S'x'\ntR.",
        b"N.junk behind the end",
        b"ctorch.storage\n_load_from_bytes\n(NtR.",
    ],
)
def test_what_cannot_be_judged_is_held(data: bytes) -> None:
    assert verdict(data, ("mycompany.*",)) is Verdict.REVIEW


def test_plain_formulas_are_no_code() -> None:
    assert verdict(b"}S'formula'\nS'y ~ a + b:c'\ns.") is Verdict.ACCEPT


def test_a_zip_archive_behind_the_end_is_refused() -> None:
    assert verdict(b"N.PK\x03\x04" + bytes(50)) is Verdict.REJECT


def test_tensors_in_a_plain_pickle_are_files_that_are_looked_into() -> None:
    inner = b"\x80\x02cos\nsystem\nU\x04true\x85R." + bytes(100)
    for size in (b"C" + bytes([len(inner)]), b"B" + struct.pack("<I", len(inner))):
        data = b"\x80\x03ctorch.storage\n_load_from_bytes\n" + size + inner + b"\x85R."
        assert "storage 1 in model.pkl: loading it would run os.system('true')." in messages(data)


def test_more_tensors_than_are_looked_into_are_held() -> None:
    loads = b"C\0\x85R0" + b"h\0C\0\x85R0" * 1000
    data = b"\x80\x02ctorch.storage\n_load_from_bytes\nq\0" + loads + b"N."
    assert verdict(data) is Verdict.REVIEW


# --- the second opinion -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["protocol 0", "INST", "STACK_GLOBAL", "cut short", "third pickle"]
)
def test_picklescan_agrees(name: str) -> None:
    assert ("os", "system") in dangerous_imports(RUNS[name])


def test_what_picklescan_does_not_follow_is_no_opinion() -> None:
    assert dangerous_imports(b"\x80\x04N\x93.") == []
    assert dangerous_imports(b"\xff") == []


# --- what is honest -----------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.builds(bytearray, st.binary())
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.text(), inner).map(collections.OrderedDict)
        | st.frozensets(st.text())
        | st.sets(st.integers())
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(PLAIN, st.sampled_from(range(pickle.HIGHEST_PROTOCOL + 1)))
def test_whatever_pickle_writes_of_plain_objects_is_accepted(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    report = inspected(data)
    assert [each.code for each in report.findings] == ["format.can_carry_code"]
    assert recognise_pickle(data) == "pickle"


def test_what_is_long_is_passed_over() -> None:
    data = pickle.dumps({"a": b"x" * 300_000, "b": "ü" * 300_000, "c": 1 << 100_000})
    assert verdict(data) is Verdict.ACCEPT
    assert verdict(pickle.dumps([1 << 9000, "ü\n" * 9000], 0)) is Verdict.ACCEPT


def test_a_timezone_is_no_danger_though_its_pickle_takes_an_attribute() -> None:
    data = (
        b"\x80\x04cbuiltins\ngetattr\n\x94czoneinfo\nZoneInfo\n\x94"
        + text("_unpickle")
        + b"\x86R"
        + text("Europe/Berlin")
        + b"K\x01\x86R."
    )
    assert messages(data) == []
    assert verdict(data) is Verdict.ACCEPT


def test_the_notice_says_what_is_imported() -> None:
    (notice,) = messages(pickle.dumps(collections.OrderedDict(a=1)), Severity.INFO)
    assert notice == (
        "model.pkl is a pickle, which can run code when it is loaded; this one imports only what is"
        " known to be harmless: collections.OrderedDict."
    )


def test_facts_tell_framework_classes_and_protocol() -> None:
    data = (
        b"\x80\x04csklearn.svm._classes\nSVC\n)\x81}("
        + text("C")
        + b"K\x01"
        + text("_sklearn_version")
        + text("1.9.1")
        + b"ub."
    )
    facts = inspected(data).facts
    assert facts["framework"] == "scikit-learn"
    assert facts["framework_version"] == "1.9.1"
    assert facts["format_version"] == 4
    assert facts["classes"] == facts["imports"] == ["sklearn.svm._classes.SVC"]


# --- the machine --------------------------------------------------------------------------------


def test_the_machine_knows_every_opcode() -> None:
    machine = Machine(Stream.of_bytes(b""), Trace(Budget(0)))
    missing = [each.name for each in pickletools.opcodes if not machine._dispatch[ord(each.code)]]
    assert missing == []


def test_no_opcode_imports_or_calls_anything(tmp_path: Path) -> None:
    target = tmp_path / "made"
    for opcodes in (b"(S'%s'\ntR.", b"(S'%s'\nt\x81."):
        data = b"cpathlib\nPath.touch\n" + opcodes % str(target).encode()
        assert verdict(data) is Verdict.REJECT
    assert not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x06N.",
        b".",
        b"0.",
        b"R.",
        b"(.",
        b"h\0.",
        b"p0\n.",
        b"NNs.",
        b"}(Nu.",
        b"NNR.",
        b"NNb.",
        b"Na.",
        b"X\xff\xff\xff\xff",
        b"\x8e" + b"\xff" * 8 + b".",
        b"T\xff\xff\xff\xff.",
        b"\x8b\xff\xff\xff\xff.",
        b"Sabc\n.",
        b"S'\n.",
        b"I1x\n.",
        b"Fx\n.",
        b"Np-1\n.",
        b"X\x01\0\0\0\xff.",
        b"\x85.",
        b"\x87.",
        b"o.",
        b"(o.",
        b"\xff",
    ],
)
def test_broken_pickles_are_refused(data: bytes) -> None:
    assert verdict(data) is Verdict.REJECT


def test_reading_stops_where_an_unpickler_stops() -> None:
    for protocol in range(6):
        data = pickle.dumps([collections.OrderedDict(a=[1, (2.5, "x")]), {1, 2}, b"y"], protocol)
        stream = Stream.of_bytes(data + b"rest")
        Machine(stream, Trace(Budget(0))).run()
        file = io.BytesIO(data + b"rest")
        pickle.load(file)
        assert stream.tell() == file.tell() == len(data)


# --- bombs --------------------------------------------------------------------------------------


def test_more_opcodes_than_are_followed_are_held_and_what_was_seen_is_refused() -> None:
    many = b"N0" * (Budget.OPCODES // 2 + 1)
    assert verdict(b"\x80\x02" + many + b"N.") is Verdict.REVIEW
    assert verdict(b"\x80\x02cos\nsystem\n)R" + many + b".") is Verdict.REJECT


@pytest.mark.parametrize(
    "data",
    [
        b"N" + b"2\x86" * 200 + b"0cos\nsystem\nN" + b"2\x86" * 200 + b"\x85R.",  # shared tuples
        b"}N" + b"2\x86" * 200 + b"Ns0cos\nsystem\n)R.",  # one as a key
        b"N" + b"\x85" * 100_000 + b"0cos\nsystem\n)R.",  # deep
        b"]" + b"]a" * 50_000 + b"0cos\nsystem\n)R.",
        b"cos\nsystem\nL" + b"9" * 1_000_000 + b"L\n\x85R.",
    ],
)
def test_what_would_take_forever_to_print_or_compare_is_neither(data: bytes) -> None:
    assert any("loading it would run os.system(" in each for each in messages(data))
    assert all(len(each) <= 500 for each in messages(data))


def test_a_frame_that_reaches_beyond_its_pickle_is_refused() -> None:
    """The next pickle of the file would be looked for behind the frame, not behind this one."""
    assert verdict(b"\x80\x04\x95" + struct.pack("<Q", 2) + b"N." + b"N.") is Verdict.ACCEPT
    assert verdict(b"\x80\x04\x95" + struct.pack("<Q", 4) + b"N." + b"N.") is Verdict.REJECT
    nested = b"\x80\x04\x95" + struct.pack("<Q", 12) + b"N\x95" + struct.pack("<Q", 2) + b"0N."
    assert verdict(nested) is Verdict.REJECT


def test_marks_are_limited() -> None:
    assert verdict(b"(" * 100_000 + b".") is Verdict.REJECT


def test_imports_are_limited() -> None:
    data = b"".join(b"cmycompany\nNet%d\n0" % index for index in range(10_000))
    assert verdict(data + b"N.") is Verdict.REVIEW
    assert len(inspected(data + b"N.").findings) <= 100


# --- recognition --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(RUNS) - {"behind a long line"}))
def test_payloads_are_recognised_whatever_their_protocol(name: str) -> None:
    assert recognise_pickle(RUNS[name][: 64 * 1024]) == "pickle"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"cat\ndog\ncow\nelk\nowl\n",
        b"colour: red\nsize: 3\n",
        b"I am a text.\n",
        b"Version 1.\n",
        b"import os\nprint(1)\n",
        b"(see below)\n",
        b"# Model\n",
        b"{}",
        b"a",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"PK\x03\x04",
    ],
)
def test_other_files_are_no_pickles(text: bytes) -> None:
    assert recognise_pickle(text) is None


def test_whose_a_pickle_is() -> None:
    magic = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    assert recognise_pickle(b"\x80\x02" + magic + b"rest") == "pytorch-legacy"
    framed = b"\x80\x04\x95" + struct.pack("<Q", len(magic)) + magic
    assert recognise_pickle(framed) == "pytorch-legacy"
    joblib = b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n."
    assert recognise_pickle(joblib) == "joblib"


# --- texts that are run when a model is loaded ----------------------------------------------------


def formula(text: str) -> bytes:
    return b"}S'formula'\nV" + text.encode() + b"\ns."


@pytest.mark.parametrize(
    "text",
    [
        "y ~ a + b:c - 1",
        "y ~ C(k, Treatment(reference='u')) + I(a**2)",
        'y ~ Q("weight in kg") * standardize(x)',
        "np.log(y) ~ np.where(a > 1.5, 1, 0) + bs(t, df=4)",
    ],
)
def test_formulas_of_known_functions_are_harmless(text: str) -> None:
    assert verdict(formula(text)) is Verdict.ACCEPT


@pytest.mark.parametrize(
    "text",
    [
        "y ~ f(a)",
        "y ~ np.load('x')",
        "y ~ np .log(a)",
        "y ~ C(a)(b)",
        "y ~ 'a'('b')",
        "y ~ a.b",
        "y ~ C(__loader__)",
        "y ~ [a for a in b]",
        "y ~ np.log.x(a)",
    ],
)
def test_formulas_that_call_anything_else_are_not(text: str) -> None:
    assert verdict(formula(text)) is not Verdict.ACCEPT


def distribution(shapes: str, given: str, used: str, more: str = "") -> bytes:
    text = (
        f"\ndef _parse_args(self, {shapes} {given}):\n    return ({shapes}), {used}\n\n"
        f"def _parse_args_rvs(self, {shapes} {given}, size=None):\n"
        f"    return self._argcheck_rvs({shapes} {used}, size=size)\n\n"
        f"def _parse_args_stats(self, {shapes} {given}, moments='mv'):\n"
        f"    return ({shapes}), {used}, moments\n{more}"
    ).encode()
    size = len(text).to_bytes(4, "little")
    start = b"\x80\x02cscipy.stats._continuous_distns\nbeta_gen\n)\x81}U\x13_parse_arg_template"
    return start + b"X" + size + text + b"sb."


def test_distributions_of_scipy_are_read() -> None:
    assert verdict(distribution("a, b, ", "loc=0, scale=1", "loc, scale")) is Verdict.ACCEPT
    assert verdict(distribution("", "loc=0", "loc, 1")) is Verdict.ACCEPT


@pytest.mark.parametrize(
    "parts",
    [
        ("a, b, ", "loc=print(1), scale=1", "loc, scale"),
        ("a=print(1), ", "loc=0, scale=1", "loc, scale"),
        ("a, ", "loc=0, scale=1", "print(1), scale"),
        ("a, ", "loc=0, scale=1", "loc, scale", "print(1)\n"),
    ],
)
def test_distributions_with_a_text_of_their_own_are_refused(parts: tuple[str, ...]) -> None:
    assert verdict(distribution(*parts)) is Verdict.REJECT


@pytest.mark.parametrize("payload", ["protocol 0", "STACK_GLOBAL"])
def test_a_payload_behind_bytes_that_no_unpickler_reads_is_found(payload: str) -> None:
    honest, junk = pickle.dumps({"a": 1}), bytes(range(192, 256))
    assert verdict(honest + junk) is Verdict.REVIEW
    (message,) = messages(honest + junk + RUNS[payload] + junk)
    assert "loading it would run" in message
    assert "system('true')" in message
