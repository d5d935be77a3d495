from typing import get_args

import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from gyrostat.spec.data import DATASETS, AnyDataset, Diabetes, Digits, PythonTopics
from trainer.data import fashion_mnist
from trainer.data.datasets import available, load
from trainer.data.samples import Labelled, Text
from trainer.data.sources import SOURCES


@pytest.mark.parametrize("settings", get_args(get_args(AnyDataset)[0]), ids=lambda settings: settings.__name__)
def test_every_data_set_of_the_spec_has_a_source(settings):
    assert settings in SOURCES
    assert DATASETS[settings.model_fields["kind"].default] is settings


def test_digits_are_scikit_learn_s():
    data = load(Digits())
    assert isinstance(data, Labelled)
    assert (tuple(data.inputs.shape), data.outputs) == ((1797, *Digits.entry.shape), 10)
    assert data.inputs[5].flatten().tolist() == load_digits().data[5].tolist()
    assert data.targets.tolist() == load_digits().target.tolist()


def test_diabetes_is_scikit_learn_s():
    data = load(Diabetes())
    assert isinstance(data, Labelled)
    assert (tuple(data.inputs.shape), tuple(data.targets.shape)) == ((442, 10), (442, 1))
    assert data.inputs[5].tolist() == pytest.approx(load_diabetes(scaled=False).data[5].tolist())
    assert data.targets.flatten().tolist() == load_diabetes().target.tolist()


@pytest.mark.parametrize("unit", ["byte", "character"])
def test_python_s_own_documentation_is_english(unit):
    text = load(PythonTopics(unit=unit))
    assert isinstance(text, Text)
    assert len(text.tokens) > 100_000
    assert 0 <= text.tokens.min() <= text.tokens.max() < len(text.vocabulary)
    beginning = "".join(text.vocabulary[token] for token in text.tokens[:5000])
    assert " statement" in beginning


def test_what_every_machine_has_is_available_and_files_only_with_a_data_root(tmp_path):
    assert {"digits", "diabetes", "python_topics"} <= set(available())
    assert "text_file" not in available()
    assert "text_file" not in available(tmp_path / "missing")
    assert "text_file" in available(tmp_path)


def test_fashion_mnist_is_available_where_its_files_are():
    assert ("fashion_mnist" in available()) == fashion_mnist.FOLDER.is_dir()


def test_loading_draws_nothing_from_the_global_generator():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    for kind in available():
        if kind != "fashion_mnist":
            load(DATASETS[kind]())
    assert torch.equal(torch.rand(2), expected)
