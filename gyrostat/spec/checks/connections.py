"""Connections, and what drops whole branches: which architectures they fit."""

from collections.abc import Iterator

from gyrostat.spec.checks.problem import Problem
from gyrostat.spec.run import RunSpec

GROWING = ("mlp", "densenet")
"""Architectures whose layers can read more features than one layer puts out."""


def problems(spec: RunSpec) -> Iterator[Problem]:
    """Connections that an architecture has no room for."""
    model = spec.model
    connection = getattr(model, "connection", None)
    if connection is not None and not connection.keeps_width and model.kind not in GROWING:
        yield Problem(
            path="model.connection.kind",
            value=connection.kind,
            message=f"{connection.kind} connections widen the signal with every layer, "
            f"and the blocks of model.kind {model.kind!r} have one width",
            mend="model.kind 'densenet' or 'mlp', or model.connection 'residual'",
        )
    only = {"densenet": "dense", "highway_net": "highway"}.get(model.kind)
    if only is not None and connection is not None and connection.kind != only:
        yield Problem(
            path="model.connection.kind",
            value=connection.kind,
            message=f"model.kind {model.kind!r} is made of {only} connections, not of {connection.kind} ones",
            mend=f"{only!r}, null for a plain stack, or model.kind 'resnet' or 'mlp'",
        )
    if spec.regularization.stochastic_depth is not None and (connection is None or not connection.droppable):
        has = "model.connection null" if connection is None else f"model.connection {connection.kind!r}"
        yield Problem(
            path="regularization.stochastic_depth",
            value=spec.regularization.stochastic_depth.kind,
            message=f"stochastic depth drops the branches of residual blocks; with {has} nothing would be left",
            mend="a model.kind with model.connection 'residual', 'rezero' or 'layer_scale', "
            "or regularization.stochastic_depth null",
        )
