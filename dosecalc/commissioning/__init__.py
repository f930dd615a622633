"""Commissioning: measurements in water, and a machine model that is fitted to them with the dose engine itself."""
