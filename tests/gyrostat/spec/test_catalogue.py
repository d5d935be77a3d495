import json
from typing import Any, ClassVar, Literal, get_args

import pytest

from gyrostat.spec import catalogue
from gyrostat.spec.catalogue import STABILIZERS, Entry, Technique, merge_patch
from gyrostat.spec.data import DATASETS, Dataset, DatasetEntry
from gyrostat.spec.metrics import METRICS
from gyrostat.spec.parse import parse
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.probes import PROBES, Probe
from gyrostat.spec.run import RunSpec
from gyrostat.spec.tasks import Task

ENTRY = Entry(section="1", title="t", formula="f", controls="c", when="w", source="s")


@pytest.mark.parametrize("technique", STABILIZERS.values(), ids=STABILIZERS)
def test_every_technique_has_its_whole_text(technique: type[Technique]) -> None:
    entry = technique.entry
    for part in (entry.title, entry.formula, entry.controls, entry.when, entry.source):
        assert part == part.strip() != ""
    assert entry.when.endswith(".")
    assert entry.section == "+" or 1 <= int(entry.section) <= 20
    assert any(year.isdigit() and len(year) == 4 for year in entry.source.replace(",", " ").split())
    assert len(set(entry.treats)) == len(entry.treats)
    assert technique.__doc__
    assert technique.id() == f"{technique.family}.{technique.model_fields['kind'].default}"


def subclasses(base: type) -> set[type]:
    return {each for child in base.__subclasses__() for each in (child, *subclasses(child))}


def test_every_technique_data_set_and_probe_that_is_defined_is_registered() -> None:
    def ours(base: type) -> set[type]:
        return {found for found in subclasses(base) if found.__module__.startswith("gyrostat.")}

    assert set(STABILIZERS.values()) == {found for found in ours(Technique) if "kind" in found.model_fields}
    assert set(DATASETS.values()) == {found for found in ours(Dataset) if "kind" in found.model_fields}
    assert set(PROBES.values()) == ours(Probe)


def test_techniques_can_be_made_from_nothing_but_their_defaults() -> None:
    for technique in STABILIZERS.values():
        assert technique() == technique.model_validate({"kind": technique.model_fields["kind"].default})


def test_a_second_technique_of_the_same_id_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"two techniques have the id 'norm\.batch'"):

        class Other(Technique):
            family: ClassVar[str] = "norm"
            entry: ClassVar[Entry] = ENTRY
            kind: Literal["batch"] = "batch"


def test_a_second_data_set_of_the_same_kind_is_an_error() -> None:
    with pytest.raises(TypeError, match="two data sets have the kind 'digits'"):

        class Other(Dataset):
            entry: ClassVar[DatasetEntry] = DATASETS["digits"].entry
            kind: Literal["digits"] = "digits"


def test_a_second_probe_of_the_same_name_is_an_error() -> None:
    with pytest.raises(TypeError, match="two probes are named 'gradients'"):

        class Other(Probe):
            name: ClassVar[str] = "gradients"
            metrics: ClassVar[tuple[str, ...]] = ()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_is_valid_and_says_what_it_is(preset: Any) -> None:
    parsed = parse(json.loads(json.dumps(preset.document)))
    assert preset.spec == parsed.spec
    assert preset.title
    assert preset.healthy == (not preset.expected_alerts)
    if preset.healthy:
        assert parsed.warnings == []


def test_there_are_healthy_presets_for_each_task_and_sick_ones() -> None:
    kinds = {each.model_fields["kind"].default for each in get_args(get_args(Task)[0])}
    assert {preset.spec.task.kind for preset in PRESETS.values() if preset.healthy} == kinds
    assert any(not preset.healthy for preset in PRESETS.values())


def test_a_preset_reads_none_of_another_ones_document() -> None:
    documents = [preset.document for preset in PRESETS.values()]
    assert len({id(part) for document in documents for part in document.values() if isinstance(part, dict)}) == sum(
        isinstance(part, dict) for document in documents for part in document.values()
    )


def test_every_metric_of_a_probe_is_in_the_catalogue_with_a_meaning() -> None:
    for probe in PROBES.values():
        assert set(probe.metrics) <= set(METRICS)
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.description.endswith(".")
        assert metric.unit


def fields(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    parts = {"RunSpec": schema, **schema["$defs"]}
    return {
        # pydantic leaves a field's description out where it repeats that of what the field refers to
        f"{name}.{key}": parts[field["$ref"].removeprefix("#/$defs/")] | field if "$ref" in field else field
        for name, part in parts.items()
        for key, field in part.get("properties", {}).items()
    }


def test_every_field_of_a_spec_is_described_in_the_schema() -> None:
    found = fields(RunSpec.model_json_schema())
    assert len(found) > 60
    assert [name for name, field in found.items() if not field.get("description")] == []


def test_every_part_of_a_spec_refuses_unknown_keys_in_the_schema() -> None:
    schema = RunSpec.model_json_schema()
    parts = [schema, *schema["$defs"].values()]
    assert all(part["additionalProperties"] is False for part in parts if part.get("type") == "object")


def test_every_technique_is_in_the_schema() -> None:
    names = set(RunSpec.model_json_schema()["$defs"])
    assert {technique.__name__ for technique in STABILIZERS.values()} <= names


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_its_rfc_says(target: Any, patch: Any, result: Any) -> None:
    before = json.dumps(target)
    assert merge_patch(target, patch) == result
    assert json.dumps(target) == before


def test_a_patch_to_another_kind_replaces_the_settings_of_the_old_one() -> None:
    target = {"optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9}}
    assert merge_patch(target, {"optimizer": {"kind": "adamw"}}) == {"optimizer": {"kind": "adamw"}}
    kept = {"optimizer": {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9}}
    assert merge_patch(target, {"optimizer": {"kind": "sgd", "learning_rate": 0.01}}) == kept
    assert merge_patch(target, {"optimizer": {"learning_rate": 0.01}}) == kept
    assert merge_patch(target, {"optimizer": "adamw"}) == {"optimizer": "adamw"}


def test_a_patch_that_removes_the_kind_is_a_plain_merge() -> None:
    assert merge_patch({"kind": "sgd", "momentum": 0.9}, {"kind": None}) == {"momentum": 0.9}


def test_a_patch_nested_without_end_is_refused() -> None:
    patch: dict[str, Any] = {}
    for _ in range(5000):
        patch = {"a": patch}
    with pytest.raises(ValueError, match="nested deeper than 64"):
        merge_patch({}, patch)
    assert catalogue.MAX_PATCH_DEPTH == 64
