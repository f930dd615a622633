"""Which model computes which beam: chosen by the caller, by a mapping file, or by names that models claim."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dosecalc.errors import MachineError
from dosecalc.machine.library import load_machine, problems, shipped_machines, why
from dosecalc.machine.model import Machine
from dosecalc.plan import Beam


class _RuleFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    treatment_machine: str = "*"
    energy_mv: Annotated[float, Field(gt=0)] | None = None
    fluence_mode: Literal["STANDARD", "FFF"] | None = None
    model: str


class _MappingFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[1]
    rules: tuple[_RuleFile, ...]


@dataclass(frozen=True)
class Rule:
    """One line of a mapping.

    Parameters
    ----------
    machine : Machine
    treatment_machine : str
        Pattern of the plan's Treatment Machine Name (``*`` and ``?`` as in file names; case matters).
    energy_mv : float or None
        Only beams of this nominal energy.
    fluence_mode : str or None
        Only beams of this mode.
    """

    machine: Machine
    treatment_machine: str = "*"
    energy_mv: float | None = None
    fluence_mode: str | None = None

    def fits(self, beam: Beam) -> bool:
        """Whether the rule speaks of this beam and its model has the beam's energy and mode."""
        return (
            fnmatchcase(beam.machine_name, self.treatment_machine)
            and (self.energy_mv is None or (beam.energy_mv is not None and abs(beam.energy_mv - self.energy_mv) < 0.05))
            and (self.fluence_mode is None or beam.fluence_mode == self.fluence_mode)
            and self.machine.energy(beam.energy_mv, beam.fluence_mode) is not None
        )


@dataclass(frozen=True)
class MachineMapping:
    """Rules in order; the first that fits a beam gives its model. Nothing is guessed: no rule, no dose."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, machines: Iterable[Machine]) -> MachineMapping:
        """Whatever machine the plan names, these models, each for the energies and modes that it has."""
        return cls(tuple(Rule(m) for m in machines))

    @classmethod
    def default(cls) -> MachineMapping:
        """The shipped models, for the DICOM Treatment Machine Names that they claim."""
        return cls(tuple(Rule(m, name) for m in shipped_machines() for name in m.treatment_machine_names))

    @classmethod
    def from_file(cls, path: Path) -> MachineMapping:
        """Read a mapping file.

        Raises
        ------
        MachineError
            ``MAPPING_INVALID``; also what `load_machine` raises.
        """
        try:
            return cls.from_text(path.read_text(encoding="utf-8"), path.name, path.parent)
        except (OSError, UnicodeDecodeError) as e:
            raise MachineError(
                "MAPPING_INVALID", f"The machine mapping cannot be read: {why(e)}.", file=path.name
            ) from e

    @classmethod
    def from_text(cls, text: str, file: str = "mapping", folder: Path | None = None) -> MachineMapping:
        """Parse a mapping (YAML); model files in it are relative to ``folder``, and refused when there is none."""
        try:
            parsed = _MappingFile.model_validate(yaml.safe_load(text))
        except (yaml.YAMLError, ValidationError) as e:
            detail = problems(e) if isinstance(e, ValidationError) else " ".join(str(e).split())
            raise MachineError("MAPPING_INVALID", f"The machine mapping is not valid: {detail}.", file=file) from e
        rules = []
        for r in parsed.rules:
            own_file = r.model.endswith((".yaml", ".yml", ".json"))
            if own_file and folder is None:
                raise MachineError("MAPPING_INVALID", f"The rule names a file ({r.model}); name a model.", file=file)
            machine = load_machine(folder / r.model if own_file and folder else r.model)
            rules.append(Rule(machine, r.treatment_machine, r.energy_mv, r.fluence_mode))
        return cls(tuple(rules))

    def resolve(self, beam: Beam) -> Machine:
        """The model of a beam.

        Raises
        ------
        MachineError
            ``MACHINE_NOT_MAPPED`` naming the beam, its machine, energy and mode, and what would mend it.
        """
        for rule in self.rules:
            if rule.fits(beam):
                return rule.machine
        energy = "an energy that it does not state" if beam.energy_mv is None else f"{beam.energy_mv:g} MV"
        fff = " FFF" if beam.fluence_mode == "FFF" else ""
        tried = ", ".join(sorted({r.machine.name for r in self.rules})) or "none"
        raise MachineError(
            "MACHINE_NOT_MAPPED",
            f"No machine model is chosen for beam {beam.label} on {beam.machine_name or 'an unnamed machine'!r} with "
            f"{energy}{fff}. Considered: {tried}. Name a model that has this energy (--machine, or machines in the "
            "request), or map the plan's machine name in a mapping file; `dosecalc machine list` shows the models.",
            beam=beam.label,
            machine=beam.machine_name,
        )
