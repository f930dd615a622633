"""Machine models: validated data, never code."""

from dosecalc.machine.library import MachineSummary, list_machines, load_machine
from dosecalc.machine.mapping import MachineMapping
from dosecalc.machine.model import Machine

__all__ = ["Machine", "MachineMapping", "MachineSummary", "list_machines", "load_machine"]
