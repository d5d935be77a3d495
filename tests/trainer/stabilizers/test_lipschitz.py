import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.lipschitz import InputGradient, OneCentred, SpectralNorm, WeightClip
from gyrostat.spec.normalization import WeightNorm
from trainer.stabilizers import lipschitz, normalization


def network(dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(6, 4, 3, padding=1), nn.Tanh(), nn.Flatten(),
        nn.Linear(4 * 9, 3),
    ).to(dtype)  # fmt: skip


X = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def normalized(dtype=torch.float32, **settings) -> nn.Module:
    model = network(dtype)
    lipschitz.spectral_norm(SpectralNorm(**settings), model, (X.to(dtype),))
    return model


def warmed_up(**settings) -> nn.Module:
    model = normalized(**settings)
    for _ in range(50):
        model(X)
    return model.eval()


def operator_matrix(layer: nn.Conv2d, size: tuple[int, int]) -> torch.Tensor:
    """The convolution as a matrix (outputs, inputs), column by column."""
    images = torch.eye(layer.in_channels * size[0] * size[1]).view(-1, layer.in_channels, *size)
    return (layer(images) - layer(torch.zeros_like(images))).flatten(1).detach().mT


def sigma(matrix: torch.Tensor) -> float:
    return torch.linalg.svdvals(matrix)[0].item()


@pytest.mark.parametrize("max_norm", [1.0, 3.0])
def test_after_warm_up_every_reshaped_kernel_has_the_largest_singular_value_asked_for(max_norm):
    model = warmed_up(max_norm=max_norm)
    for layer in (model[0], model[2], model[5]):
        assert sigma(layer.weight.detach().flatten(1)) == pytest.approx(max_norm, rel=0.01)


@pytest.mark.parametrize("max_norm", [1.0, 3.0])
def test_after_warm_up_every_convolution_s_operator_has_the_largest_singular_value_asked_for(max_norm):
    model = warmed_up(norm="operator", max_norm=max_norm)
    assert sigma(operator_matrix(model[0], (6, 6))) == pytest.approx(max_norm, rel=0.01)
    assert sigma(operator_matrix(model[2], (3, 3))) == pytest.approx(max_norm, rel=0.01)
    assert sigma(model[5].weight.detach()) == pytest.approx(max_norm, rel=0.01)


def test_the_two_norms_of_a_convolution_differ():
    kernel_normed = warmed_up(norm="reshaped")
    assert abs(sigma(operator_matrix(kernel_normed[0], (6, 6))) - 1) > 0.1


def test_dilated_and_grouped_convolutions_in_one_and_three_dimensions_have_an_operator_norm_of_1_too():
    for layer, shape in (
        (nn.Conv1d(4, 6, 3, groups=2), (4, 9)),
        (nn.Conv1d(2, 3, 3, dilation=2, padding=1), (2, 9)),
        (nn.Conv3d(1, 2, 2, stride=2, bias=False), (1, 4, 4, 5)),
    ):
        torch.manual_seed(0)
        model = nn.Sequential(layer)
        lipschitz.spectral_norm(SpectralNorm(norm="operator", power_iterations=50), model, (torch.randn(1, *shape),))
        eye = torch.eye(torch.Size(shape).numel()).view(-1, *shape)
        matrix = (layer(eye) - layer(torch.zeros_like(eye))).flatten(1).detach()
        assert sigma(matrix) == pytest.approx(1, rel=0.01), layer


def test_a_convolution_that_sees_several_sizes_is_normalized_for_the_largest():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            return self.conv(x[..., :3, :2]).sum() + self.conv(x).sum()

    torch.manual_seed(0)
    model = Shared()
    lipschitz.spectral_norm(SpectralNorm(norm="operator"), model, (X,))
    assert model.conv.parametrizations.weight[0].v.shape == (1, 2, 6, 6)
    assert sigma(operator_matrix(model.conv.eval(), (3, 2))) < 1


def test_a_reshaped_kernel_is_normalized_as_torch_does_it():
    ours, theirs = normalized(power_iterations=2), network()
    for index in (0, 2, 5):
        parametrizations.spectral_norm(theirs[index], n_power_iterations=2)
        theirs[index].parametrizations.weight[0]._v.copy_(ours[index].parametrizations.weight[0].v)
        theirs[index].parametrizations.weight[0]._u.copy_(ours[index].parametrizations.weight[0].u)
    torch.testing.assert_close(ours(X), theirs(X))
    ours(X).square().sum().backward()
    theirs(X).square().sum().backward()
    torch.testing.assert_close(
        ours[0].parametrizations.weight.original.grad, theirs[0].parametrizations.weight.original.grad
    )


def test_power_iterations_go_on_from_step_to_step_and_rest_in_eval_and_where_probes_look():
    model = normalized()
    vector = model[0].parametrizations.weight[0].v
    before = vector.clone()
    nn.init.normal_(model[0].parametrizations.weight.original)
    with undisturbed(model):
        model(X)
        assert torch.equal(vector, before)
    model.eval()(X)
    assert torch.equal(vector, before)
    model.train()(X)
    assert not torch.equal(vector, before)


@pytest.mark.parametrize("norm", ["reshaped", "operator"])
def test_the_gradient_at_the_settled_vectors_is_that_of_the_exact_norm(norm):
    model = normalized(torch.float64, norm=norm, power_iterations=100)
    for _ in range(10):
        model(X.double())
    model.eval()
    layer, x = model[0], X.double()
    weight = layer.parametrizations.weight.original
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def value(step: float) -> torch.Tensor:
        moved = weight.detach() + step * direction
        if norm == "reshaped":
            size = torch.linalg.matrix_norm(moved.flatten(1), 2)
        else:
            eye = torch.eye(72, dtype=torch.float64).view(-1, 2, 6, 6)
            size = torch.linalg.matrix_norm(nn.functional.conv2d(eye, moved, stride=2, padding=1).flatten(1), 2)
        return nn.functional.conv2d(x, moved / size, layer.bias, stride=2, padding=1).square().sum()

    layer(x).square().sum().backward()
    numeric = (value(1e-5) - value(-1e-5)) / 2e-5
    assert (weight.grad * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-6)


@pytest.mark.parametrize("norm", ["reshaped", "operator"])
def test_a_spectrally_normalized_net_differentiates_twice_survives_two_passes_and_takes_up_its_state(norm):
    model, other = normalized(norm=norm), normalized(norm=norm)
    nn.init.normal_(model[0].parametrizations.weight.original)
    model(X)
    other.load_state_dict(model.state_dict())
    for _ in range(2):
        assert torch.equal(other(X), model(X))
    parameters = list(model.parameters())
    loss = model(X).square().sum() - model(-X).sum()  # two passes of one step, as a critic makes them
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), parameters)
    assert all(g.isfinite().all() for g in second)


@pytest.mark.parametrize("norm", ["reshaped", "operator"])
def test_spectral_normalization_runs_under_autocast_in_the_weight_s_precision(norm):
    model = normalized(norm=norm)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(X)
        assert model[0].weight.dtype == torch.float32
    y.sum().backward()
    assert model[0].parametrizations.weight.original.grad.isfinite().all()


def test_the_one_centred_penalty_equals_finite_differences():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    points = torch.randn(4, 2, 3, dtype=torch.float64)
    eye = torch.eye(6, dtype=torch.float64).view(6, 2, 3) * 1e-6
    slopes = torch.stack([(critic(points + step) - critic(points - step)).flatten() / 2e-6 for step in eye], 1)
    expected = (slopes.norm(dim=1) - 1).square().mean().item()
    assert lipschitz.one_centred(critic, points).item() == pytest.approx(expected, rel=1e-7)
    weighted = lipschitz.gradient_penalty(OneCentred(weight=3.0), critic, points)
    assert weighted.item() == pytest.approx(3 * expected, rel=1e-7)


def test_training_on_the_one_centred_penalty_brings_the_slope_to_1():
    torch.manual_seed(0)
    critic = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        lipschitz.one_centred(critic, torch.randn(3, 4)).backward()
        optimizer.step()
    assert critic.weight.norm().item() == pytest.approx(1, abs=1e-3)


def test_the_input_gradient_penalty_equals_finite_differences_of_each_sample_s_own_loss():
    model = network(torch.float64)
    x = X.double().requires_grad_()

    def losses(inputs):
        return model(inputs).square().mean(1)

    flat = x.detach().flatten(1)
    slopes = torch.zeros_like(flat)
    for index in range(flat.shape[1]):
        step = torch.zeros_like(flat)
        step[:, index] = 1e-6
        slopes[:, index] = (losses((flat + step).view_as(x)) - losses((flat - step).view_as(x))).detach() / 2e-6
    expected = slopes.square().sum(1).mean().item()
    penalty = lipschitz.input_gradient(losses(x).mean(), x)
    assert penalty.item() == pytest.approx(expected, rel=1e-7)
    parts = [lipschitz.input_gradient(losses(part).mean(), part) for part in (x[:2], x[2:])]
    assert (parts[0] * 2 + parts[1] * 3).item() / 5 == pytest.approx(expected, rel=1e-7)
    assert lipschitz.gradient_penalty(InputGradient(weight=0.5), losses(x).mean(), x).item() == pytest.approx(
        expected / 2, rel=1e-7
    )
    penalty.backward()
    assert model[0].weight.grad.abs().max() > 0


def test_weights_are_within_the_bound_after_clipping_and_biases_are_left():
    model = network()
    bias = nn.init.constant_(model[5].bias, 0.7)
    inside = model[5].weight.detach().clamp(-0.02, 0.02)
    lipschitz.clip_weights(WeightClip(limit=0.02), model)
    assert all(p.abs().max() <= 0.02 for p in model.parameters() if p.ndim > 1)
    assert torch.equal(model[5].weight, inside)
    assert bias.min() == torch.tensor(0.7)


def test_under_weight_normalization_no_unit_is_longer_than_the_bound_and_directions_are_kept():
    model = network()
    normalization.weight_norm(WeightNorm(), model, ())
    before = model[5].weight.detach().clone()
    lipschitz.clip_weights(WeightClip(limit=0.02), model)
    torch.testing.assert_close(model[5].weight.norm(dim=1), torch.full((3,), 0.02))
    assert nn.functional.cosine_similarity(model[5].weight, before).min() > 1 - 1e-6


def test_without_clipping_weights_stay():
    model = network()
    before = [p.clone() for p in model.parameters()]
    lipschitz.clip_weights(None, model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
