import numpy
import pytest
import torch

from trainer.data.samples import DataError, Labelled, prepare, training_count


def table(rows: int = 50) -> Labelled:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 3, generator=generator) * torch.tensor([1.0, 10.0, 0.0]) + 5
    return Labelled(inputs, torch.randn(rows, 1, generator=generator) * 7 + 3, outputs=1)


def images(rows: int = 50) -> Labelled:
    values = torch.randint(256, (rows, 2, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Labelled(values, torch.arange(rows) % 10, outputs=10)


def test_tables_and_regression_targets_are_standardized_by_the_training_part_alone():
    samples = prepare(table(), seed=0, validation_fraction=0.2, limit=None)
    assert (len(samples.train_inputs), len(samples.val_inputs)) == (40, 10)
    for values in (samples.train_inputs[:, :2].double(), samples.train_targets.double()):
        torch.testing.assert_close(values.mean(0), torch.zeros(values.shape[1]).double(), atol=1e-5, rtol=0)
        torch.testing.assert_close(values.std(0, correction=0), torch.ones(values.shape[1]).double(), atol=1e-5, rtol=0)
    assert samples.val_inputs[:, :2].mean(0).abs().max() > 1e-3


def test_what_does_not_vary_is_only_centred():
    samples = prepare(table(), seed=0, validation_fraction=0.2, limit=None)
    assert samples.train_inputs[:, 2].abs().max() == 0


def test_images_are_standardized_channel_by_channel():
    samples = prepare(images(), seed=0, validation_fraction=0.2, limit=None)
    assert samples.train_inputs.dtype == torch.float32
    torch.testing.assert_close(samples.train_inputs.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(samples.train_inputs.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert samples.input_shape == (2, 4, 4)


def test_class_numbers_stay_as_they_are():
    samples = prepare(images(), seed=0, validation_fraction=0.2, limit=None)
    everything = torch.cat([samples.train_targets, samples.val_targets])
    assert everything.dtype == torch.int64
    assert torch.equal(everything.bincount(), torch.full((10,), 5))


def identities(data: Labelled, **settings) -> tuple[list[int], list[int]]:
    numbered = Labelled(data.inputs, torch.arange(len(data.inputs)), outputs=len(data.inputs))
    samples = prepare(numbered, **settings)
    return samples.train_targets.tolist(), samples.val_targets.tolist()


def test_the_split_is_a_function_of_the_seed_alone():
    one = identities(images(), seed=3, validation_fraction=0.2, limit=None)
    torch.manual_seed(999)
    numpy.random.seed(999)
    assert identities(images(), seed=3, validation_fraction=0.2, limit=None) == one
    assert identities(images(), seed=4, validation_fraction=0.2, limit=None) != one
    assert sorted(one[0] + one[1]) == list(range(50))


def test_a_limit_draws_that_many_from_everywhere():
    train, held_out = identities(images(), seed=0, validation_fraction=0.25, limit=16)
    assert (len(train), len(held_out)) == (12, 4)
    assert max(train + held_out) > 20
    assert len(identities(images(), seed=0, validation_fraction=0.25, limit=1000)[0]) == 37


@pytest.mark.parametrize(
    ("total", "fraction", "expected"), [(1797, 0.2, 1437), (10, 0.05, 9), (10, 1e-17, 9), (10, 0.85, 1)]
)
def test_at_least_one_sample_is_held_out(total, fraction, expected):
    assert training_count(total, fraction) == expected


@pytest.mark.parametrize(("total", "fraction"), [(10, 0.99), (1, 0.1), (0, 0.1)])
def test_nothing_to_train_on_is_an_error_that_says_what_to_do(total, fraction):
    with pytest.raises(DataError, match=rf"leaves none of {total} samples to train on; use a smaller fraction"):
        training_count(total, fraction)
