"""Finding and loading machine models: the shipped ones and a site's own files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dosecalc.errors import MachineError
from dosecalc.machine.model import Machine


@dataclass(frozen=True)
class MachineSummary:
    """What a list of machines shows."""

    name: str
    description: str
    sha256: str
    schema_version: int
    generic: bool
    energies: tuple[tuple[float, str], ...]
    mlc: str


def list_machines() -> tuple[MachineSummary, ...]:
    """The shipped models, by name."""
    return tuple(summarise(m) for m in _shipped().values())


def summarise(machine: Machine) -> MachineSummary:
    """What a list shows of a model."""
    return MachineSummary(
        machine.name,
        machine.description,
        machine.sha256,
        machine.schema_version,
        machine.generic,
        tuple((e.nominal_mv, e.fluence_mode) for e in machine.energies),
        machine.mlc.name if machine.mlc else "none",
    )


def shipped_machines() -> tuple[Machine, ...]:
    """The models that are part of the package, by name."""
    return tuple(_shipped().values())


def load_machine(name_or_path: str | Path) -> Machine:
    """A shipped model by its name, or a model file by its path.

    Raises
    ------
    MachineError
        ``MACHINE_UNKNOWN`` when there is neither; ``MACHINE_INVALID`` when the file breaks the schema (the message
        names the field).
    """
    name = str(name_or_path)
    if name in _shipped():
        return _shipped()[name]
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml", ".json"):
        try:
            return parse_machine(path.read_text(encoding="utf-8"), path.name)
        except (OSError, UnicodeDecodeError) as e:
            raise MachineError(
                "MACHINE_UNREADABLE", f"The machine model cannot be read: {why(e)}.", file=path.name
            ) from e
    known = ", ".join(_shipped())
    raise MachineError(
        "MACHINE_UNKNOWN",
        f"There is no machine model {name!r}; shipped are {known}; a model of your own is given by its .yaml file.",
        machine=name,
    )


def parse_machine(text: str, file: str) -> Machine:
    """A model from the text of a YAML (or JSON) file.

    Raises
    ------
    MachineError
        ``MACHINE_INVALID``.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise MachineError(
            "MACHINE_INVALID", f"The machine model is not YAML: {e}".replace("\n", " "), file=file
        ) from e
    return _valid(content, file)


def _valid(content: Any, file: str) -> Machine:
    try:
        return Machine.model_validate(content)
    except ValidationError as e:
        raise MachineError("MACHINE_INVALID", f"The machine model breaks the schema: {problems(e)}.", file=file) from e


def parse_shipped(text: str, file: str) -> Machine:
    """A shipped model from the text of its file, with the parts that it names folded in.

    Machines of one type share their head, beams of one quality their spectrum; ``parts`` names the files (in the
    package's data folder, without ending) in the order in which they are folded in, the model's own fields last. What
    comes out is complete: its hash and its sources are those of a model in one piece.

    Raises
    ------
    MachineError
        ``MACHINE_INVALID``.
    """
    own = yaml.safe_load(text)
    content: Any = {}
    for part in own.pop("parts", []):
        content = folded(content, yaml.safe_load((_data() / f"{part}.yaml").read_text(encoding="utf-8")))
    return _valid(folded(content, own), file)


def folded(base: Any, own: Any) -> Any:
    """Fold content into other content: blocks field by field, lists of blocks place by place, sources in a row.

    Anything else of the base is replaced.
    """
    if isinstance(base, dict) and isinstance(own, dict):
        out = {**base, **{k: folded(base[k], v) if k in base else v for k, v in own.items()}}
        if isinstance(base.get("source"), str) and isinstance(own.get("source"), str):
            out["source"] = f"{base['source'].rstrip('. ')}; {own['source']}"
        return out
    if isinstance(base, list) and isinstance(own, list) and len(base) == len(own) and isinstance(own[0], dict):
        return [folded(a, b) for a, b in zip(base, own, strict=True)]
    return own


def problems(error: ValidationError) -> str:
    """The first things that break a schema, each with its field."""
    return "; ".join(
        f"{'.'.join(map(str, p['loc'])) or 'file'}: {_plain(p['type'], p['msg'])}" for p in error.errors()[:5]
    )


def _plain(kind: str, message: str) -> str:
    return "should be keys with values" if kind == "model_type" else message


def why(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read, in a few words."""
    return (error.strerror or "unknown fault") if isinstance(error, OSError) else "it is not text in UTF-8"


@cache
def _shipped() -> dict[str, Machine]:
    files = sorted((f for f in _data().iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    machines = [parse_shipped(f.read_text(encoding="utf-8"), f.name) for f in files]
    return {m.name: m for m in machines}


def _data() -> Traversable:
    return resources.files("dosecalc.machine") / "data"
