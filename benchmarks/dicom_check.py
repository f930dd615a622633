"""What dciodvfy (Debian package dicom3tools) says of a DICOM object."""

from __future__ import annotations

import subprocess
import tempfile
from io import BytesIO

import pydicom


def dciodvfy_errors(data: bytes) -> list[str]:
    """The lines that begin with Error.

    dciodvfy aborts on an assertion of its own at any pixel data of 32 bits (the clinical systems' RT Doses too), so it
    is shown a twin whose pixel data has 16 bits and which is the same in everything else.

    Raises
    ------
    RuntimeError
        dciodvfy died, so it said nothing.
    FileNotFoundError
        It is not installed.
    """
    ds = pydicom.dcmread(BytesIO(data))
    if ds.get("BitsAllocated") == 32:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds["PixelData"].value = ds.PixelData[: len(ds.PixelData) // 2]
    twin = BytesIO()
    ds.save_as(twin, enforce_file_format=True)
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(twin.getvalue())
        file.flush()
        done = subprocess.run(["dciodvfy", file.name], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode < 0:
        raise RuntimeError(f"dciodvfy died of signal {-done.returncode}: {done.stderr}")
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
