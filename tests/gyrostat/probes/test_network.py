import torch
from torch import nn

from gyrostat.probes.network import Network
from gyrostat.wire.values import is_absent


def test_values_go_to_their_positions_in_whatever_order_they_come_and_the_rest_is_absent() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
    values = torch.tensor([10.0, 20.0, 30.0])
    assert network.spread(values, [0, 1, 2], 3).tolist() == [10, 20, 30]
    assert network.spread(values, [2, 0, 1], 3).tolist() == [20, 30, 10]
    some = network.spread(values, [4, 0, 1], 5).numpy()
    assert is_absent(some).tolist() == [False, False, True, True, False]
    assert some[[4, 0, 1]].tolist() == [10, 20, 30]
