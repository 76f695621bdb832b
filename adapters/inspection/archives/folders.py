"""What is inside an archive: each member inspected, then what they are together."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from adapters.inspection.archives.zip_directory import LONGEST_NAME, name_fault
from adapters.inspection.formats.keras import check_keras_metadata
from adapters.inspection.report import MOST_ENTRY, NOT_ALL_CHECKED, Notes, listed, shown
from adapters.inspection.streams import Budget, Malformed, Stream
from domain.validation import (
    EXTERNAL_DATA,
    NOT_A_MODEL,
    UNKNOWN_FORMAT,
    FileReport,
    Finding,
    Severity,
    merged,
)

_PROGRAM = re.compile(
    r"application/(?: x-(?: executable | pie-executable | sharedlib | object | mach-binary"
    r" | dosexec | msdownload | java-applet | java-archive | rpm | msi | elf | archive )"
    r" | vnd\.microsoft\.portable-executable | vnd\.android.* | java-archive | wasm"
    r" | vnd\.debian\.binary-package )"
    r" | text/x-(?: shellscript | msdos-batch | php | perl | ruby | lua )",
    re.VERBOSE,
)
_CLOSED = re.compile(
    r"application/(?:x-7z-compressed|x-rar|vnd\.rar|vnd\.ms-cab.*|x-iso9660-image|x-cpio|x-lzip"
    r"|x-arj|x-lha|x-lzh.*|x-ace.*|x-apple-diskimage|x-compress|x-stuffit)"
)
_PROGRAM_NAME = re.compile(
    r"\.(?:so(?:\.\d+)*|dll|dylib|exe|com|msi|sh|bat|cmd|ps1|jar|class|pyc|pyd|whl)$",
    re.IGNORECASE,
)
# Bytes in no format of their own, which stand in a known place of a known kind of folder.
_RAW = re.compile(
    r"""
      (?:^|/)Data/com\.apple\.CoreML/(?:.*/)?weights/[^/]+\.bin$
    | (?:^|/)(?:fingerprint|keras_metadata)\.pb$
    | (?:^|/)(?:\._[^/]+|\.DS_Store)$
    | (?:^|/)variables/variables\.(?:index|data-\d{5}-of-\d{5})$
    """,
    re.VERBOSE,
)
# What is said of bytes in no known format, and of names that promise one.
_ABOUT_RAW = frozenset({UNKNOWN_FORMAT, "format.not_inspected", "file.misnamed"})
# Facts of one file that say nothing of several.
_SINGLE = ("shape", "format_version")
# What looks like Python in these is read by PyTorch.
_OWN_CODE = frozenset({"torchscript", "torch-pt2"})
_MOST_LINK = 4096
_ENOUGH = 20


def check_depth(notes: Notes, *, model: bool = False) -> None:
    """How many archives may lie in each other; a model that happens to be one is one more.

    Raises:
        Malformed
    """
    if notes.layers >= Budget.LAYERS + model:
        layers = f"more than {Budget.LAYERS} layers are not looked into"
        raise Malformed(f"is an archive in an archive in an archive: {layers}")


@dataclass(slots=True)
class Folder:
    """The members of an archive, as they are met.

    Attributes:
        kind: of the archive, for people: "ZIP" or "TAR".
        reports: on the members that say anything, by name.
        raw: whether bytes in no known format are as they should be under this name.
    """

    notes: Notes
    kind: str
    raw: Callable[[str], bool] = lambda name: bool(_RAW.search(name))
    files: list[str] = field(default_factory=list)
    reports: dict[str, FileReport] = field(default_factory=dict)
    _seen: dict[str, str] = field(default_factory=dict)
    _links: dict[str, str] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)
    _located: dict[str, str] = field(default_factory=dict)

    @property
    def hopeless(self) -> bool:
        """Whether so much was refused that nothing else matters."""
        return self.notes.refusals >= _ENOUGH

    def member(self, name: str) -> Notes:
        """Notes about one of the members; the location shows no characters that do harm."""
        inside = self.notes.member(shown(name, MOST_ENTRY))
        self._located[inside.location] = posixpath.normpath(name)
        return inside

    def enter(self, name: str, *, folder: bool = False) -> None:
        """Judges the name of a member, before anything else is done with it."""
        if fault := name_fault(name):
            self._refuse("archive.unsafe_name", name, fault)
        if len(name) > LONGEST_NAME:
            return
        plain = posixpath.normpath(name)
        key = plain.casefold()
        if key in self._seen and not (folder and key in self._folders):
            self._refuse("archive.duplicate", name, f"is there twice ({shown(self._seen[key])})")
        self._seen[key] = name
        if folder:
            self._folders.add(key)
        else:
            self.files.append(plain)

    def inspect(self, name: str, opened: Callable[[], Stream]) -> Notes:
        """Inspects a file as any other file is inspected.

        Raises:
            LimitExceeded
        """
        inside = self.member(name)
        try:
            if posixpath.basename(name) == "keras_metadata.pb":
                check_keras_metadata(opened(), inside)
            else:
                self.notes.inspect(opened(), name, inside)
        except Malformed as error:
            inside.refuse("file.malformed", f"{inside.place} {error}.")
        self._weigh(inside)
        self.keep(name, inside)
        return inside

    def keep(self, name: str, inside: Notes) -> None:
        """Keeps what is to be said of a member that was inspected in another way."""
        if inside.format or inside.facts:
            report = FileReport(inside.media_type, inside.format, (), dict(inside.facts))
            self.reports[posixpath.normpath(name)] = report

    def link(self, name: str, target: str) -> None:
        """A symbolic link. One that leaves the folder is refused; the others are judged when all
        members are known."""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        odd = len(target) > _MOST_LINK or "\\" in target or "\0" in target
        if odd or target.startswith("/") or _leaves(place):
            self._refuse("archive.unsafe_link", name, f"is a link to {shown(target)}, outside")
            return
        self._links[posixpath.normpath(name)] = place

    def hard_link(self, name: str, target: str) -> None:
        """A second name for a member that came before; the target is relative to the archive."""
        if name_fault(target) or posixpath.normpath(target) not in self.files[:-1]:
            self._refuse("archive.unsafe_link", name, f"is a link to {shown(target)}, outside")

    def device(self, name: str) -> None:
        """Something that no archive of a model has."""
        self._refuse("archive.device", name, "is a device or a pipe")

    def finish(self) -> None:
        """Judges the links, then whether there is a model, and collects the facts."""
        self._judge_links()
        self._excuse_raw()
        notes = self.notes
        formats = sorted({report.format for report in self.reports.values() if report.format})
        if not formats and not self._may_be_a_model():
            self._without_model()
            return
        own = (each for name, each in self.reports.items() if "/data/sample_inputs/" not in name)
        facts = merged(own)
        for key in _SINGLE if len(self.reports) > 1 else ():
            facts.pop(key, None)
        facts.pop(EXTERNAL_DATA, None)
        notes.facts.update({**facts, **notes.facts})
        self._tell_of_code()
        notes.fact("members", len(self.files))
        notes.fact("formats", formats)

    def _may_be_a_model(self) -> bool:
        """Whether what was not read, or is compiled, may be one: that is held already."""
        unread = any(each.code == NOT_ALL_CHECKED for each in self.notes.findings)
        compiled = any("/data/aotinductor/" in name for name in self.files)
        return unread or (compiled and self.notes.format == "torch-pt2")

    def _tell_of_code(self) -> None:
        """Python beside a model runs only if something asks for it, which is held then."""
        code = [name for name in self.files if name.endswith(".py")]
        if code and self.notes.format not in _OWN_CODE:
            names = listed([shown(name) for name in code])
            message = f"{self.notes.place} holds Python code: {names}."
            self.notes.tell("archive.python_code", message)

    def _refuse(self, code: str, name: str, what: str) -> None:
        place = self.notes.place
        self.notes.refuse(code, f"{place}: its member {shown(name)} {what}.")

    def _weigh(self, inside: Notes) -> None:
        """A picture beside a model does no harm; a program may: native code is what custom
        operators and compiled models are made of, so a person has to know it."""
        findings = self.notes.findings
        for finding in [each for each in findings if each.location == inside.location]:
            if finding.code != NOT_A_MODEL:
                continue
            findings.remove(finding)
            message = finding.message.replace(", not a model.", ".")
            if _PROGRAM.match(inside.media_type) or _PROGRAM_NAME.search(inside.name[-40:]):
                inside.hold("archive.holds_program", message)
            elif _CLOSED.match(inside.media_type):
                inside.hold("archive.closed_archive", f"{message[:-1]}; it was not looked into.")
            else:
                inside.tell("archive.other_file", message)

    def _judge_links(self) -> None:
        files = set(self.files)
        for name, target in self._links.items():
            if target in files and target not in self._links:
                message = (
                    f"{self.notes.place}: its member {shown(name)} is a link to {shown(target)}."
                )
                self.notes.tell("archive.link", message)
            else:
                what = f"is a link to {shown(target)}, which is no file of the archive"
                message = f"{self.notes.place}: its member {shown(name)} {what}."
                self.notes.hold("archive.link", message)
        for name in self.files:
            for above in _above(name):
                if above in self._links:
                    self._refuse(
                        "archive.unsafe_link", name, f"lies behind the link {shown(above)}"
                    )
                elif above in files:
                    self._refuse("archive.duplicate", name, f"lies within a file, {shown(above)}")

    def _excuse_raw(self) -> None:
        """Raw bytes that a model in the archive needs, or that stand where they belong."""
        needed = set(self._external_data())
        if missing := sorted(needed - set(self.files)):
            message = f"{self.notes.place} needs {shown(', '.join(missing))}, which is not in it."
            self.notes.tell("archive.incomplete", message)

        def excused(finding: Finding) -> bool:
            name = self._located.get(finding.location or "")
            raw = finding.code in _ABOUT_RAW and (name in needed or self.raw(name or ""))
            beside = finding.code == "onnx.external_data" and finding.severity is Severity.INFO
            return name is not None and (raw or (beside and not missing))

        self.notes.forget(excused)

    def _external_data(self) -> Iterator[str]:
        for name, report in self.reports.items():
            wanted = report.facts.get(EXTERNAL_DATA, [])
            for each in wanted if isinstance(wanted, list) else []:
                yield posixpath.normpath(posixpath.join(posixpath.dirname(name), each))

    def _without_model(self) -> None:
        notes = self.notes
        notes.format = None
        notes.forget(lambda finding: finding.code == "archive.other_file")
        notes.refuse(NOT_A_MODEL, f"{notes.place} is {self.described()}, not a model.")

    def described(self) -> str:
        """ "a ZIP archive of cat1.jpg, cat2.jpg", worded to follow "is"."""
        names = [shown(posixpath.basename(name), 60) for name in self.files]
        return (
            f"a {self.kind} archive of {listed(names)}"
            if names
            else f"an empty {self.kind} archive"
        )


def _leaves(place: str) -> bool:
    return place == ".." or place.startswith(("../", "/"))


def _above(name: str) -> Iterator[str]:
    while (name := posixpath.dirname(name)).strip("/"):
        yield name
