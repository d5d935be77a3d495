"""The kernel's way against the one of torch's operations, which test_activations holds to numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.activations import Activations
from gyrostat.probes.host_outputs import HostOutputs
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network
from gyrostat.spec.probes import ActivationsProbe
from gyrostat.wire.values import is_absent


@pytest.fixture(autouse=True)
def _kernel() -> None:
    kernels.prepare(wait=True)
    if kernels.library is None:
        pytest.skip("there is no C compiler")


def probe(monkeypatch: pytest.MonkeyPatch, *, native: bool) -> Activations:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Conv2d(1, 1, 1))
    with monkeypatch.context() as patched:
        if not native:
            patched.setattr(kernels, "library", None)
        made = Activations(ActivationsProbe(window=2), Network(model, torch.optim.SGD(model.parameters())))
    made.native = native  # type: ignore[attr-defined]
    return made


def step(monkeypatch: pytest.MonkeyPatch, of: Activations, outputs: list[tuple[int, Tensor]]) -> dict[str, np.ndarray]:
    with monkeypatch.context() as patched:
        if not of.native:  # type: ignore[attr-defined]
            patched.setattr(kernels, "library", None)
        of.begin()
        for leaf, output in outputs:
            of.output(leaf, output)
        found = of.after_backward()
    return {name: torch.as_tensor(value).numpy().view(np.float32).copy() for name, value in found.items()}


def drawn(*shape: int, seed: int, channels: int = 1) -> Tensor:
    output = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu_()
    output.movedim(channels, 0)[:: 1 + seed % 3] = 0
    return output


CALLS: list[list[tuple[int, Tensor]]] = [
    [(0, drawn(6, 40, seed=0)), (1, drawn(6, 40, seed=1)), (2, drawn(2, 5, 16, 16, seed=2))],
    [(0, drawn(6, 40, seed=3)), (0, drawn(9, 40, seed=4)), (1, drawn(2, 40, seed=5).double())],
    [(0, drawn(6, 30, seed=6)), (2, drawn(2, 5, 16, 16, seed=7).contiguous(memory_format=torch.channels_last))],
    [(0, drawn(6, 30, seed=8)), (2, drawn(2, 5, 3, 3, seed=9).bfloat16()), (1, torch.zeros(4)), (1, torch.zeros(0))],
    [(1, drawn(40, 6, seed=1).T), (1, drawn(6, 40, seed=2)), (2, drawn(4, 5, 8, 8, seed=3) + 1000)],
    [
        (2, drawn(2, 5, 16, 16, seed=7).contiguous(memory_format=torch.channels_last)),
        (2, drawn(2, 5, 16, 16, seed=8).contiguous(memory_format=torch.channels_last)),
        (2, drawn(2, 5, 16, 16, seed=9)),
        (1, drawn(40, 6, seed=4).T),
        (1, drawn(40, 6, seed=5).T),
        (1, drawn(40, 12, seed=6).T[::2]),
    ],
    [],
    [(0, drawn(6, 30, seed=6)), (1, torch.full((5, 40), torch.nan)), (2, drawn(2, 5, 40, 40, seed=1).half())],
]


def test_any_outputs_in_any_order_are_those_of_torchs_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = probe(monkeypatch, native=True), probe(monkeypatch, native=False)
    for outputs in CALLS:
        found, expected = step(monkeypatch, one, outputs), step(monkeypatch, other, outputs)
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
            np.testing.assert_array_equal(is_absent(found[name]), is_absent(expected[name]), err_msg=name)


def test_a_step_that_never_ended_leaves_nothing_and_a_resumption_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = probe(monkeypatch, native=True), probe(monkeypatch, native=True)
    for made in (one, other):
        step(monkeypatch, made, CALLS[0])
    one.begin()
    one.output(0, drawn(6, 40, seed=9))
    resumed = probe(monkeypatch, native=True)
    resumed.load_state_dict(one.state_dict())
    expected = step(monkeypatch, other, CALLS[1])
    for made in (one, resumed):
        for name, values in step(monkeypatch, made, CALLS[1]).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_an_output_elsewhere_of_the_same_shape_is_not_read_as_memory_of_the_host() -> None:
    probe, leaf = _of_shared_activation()
    probe.begin()
    probe.output(leaf, torch.ones(8, 4))
    with pytest.raises(NotImplementedError, match="meta"):
        probe.output(leaf, torch.ones(8, 4, device="meta"))


@pytest.mark.parametrize("by_kernel", [True, False])
def test_an_activation_called_with_two_widths_counts_for_the_last_of_them(
    by_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_kernel:
        monkeypatch.setattr(kernels, "library", None)
    probe, leaf = _of_shared_activation()
    told = []
    for step in range(8):
        probe.begin()
        wide = torch.ones(8, 6)
        wide[:, step % 6] = 0
        probe.output(leaf, torch.ones(8, 4))
        probe.output(leaf, wide)
        told.append(float(probe.after_backward()["activation.dead_fraction"][leaf]))
    assert told == [pytest.approx(1 / 6), *[0.0] * 7], "no channel is silent twice in a row"


def _of_shared_activation() -> tuple[Activations, int]:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.act = nn.Linear(3, 4), nn.Linear(4, 6), nn.ReLU()

    model = Shared()
    network = Network(model, torch.optim.SGD(model.parameters(), 0.1))
    return Activations(ActivationsProbe(), network), list(network.leaves).index("act")


@pytest.mark.parametrize("following", [[], [torch.tensor(3.0)]], ids=["nothing", "a number without channels"])
def test_what_is_taken_up_amid_a_step_leaves_no_address_of_what_was_read(following: list[Tensor]) -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    made = Activations(ActivationsProbe(window=2), Network(model, torch.optim.SGD(model.parameters())))
    made.begin()
    made.output(0, drawn(6, 40, seed=1))
    host = made._host
    assert isinstance(host, HostOutputs)
    given_up = host._squares[0]
    made.load_state_dict(made.state_dict())
    given_up.fill_(7)  # whoever gets this memory next
    for output in following:
        made.output(0, output)
    made.begin()
    assert given_up.tolist() == [7] * 40
