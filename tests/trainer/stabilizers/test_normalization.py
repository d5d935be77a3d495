import pytest
import torch
from torch import nn

from gyrostat.spec.normalization import BatchNorm, GroupNorm, LayerNorm
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
    for settings in (BatchNorm(), LayerNorm(), GroupNorm(groups=4)):
        bias = torch.arange(8.0).double().view(1, -1, 1, 1)
        same = torch.allclose(built(settings)(images + bias), built(settings)(images))
        assert same == normalization.cancels_bias(settings)
    assert not normalization.cancels_bias(None)
