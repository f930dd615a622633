"""Print the installed distributions as a pip constraints file: names and versions only, no addresses."""

from importlib.metadata import distributions

NOT_PINNED = {"pip", "setuptools", "wheel", "dosecalc"}

print("# The set of versions that the tests passed with (`make lock`). Looser bounds stand in pyproject.toml.")
pins = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
for name in sorted(pins.keys() - NOT_PINNED):
    print(f"{name}=={pins[name]}")
