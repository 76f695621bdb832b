"""What names promise, and what libmagic's answer means for a registry of models.

libmagic looks for short numbers in places where raw weights may have them by chance: of random
bytes it takes one in a hundred for a DOS program, a picture or music. So only types whose marks
are long enough refuse a file by themselves; the others do where the file's name agrees.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from adapters.inspection.report import printable, shown

_CERTAIN = re.compile(
    r"""
      image/(?: jpeg | png | gif | bmp | webp | tiff | heic | heif | avif | jp2 | jpx
              | x-xcf | x-exr | vnd\.adobe\.photoshop | vnd\.djvu.* )
    | video/(?: mp4 | quicktime | webm | ogg | x-matroska | x-msvideo | x-ms-asf | x-flv | x-m4v
              | 3gpp2? | x-ms-wmv )
    | audio/(?: x-wav | wav | flac | x-flac | ogg | midi | x-aiff | x-m4a | mp4 | amr )
    | font/(?: sfnt | ttf | otf | woff2? | collection )
    | application/(?: font-sfnt | vnd\.ms-opentype | vnd\.ms-fontobject )
    | text/(?: x-shellscript | x-php | rtf )
    | application/(?: pdf | rtf | ogg | wasm | dicom | x-mach-binary | x-java-applet
              | java-archive | x-shockwave-flash | x-pem-file | pgp-keys | pgp-encrypted
              | vnd\.sqlite3 | x-sqlite3 | x-msaccess | x-7z-compressed | x-rar | vnd\.rar
              | x-rpm | vnd\.debian\.binary-package | x-archive | vnd\.ms-cab-compressed
              | x-iso9660-image | epub\+zip | x-bplist | x-blender | x-matlab-data
              | x-bytecode\.python | vnd\.openxmlformats.* | vnd\.oasis\.opendocument.*
              | vnd\.microsoft\.portable-executable | vnd\.tcpdump\.pcap | x-bittorrent )
    | model/gltf-binary
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ELF = re.compile(r"application/x-(?:executable|pie-executable|sharedlib|object|coredump)")
_SCRIPT = re.compile(rb"#![ \t]*/[\x21-\x7e][\t\x20-\x7e]*")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MARKUP_ALLOWED = re.compile(r"\.(?:md|markdown|rst|txt|jinja2?|j2)$", re.IGNORECASE)
_PAGE = re.compile(rb"(?:\xef\xbb\xbf|\s)*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
# Nothing that was passed over is tried another way: comments could be cut in 2 ** n ways.
_MARKUP = re.compile(
    rb"(?>\xef\xbb\xbf|\s|<\?xml[^>]*>|<!--.{0,4096}?-->)*+"
    rb"<(?:!doctype|html|head|body|title|meta|script|style|table|div|h[1-6]|p|a|center|svg)\b",
    re.IGNORECASE | re.DOTALL,
)
_NEVER_MODELS = re.compile(
    r"""\.(?: jpe?g | png | gif | bmp | tiff? | webp | heic | avif | svg | ico | psd | tga | pcx
          | p[bgp]m
          | mp4 | m4v | mov | avi | mkv | webm | mpe?g | wmv | ts
          | mp3 | wav | flac | ogg | m4a | aac | midi? | au
          | pdf | e?ps | docx? | xlsx? | pptx? | od[tsp] | rtf | epub | html? | css | eml
          | pyc | exe | com | dll | so | dylib | msi | class | jar | apk | swf | dmg
          | sh | bat | cmd | ps1 | pl | rb | php | ttf | otf | woff2? )$""",
    re.VERBOSE | re.IGNORECASE,
)
# What libmagic says first of these tells nobody anything.
_VAGUE = ("ISO Media", "RIFF", "MPEG", "IFF data")
# Where libmagic's words are not those of people.
_BETTER = {
    "Blender3D": "a Blender scene",
    "Byte-compiled Python": "compiled Python code",
    "Composite Document": "an old Microsoft Office document or installer (Composite Document File)",
    "DOS/MBR": "a disk image",
    "MS Windows icon": "an icon",
    "Macromedia Flash Video": "a Flash video",
    "Matroska": "a Matroska video",
    "Microsoft ASF": "a Windows Media recording",
    "RPM": "an RPM package",
    "WebM": "a WebM video",
    "current ar archive": "an ar archive (a static library)",
    "glTF": "a glTF scene",
    "news or mail": "an e-mail message",
}
_KINDS = {"image": "a picture", "video": "a video", "audio": "a sound recording"}
_COUNTED = re.compile(
    r"\b(?:document|executable|database|script|bitmap|object|archive|certificate|key|image|module"
    r"|binary|package|file|message)\b(?! data)(?! text)",
    re.IGNORECASE,
)
_SAYS_SO = re.compile(r"image|bitmap|picture|video|movie|audio", re.IGNORECASE)
_SPOKEN_WITH_VOWEL = (*"AEIOaeio", "HTML", "MS-", "RPM", "SQL", "SVG", "XML")
_SPOKEN_WITHOUT = ("Unicode", "Europe", "One", "Unix")

_COMPANIONS = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".xml": "application/xml",
    ".toml": "application/toml",
    ".py": "text/x-python",
}
_PICKLES = ("pickle", "joblib", "pytorch-legacy", "pytorch-zip", "torchscript", "torch-pt2")
_TORCH = (*_PICKLES, "zip", "safetensors", "executorch")
# What is expected under an extension: how it is called, and the formats that are that.
_PROMISES: dict[str, tuple[str, tuple[str, ...]]] = {
    ".cbm": ("CatBoost", ("catboost-cbm",)),
    ".ckpt": ("a checkpoint", (*_TORCH, "tf-checkpoint", "hdf5", "keras-h5", "flax-msgpack")),
    ".gguf": ("GGUF", ("gguf",)),
    ".h5": ("HDF5", ("hdf5", "keras-h5")),
    ".hdf5": ("HDF5", ("hdf5", "keras-h5")),
    ".joblib": ("joblib", _PICKLES),
    ".keras": ("Keras", ("keras-v3", "keras-h5", "hdf5")),
    ".mlmodel": ("Core ML", ("coreml",)),
    ".msgpack": ("msgpack", ("flax-msgpack",)),
    ".npy": ("NumPy", ("npy",)),
    ".npz": ("NumPy", ("npz",)),
    ".onnx": ("ONNX", ("onnx",)),
    ".ort": ("ONNX Runtime", ("onnxruntime-ort",)),
    ".pb": ("a TensorFlow graph", ("tf-savedmodel-pb", "tf-graphdef", "onnx")),
    ".pickle": ("a pickle", _PICKLES),
    ".pkl": ("a pickle", _PICKLES),
    ".pmml": ("PMML", ("pmml",)),
    ".pt": ("PyTorch", _TORCH),
    ".pt2": ("PyTorch", _TORCH),
    ".pth": ("PyTorch", _TORCH),
    ".ptl": ("PyTorch", _TORCH),
    ".safetensors": ("safetensors", ("safetensors",)),
    ".skops": ("skops", ("skops",)),
    ".tflite": ("TensorFlow Lite", ("tflite",)),
    ".ubj": ("XGBoost", ("xgboost-ubj",)),
    ".csv": ("CSV", ()),
    ".json": ("JSON", ("xgboost-json", "lightgbm-json", "catboost-json")),
    ".jsonl": ("JSON", ()),
    ".md": ("Markdown", ()),
    ".py": ("Python code", ()),
    ".toml": ("TOML", ()),
    ".txt": ("text", ("lightgbm-text",)),
    ".xml": ("XML", ("pmml", "openvino-ir")),
    ".yaml": ("YAML", ()),
    ".yml": ("YAML", ()),
}
_COMPRESSED = (".bz2", ".gz", ".lz4", ".xz", ".zst", ".7z", ".zip", ".tar", ".tgz")
_TEXTS = (
    ".csv",
    ".json",
    ".jsonl",
    ".md",
    ".py",
    ".pmml",
    ".toml",
    ".txt",
    ".xml",
    ".yaml",
    ".yml",
)
_ALSO_MODELS = (".bin", ".model", ".ggml", ".ggjt", ".onnx.data")


def extension(name: str) -> str:
    """The last one, in lower case."""
    return PurePosixPath(name).suffix.lower()


def promised(name: str) -> tuple[str, tuple[str, ...]] | None:
    """What people expect under this extension: how it is called, and the formats that are that;
    None where they expect nothing in particular."""
    if _NEVER_MODELS.search(name):
        return f"a {extension(name)} file", ()
    return _PROMISES.get(extension(name))


def may_be_a_pickle(name: str) -> bool:
    """Whether something that can carry code surprises nobody under this name."""
    expected = promised(name)
    return expected is None or any(each in expected[1] for each in (*_PICKLES, "keras-v3", "skops"))


def is_unpickled(name: str) -> bool:
    """Whether people unpickle whatever has this name."""
    return extension(name) in {".joblib", ".pickle", ".pkl", ".pt", ".pth", ".ptl"}


def is_binary(name: str) -> bool:
    """Whether this is the extension of a format that is never text."""
    suffix = extension(name)
    return suffix in _COMPRESSED or (suffix in _PROMISES and suffix not in _TEXTS)


def is_textual(name: str) -> bool:
    """Whether this is the extension of a format that is always text."""
    return extension(name) in _TEXTS


def promises_a_model(name: str) -> bool:
    """Whether somebody expects a model, or an archive of one, under this extension."""
    return is_binary(name) or extension(name) in {".pmml", *_ALSO_MODELS}


def is_text(head: bytes, media_type: str, *, whole: bool = False) -> bool:
    """Whether the bytes are UTF-8 (the last character perhaps cut), or text to libmagic."""
    if media_type == "text/plain" and head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        cut = error.start >= len(head) - 3 and error.reason == "unexpected end of data"
        return (cut and not whole) or _looks_like_text(head, media_type)
    return True


def _looks_like_text(head: bytes, media_type: str) -> bool:
    """Text in an old encoding. Most of it is ASCII: bytes that merely have no control characters
    are called text by libmagic too."""
    ascii_bytes = sum(byte < 0x80 for byte in head[:4096])
    return media_type.startswith("text/") and 2 * ascii_bytes > len(head[:4096])


def is_page(head: bytes) -> bool:
    """Whether it begins as an HTML document."""
    return bool(_PAGE.match(head))


def refuses(media_type: str, head: bytes, name: str) -> bool:
    """Whether a file that libmagic gives this type is certainly no model."""
    if script := _SCRIPT.match(head):
        return b"python" not in script[0]
    if media_type in {"text/html", "image/svg+xml"}:
        # A README may begin with a bit of HTML; a whole page says so. Others may quote some.
        allowed = _MARKUP_ALLOWED.search(name)
        return bool((_PAGE if allowed else _MARKUP).match(head))
    named = not media_type.startswith(("text/", "application/octet-stream"))
    return (
        bool(_CERTAIN.fullmatch(media_type))
        or head.startswith((_OLE, b"-----BEGIN "))
        or (bool(_ELF.match(media_type)) and head.startswith(b"\x7fELF"))
        or (media_type == "text/x-msdos-batch" and head.lstrip()[:5].lower() == b"@echo")
        or (named and bool(_NEVER_MODELS.search(name)))
    )


def for_people(description: str, media_type: str) -> str:
    """The part of libmagic's description that names the kind of file, to follow "is"."""
    for start, better in _BETTER.items():
        if description.startswith(start):
            return better
    parts = [part.strip() for part in description[:1000].split(",")]
    kind = _KINDS.get(media_type.split("/", maxsplit=1)[0])
    vague = kind is not None and parts[0].startswith(_VAGUE)
    name = parts[1] if vague and len(parts) > 1 else parts[0]
    name = re.sub(r"\s*(?:\[[^\]]*\]|\([^)]*\))", "", name[:300]).rstrip(": '")
    name = printable(name)[:100]
    if vague or (kind and not _SAYS_SO.search(name)):
        return f"{kind} ({name})"
    if _COUNTED.search(name):
        vowel = name.startswith(_SPOKEN_WITH_VOWEL) and not name.startswith(_SPOKEN_WITHOUT)
        return f"{'an' if vowel else 'a'} {name}"
    return name


def of_misnamed_text(head: bytes) -> str:
    """What a text under the name of a binary format is, to follow "is"."""
    utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    start = " ".join(head[:200].decode("utf-16" if utf16 else "utf-8-sig", "replace").split())
    if not start:
        return "blank text"
    what = "JSON" if start[0] in "{[" else "XML" if start.startswith("<?xml") else "text"
    return f"{what} ({shown(start, 60)})"


def of_text(media_type: str, name: str) -> str:
    """The type of a text file, by its extension where that is a known one."""
    return _COMPANIONS.get(extension(name), media_type)
