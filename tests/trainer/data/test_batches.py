import pytest
import torch

from trainer.data.batches import Shuffled, Windows
from trainer.data.samples import DataError


def shuffled(count: int = 20, batch_size: int = 4, seed: int = 0) -> Shuffled:
    return Shuffled(torch.arange(count).unsqueeze(1).float(), torch.arange(count), batch_size=batch_size, seed=seed)


def numbers(batches: Shuffled, steps: range) -> list[int]:
    return torch.cat([batches.batch(step)[1] for step in steps]).tolist()


def test_every_sample_is_met_once_an_epoch_in_another_order_every_epoch():
    batches = shuffled()
    first, second = (numbers(batches, range(start, start + 5)) for start in (0, 5))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_inputs_and_targets_stay_together():
    inputs, targets = shuffled().batch(7)
    assert torch.equal(inputs.squeeze(1).long(), targets)


def test_batches_are_full_and_those_left_out_are_others_every_epoch():
    batches = shuffled(count=11)
    assert batches.steps_per_epoch == 2
    epochs = [set(numbers(batches, range(start, start + 2))) for start in range(0, 40, 2)]
    assert {len(epoch) for epoch in epochs} == {8}
    assert set.union(*epochs) == set(range(11))


def test_a_resumed_run_goes_on_with_the_same_batches():
    whole = numbers(shuffled(), range(30))
    resumed = shuffled()
    torch.manual_seed(5)
    assert numbers(resumed, range(13, 30)) == whole[13 * 4 :]
    assert numbers(resumed, range(30)) == whole


def test_seeds_and_epochs_give_unrelated_orders():
    assert numbers(shuffled(seed=1), range(5)) != numbers(shuffled(seed=0), range(5))
    assert numbers(shuffled(seed=1), range(5)) != numbers(shuffled(seed=0), range(5, 10))


def test_epochs_count_what_is_done_before_the_step():
    assert [shuffled().epoch(step) for step in (0, 1, 5, 12)] == [0, 0.2, 1, 2.4]


def test_the_fixed_batch_is_the_same_at_every_call_and_at_most_all_there_is():
    one = shuffled().fixed(6)
    assert torch.equal(one[1], shuffled().fixed(6)[1])
    assert len(set(one[1].tolist())) == 6
    assert sorted(shuffled().fixed(1000)[1].tolist()) == list(range(20))


def test_more_samples_in_a_batch_than_there_are_is_an_error():
    with pytest.raises(DataError, match="batch_size 21 is more than the 20 training samples"):
        shuffled(batch_size=21)


def test_a_window_s_targets_are_its_tokens_one_later():
    inputs, targets = Windows(torch.arange(100), batch_size=8, length=10, seed=0).batch(3)
    assert inputs.shape == targets.shape == (8, 10)
    assert torch.equal(inputs + 1, targets)
    assert torch.equal(inputs[:, 1:], inputs[:, :-1] + 1)


def test_windows_are_a_function_of_seed_and_step():
    def drawn(seed: int, step: int) -> list[int]:
        return Windows(torch.arange(10_000), batch_size=4, length=10, seed=seed).batch(step)[0][:, 0].tolist()

    assert drawn(0, 7) == drawn(0, 7)
    assert len({tuple(drawn(seed, step)) for seed in range(3) for step in range(3)}) == 9


def test_windows_reach_from_the_first_token_to_the_last_target():
    starts, targets = set(), set()
    batches = Windows(torch.arange(12), batch_size=16, length=10, seed=0)
    for step in range(10):
        inputs, following = batches.batch(step)
        starts |= set(inputs[:, 0].tolist())
        targets |= set(following[:, -1].tolist())
    assert (starts, targets) == ({0, 1}, {10, 11})


def test_the_epoch_of_windows_is_tokens_drawn_over_tokens_there():
    assert Windows(torch.arange(100), batch_size=5, length=10, seed=0).epoch(4) == 2


def test_a_text_too_short_for_one_window_is_an_error():
    Windows(torch.arange(11), batch_size=1, length=10, seed=0).batch(0)
    with pytest.raises(DataError, match="10 training tokens do not hold a sequence of 10"):
        Windows(torch.arange(10), batch_size=1, length=10, seed=0)
