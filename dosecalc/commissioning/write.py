"""The fitted model as a file: validated, with a source for every fitted number."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

import yaml

import dosecalc
from dosecalc.commissioning.fit import FitResult
from dosecalc.errors import InputError
from dosecalc.machine.model import Machine

_HEADING = (
    "# A machine model that was fitted to measurements by dosecalc; docs/commissioning.md tells how.\n"
    "# Not a medical device: hold it against independent measurements before its doses are relied on.\n"
)


def check_name(name: str) -> None:
    """Refuse what is no name for a model, before anything is computed for it.

    Raises
    ------
    InputError
        ``MACHINE_NAME``.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise InputError(
            "MACHINE_NAME",
            f"{name!r} is no name for a model: up to 64 lower-case letters, digits, points, dashes; choose the file's "
            "name so, or give --name.",
        )


def finished_machine(result: FitResult, name: str, measured: str, hashes: Mapping[str, str]) -> Machine:
    """The fitted model under its own name, with its sources; validated as a whole.

    Parameters
    ----------
    result : FitResult
    name : str
        Of the new model.
    measured : str
        What it was fitted to, in words.
    hashes : mapping of file name to SHA-256
        The measurements.

    Raises
    ------
    InputError
        ``MACHINE_NAME``.
    """
    check_name(name)
    start = result.start.machine
    today = datetime.date.today().isoformat()
    source = (
        f"fitted to {measured} by dosecalc {dosecalc.__version__}, {today}, starting from {start.name} "
        f"(sha256 {start.sha256})"
    )
    files = "; ".join(f"{file} sha256 {sha256}" for file, sha256 in hashes.items())
    energy = result.fitted.energy
    quality = f"{energy.nominal_mv:g} MV{' FFF' if energy.fluence_mode == 'FFF' else ''}"
    content = _with_sources(result, source)
    content |= {
        "name": name,
        "generic": False,
        "treatment_machine_names": [],
        "description": f"Starting from {start.name}, its {quality} beam was {source}. Measurements: {files}.",
    }
    return Machine.model_validate(content)


def _with_sources(result: FitResult, source: str) -> dict[str, object]:
    """The model's content with the fit named as the source of what was fitted."""
    model = result.fitted
    keys = [f.parameter.key for f in result.parameters]
    touched = {key.split(".")[0].split("[")[0] for key in keys}
    changes: dict[str, object] = {
        block: getattr(model.energy, block).model_copy(update={"source": source})
        for block in ("spectrum", "primary_source", "extra_focal", "off_axis", "electrons")
        if block in touched
    }
    calibration = model.energy.calibration
    changes["calibration"] = calibration.model_copy(
        update={"source": f"{calibration.source}; photons_per_mu_cm2 {source}"}
    )
    machine = model.with_energy(**changes).machine
    if "mlc" in touched and machine.mlc is not None:
        fields = " and ".join(k.removeprefix("mlc.") for k in keys if k.startswith("mlc."))
        machine = machine.model_copy(
            update={"mlc": machine.mlc.model_copy(update={"source": f"{machine.mlc.source}; {fields} {source}"})}
        )
    return machine.model_dump(mode="json", exclude_defaults=True)


def as_yaml(machine: Machine) -> str:
    """The text of a model file."""
    content = machine.model_dump(mode="json", exclude_defaults=True)
    return _HEADING + yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Lists of numbers on one line, as a person would write them."""


def _list(dumper: yaml.SafeDumper, values: list[object]) -> yaml.Node:
    flat = all(isinstance(v, int | float | str) for v in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flat)


_Dumper.add_representer(list, _list)
