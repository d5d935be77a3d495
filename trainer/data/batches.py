"""The order in which data is trained on: a pure function of seed and step, so that resuming needs no state."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from trainer.data.generators import generator
from trainer.data.samples import DataError

Batch = tuple[Tensor, ...]
"""What the model takes and, last, what is compared with its outputs; the samples along the first axis of each."""


class Batches(ABC):
    """The batch of every optimizer step. A step's number counts the steps done before: 0 is the first."""

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """Inputs and targets of `step`; the same at every call."""

    @abstractmethod
    def epoch(self, step: int) -> float:
        """Passes over the training data that are done before `step`."""

    @abstractmethod
    def fixed(self, size: int) -> Batch:
        """At most `size` samples of the training data, the same at every call."""


class Pool:
    """The samples that a step may draw from, while a curriculum holds back the others.

    Args:
        scores: (n,) how difficult each sample is; the easiest come first, equal ones in their own order.
        fraction: the part of all samples that a step may draw from, in (0, 1].
        at_least: samples of the smallest pool.
    """

    def __init__(self, scores: Tensor, fraction: Callable[[int], float], *, at_least: int = 1) -> None:
        self._order = torch.argsort(scores, stable=True)
        self._fraction, self._at_least = fraction, at_least

    def whole(self, step: int) -> bool:
        """Whether all samples are in the pool of `step`."""
        return self._size(step) == len(self._order)

    def at(self, step: int) -> Tensor:
        """Numbers of the samples in the pool of `step`, easiest first."""
        return self._order[: self._size(step)]

    def _size(self, step: int) -> int:
        wanted = math.ceil(self._fraction(step) * len(self._order))
        return min(len(self._order), max(wanted, self._at_least))


class Shuffled(Batches):
    """Full batches of samples, each sample at most once an epoch, in another order every epoch.

    The last samples of an epoch that do not fill a batch are left out of it; being others every time, none is left out
    for good. While a pool holds back samples, every batch is drawn anew from the pool, without repeats within it.

    Raises:
        DataError: there are fewer samples than one batch needs.
    """

    def __init__(
        self, inputs: Tensor, targets: Tensor, *, batch_size: int, seed: int, pool: Pool | None = None
    ) -> None:
        if batch_size > len(inputs):
            raise DataError(
                f"data.batch_size {batch_size} is more than the {len(inputs)} training samples; use at most that many"
            )
        self._inputs, self._targets = inputs, targets
        self._batch_size, self._seed, self._pool = batch_size, seed, pool
        self.steps_per_epoch = len(inputs) // batch_size
        # one epoch's order at a time is needed again and again; two serve a caller that looks one step ahead
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> Tensor:
        order = torch.randperm(len(self._inputs), generator=generator(self._seed, "order", epoch))
        return order.to(self._inputs.device)

    def batch(self, step: int) -> Batch:
        """(batch_size, *input_shape) and (batch_size, ...)."""
        if self._pool is not None and not self._pool.whole(step):
            pool = self._pool.at(step)
            drawn = torch.randperm(len(pool), generator=generator(self._seed, "pool", step))[: self._batch_size]
            chosen = pool[drawn].to(self._inputs.device)
            return self._inputs[chosen], self._targets[chosen]
        epoch, position = divmod(step, self.steps_per_epoch)
        chosen = self._order(epoch)[position * self._batch_size : (position + 1) * self._batch_size]
        return self._inputs[chosen], self._targets[chosen]

    def epoch(self, step: int) -> float:
        """Whole and part epochs before `step`; the left-out rest counts as passed."""
        return step / self.steps_per_epoch

    def fixed(self, size: int) -> Batch:
        """The first `size` samples of an order of its own."""
        order = torch.randperm(len(self._inputs), generator=generator(self._seed, "probe"))
        chosen = order[:size].to(self._inputs.device)
        return self._inputs[chosen], self._targets[chosen]


class Windows(Batches):
    """Windows of a token stream, drawn anew at every step; each token's target is the one after it.

    A pool, where there is one, is of the tokens that a window may start at.

    Raises:
        DataError: the stream is shorter than one window and its target.
    """

    def __init__(self, tokens: Tensor, *, batch_size: int, length: int, seed: int, pool: Pool | None = None) -> None:
        if len(tokens) <= length:
            raise DataError(
                f"{len(tokens)} training tokens do not hold a sequence of {length} and its target; "
                "use a smaller data.sequence_length or more text"
            )
        self._tokens, self._length = tokens, length
        self._batch_size, self._seed, self._pool = batch_size, seed, pool

    def _drawn(self, count: int, source: torch.Generator, pool: Tensor | None = None) -> Batch:
        total = len(self._tokens) - self._length if pool is None else len(pool)
        starts = torch.randint(total, (count,), generator=source)
        starts = (starts if pool is None else pool[starts]).to(self._tokens.device)
        return windows(self._tokens, starts, self._length)

    def batch(self, step: int) -> Batch:
        """Inputs and targets, both (batch_size, length)."""
        pool = None if self._pool is None or self._pool.whole(step) else self._pool.at(step)
        return self._drawn(self._batch_size, generator(self._seed, "windows", step), pool)

    def epoch(self, step: int) -> float:
        """Tokens drawn before `step`, over the tokens of the stream."""
        return step * self._batch_size * self._length / len(self._tokens)

    def fixed(self, size: int) -> Batch:
        """`size` windows, both (size, length)."""
        return self._drawn(size, generator(self._seed, "probe"))


def windows(tokens: Tensor, starts: Tensor, length: int) -> Batch:
    """The `length` tokens from each of `starts` on, and those one token later; both (len(starts), length)."""
    offsets = starts.unsqueeze(1) + torch.arange(length, device=tokens.device)
    return tokens[offsets], tokens[offsets + 1]
