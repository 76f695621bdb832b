"""Core ML, by https://github.com/apple/coremltools/tree/main/mlmodel/format (Model.proto,
NeuralNetwork.proto, MIL.proto).

The format holds no code, but may ask the app that loads it for some by the name of a class, and
for files by theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.inspection.formats.protobuf_wire import BYTES, VARINT, Wire
from adapters.inspection.formats.references import leaves_folder
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import LimitExceeded, Malformed, Stream

_KINDS = {
    200: "pipeline classifier", 201: "pipeline regressor", 202: "pipeline",
    300: "generalised linear regressor", 301: "support vector regressor",
    302: "tree ensemble regressor", 303: "neural network regressor",
    304: "Bayesian probit regressor", 400: "generalised linear classifier",
    401: "support vector classifier", 402: "tree ensemble classifier",
    403: "neural network classifier", 404: "nearest neighbours classifier",
    500: "neural network", 501: "item similarity recommender", 502: "ML program",
    555: "custom model", 556: "linked model", 600: "one-hot encoder", 601: "imputer",
    602: "feature vectoriser", 603: "dictionary vectoriser", 604: "scaler",
    606: "categorical mapping", 607: "normaliser", 609: "array feature extractor",
    610: "non-maximum suppression", 900: "identity", 2000: "text classifier",
    2001: "word tagger", 2002: "vision feature print", 2003: "sound analysis preprocessing",
    2004: "gazetteer", 2005: "word embedding", 2006: "audio feature print",
    3000: "serialised model",
}  # fmt: skip
_MODEL = {1: VARINT, 2: BYTES} | dict.fromkeys(_KINDS, BYTES)
_FEATURES = {1: "int64", 2: "float64", 3: "string", 4: "image", 5: "array", 6: "dictionary",
             7: "sequence", 8: "state"}  # fmt: skip
# ArrayFeatureType.ArrayDataType
_ARRAYS = {65552: "float16", 65568: "float32", 65600: "float64", 131080: "int8", 131104: "int32"}
_COREMLTOOLS = "com.github.apple.coremltools.version"
_IN_MODEL = "@model_path/"
_MOST_DISTINCT = 10_000


def check_coreml(stream: Stream, notes: Notes) -> None:
    """Checks a Model of Core ML.

    Raises:
        Malformed: it is none, or broken.
        LimitExceeded: it has more parts than are looked at.
    """
    notes.fact("framework", "coreml")
    model = _Model(Wire(stream), notes)
    try:
        model.read(None)
    finally:
        model.note()


@dataclass(slots=True)
class _Model:
    wire: Wire
    notes: Notes
    operators: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    classes: list[str] = field(default_factory=list)
    layers: int = 0

    def read(self, length: int | None) -> None:
        """Reads a model; a pipeline has more of them inside, whose facts are not of interest."""
        kinds: list[int] = []
        for number, value in self.wire.walk(_MODEL, length):
            if number == 1:
                if length is None:
                    self.notes.fact("format_version", value)
            elif number == 2:
                if length is None:
                    _describe(self.wire, value, self.notes)
            else:
                kinds.append(number)
                self._kind(number, value)
        if not kinds:
            raise Malformed("does not tell which kind of Core ML model it is")
        if length is None:
            self.notes.fact("architecture", _KINDS[kinds[-1]])

    def note(self) -> None:
        self.notes.fact("operators", self.operators)
        self.notes.fact("classes", self.classes)
        self.notes.fact("layers", self.layers or None)
        self.notes.fact("external_data", self.files)

    def _kind(self, number: int, length: int) -> None:
        wire = self.wire
        if number in {200, 201}:
            for _, size in wire.walk({1: BYTES}, length):
                self._pipeline(size)
        elif number == 202:
            self._pipeline(length)
        elif number in {303, 500}:
            self._network(length)
        elif 400 <= number <= 403:
            self._classifier(number, length)
        elif number == 502:
            self._program(length)
        elif number == 555:
            self._custom("model", length, 1)
        elif number == 556:
            self._linked(length)
        elif number == 3000:
            self.notes.hold(
                "coreml.opaque",
                f"{self.notes.place} is a Core ML model in a private form of Apple's, which "
                "cannot be looked into.",
            )

    def _pipeline(self, length: int) -> None:
        for _, size in self.wire.walk({1: BYTES}, length):
            self.read(size)

    def _classifier(self, number: int, length: int) -> None:
        for part, size in self.wire.walk({1: BYTES, 100: BYTES, 101: BYTES}, length):
            if part == 1 and number == 403:
                self._layer(size)
            elif part == 100:
                for _, text in self.wire.walk({1: BYTES}, size):
                    self._label(self.wire.text(text, 250))
            elif part == 101:
                for _, value in self.wire.walk({1: VARINT}, size):
                    self._label(str(value))

    def _label(self, label: str) -> None:
        if len(self.classes) < 1000:
            self.classes.append(label)

    def _network(self, length: int) -> None:
        for _, size in self.wire.walk({1: BYTES}, length):
            self._layer(size)

    def _layer(self, length: int) -> None:
        self.layers += 1
        for number, size in self.wire.walk({500: BYTES, 605: BYTES, 615: BYTES}, length):
            if number == 500:
                self._custom("layer", size, 10)
                continue
            # The two branches, or the condition and the body of a loop.
            first = 1 if number == 605 else 3
            for _, network in self.wire.walk({first: BYTES, first + 1: BYTES}, size):
                self._network(network)

    def _custom(self, what: str, length: int, field_of_name: int) -> None:
        name = "-"
        for _, size in self.wire.walk({field_of_name: BYTES}, length):
            name = self.wire.text(size, 250)
        self.notes.hold(
            "coreml.custom_code",
            f"{self.notes.place} has a {what} that the app which loads it has to bring the code "
            f"for, in a class {shown(name)}.",
            subject=name,
        )

    def _linked(self, length: int) -> None:
        names = [
            self.wire.whole_text(text, "the name of a file")
            for _, file in self.wire.walk({1: BYTES}, length)
            for _, parameter in self.wire.walk({1: BYTES, 2: BYTES}, file)
            for _, text in self.wire.walk({1: BYTES}, parameter)
        ]
        for name in names[:10]:
            message = f"{self.notes.place} is only a link to another model, '{shown(name)}'."
            note = self.notes.refuse if leaves_folder(name) else self.notes.hold
            note("coreml.linked_model", message, subject=name)

    def _program(self, length: int) -> None:
        for number, size in self.wire.walk({2: BYTES, 4: BYTES}, length):
            if number == 4:
                self._named_value(size)
                continue
            for _, function in self.wire.walk({2: BYTES}, size):
                for part, entry in self.wire.walk({3: BYTES, 4: BYTES}, function):
                    if part == 4:
                        self._named_value(entry)
                        continue
                    for _, block in self.wire.walk({2: BYTES}, entry):
                        self._block(block)

    def _block(self, length: int) -> None:
        for number, size in self.wire.walk({3: BYTES, 4: BYTES}, length):
            if number == 3:
                self._operation(size)
            else:
                self._named_value(size)

    def _operation(self, length: int) -> None:
        for number, size in self.wire.walk(dict.fromkeys((1, 2, 4, 5), BYTES), length):
            if number == 1:
                self._use(self.wire.text(size, 250))
            elif number == 2:
                self._arguments(size)
            elif number == 4:
                self._block(size)
            else:
                self._named_value(size)

    def _use(self, operator: str) -> None:
        self.operators.add(operator)
        if len(self.operators) > _MOST_DISTINCT:
            raise LimitExceeded(f"has more than {_MOST_DISTINCT} different operators", bomb=False)
        if operator.startswith("custom"):
            message = f"{self.notes.place} has an operator that its app has to bring the code for."
            self.notes.hold("coreml.custom_code", message, subject=operator)

    def _arguments(self, length: int) -> None:
        for _, argument in self.wire.walk({2: BYTES}, length):
            for _, binding in self.wire.walk({1: BYTES}, argument):
                self._named_value(binding)

    def _named_value(self, length: int) -> None:
        """The value of an entry of a map, or of what is bound to an argument."""
        for _, value in self.wire.walk({2: BYTES}, length):
            self._value(value)

    def _value(self, length: int) -> None:
        for number, size in self.wire.walk({3: BYTES, 5: BYTES}, length):
            if number == 5:
                for _, name in self.wire.walk({1: BYTES}, size):
                    self._file(self.wire.whole_text(name, "the name of a file"))
                continue
            for kind, part in self.wire.walk(dict.fromkeys((2, 3, 4), BYTES), size):
                for _, inner in self.wire.walk({1: BYTES}, part):
                    if kind < 4:
                        self._value(inner)
                    else:
                        for _, half in self.wire.walk({1: BYTES, 2: BYTES}, inner):
                            self._value(half)

    def _file(self, name: str) -> None:
        relative = name.removeprefix(_IN_MODEL)
        if leaves_folder(relative):
            self.notes.refuse(
                "coreml.file_outside",
                f"{self.notes.place} is to read weights from '{shown(name)}', which is outside "
                "the folder of the model.",
                subject=name,
            )
        elif len(self.files) < _MOST_DISTINCT:
            self.files.add(relative)


def _describe(wire: Wire, length: int, notes: Notes) -> None:
    """Notes what a ModelDescription tells."""
    features: dict[int, list[str]] = {1: [], 10: []}
    for number, size in wire.walk(dict.fromkeys((1, 10, 100), BYTES), length):
        if number == 100:
            _metadata(wire, size, notes)
            continue
        described = _feature(wire, size)
        if len(features[number]) < 1000:
            features[number].append(described)
    notes.fact("inputs", features[1])
    notes.fact("outputs", features[10])


def _metadata(wire: Wire, length: int, notes: Notes) -> None:
    keys = {1: "description", 2: "version", 3: "author", 4: "license"}
    for number, size in wire.walk(dict.fromkeys((*keys, 100), BYTES), length):
        if number in keys:
            notes.fact(keys[number], wire.text(size, 1000).strip())
            continue
        key, value = wire.entry(size)
        if key == _COREMLTOOLS:
            notes.fact("producer", f"coremltools {value}")


def _feature(wire: Wire, length: int) -> str:
    name, kind = "", "?"
    for number, size in wire.walk({1: BYTES, 3: BYTES}, length):
        if number == 1:
            name = wire.text(size, 250)
            continue
        for feature, part in wire.walk(dict.fromkeys(_FEATURES, BYTES), size):
            kind = _array(wire, part) if feature == 5 else _FEATURES[feature]
            if feature == 4:
                sides = [str(value) for _, value in wire.walk({1: VARINT, 2: VARINT}, part)]
                kind = f"image[{', '.join(sides[:2])}]"
    return f"{name}: {kind}"


def _array(wire: Wire, length: int) -> str:
    kind = "array"
    dims: list[str] = []
    for number, value in wire.walk({1: VARINT, 2: VARINT}, length):
        if number == 2:
            kind = _ARRAYS.get(value, kind)
        elif len(dims) < 32:
            dims.append(str(value))
    return f"{kind}[{', '.join(dims)}]"
