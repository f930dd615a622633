"""Machine models: the shipped ones, the schema, and how beams choose."""

import numpy as np
import pytest
import yaml
from builders_engine import bare_machine, field

from dosecalc.errors import MachineError
from dosecalc.machine import MachineMapping, list_machines, load_machine
from dosecalc.machine.library import folded, parse_machine, shipped_machines
from dosecalc.photon.spectral import spectral_model
from dosecalc.photon.tables import attenuation_table


def as_text(machine):
    return yaml.safe_dump(machine.model_dump(mode="json"))


def test_shipped_models_say_what_they_are():
    names = [m.name for m in list_machines()]
    assert {"generic-6mv-millennium120", "generic-6mv-agility"} <= set(names)
    for m in shipped_machines():
        assert m.generic and "Not commissioned" in m.description
        sources = m.sources()
        collimators = ("mlc", "second_mlc") if m.second_mlc else ("mlc", "jaw_y")
        for part in (*collimators, "energies[0].spectrum", "energies[0].off_axis", "energies[0].calibration"):
            assert len(sources[part]) > 5, (m.name, part)


def test_every_quality_ships_with_every_head():
    names = {m.name for m in shipped_machines()}
    qualities, heads = ("6mv", "10mv", "15mv", "6fff", "10fff"), ("millennium120", "hd120", "agility")
    # the machine with two layers of leaves and no jaws has one quality only, as the type has
    assert names == {f"generic-{q}-{h}" for q in qualities for h in heads} | {"generic-6fff-dual-layer"}
    for m in shipped_machines():
        (energy,) = m.energies
        assert energy.fluence_mode == ("FFF" if "fff" in m.name else "STANDARD")
        assert m.mlc is not None and m.mlc.tip is not None and m.mlc.sides is not None and energy.electrons is not None
        # a cone falls all the way, a horn does not fall within the largest field's half
        fall = np.diff(energy.off_axis.relative_fluence)
        assert (fall < 0).all() if energy.fluence_mode == "FFF" else (fall[:8] > 0).all()


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("millennium120", [10.0] * 10 + [5.0] * 40 + [10.0] * 10),
        ("hd120", [5.0] * 14 + [2.5] * 32 + [5.0] * 14),
        ("agility", [5.0] * 80),
    ],
)
def test_leaves_are_the_makers(name, widths):
    mlc = load_machine(f"generic-6mv-{name}").mlc
    assert mlc is not None
    assert list(np.diff(mlc.boundaries_mm)) == widths
    assert mlc.boundaries_mm[0] == -sum(widths) / 2


def test_stacked_layers_are_half_a_leaf_apart():
    machine = load_machine("generic-6fff-dual-layer")
    assert machine.jaw_x is None and machine.jaw_y is None and machine.mlc and machine.second_mlc
    first, second = (np.array(m.boundaries_mm) for m in (machine.mlc, machine.second_mlc))
    assert (len(first), len(second)) == (29, 30)  # 28 and 29 pairs
    np.testing.assert_array_equal(second[:-1] + 5.0, first)
    assert (np.diff(first) == 10.0).all()


def test_parts_fold_into_one_model():
    base = {"a": {"x": 1, "source": "one."}, "b": [{"u": 1, "v": 2}], "c": [1, 2]}
    own = {"a": {"x": 3, "source": "two"}, "b": [{"v": 5}], "c": [7], "d": None}
    assert folded(base, own) == {"a": {"x": 3, "source": "one; two"}, "b": [{"u": 1, "v": 5}], "c": [7], "d": None}
    machine = load_machine("generic-6mv-hd120")
    # a file that the model is written to in one piece is the same model
    assert parse_machine(as_text(machine), "copy.yaml").sha256 == machine.sha256
    assert "1.17 %" in machine.sources()["mlc"] and "32 central pairs" in machine.sources()["mlc"]


@pytest.mark.parametrize(
    ("changes", "field_name"),
    [
        ({"transmission": 0.001}, "interleaf leakage"),
        ({"pair_transmission": (0.01,) * 60}, "transmission must be the mean"),
        ({"pair_transmission": (0.016,) * 59}, "one value for each leaf pair"),
        ({"sides": {"width_mm": 6, "transmission": 0.1, "interleaf_transmission": 0.02, "source": "t"}}, "narrowest"),
    ],
)
def test_leaves_that_contradict_themselves_are_refused(changes, field_name):
    machine = load_machine("generic-6mv-millennium120")
    content = machine.model_dump(mode="json")
    content["mlc"].update(changes)
    with pytest.raises(MachineError) as e:
        parse_machine(yaml.safe_dump(content), "x.yaml")
    assert e.value.reason == "MACHINE_INVALID" and field_name in str(e.value)


def test_backscatter_must_cover_the_jaws():
    content = load_machine("generic-6mv-millennium120").model_dump(mode="json")
    table = {"axis": "Y", "opening_mm": [0, 300], "relative_output": [0.98, 1.0], "source": "t"}
    content["energies"][0]["monitor_backscatter"] = [table]
    with pytest.raises(MachineError) as e:
        parse_machine(yaml.safe_dump(content), "x.yaml")
    assert "ends before they are wide open" in str(e.value)


def test_hash_is_of_the_content():
    machine = load_machine("generic-6mv-millennium120")
    again = parse_machine("# another layout\n" + as_text(machine), "copy.yaml")
    assert again.sha256 == machine.sha256
    changed = machine.model_copy(update={"sad_mm": 1001.0})
    assert changed.sha256 != machine.sha256


def test_model_files_load_and_bad_ones_name_the_field(tmp_path):
    machine = bare_machine()
    path = tmp_path / "mätning.yaml"
    path.write_text(as_text(machine), encoding="utf-8")
    assert load_machine(path).sha256 == machine.sha256
    content = machine.model_dump(mode="json")
    content["jaw_x"]["transmission"] = 1.5
    content["flavour"] = "strange"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(MachineError) as e:
        load_machine(path)
    assert e.value.reason == "MACHINE_INVALID"
    assert "jaw_x.transmission" in str(e.value) and "flavour" in str(e.value) and "mätning.yaml" in str(e.value)


@pytest.mark.parametrize("text", ["", "[1, 2", "- a\n- b", "schema_version: 2", "name: \x00"])
def test_nonsense_files_are_machine_errors(text):
    with pytest.raises(MachineError) as e:
        parse_machine(text, "x.yaml")
    assert e.value.reason == "MACHINE_INVALID"


def test_unknown_names_list_the_known_ones():
    with pytest.raises(MachineError) as e:
        load_machine("linac-9000")
    assert e.value.reason == "MACHINE_UNKNOWN" and "generic-6mv-agility" in e.value.message


def test_missing_file_is_a_machine_error(tmp_path):
    with pytest.raises(MachineError) as e:
        load_machine(tmp_path / "none.yaml")
    assert e.value.reason == "MACHINE_UNREADABLE"


def test_mapping_takes_the_first_rule_that_fits(tmp_path):
    text = """
schema_version: 1
rules:
  - {treatment_machine: "LINAC-?", energy_mv: 6, model: generic-6mv-agility}
  - {treatment_machine: "*", model: generic-10mv-millennium120}
"""
    mapping = MachineMapping.from_text(text)
    six, ten = field(), field(mv=10.0)
    from dataclasses import replace

    assert mapping.resolve(replace(six, machine_name="LINAC-7")).name == "generic-6mv-agility"
    assert mapping.resolve(replace(ten, machine_name="LINAC-7")).name == "generic-10mv-millennium120"
    with pytest.raises(MachineError) as e:
        mapping.resolve(replace(six, machine_name="OTHER"))
    assert e.value.reason == "MACHINE_NOT_MAPPED"
    assert e.value.where["beam"] == six.label and "OTHER" in e.value.message


def test_nothing_is_guessed():
    with pytest.raises(MachineError) as e:
        MachineMapping.default().resolve(field())
    assert e.value.reason == "MACHINE_NOT_MAPPED"


def test_fff_beam_is_not_computed_with_a_flattened_model():
    from dataclasses import replace

    flattened = [m for m in shipped_machines() if m.energies[0].fluence_mode == "STANDARD"]
    with pytest.raises(MachineError) as e:
        MachineMapping.of(flattened).resolve(replace(field(), fluence_mode="FFF"))
    assert e.value.reason == "MACHINE_NOT_MAPPED" and "FFF" in e.value.message


def test_mapping_with_wrong_fields_is_refused():
    with pytest.raises(MachineError) as e:
        MachineMapping.from_text("schema_version: 1\nrules: [{machin: x, model: y}]")
    assert e.value.reason == "MAPPING_INVALID"
    assert "rules.0.machin: Extra inputs are not permitted" in e.value.message
    assert "pydantic" not in e.value.message and "input_value" not in e.value.message


def test_two_basis_materials_carry_every_material():
    materials = attenuation_table().materials
    tissue = tuple(m for m in materials if m not in ("aluminium", "titanium", "stainless_steel_316"))
    energy = load_machine("generic-6mv-millennium120").energies[0]
    # in the effective attenuation behind 10 g/cm2: 0.1 % is what a lookup may cost (PHYSICS, section 2)
    assert spectral_model(energy, tissue, "medium").combination_error < 1e-3


def test_energy_outside_the_table_is_an_error():
    with pytest.raises(MachineError) as e:
        attenuation_table().coefficients("water", np.array([50.0]))
    assert e.value.reason == "ENERGY_OUTSIDE_TABLE"
