"""What libmagic's answer means for a registry of models.

libmagic looks for short numbers in places where raw weights may have them by chance: of random
bytes it takes one in a hundred for a DOS program, a picture or music. So only types whose marks
are long enough refuse a file by themselves; the others do where the file's name agrees.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from domain.values import FilePath

_CERTAIN = re.compile(
    r"""
      image/(?: jpeg | png | gif | bmp | webp | tiff | heic | heif | avif | jp2 | x-xcf
              | vnd\.adobe\.photoshop | vnd\.djvu.* )
    | video/(?: mp4 | quicktime | webm | ogg | x-matroska | x-msvideo | x-ms-asf | x-flv | x-m4v
              | 3gpp2? | x-ms-wmv )
    | audio/(?: x-wav | wav | flac | x-flac | ogg | midi | x-aiff | x-m4a | mp4 | amr )
    | font/(?: sfnt | ttf | otf | woff2? | collection )
    | application/(?: font-sfnt | vnd\.ms-opentype | vnd\.ms-fontobject )
    | text/(?: x-shellscript | x-php | rtf )
    | application/(?: pdf | rtf | ogg | wasm | dicom | x-mach-binary | x-java-applet
              | java-archive | x-shockwave-flash | x-pem-file | pgp-keys
              | vnd\.sqlite3 | x-sqlite3 | x-7z-compressed | x-rar | vnd\.rar | x-rpm
              | vnd\.debian\.binary-package | x-archive | vnd\.ms-cab-compressed
              | x-iso9660-image | epub\+zip
              | vnd\.openxmlformats.* | vnd\.oasis\.opendocument.*
              | vnd\.microsoft\.portable-executable | vnd\.tcpdump\.pcap | x-bittorrent )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ELF = re.compile(r"application/x-(?:executable|pie-executable|sharedlib|object|coredump)")
_SCRIPT = re.compile(rb"#![ \t]*/[\x21-\x7e][\t\x20-\x7e]*")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MARKUP_ALLOWED = re.compile(r"\.(?:md|markdown|rst|txt|jinja2?|j2)$", re.IGNORECASE)
_PAGE = re.compile(rb"(?:\xef\xbb\xbf|\s)*<(?:!doctype|html)\b", re.IGNORECASE)
# Nothing that was passed over is tried another way: comments could be cut in 2 ** n ways.
_MARKUP = re.compile(
    rb"(?>\xef\xbb\xbf|\s|<\?xml[^>]*>|<!--.{0,4096}?-->)*+"
    rb"<(?:!doctype|html|head|body|title|meta|script|style|table|div|h[1-6]|p|a|center|svg)\b",
    re.IGNORECASE | re.DOTALL,
)
NEVER_MODELS = re.compile(
    r"""\.(?: jpe?g | png | gif | bmp | tiff? | webp | heic | avif | svg | ico | psd | tga | pcx
          | mp4 | m4v | mov | avi | mkv | webm | mpe?g | wmv | ts
          | mp3 | wav | flac | ogg | m4a | aac | midi?
          | pdf | e?ps | docx? | xlsx? | pptx? | od[tsp] | rtf | epub | html? | css | eml
          | pyc | exe | com | dll | so | dylib | msi | class | jar | apk | swf | dmg
          | sh | bat | cmd | ps1 | pl | rb | php | ttf | otf | woff2? )$""",
    re.VERBOSE | re.IGNORECASE,
)
"""Extensions that nobody gives a model."""
# What libmagic says first of these tells nobody anything.
_VAGUE = ("ISO Media", "RIFF", "MPEG", "OggS", "Ogg data", "IFF data", "Composite Document")
_KINDS = {"image": "a picture", "video": "a video", "audio": "a sound recording"}
_COUNTED = re.compile(
    r"\b(?:document|executable|database|script|bitmap|object|archive|certificate|key|image|module"
    r"|binary|package|file)\b(?! data)(?! text)"
)
_SPOKEN_WITH_VOWEL = (*"AEIOaeio", "HTML", "MS-", "RPM", "SQL", "SVG", "XML")

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
BINARY_MODELS = re.compile(
    r"""\.(?: safetensors | onnx | gguf | ggml | pth? | pt2 | ptl | ckpt | h5 | hdf5 | keras
          | tflite | ort | np[yz] | mlmodel | joblib | skops | cbm | ubj | msgpack )$""",
    re.VERBOSE | re.IGNORECASE,
)
"""Extensions of formats that are never text."""
_ALSO_MODELS = re.compile(
    r"\.(?:pkl|pickle|bin|pb|pmml|model|zip|tar|t?gz|bz2|xz|zst)$", re.IGNORECASE
)


def promises_a_model(path: FilePath) -> bool:
    """Whether somebody expects a model, or an archive of one, under this extension."""
    return bool(BINARY_MODELS.search(path) or _ALSO_MODELS.search(path))


def extension(path: FilePath) -> str:
    """The last one, in lower case."""
    return PurePosixPath(path.name).suffix.lower()


def is_text(head: bytes, media_type: str) -> bool:
    """Whether the bytes are UTF-8 (the last character perhaps cut), or text to libmagic."""
    if media_type == "text/plain" and head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        cut = error.start >= len(head) - 3 and error.reason == "unexpected end of data"
        return cut or media_type == "text/plain"
    return True


def refuses(media_type: str, head: bytes, path: FilePath) -> bool:
    """Whether a file that libmagic gives this type is certainly no model."""
    if script := _SCRIPT.match(head):
        return b"python" not in script[0]
    if media_type in {"text/html", "image/svg+xml"}:
        # A README may begin with a bit of HTML; a whole page says so. Others may quote some.
        allowed = _MARKUP_ALLOWED.search(path)
        return bool((_PAGE if allowed else _MARKUP).match(head))
    named = not media_type.startswith(("text/", "application/octet-stream"))
    return (
        bool(_CERTAIN.fullmatch(media_type))
        or head.startswith((_OLE, b"-----BEGIN "))
        or (bool(_ELF.match(media_type)) and head.startswith(b"\x7fELF"))
        or (media_type == "text/x-msdos-batch" and head.lstrip()[:5].lower() == b"@echo")
        or (named and bool(NEVER_MODELS.search(path)))
    )


def for_people(description: str, media_type: str) -> str:
    """The part of libmagic's description that names the kind of file, to follow "is"."""
    parts = [part.strip() for part in description.split(",")]
    vague = parts[0].startswith(_VAGUE)
    name = ", ".join(parts[:2]) if vague else parts[0]
    name = re.sub(r"\s*(?:\[[^\]]*\]|\([^)]*\))|:$", "", name[:300])
    name = "".join(c if c.isprintable() else "?" for c in name)[:100]
    kind = _KINDS.get(media_type.split("/", maxsplit=1)[0])
    if vague and kind:
        return f"{kind} ({name})"
    if _COUNTED.search(name):
        return f"{'an' if name.startswith(_SPOKEN_WITH_VOWEL) else 'a'} {name}"
    return name


def of_text(media_type: str, path: FilePath) -> str:
    """The type of a text file, by its extension where that is a known one."""
    return _COMPANIONS.get(extension(path), media_type)
