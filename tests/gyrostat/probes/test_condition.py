from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gyrostat.probes import ProbeSession
from gyrostat.wire.values import is_absent


def with_singular_values(values: list[float], columns: int) -> Tensor:
    left, right = (nn.init.orthogonal_(torch.empty(n, n, dtype=torch.float64)) for n in (len(values), columns))
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right[: len(values)]


class Matrices(nn.Module):
    """Shapes and conditions that are met."""

    def __init__(self) -> None:
        super().__init__()
        self.known = nn.Parameter(with_singular_values([1e4, 3.0, 1e-5], 7))
        self.orthogonal = nn.Parameter(nn.init.orthogonal_(torch.empty(9, 9)))
        self.singular = nn.Parameter(torch.ones(4, 4))
        self.zero = nn.Parameter(torch.zeros(4, 4))
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.broken = nn.Parameter(torch.full((2, 2), torch.nan))
        self.large = nn.Linear(40, 40)
        self.tall = nn.Linear(5, 30)
        self.narrow = nn.Linear(6, 8).bfloat16()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.embedding = nn.Embedding(11, 4)
        self.row = nn.Linear(9, 1)
        self.normal = parametrizations.spectral_norm(nn.Linear(6, 5))


def test_condition_numbers_are_numpys_and_absent_above_the_size(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = Matrices()
    settings = only("condition", max_elements=300)
    with ProbeSession(model, torch.optim.SGD(model.parameters()), settings, sink=sink, scalars=[]) as session:
        session.begin_step(1)
        session.after_update()
        session.end_step({}, epoch=0)
    assert not sink.events
    found = sink.at(1, "weight.condition_number")
    model.eval()
    for name, weight in {
        "tall.weight": model.tall.weight,
        "narrow.weight": model.narrow.weight,
        "convolution.weight": model.convolution.weight,
        "embedding.weight": model.embedding.weight,
        "normal.weight": model.normal.weight,
    }.items():
        matrix = weight.detach().double().reshape(len(weight), -1).numpy()
        assert found.pop(name) == pytest.approx(np.linalg.cond(matrix), rel=1e-6), name
    assert found.pop("known") == pytest.approx(1e9, rel=1e-6)
    assert found.pop("orthogonal") == pytest.approx(1, rel=1e-5)
    assert found.pop("row.weight") == 1
    assert found.pop("singular") == np.inf
    broken = np.asarray(found.pop("broken"))
    assert np.isnan(broken)
    assert not is_absent(broken)[()]
    assert set(found) == {"zero", "empty", "large.weight"}
    assert is_absent(np.array(list(found.values()))).all()
