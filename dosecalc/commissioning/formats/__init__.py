"""Reading measurements: our own CSV, W2CAD (.asc) and PTW MEPHYSTO (.mcc), told apart by content, never by name."""

from dosecalc.commissioning.formats.folder import LeftOut, Measurements, read_measurements

__all__ = ["LeftOut", "Measurements", "read_measurements"]
