"""Data as it comes from a source, and as it is trained on: split and standardized."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.generators import generator


class DataError(ValueError):
    """The data set cannot be had, or is too small for what the spec asks of it."""


@dataclass(frozen=True)
class Labelled:
    """A source's samples as they come.

    Attributes:
        inputs: (N, *shape), of any dtype. Images are (N, C, H, W), tables (N, columns).
        targets: (N,) class numbers, (N, outputs) floats, or (N, H, W) class numbers of pixels.
        outputs: number of classes, or of regression targets.
    """

    inputs: Tensor
    targets: Tensor
    outputs: int


@dataclass(frozen=True)
class Samples:
    """Samples to train and to validate on, standardized, float32.

    Attributes:
        train_inputs: (n, *input_shape). train_targets: (n,) or (n, H, W) int64, or (n, outputs) float32.
        val_inputs: as above. val_targets: as above.
        input_shape: of one sample. outputs: number of classes, or of regression targets.
    """

    train_inputs: Tensor
    train_targets: Tensor
    val_inputs: Tensor
    val_targets: Tensor
    input_shape: tuple[int, ...]
    outputs: int


@dataclass(frozen=True)
class Text:
    """A token stream.

    Attributes:
        tokens: (n,) int64 token numbers. vocabulary: what each number stands for, as text.
    """

    tokens: Tensor
    vocabulary: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """Sequences to make others of, in one vocabulary.

    Attributes:
        sources: (N, S) int64 token numbers. targets: (N, T), row by row what the sources become.
        vocabulary: what each number stands for, as text. start: the number that stands before every target.
    """

    sources: Tensor
    targets: Tensor
    vocabulary: tuple[str, ...]
    start: int


def training_count(total: int, validation_fraction: float) -> int:
    """How many of `total` are trained on; the rest, at least one, is held out.

    Raises:
        DataError: none would be left to train on.
    """
    count = min(int(total * (1 - validation_fraction)), total - 1)
    if count < 1:
        raise DataError(
            f"data.validation_fraction {validation_fraction:g} leaves none of {total} samples to train on; "
            "use a smaller fraction or a larger data.limit"
        )
    return count


def prepare(
    data: Labelled, *, seed: int, validation_fraction: float, limit: int | None, label_noise: float = 0.0
) -> Samples:
    """Draws at most `limit` samples, splits and standardizes them, all from the seed.

    Images are standardized by the training part's mean and deviation of each channel, tables by those of each column,
    regression targets likewise. What does not vary is only centred. `label_noise` is the part of the training labels
    that is replaced by another class, drawn evenly.

    Raises:
        DataError: too few samples to split.
    """
    total = len(data.inputs) if limit is None else min(limit, len(data.inputs))
    train = training_count(total, validation_fraction)
    order = torch.randperm(len(data.inputs), generator=generator(seed, "split"))[:total]
    inputs, targets = data.inputs[order].float(), data.targets[order]
    axes = (0, *range(2, inputs.ndim))
    inputs = standardized(inputs, inputs[:train], axes)
    if targets.is_floating_point():
        targets = standardized(targets.float(), targets[:train].float(), (0,))
    return Samples(
        train_inputs=inputs[:train],
        train_targets=mislabelled(targets[:train], data.outputs, label_noise, generator(seed, "label noise")),
        val_inputs=inputs[train:],
        val_targets=targets[train:],
        input_shape=tuple(inputs.shape[1:]),
        outputs=data.outputs,
    )


def mislabelled(targets: Tensor, classes: int, part: float, source: torch.Generator) -> Tensor:
    """`targets` (n,) with round(part·n) class numbers replaced by others, each other class as likely.

    Source: Zhang et al. 2016, arXiv 1611.03530, section 2 (partially corrupted labels).
    """
    count = round(part * len(targets))
    if not count or classes < 2:
        return targets
    chosen = torch.randperm(len(targets), generator=source)[:count]
    changed = targets.clone()
    changed[chosen] = (targets[chosen] + torch.randint(1, classes, (count,), generator=source)) % classes
    return changed


def standardized(values: Tensor, reference: Tensor, axes: tuple[int, ...]) -> Tensor:
    """`values` less the mean of `reference` over `axes`, over its deviation (1 where that is zero)."""
    mean = reference.mean(axes, keepdim=True)
    deviation = reference.std(axes, keepdim=True, correction=0)
    return (values - mean) / torch.where(deviation > 0, deviation, 1.0)
