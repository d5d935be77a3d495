"""The shape that convolutional nets share: stages that halve the image and double the channels."""

from dataclasses import dataclass

from gyrostat.spec.width import spread


@dataclass(frozen=True)
class Unit:
    """One layer or block of a stage: its channels, and the stride of its first convolution."""

    stage: int
    inputs: int
    channels: int
    stride: int


def units(depth: int, width: int, stages: int, inputs: int) -> list[list[Unit]]:
    """`depth` units spread evenly over the stages, earlier stages first, from `inputs` channels.

    The first stage has `width` channels; each later one starts with a unit of stride 2 and has twice the channels.
    """
    plan: list[list[Unit]] = []
    for stage, count in enumerate(spread(depth, stages)):
        row: list[Unit] = []
        channels = width * 2**stage
        for index in range(count):
            row.append(Unit(stage, inputs, channels, stride=2 if stage > 0 and index == 0 else 1))
            inputs = channels
        plan.append(row)
    return plan
