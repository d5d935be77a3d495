import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from gyrostat.probes.linear_probe import RIDGE, probe_accuracy


def features(count, width, seed):
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=source)
    centres = torch.randn(3, width, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 1.5 * torch.randn(count, width, generator=source), labels


@pytest.mark.parametrize("width", [5, 200], ids=["more samples", "more features"])
def test_it_is_ridge_regression_onto_one_hot_labels(width):
    known, labels = features(60, width, 0)
    others, wanted = features(80, width, 1)
    scaler = StandardScaler().fit(known.double().numpy())
    ridge = Ridge(alpha=RIDGE * 60).fit(scaler.transform(known.double().numpy()), torch.eye(3)[labels].numpy())
    said = ridge.predict(scaler.transform(others.double().numpy())).argmax(1)
    expected = (said == wanted.numpy()).mean()
    assert probe_accuracy(known, labels, others, wanted, 3).item() == pytest.approx(expected)
    assert expected > 0.4


def test_features_that_do_not_vary_tell_the_commonest_class():
    labels, wanted = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 1, 0])
    got = probe_accuracy(torch.ones(4, 6), labels, torch.ones(3, 6), wanted, 3)
    assert got.item() == pytest.approx(2 / 3)


def test_features_that_are_not_finite_have_no_accuracy():
    known, labels = features(20, 4, 0)
    known[3, 1] = torch.nan
    assert probe_accuracy(known, labels, known, labels, 3).isnan()
