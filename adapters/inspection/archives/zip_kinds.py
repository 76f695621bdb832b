"""What a ZIP archive is, by the names of its members."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OFFICE = (
    ("word/", "a Microsoft Word document"),
    ("xl/", "a Microsoft Excel workbook"),
    ("ppt/", "a Microsoft PowerPoint presentation"),
)
_PACKAGES = (
    ("AndroidManifest.xml", "an Android package"),
    ("META-INF/MANIFEST.MF", "a Java archive"),
    ("META-INF/container.xml", "an EPUB book"),
    ("META-INF/manifest.xml", "an OpenDocument document"),
    ("extension.vsixmanifest", "a Visual Studio extension"),
)
_IOS_APP = re.compile(r"Payload/[^/]+\.app/")
_KERAS_WEIGHTS = re.compile(r"model\.weights\.(?:h5|npz|json)")


def something_else(files: Sequence[str]) -> str | None:
    """What it is instead of a model, worded to follow "is"; None if it may hold one."""
    known = set(files)
    if "[Content_Types].xml" in known:
        kinds = (what for start, what in _OFFICE if any(name.startswith(start) for name in files))
        return next(kinds, "a Microsoft Office document")
    if files[:1] == ["mimetype"]:
        return "an EPUB book" if "META-INF/container.xml" in known else "an OpenDocument document"
    if any(name.endswith(".dist-info/WHEEL") for name in files):
        return "a Python wheel"
    if any(_IOS_APP.match(name) for name in files):
        return "an iOS app"
    return next((what for name, what in _PACKAGES if name in known), None)


def model_kind(files: Sequence[str], name: str) -> str | None:
    """The format of a model that is a ZIP archive itself; None for an archive of anything.

    Args:
        name: of the archive.
    """
    last = {each.rsplit("/", 1)[-1] for each in files}
    folders = {each.split("/")[1] for each in files if each.count("/") > 1}
    torch = bool(last & {"data.pkl", "bytecode.pkl"})
    keras = {"config.json", "metadata.json"} <= set(files)
    kinds = (
        ("torch-pt2", "archive_format" in last or "serialized_exported_program.json" in last),
        (
            "torchscript",
            torch and bool(last & {"constants.pkl", "bytecode.pkl"} or "code" in folders),
        ),
        ("pytorch-zip", torch),
        ("keras-v3", keras and (name.endswith(".keras") or any(map(_KERAS_WEIGHTS.match, files)))),
        ("skops", "schema.json" in files),
        ("npz", bool(files) and all(each.endswith(".npy") for each in files)),
    )
    return next((kind for kind, fits in kinds if fits), None)


def folder_kind(files: Sequence[str]) -> str | None:
    """The kind of model folder that an archive of any kind holds; None if it is no known one."""
    last = {each.rsplit("/", 1)[-1] for each in files}
    package = any(".mlpackage/" in each for each in files) or (
        "Manifest.json" in last and any("com.apple.CoreML/" in each for each in files)
    )
    kinds = (
        ("mlflow", "MLmodel" in last),
        ("tf-savedmodel", bool(last & {"saved_model.pb", "saved_model.pbtxt"})),
        ("coreml-mlpackage", package),
    )
    return next((kind for kind, fits in kinds if fits), None)
