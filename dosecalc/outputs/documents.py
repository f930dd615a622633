"""Puts generated text between markers of a Markdown document, so that figures in the docs come from runs."""

from __future__ import annotations

from pathlib import Path

from dosecalc.errors import InputError
from dosecalc.outputs.files import write_text_file


def replace_between_markers(document: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.

    Raises
    ------
    InputError
        ``DOCUMENT_MARKERS``: the document cannot be read, or lacks the markers; ``OUTPUT_NOT_WRITABLE``.
    """
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
    after = rest.split(end)[1]
    write_text_file(document, f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
