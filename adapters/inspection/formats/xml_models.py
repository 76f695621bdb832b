"""Models in XML: PMML, and the graphs of OpenVINO. They are read as a stream of elements.

A DOCTYPE is refused where it begins: with it come entities, which read other files or grow without
end, and no honest model has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from xml.etree.ElementTree import ParseError

from defusedxml import (  # type: ignore[import-untyped]
    DTDForbidden,
    EntitiesForbidden,
    ExternalReferenceForbidden,
)
from defusedxml.ElementTree import XMLParser  # type: ignore[import-untyped]

from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import BLOCK, CUT_SHORT, LimitExceeded, Malformed, Stream

_DEEPEST = 2_000
_MOST_ELEMENTS = 50_000_000
_LONGEST_TAG = 8 << 20
_MOST_NAMES = 100

Started = Callable[[str, dict[str, str], int], None]
"""Told of each element: its name without namespace, its attributes, how many are around it."""


class _Target:
    """What the parser tells of the document; nothing of it is kept here."""

    def __init__(self, started: Started) -> None:
        self.heard = 0
        self._started = started
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.heard += 1
        if self._depth >= _DEEPEST:
            raise Malformed(f"nests more than {_DEEPEST} elements in each other")
        if self.heard > _MOST_ELEMENTS:
            raise LimitExceeded(f"has more than {_MOST_ELEMENTS} elements", bomb=False)
        self._started(tag, attributes, self._depth)
        self._depth += 1

    def end(self, tag: str) -> None:  # noqa: ARG002
        self._depth -= 1

    def data(self, data: str) -> None:  # noqa: ARG002
        self.heard += 1

    def close(self) -> None:
        """The parser calls it at the end."""


def _read_xml(stream: Stream, started: Started) -> None:
    target = _Target(started)
    parser = XMLParser(target=target, forbid_dtd=True)
    silent = 0
    try:
        while block := stream.read(BLOCK):
            before = target.heard
            parser.feed(block)
            silent = 0 if target.heard > before else silent + len(block)
            if silent > _LONGEST_TAG:
                raise Malformed("has an element that is longer than any model's")
        parser.close()
    except (DTDForbidden, EntitiesForbidden, ExternalReferenceForbidden):
        raise Malformed(
            "declares a document type (DOCTYPE), which can read other files or grow without end"
        ) from None
    except ParseError as error:
        cut = "no element found" in str(error) or "unclosed" in str(error)
        raise Malformed(CUT_SHORT if cut else f"is no valid XML ({error})") from None


# --- PMML ---------------------------------------------------------------------------------------

# https://dmg.org/pmml/v4-4-1/GeneralStructure.html
_MODELS = frozenset(
    {
        *("AnomalyDetectionModel", "AssociationModel", "BayesianNetworkModel", "BaselineModel"),
        *("ClusteringModel", "GaussianProcessModel", "GeneralRegressionModel", "MiningModel"),
        *("NaiveBayesModel", "NearestNeighborModel", "NeuralNetwork", "RegressionModel"),
        *("RuleSetModel", "Scorecard", "SequenceModel", "SupportVectorMachineModel"),
        *("TextModel", "TimeSeriesModel", "TreeModel"),
    }
)


class _Pmml:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._counts: Counter[str] = Counter()
        self._fields: list[str] = []
        self.kind: str | None = None

    def __call__(self, tag: str, attributes: dict[str, str], depth: int) -> None:
        name = tag.rsplit("}", 1)[-1]
        if depth == 0:
            self._root(tag, name, attributes)
        elif name in _MODELS:
            self._model(name, attributes, depth)
        elif name == "Application" and depth == 2:
            # CatBoost puts all that it knows of its build into its version.
            told = [attributes.get(key, "") for key in ("name", "version")]
            self._notes.fact("producer", " ".join(each for each in told if 0 < len(each) < 80))
        elif name == "DataField" and depth == 2:
            self._counts["fields"] += 1
            if len(self._fields) < _MOST_NAMES and "name" in attributes:
                self._fields.append(attributes["name"])
        elif name == "Apply" and "." in attributes.get("function", ""):
            self._java(attributes["function"])

    def _root(self, tag: str, name: str, attributes: dict[str, str]) -> None:
        if name != "PMML":
            raise Malformed(f"is XML, but no PMML: it begins with <{shown(name, 40)}>")
        if tag.startswith("{") and "dmg.org/PMML" not in tag:
            raise Malformed("is no PMML: its elements are from another namespace")
        version = attributes.get("version")
        if not version:
            raise Malformed("is no PMML: it names no version")
        self._notes.fact("framework", "pmml")
        self._notes.fact("format_version", version)

    def _model(self, name: str, attributes: dict[str, str], depth: int) -> None:
        self._counts[name] += 1
        if depth == 1 and self.kind is None:
            self.kind = name
            self._notes.fact("model_type", name)
            self._notes.fact("name", attributes.get("modelName"))
            self._notes.fact("objective", attributes.get("functionName"))

    def _java(self, function: str) -> None:
        self._notes.hold(
            "pmml.java_class",
            f"{self._notes.place}: evaluating it would call {shown(function)}, "
            "which some evaluators take for a Java class to be loaded.",
            subject=function,
        )

    def finish(self) -> None:
        """Notes what is known at the end.

        Raises:
            Malformed: there was no model.
        """
        if self.kind is None:
            raise Malformed("is PMML, but there is no model in it")
        self._notes.fact("features", self._counts["fields"])
        self._notes.fact("feature_names", self._fields)
        if self._counts["TreeModel"]:
            self._notes.fact("trees", self._counts["TreeModel"])


def check_pmml(stream: Stream, notes: Notes) -> None:
    """Root, version and at least one model; a DOCTYPE is refused.

    Raises:
        Malformed: it is broken, or no PMML.
        LimitExceeded: it has more elements than are read.
    """
    document = _Pmml(notes)
    _read_xml(stream, document)
    document.finish()


# --- OpenVINO -----------------------------------------------------------------------------------


class _OpenVino:
    """https://docs.openvino.ai/2025/documentation/openvino-ir-format.html"""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.layers = 0
        self.operators: set[str] = set()
        self.extensions: set[str] = set()

    def __call__(self, tag: str, attributes: dict[str, str], depth: int) -> None:
        if depth == 0:
            if tag != "net":
                raise Malformed("is XML, but no graph of OpenVINO")
            self._notes.fact("framework", "openvino")
            self._notes.fact("format_version", attributes.get("version"))
            self._notes.fact("name", attributes.get("name"))
        elif tag == "layer":
            self.layers += 1
            kind, opset = attributes.get("type", "?"), attributes.get("version", "")
            if len(self.operators) < _MOST_NAMES:
                self.operators.add(kind)
            if not opset.startswith(("opset", "experimental")) and len(self.extensions) < 10:
                self.extensions.add(f"{opset}.{kind}" if opset else kind)


def check_openvino(stream: Stream, notes: Notes) -> None:
    """The graph; its weights are in a file of the same name that ends in ``.bin``.

    Raises:
        Malformed: it is broken, or no such graph.
        LimitExceeded: it has more elements than are read.
    """
    graph = _OpenVino(notes)
    _read_xml(stream, graph)
    if not graph.layers:
        raise Malformed("is a graph of OpenVINO without layers")
    notes.fact("layers", graph.layers)
    notes.fact("operators", graph.operators)
    notes.fact("external_data", [PurePosixPath(notes.name).stem + ".bin"])
    if graph.extensions:
        notes.fact("custom_operators", graph.extensions)
        listed = ", ".join(shown(each, 40) for each in sorted(graph.extensions)[:5])
        notes.tell(
            "openvino.custom_operator",
            f"{notes.place} needs operators that are not OpenVINO's own: {listed}.",
        )
