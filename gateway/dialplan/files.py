"""Files and what they include, in textual order: a file's `include` stands at its head, so what it names comes first.

    a.toml: include = ["more/*.toml"]  ──>  more/1.toml, more/2.toml, the rest of a.toml

Each file is read once, where it is first met, whoever else names it: two files may share a third. One that includes
itself, by whatever detour, is a fault at each line that closes the circle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.dialplan import toml
from gateway.dialplan.toml import Document, Key
from gateway.errors import Fault

MAX_DEPTH = 8  # files that include one another
MAX_FILES = 1000

Include = tuple[str, str]  # the folder of the file that says it, and what it says


def matching(base: Path, pattern: str) -> list[Path]:
    """The files of a pattern, in the order of their names. Raises ValueError for none."""
    path = Path(pattern)
    if path.is_absolute():
        base, path = Path(path.anchor), path.relative_to(path.anchor)
        pattern = str(path)
    if not path.parts:  # "", "." or "/", of which pathlib says another thing in each version
        raise ValueError(f"{pattern!r} names no file")
    return sorted(found for found in base.glob(pattern) if not found.is_dir())


def shown(path: Path, base: Path | None) -> str:
    """A file's name for people."""
    if base is not None and path.is_relative_to(base):
        return str(path.relative_to(base))
    return str(path)


@dataclass(slots=True)
class Reader:
    """Reads files and what they include. `folders` are by the names in `documents`."""

    base: Path | None = None
    documents: list[Document] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    includes: list[Include] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _seen: set[Path] = field(default_factory=set)

    def read(self, path: Path) -> None:
        """Reads a file that nobody includes."""
        self._read(path, (), None)

    def _read(self, path: Path, under: tuple[Path, ...], asked: tuple[Document, Sequence[Key]] | None) -> None:
        """`under` are the files that led here, `asked` the place that says so."""
        known = path.resolve()
        if known in under and asked:
            circle = (*under[under.index(known) :], known)
            names = " > ".join(shown(each, under[0].parent) for each in circle)
            self.faults.append(asked[0].fault(asked[1], f"include: it leads back to itself: {names}"))
            return
        if known in self._seen:
            return
        if asked and (len(under) > MAX_DEPTH or len(self._seen) >= MAX_FILES):
            bound = f"deeper than {MAX_DEPTH} files" if len(under) > MAX_DEPTH else f"more than {MAX_FILES} files"
            self.faults.append(asked[0].fault(asked[1], f"include: {bound}"))
            return
        self._seen.add(known)
        document = toml.read(path, shown(path, self.base))
        if isinstance(document, Fault):
            self.faults.append(document)
            return
        for place, pattern in self._patterns(document):
            for found in self._found(document, place, path.parent, pattern):
                self._read(found, (*under, known), (document, place))
        self.folders[document.file] = path.parent
        self.documents.append(document)

    def _patterns(self, document: Document) -> Iterator[tuple[Sequence[Key], str]]:
        value = document.values.pop("include", [])
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            self.faults.append(document.fault(("include",), "include: a file or a list of files"))
            return
        yield from ((("include", number), pattern) for number, pattern in enumerate(listed))

    def _found(self, document: Document, place: Sequence[Key], folder: Path, pattern: str) -> list[Path]:
        try:
            found = matching(folder, pattern)
        except ValueError:
            self.faults.append(document.fault(place, f"include: {pattern!r} is no pattern of file names"))
            return []
        if not found:
            self.faults.append(document.fault(place, f"include: {pattern!r} finds no file"))
        self.includes.append((str(folder), pattern))
        return found
