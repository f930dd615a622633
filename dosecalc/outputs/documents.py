"""Puts generated text between markers of a Markdown document, so that figures in the docs come from runs."""

from __future__ import annotations

from pathlib import Path

from dosecalc.errors import InputError
from dosecalc.outputs.files import write_text_file


def check_markers(document: Path, name: str) -> None:
    """Raise what `replace_between_markers` would, before anything is computed for it."""
    _parts(document, name)


def replace_between_markers(document: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.

    Raises
    ------
    InputError
        ``DOCUMENT_MARKERS``: the document cannot be read, or lacks the markers; ``OUTPUT_NOT_WRITABLE``.
    """
    before, after = _parts(document, name)
    write_text_file(document, f"{before}\n\n{text.strip()}\n\n{after}")


def _parts(document: Path, name: str) -> tuple[str, str]:
    """The document up to the end of the first marker, and from the second one on."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    try:
        content = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        content = ""
    if content.count(begin) != 1 or content.count(end) != 1:
        raise InputError(
            "DOCUMENT_MARKERS", f"The document needs the markers {begin} and {end}, once each.", file=document
        )
    before, rest = content.split(begin)
    return before + begin, end + rest.split(end)[1]
