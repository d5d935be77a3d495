"""What a linearization can be made of."""

from collections.abc import Iterator

from gyrostat.spec.checks.problem import Problem
from gyrostat.spec.normalization import BatchNorm
from gyrostat.spec.run import RunSpec

SINGLE_ANSWER = (
    "classification",
    "regression",
    "language_model",
    "sequence_to_sequence",
    "segmentation",
    "denoising",
)
"""Tasks whose model is asked nothing but its one answer."""


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What a linearized training cannot be combined with."""
    if spec.linearized is None:
        return
    if spec.task.kind not in SINGLE_ANSWER:
        yield Problem(
            path="linearized",
            value=spec.linearized.kind,
            message=f"task.kind {spec.task.kind!r} reads more of its model than the one answer that is linearized",
            mend=f"linearized null, or task.kind {', '.join(map(repr, SINGLE_ANSWER))}",
        )
    if isinstance(spec.model.norm, BatchNorm):
        yield Problem(
            path="linearized",
            value=spec.linearized.kind,
            message="a linearized net's features stay those of its start, and the running averages of model.norm "
            "'batch' would move",
            mend="model.norm 'group' or 'layer', or linearized null",
        )
    if spec.parametrization is not None:
        yield Problem(
            path="linearized",
            value=spec.linearized.kind,
            message=f"parametrization {spec.parametrization.kind!r} has no forward-mode derivative, "
            "of which the linearization is made",
            mend="parametrization null, or linearized null",
        )
    if spec.precision.kind != "fp32":
        yield Problem(
            path="linearized",
            value=spec.linearized.kind,
            message="a linearization lives on small differences from the start, which precision "
            f"{spec.precision.kind!r} rounds away",
            mend="precision 'fp32', or linearized null",
        )
