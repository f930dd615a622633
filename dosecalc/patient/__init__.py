"""The patient: CT, structures, density and material."""
