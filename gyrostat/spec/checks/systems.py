"""Ranks: whether they can share the batch, and what is left of it for each (brief section 17)."""

from collections.abc import Iterator

from gyrostat.spec.checks.problem import Problem, nearest_divisor
from gyrostat.spec.normalization import BatchNorm
from gyrostat.spec.run import RunSpec

_FEW = 8
"""Samples of which batch statistics are noisy."""


def problems(spec: RunSpec) -> Iterator[Problem]:
    """Shares that are not equal, or too small."""
    ranks = 1 if spec.distributed is None else spec.distributed.ranks
    parts, batch = spec.accumulation.steps, spec.data.batch_size
    if ranks == 1 or batch % parts:  # the latter is told already
        return
    if batch // parts % ranks:
        yield Problem(
            path="distributed.ranks",
            value=ranks,
            message=f"{ranks} ranks do not share equally the {batch // parts} samples of a micro-batch "
            f"(data.batch_size {batch} in accumulation.steps {parts})",
            mend=f"{nearest_divisor(batch // parts, ranks)} is nearest, or another data.batch_size",
        )
    elif batch // parts // ranks < 2:
        yield Problem(
            path="distributed.ranks",
            value=ranks,
            message=f"each rank has {batch // parts // ranks} sample of a micro-batch (data.batch_size {batch}, "
            f"accumulation.steps {parts}); many losses and normalizations need 2",
            mend=f"a data.batch_size of at least {2 * ranks * parts}, or fewer ranks or micro-batches",
        )


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """Batch statistics of few samples."""
    settings = spec.distributed
    if (
        settings is None
        or settings.ranks == 1
        or settings.sync_batch_norm
        or not isinstance(spec.model.norm, BatchNorm)
    ):
        return
    share = spec.data.batch_size // spec.accumulation.steps // settings.ranks
    if share < _FEW:
        yield Problem(
            path="distributed.sync_batch_norm",
            value=False,
            message=f"each rank's batch statistics are of {share} samples (data.batch_size {spec.data.batch_size})",
            mend="sync_batch_norm, norm 'group' or 'layer', or a larger batch",
        )
