"""Transformers: the layout against the task, the heads against the width, and who reads whom."""

from collections.abc import Iterator

from gyrostat.spec.architectures import Transformer
from gyrostat.spec.checks.problem import Problem, nearest_divisor
from gyrostat.spec.run import RunSpec

LAYOUT_OF = {
    "language_model": "decoder",
    "sequence_to_sequence": "encoder_decoder",
    "classification": "encoder",
    "regression": "encoder",
    "contrastive": "encoder",
    "vae": "encoder",
}
"""The layout that learns a task; all other tasks want another architecture."""


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What cannot be built or trained."""
    model = spec.model
    if not isinstance(model, Transformer):
        return
    yield from _layout_problems(spec.task.kind, model)
    for name, attention in (("attention", model.attention), ("cross", model.cross)):
        if attention is not None and model.hidden % attention.heads:
            yield Problem(
                path=f"model.{name}.heads",
                value=attention.heads,
                message=f"{attention.heads} heads do not divide width {model.hidden}",
                mend=f"{nearest_divisor(model.hidden, attention.heads)} heads is nearest, or change model.width",
            )


def _layout_problems(task: str, model: Transformer) -> Iterator[Problem]:
    fitting = LAYOUT_OF.get(task, model.layout)
    if model.layout != fitting:
        yield Problem(
            path="model.layout",
            value=model.layout,
            message=f"a transformer of layout {model.layout!r} cannot train task {task!r}",
            mend=f"layout {fitting!r}, or another model.kind",
        )
    if model.cross is not None and model.layout != "encoder_decoder":
        yield Problem(
            path="model.cross",
            value=model.cross.kind,
            message=f"cross-attention reads another sequence, and layout {model.layout!r} has only one",
            mend="null, or model.layout 'encoder_decoder'",
        )


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """What is expected to go wrong."""
    model = spec.model
    if isinstance(model, Transformer) and model.layout == "encoder_decoder" and model.cross is None:
        yield Problem(
            path="model.cross",
            value=None,
            message="a decoder without cross-attention does not see the source: it learns what targets look like, not "
            "which one belongs to a source (brief, section 6)",
            mend="model.cross 'cross'",
        )
