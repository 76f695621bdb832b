"""PMML and the graphs of OpenVINO: XML that cannot reach outside of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.inspection.formats import xml_models
from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import Coverage, FileReport, ValidationPolicy, Verdict
from domain.values import FilePath
from tests.support.inspecting import refusals

TREE = (Path(__file__).parents[2] / "corpus" / "models" / "tree.pmml").read_bytes()
HEAD = b'<?xml version="1.0"?>\n'
ROOT = b'<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4">'


def inspect(content: bytes, name: str = "m.pmml") -> FileReport:
    return inspect_file(Stream.of_bytes(content), FilePath(name))


def judge(content: bytes, name: str = "m.pmml") -> Verdict:
    return ValidationPolicy().judge({FilePath(name): inspect(content, name)}).verdict


def test_a_model_is_described() -> None:
    report = inspect(TREE)
    assert (report.format, report.findings) == ("pmml", ())
    assert report.facts == {
        "framework": "pmml",
        "format_version": "4.4.1",
        "producer": "Nyoka 5.5.0",
        "model_type": "TreeModel",
        "name": "DecisionTreeClassifier",
        "objective": "classification",
        "features": 5,
        "feature_names": ["a", "b", "c", "d", "y"],
        "trees": 1,
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_model_may_be_in_another_encoding(encoding: str) -> None:
    text = TREE.decode().replace('encoding="UTF-8"', "")
    assert inspect(text.encode(encoding)).facts["model_type"] == "TreeModel"


@pytest.mark.parametrize(
    "doctype",
    [
        b'<!DOCTYPE PMML [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE PMML SYSTEM "http://example.org/x.dtd">',
        b'<!DOCTYPE PMML [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        b'<!DOCTYPE PMML [<!ENTITY % p SYSTEM "http://example.org/">%p;]>',
        b"<!DOCTYPE PMML>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("before", ["", "<!-- " + "x" * 100_000 + " -->"])
def test_a_document_type_is_refused(doctype: bytes, encoding: str, before: str) -> None:
    text = before + doctype.decode() + TREE.decode().partition("?>")[2]
    (message,) = refusals(inspect(text.encode(encoding)))
    assert message.startswith("m.pmml declares a document type (DOCTYPE)")


def test_entities_that_nobody_declared_are_refused() -> None:
    assert refusals(inspect(TREE.replace(b"Nyoka", b"&xxe;")))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_one_that_was_cut_short_is_refused(part: float) -> None:
    (message,) = refusals(inspect(TREE[: int(len(TREE) * part)]))
    assert message == "m.pmml ends too early: it was cut short."


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (HEAD + b"<rss><channel/></rss>", "m.pmml is XML, but no PMML: it begins with <rss>."),
        (HEAD + b"<PMML/>", "m.pmml is no PMML: it names no version."),
        (HEAD + ROOT + b"</PMML>", "m.pmml is PMML, but there is no model in it."),
        (
            HEAD + b'<PMML xmlns="urn:x" version="4"/>',
            "m.pmml is no PMML: its elements are from another namespace.",
        ),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, fault: str) -> None:
    assert refusals(inspect(content)) == [fault]


def test_other_xml_is_a_companion() -> None:
    report = inspect(HEAD + b"<rss version='2.0'><channel/></rss>", "feed.xml")
    assert (report.format, report.findings) == (None, ())


def test_elements_nested_beyond_reason_are_refused() -> None:
    (message,) = refusals(inspect(HEAD + ROOT + b"<Extension>" * 100_000))
    assert "nests more than" in message


def test_an_element_without_end_is_refused() -> None:
    (message,) = refusals(inspect(HEAD + ROOT + b'<Extension value="' + b"x" * (12 << 20)))
    assert "longer than any model" in message


def test_more_elements_than_are_read_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_models, "_MOST_ELEMENTS", 20)
    report = inspect(TREE)
    assert report.coverage is Coverage.PARTIAL
    assert judge(TREE) is Verdict.REVIEW


def test_functions_that_are_java_classes_hold_it() -> None:
    call = b'<TransformationDictionary><DerivedField name="z"><Apply function="%s"/></DerivedField>'
    for function, verdict in ((b"com.evil.Run", Verdict.REVIEW), (b"lessThan", Verdict.ACCEPT)):
        added = call % function + b"</TransformationDictionary><TreeModel "
        assert judge(TREE.replace(b"<TreeModel ", added, 1)) is verdict


NET = b"""<?xml version="1.0"?>
<net name="torch_jit" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,4"/></layer>
<layer id="1" name="y" type="Relu" version="opset1"/>
<layer id="2" name="z" type="Result" version="opset1"/>
</layers><edges/></net>
"""


def test_a_graph_of_openvino_is_described_and_needs_its_weights() -> None:
    report = inspect(NET, "deep/ssd.v2.xml")
    assert (report.format, report.findings) == ("openvino-ir", ())
    assert report.facts == {
        "framework": "openvino",
        "format_version": "11",
        "name": "torch_jit",
        "layers": 3,
        "operators": ["Parameter", "Relu", "Result"],
        "external_data": ["ssd.v2.bin"],
    }
    weights = inspect(b"\x01\x02\x03\x80" * 1000, "deep/ssd.v2.bin")
    files = {FilePath("deep/ssd.v2.xml"): report, FilePath("deep/ssd.v2.bin"): weights}
    assert ValidationPolicy().judge(files).verdict is Verdict.ACCEPT


def test_operators_of_others_are_told() -> None:
    report = inspect(
        NET.replace(b'type="Relu" version="opset1"', b'type="Mine" version="acme"'), "m.xml"
    )
    assert report.facts["custom_operators"] == ["acme.Mine"]


@pytest.mark.parametrize("content", [NET[:-20], NET.replace(b"<net", b"<!DOCTYPE net><net")])
def test_a_broken_graph_is_refused(content: bytes) -> None:
    assert refusals(inspect(content, "m.xml"))
