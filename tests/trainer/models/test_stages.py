import pytest

from trainer.models.stages import units


@pytest.mark.parametrize(
    ("depth", "stages", "counts"), [(6, 2, [3, 3]), (7, 3, [3, 2, 2]), (1, 1, [1]), (4, 4, [1, 1, 1, 1])]
)
def test_units_are_spread_evenly_over_the_stages_earlier_ones_first(depth, stages, counts):
    assert [len(row) for row in units(depth, 8, stages, 1)] == counts


def test_each_later_stage_halves_the_image_once_and_doubles_the_channels():
    plan = units(5, 8, 3, 1)
    assert [[(u.inputs, u.channels, u.stride) for u in row] for row in plan] == [
        [(1, 8, 1), (8, 8, 1)],
        [(8, 16, 2), (16, 16, 1)],
        [(16, 32, 2)],
    ]
