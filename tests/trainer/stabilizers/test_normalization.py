import pytest
import torch
from torch import nn

from gyrostat.spec.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RmsNorm, WeightNorm
from trainer.stabilizers import normalization


@pytest.fixture
def images():
    torch.manual_seed(0)
    return (3 * torch.randn(16, 8, 5, 5) + 2).double()


def built(settings, features=8, dims=2):
    return normalization.build(settings, features, dims=dims).double()


def test_none_is_the_identity(images):
    assert isinstance(normalization.build(None, 8, dims=2), nn.Identity)


def test_batch_normalization_gives_every_channel_mean_0_and_variance_1_over_the_batch(images):
    y = built(BatchNorm(eps=1e-12))(images)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(8).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(8).double())


def test_batch_normalization_uses_running_statistics_in_eval(images):
    layer = built(BatchNorm(momentum=0.25, eps=1e-3))
    layer(images)
    mean = 0.25 * images.mean((0, 2, 3))
    variance = 0.75 + 0.25 * images.var((0, 2, 3), correction=1)
    expected = (images - mean.view(1, -1, 1, 1)) / (variance.view(1, -1, 1, 1) + 1e-3).sqrt()
    torch.testing.assert_close(layer.eval()(images), expected)


@pytest.mark.parametrize(("shape", "dims"), [((6, 8), 1), ((6, 3, 8), 1), ((6, 8, 5, 5), 2)])
def test_a_layer_normalized_sample_does_not_depend_on_its_batch(shape, dims):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()
    layer = built(LayerNorm(), dims=dims)
    torch.testing.assert_close(layer(x)[2:3], layer(x[2:3]), rtol=1e-12, atol=1e-12)


def test_layer_normalization_matches_its_formula_over_the_features():
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(2)).double()
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(built(LayerNorm(eps=1e-3), dims=1)(x), expected)


def test_layer_normalization_of_images_is_over_channels_height_and_width(images):
    expected = nn.functional.layer_norm(images, images.shape[1:], eps=1e-5)
    torch.testing.assert_close(built(LayerNorm())(images), expected)


def test_one_group_equals_layer_normalization_of_images(images):
    torch.testing.assert_close(built(GroupNorm(groups=1))(images), built(LayerNorm())(images))


def test_as_many_groups_as_channels_equal_instance_normalization(images):
    torch.testing.assert_close(built(GroupNorm(groups=8))(images), nn.functional.instance_norm(images))


def test_groups_work_on_tables_too():
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(3)).double()
    y = built(GroupNorm(groups=4, eps=1e-12), dims=1)(x).view(4, 4, 2)
    torch.testing.assert_close(y.mean(2), torch.zeros(4, 4).double(), atol=1e-10, rtol=0)


def test_a_bias_before_batch_normalization_changes_nothing_but_before_the_others_it_does(images):
    for settings in (BatchNorm(), LayerNorm(), GroupNorm(groups=4), InstanceNorm(), RmsNorm()):
        bias = torch.arange(8.0).double().view(1, -1, 1, 1)
        same = torch.allclose(built(settings)(images + bias), built(settings)(images))
        assert same == normalization.cancels_bias(settings)
    assert not normalization.cancels_bias(None)


def test_an_instance_normalized_image_does_not_depend_on_the_contrast_and_brightness_of_its_channels(images):
    layer = built(InstanceNorm(eps=1e-12))
    scale, shift = torch.rand(16, 8, 1, 1).double() + 0.5, torch.randn(16, 8, 1, 1).double()
    torch.testing.assert_close(layer(scale * images + shift), layer(images))
    assert not torch.allclose(built(LayerNorm())(scale * images + shift), built(LayerNorm())(images))


def test_instance_normalization_does_the_same_in_eval_and_has_a_gain_and_a_shift(images):
    layer = built(InstanceNorm())
    nn.init.constant_(layer.weight, 3.0)
    nn.init.constant_(layer.bias, 0.5)
    torch.testing.assert_close(layer(images), 3 * nn.functional.instance_norm(images) + 0.5)
    torch.testing.assert_close(layer.eval()(images), layer.train()(images))


@pytest.mark.parametrize(("shape", "dims", "axis"), [((6, 8), 1, -1), ((6, 3, 8), 1, -1), ((6, 8, 5, 4), 2, 1)])
def test_root_mean_square_normalization_matches_its_formula_over_the_features(shape, dims, axis):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double() + 1
    layer = built(RmsNorm(eps=1e-3), dims=dims)
    gain = torch.arange(1.0, 9.0).double()
    layer.weight.data.copy_(gain)
    expected = x / (x.square().mean(axis, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(layer(x), expected * (gain if dims == 1 else gain.view(-1, 1, 1)))
    torch.testing.assert_close(layer(x)[2:3], layer(x[2:3]))


ALL = [BatchNorm(), LayerNorm(), GroupNorm(groups=4), InstanceNorm(), RmsNorm()]


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: settings.kind)
def test_norms_run_under_autocast_and_differentiate_twice(settings):
    layer, x = normalization.build(settings, 8, dims=2), torch.randn(4, 8, 3, 3, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()
    assert second.abs().max() > 0
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    torch.testing.assert_close(y.float(), layer(x).float(), atol=0.05, rtol=0.05)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 3))


def test_weight_normalization_gives_every_unit_the_length_g_and_keeps_the_function_at_the_start():
    model, x = network(), torch.randn(5, 2, 4, 4)
    before = model(x)
    normalization.weight_norm(WeightNorm(), model, (x,))
    torch.testing.assert_close(model(x), before)
    for layer in (model[0], model[3]):
        length, direction = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
        nn.init.uniform_(length, 0.5, 2.0)
        nn.init.normal_(direction)
        torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), length.flatten())
        cosine = nn.functional.cosine_similarity(layer.weight.flatten(1), direction.flatten(1))
        torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_the_gradient_of_a_weight_normalized_direction_is_at_right_angles_to_it():
    model = network()
    normalization.weight_norm(WeightNorm(), model, ())
    model(torch.randn(5, 2, 4, 4)).square().sum().backward()
    direction = model[3].parametrizations.weight.original1
    products = (direction * direction.grad).sum(1)
    assert products.abs().max() < 1e-5 * direction.grad.norm() * direction.norm()


def test_a_weight_normalized_unit_of_zeros_stays_zero_and_can_be_learnt():
    model = network()
    nn.init.zeros_(model[3].weight)
    normalization.weight_norm(WeightNorm(), model, ())
    assert model[3].weight.abs().max() == 0
    model(torch.randn(5, 2, 4, 4)).sum().backward()
    assert model[3].parametrizations.weight.original0.grad.abs().min() > 0


def test_a_weight_normalized_net_differentiates_twice_and_takes_up_its_state():
    model, other, x = network(), network(), torch.randn(5, 2, 4, 4)
    normalization.weight_norm(WeightNorm(), model, ())
    nn.init.normal_(model[3].parametrizations.weight.original0)
    normalization.weight_norm(WeightNorm(), other, ())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    parameters = list(model.parameters())
    first = torch.autograd.grad(model(x).square().sum(), parameters, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), parameters)
    assert all(g.isfinite().all() for g in second)
    assert torch.equal(model.double()(x.double()).float(), other.double()(x.double()).float())
