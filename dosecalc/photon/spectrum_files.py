"""Spectra of a user: published ones by name, and files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dosecalc.errors import InputError
from dosecalc.machine.model import Spectrum
from dosecalc.photon.tables import published_spectra


class _SpectrumFile(BaseModel):
    """A spectrum as the Monte Carlo cases and published tables state it."""

    model_config = ConfigDict(extra="ignore")
    low: tuple[float, ...] = Field(alias="E_low_MeV")
    high: tuple[float, ...] = Field(alias="E_high_MeV")
    photons: tuple[Annotated[float, Field(ge=0)], ...] = Field(alias="probability_per_bin")
    reference: str = "not stated"


def read_spectrum(name_or_path: str) -> tuple[str, Spectrum]:
    """A published spectrum by its name, or one from a file.

    A file is JSON or YAML with ``edges_mev``, ``photons_per_bin`` and ``source`` as in a machine model, or with
    ``E_low_MeV``, ``E_high_MeV`` and ``probability_per_bin``.

    Returns
    -------
    name : str
    spectrum : Spectrum

    Raises
    ------
    InputError
        ``SPECTRUM_UNKNOWN``, ``SPECTRUM_INVALID``.
    """
    published = published_spectra()
    if name_or_path in published:
        return name_or_path, Spectrum.model_validate(published[name_or_path])
    path = Path(name_or_path)
    if not path.is_file():
        raise InputError(
            "SPECTRUM_UNKNOWN",
            f"There is no spectrum {path.name!r}: known are {', '.join(published)}, or give a JSON or YAML file.",
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
        return path.stem, _spectrum(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the spectrum"
        raise InputError("SPECTRUM_INVALID", f"{place}: {first['msg']}.", file=path.name) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        message = str(error) if type(error) is ValueError else "This is neither JSON nor YAML text."
        raise InputError("SPECTRUM_INVALID", message, file=path.name) from None


def _spectrum(content: Any) -> Spectrum:
    if not isinstance(content, dict):
        raise ValueError("A spectrum is an object with edges_mev and photons_per_bin.")
    if "E_low_MeV" not in content:
        return Spectrum.model_validate({"source": "not stated", **content})
    bins = _SpectrumFile.model_validate(content)
    if len(bins.low) != len(bins.high) or any(
        abs(a - b) > 1e-9 for a, b in zip(bins.high[:-1], bins.low[1:], strict=True)
    ):
        raise ValueError("E_low_MeV and E_high_MeV must be the two ends of bins that join.")
    return Spectrum(edges_mev=(*bins.low, bins.high[-1]), photons_per_bin=bins.photons, source=bins.reference)
