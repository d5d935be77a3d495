import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat.spec.parse import SpecError, parse
from gyrostat.spec.run import RunSpec
from tests.gyrostat.spec.documents import TEXT, document, problems, spec


def test_a_small_document_becomes_a_whole_spec() -> None:
    parsed = parse(document())
    assert parsed.warnings == []
    assert parsed.spec.optimizer.kind == "sgd"
    assert parsed.spec.data.batch_size == 64
    assert parsed.spec.loss is None


def test_a_spec_survives_json_and_parses_to_itself() -> None:
    first = spec(model={"kind": "resnet"}, schedule={"kind": "cosine", "warmup": "linear_warmup"}, steps=1000)
    again = parse(json.loads(first.model_dump_json())).spec
    assert again == first


@pytest.mark.parametrize(
    ("short", "spelled"),
    [
        ({"optimizer": "adamw"}, {"optimizer": {"kind": "adamw"}}),
        ({"model": "mlp"}, {"model": {"kind": "mlp"}}),
        ({"init": "he_normal"}, {"init": {"kind": "he_normal", "mode": "fan_in"}}),
        ({"loss": "cross_entropy"}, {"loss": {"kind": "cross_entropy"}}),
        ({"schedule": "cosine"}, {"schedule": {"kind": "cosine", "final_factor": 0.0}}),
        ({"accumulation": "micro_batches"}, {"accumulation": {"kind": "micro_batches", "steps": 1}}),
        ({"gradients": {"clip": "norm"}}, {"gradients": {"clip": {"kind": "norm", "max_norm": 1.0}}}),
        ({"regularization": {"dropout": "element"}}, {"regularization": {"dropout": {"kind": "element"}}}),
        (
            {"model": {"kind": "mlp", "norm": "batch", "connection": "residual", "activation": "gelu"}},
            {
                "model": {
                    "kind": "mlp",
                    "norm": {"kind": "batch"},
                    "connection": {"kind": "residual"},
                    "activation": {"kind": "gelu"},
                }
            },
        ),
        (
            {"task": TEXT, "model": {"kind": "transformer", "attention": "multi_head"}},
            {
                "task": {"kind": "language_model", "dataset": {"kind": "python_topics", "unit": "byte"}},
                "model": {"kind": "transformer", "attention": {"kind": "multi_head", "heads": 4}},
            },
        ),
    ],
)
def test_a_bare_name_is_the_technique_with_its_defaults(short: dict[str, Any], spelled: dict[str, Any]) -> None:
    assert spec(**short) == spec(**spelled)


@pytest.mark.parametrize(
    ("changes", "path", "meant"),
    [
        ({"sed": 1}, "sed", "seed"),
        ({"model": {"kind": "mlp", "dept": 3}}, "model.dept", "depth"),
        ({"model": {"kind": "mlp", "norm": {"kind": "batch", "epz": 1}}}, "model.norm.epz", "eps"),
        ({"optimizer": {"kind": "sgd", "learning_rat": 1}}, "optimizer.learning_rat", "learning_rate"),
        ({"probes": {"gradients": {"evry": 3}}}, "probes.gradients.evry", "every"),
        ({"gradients": {"clip": {"kind": "norm", "maxnorm": 3}}}, "gradients.clip.maxnorm", "max_norm"),
        ({"rules": {"loss": {"enabld": False}}}, "rules.loss.enabld", "enabled"),
        ({"rules": {"enabled": {"enabld": False}}}, "rules.enabled.enabld", "enabled"),
        ({"task": {"kind": "classification", "dataset": "digits", "datset": 1}}, "task.datset", "dataset"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_told_by_its_own_path_with_what_was_meant(
    changes: dict[str, Any], path: str, meant: str
) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert f"did you mean {meant!r}?" in found[path].mend


def test_an_unknown_key_like_nothing_known_lists_what_is_known() -> None:
    assert problems(zzz=1)["zzz"].mend.startswith("remove it; known here: accumulation, checkpoints")


@pytest.mark.parametrize(
    ("changes", "path", "value", "mend"),
    [
        ({"model": "mpl"}, "model.kind", "mpl", "did you mean 'mlp'?"),
        ({"model": {}}, "model.kind", None, "use one of mlp, cnn, resnet, densenet, highway_net, transformer, unet,"),
        ({"model": {"kind": "mlp", "norm": "bath"}}, "model.norm.kind", "bath", "did you mean 'batch'?"),
        ({"model": {"kind": "mlp", "connection": "dens"}}, "model.connection.kind", "dens", "'dense'"),
        ({"optimizer": {"learning_rate": 1}}, "optimizer.kind", None, "use one of sgd, rmsprop, adam, adamw"),
        ({"task": {"kind": "classification", "dataset": "mnist"}}, "task.dataset.kind", "mnist", "use one of digits"),
    ],
)
def test_an_unknown_kind_lists_those_there_are(changes: dict[str, Any], path: str, value: object, mend: str) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert found[path].value == value
    assert mend in found[path].mend


@pytest.mark.parametrize(
    ("changes", "path", "mend"),
    [
        ({"steps": "100"}, "steps", "without quotes"),
        ({"steps": 1.5}, "steps", "whole number"),
        ({"steps": True}, "steps", "whole number"),
        ({"steps": None}, "steps", "whole number"),
        ({"steps": 0}, "steps", "at least 1"),
        ({"seed": 2**31}, "seed", "below 2147483648"),
        ({"optimizer": {"kind": "sgd", "learning_rate": math.nan}}, "optimizer.learning_rate", "finite"),
        ({"optimizer": {"kind": "sgd", "learning_rate": math.inf}}, "optimizer.learning_rate", "finite"),
        ({"optimizer": {"kind": "sgd", "learning_rate": True}}, "optimizer.learning_rate", "without quotes"),
        ({"optimizer": {"kind": "sgd", "learning_rate": "0.1"}}, "optimizer.learning_rate", "without quotes"),
        ({"optimizer": {"kind": "sgd", "learning_rate": 0}}, "optimizer.learning_rate", "above 0"),
        ({"optimizer": {"kind": "sgd", "nesterov": 1}}, "optimizer.nesterov", "true or false"),
        ({"optimizer": 3}, "optimizer", "an object"),
        ({"data": []}, "data", "an object"),
        ({"rules": {"loss": {"settings": {"factor": "2"}}}}, "rules.loss.settings.factor", "a number"),
        ({"rules": {"loss": {"severity": "bad"}}}, "rules.loss.severity", "'critical'"),
        ({"task": {"kind": "classification"}}, "task.dataset", "add it; its kind is one of digits"),
        ({"optimizer": {"kind": "sgd", "learning_rate": 0.1, "lr": 0.1}}, "optimizer.lr", "mean 'learning_rate'?"),
    ],
)
def test_a_wrong_type_or_value_says_what_to_write(changes: dict[str, Any], path: str, mend: str) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert mend in found[path].mend


def test_several_problems_are_told_at_once() -> None:
    found = problems(
        steps="many",
        sed=1,
        optimizer={"kind": "sgd", "momentum": 1.0},
        model={"kind": "mlp", "depth": -1, "norm": {"kind": "group", "groups": 0}},
        probes={"budget": 2, "curvature": {"every": 0}},
    )
    assert set(found) == {
        "steps",
        "sed",
        "optimizer.momentum",
        "model.depth",
        "model.norm.groups",
        "probes.budget",
        "probes.curvature.every",
    }
    with pytest.raises(SpecError, match=r"steps: .*; sed|sed: .*; .*steps") as refused:
        parse(document(steps="many", sed=1))
    assert "(" in str(refused.value)


@pytest.mark.parametrize("whole", [None, 3, "text", [], [document()], True])
def test_what_is_no_object_is_a_problem_of_the_whole_document(whole: object) -> None:
    with pytest.raises(SpecError) as refused:
        parse(whole)
    assert [problem.path for problem in refused.value.problems] == ["(whole document)"]


@pytest.mark.parametrize("path", ["/etc/passwd", "~/x", "../x", "a/../../x", "a\\..\\x", "a\0b", "a\nb", "", "x" * 513])
def test_a_text_file_stays_under_the_data_root(path: str) -> None:
    task = {"kind": "language_model", "dataset": {"kind": "text_file", "path": path}}
    assert list(problems(task=task, model="transformer")) == ["task.dataset.path"]


def test_a_text_file_under_the_data_root_is_fine() -> None:
    task = {"kind": "language_model", "dataset": {"kind": "text_file", "path": "books/one..two.txt"}}
    assert spec(task=task, model="transformer").task.dataset.kind == "text_file"


@pytest.mark.parametrize(
    "hostile",
    [{"\ud800": 1}, {"x" * 100_000: 1}, {"steps": 10**4000}, {"a\nb\0": "\udfff" * 300}, {"foo": [[["x" * 10_000]]]}],
)
def test_what_is_shown_back_is_short_and_can_be_written_as_json(hostile: dict[str, Any]) -> None:
    for path, problem in problems(**hostile).items():
        text = json.dumps([path, problem.value, problem.message, problem.mend], ensure_ascii=False, allow_nan=False)
        assert len(text.encode()) < 2000


def test_nesting_without_end_is_a_problem_like_any_other() -> None:
    nested: list[Any] = []
    for _ in range(900):
        nested = [nested]
    assert list(problems(foo=nested)) == ["foo"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["batch", "mlp"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "depth", "dataset", "steps", "warmup", "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.sampled_from(sorted(RunSpec.model_fields)), json_values)
def test_any_json_anywhere_is_a_spec_or_a_list_of_problems(section: str, value: Any) -> None:
    try:
        parse(document(**{section: value}))
        found = []
    except SpecError as error:
        found = error.problems
        json.dumps([problem.value for problem in found], allow_nan=False)
    assert all(problem.mend and problem.path for problem in found)
