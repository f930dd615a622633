"""Calibration curves and densities of materials, against the formulas and tables that they cite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dosecalc.errors import InputError, PatientError
from dosecalc.patient.hu import DEFAULT_CURVE, HuCurve, list_curves, load_curve
from dosecalc.patient.materials import density_of_relative_electron_density, known_materials, material_of_density

# atomic number and weight (IUPAC 2005)
ELEMENTS = {
    "H": (1, 1.00794), "C": (6, 12.0107), "N": (7, 14.0067), "O": (8, 15.9994), "Na": (11, 22.98977),
    "Mg": (12, 24.305), "P": (15, 30.97376), "S": (16, 32.065), "Cl": (17, 35.453), "Ar": (18, 39.948),
    "K": (19, 39.0983), "Ca": (20, 40.078), "Fe": (26, 55.845),
}  # fmt: skip
WATER = {"H": 0.111894, "O": 0.888106}
# mass fractions as in ICRU 44 and 46
TISSUES = {
    "lung_icru44": dict(H=0.103, C=0.105, N=0.031, O=0.749, Na=0.002, P=0.002, S=0.003, Cl=0.003, K=0.002),
    "adipose_icru44": dict(H=0.114, C=0.598, N=0.007, O=0.278, Na=0.001, S=0.001, Cl=0.001),
    "muscle_skeletal_icru44": dict(H=0.102, C=0.143, N=0.034, O=0.71, Na=0.001, P=0.002, S=0.003, Cl=0.001, K=0.004),
    "cartilage_icru46": dict(H=0.096, C=0.099, N=0.022, O=0.744, Na=0.005, P=0.022, S=0.009, Cl=0.003),
    "spongiosa_icru46": dict(
        H=0.085, C=0.404, N=0.028, O=0.367, Na=0.001, Mg=0.001, P=0.034, S=0.002, Cl=0.002, K=0.001, Ca=0.074, Fe=0.001
    ),
    "bone_cortical_icru44": dict(H=0.034, C=0.155, N=0.042, O=0.435, Na=0.001, Mg=0.002, P=0.103, S=0.003, Ca=0.225),
}  # fmt: skip


def _attenuation_per_mass(fractions: dict[str, float]) -> float:
    """Schneider, Bortfeld and Schlegel 2000, eq. 7, up to a constant."""
    total = 0.0
    for element, share in fractions.items():
        z, a = ELEMENTS[element]
        total += share / a * (z + 1.24e-3 * z**2.86 + 3.06e-5 * z**4.62)
    return total


def _electrons_per_gram(fractions: dict[str, float]) -> float:
    return sum(w * ELEMENTS[e][0] / ELEMENTS[e][1] for e, w in fractions.items())


@pytest.mark.parametrize("name", TISSUES)
def test_the_generic_curve_is_the_stoichiometric_one(name: str) -> None:
    density = next(m.density_g_cm3 for m in known_materials() if m.name == name)
    hu = 1000 * (density * _attenuation_per_mass(TISSUES[name]) / _attenuation_per_mass(WATER) - 1)
    # the points are given to 0.1 HU, which is 0.1 mg/cm3
    assert load_curve().density(np.array([hu]))[0] == pytest.approx(density, abs=2e-4)


def test_the_published_number_of_cortical_bone() -> None:
    # Schneider, Bortfeld and Schlegel 2000, table 1: cortical bone of 1.92 g/cm3 has 1524 HU
    assert load_curve().density(np.array([1524.0]))[0] == pytest.approx(1.92, abs=1e-3)


@pytest.mark.parametrize("name", TISSUES)
def test_electron_densities_of_tissues_convert_back(name: str) -> None:
    density = next(m.density_g_cm3 for m in known_materials() if m.name == name)
    relative = density * _electrons_per_gram(TISSUES[name]) / _electrons_per_gram(WATER)
    assert density_of_relative_electron_density(relative) == pytest.approx(density, rel=1e-4)  # five digits are stored


def test_water_and_vacuum_and_what_lies_beyond_steel() -> None:
    assert density_of_relative_electron_density(1.0) == 1.0
    assert density_of_relative_electron_density(0.0) == pytest.approx(0.0012, abs=1e-5)  # nothing is thinner than air
    with pytest.raises(PatientError) as caught:
        density_of_relative_electron_density(9.0)
    assert caught.value.reason == "DENSITY_OUT_OF_RANGE"


def test_water_is_water_and_air_is_air_in_both_curves() -> None:
    assert list_curves() == ("generic-120kvp", "water-equivalent")
    for name in list_curves():
        curve = load_curve(name)
        density = curve.density(np.array([-3024.0, -1000, 0]))
        np.testing.assert_allclose(density, [0.00120479, 0.00120479, 1.0], rtol=1e-4)
        materials = [curve.material_names[i] for i in curve.material_index(density)]
        assert materials[0] == "air_dry" and materials[2] == "water"


def test_the_water_equivalent_curve_is_the_definition_of_the_hu() -> None:
    hu = np.array([-740.0, -100, 50, 1000, 3000])
    np.testing.assert_allclose(load_curve("water-equivalent").density(hu), 1 + hu / 1000, rtol=1e-6)  # float32


def test_above_the_curve_is_an_error_that_names_the_number() -> None:
    with pytest.raises(PatientError) as caught:
        load_curve().density(np.array([0.0, 3500.0]))
    assert caught.value.reason == "HU_ABOVE_CURVE"
    assert "3500" in caught.value.message
    with pytest.raises(PatientError):
        load_curve().density(np.array([np.nan]))


def test_density_never_falls_and_materials_follow_it() -> None:
    density = load_curve().density(np.arange(-1024.0, 3072.0))
    assert np.all(np.diff(density) >= 0)
    index = load_curve().material_index(density).astype(int)
    assert np.all(np.diff(index) >= 0) and len(set(index)) == len(load_curve().material_names)


def test_every_material_is_its_own_nearest() -> None:
    for material in known_materials():
        assert material_of_density(material.density_g_cm3) == material.name


def test_the_hash_is_of_the_content() -> None:
    curve = load_curve()
    assert len(curve.sha256) == 64
    assert HuCurve.model_validate(curve.model_dump()).sha256 == curve.sha256
    changed = curve.model_dump()
    changed["points"][2]["density_g_cm3"] = 0.951
    assert HuCurve.model_validate(changed).sha256 != curve.sha256


def test_a_csv_curve_of_a_department(tmp_path: Path) -> None:
    for text in ("HU,density\n-1000,0.0012\n0,1.0\n1500,1.9\n", "# ours\n-1000;0,0012\n0;1,0\n1500;1,9\n"):
        path = tmp_path / "ct-3.csv"
        path.write_text(text, encoding="utf-8")
        curve = load_curve(path)
        assert curve.name == "ct-3" and not curve.generic
        assert curve.density(np.array([750.0]))[0] == pytest.approx(1.45)
        with pytest.raises(PatientError):
            curve.density(np.array([-1024.0]))


def test_a_yaml_curve_of_a_department(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "schema_version: 1\nname: own\nsource: phantom of last week\nabove: clamp\n"
        "points:\n  - {hu: -1000, density_g_cm3: 0.0012, source: air}\n"
        "  - {hu: 100, density_g_cm3: 1.1, source: insert}\n"
        "materials:\n  - {name: water, from_g_cm3: 0}\n",
        encoding="utf-8",
    )
    assert load_curve(str(path)).density(np.array([2000.0]))[0] == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("csv", ""),
        ("csv", "HU,density\n0,1\n0,2\n"),
        ("csv", "0,1\n10,0.5\n"),
        ("csv", "0,1\nx,2\n"),
        ("csv", "0\n1\n"),
        ("csv", "0,nan\n10,1\n"),
        ("yaml", "just text"),
        ("yaml", "{unclosed"),
        ("yaml", "schema_version: 2"),
        ("yaml", "schema_version: 1\nname: a\nsource: b\ncolour: red\npoints: []\nmaterials: []\n"),
        (
            "yaml",
            "schema_version: 1\nname: a\nsource: b\npoints: [{hu: 0, density_g_cm3: 1, source: x}, "
            "{hu: 9, density_g_cm3: 1, source: x}]\nmaterials: [{name: kryptonite, from_g_cm3: 0}]\n",
        ),
    ],
)
def test_a_wrong_curve_is_refused(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"curve.{suffix}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_curve(path)
    assert caught.value.reason == "CURVE_INVALID"


def test_an_unknown_curve_lists_the_known_ones(tmp_path: Path) -> None:
    binary = tmp_path / "curve.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError):
        load_curve(binary)
    for name in ("no-such-curve", tmp_path, ""):
        with pytest.raises(InputError) as caught:
            load_curve(name)
        assert caught.value.reason == "CURVE_UNKNOWN"
        assert DEFAULT_CURVE in caught.value.message
