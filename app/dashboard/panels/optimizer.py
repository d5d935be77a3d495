"""The panels of what the optimizer does: curvature, whole gradient, rate, speed."""

from collections.abc import Mapping

from app.dashboard.panels.line import curves, figure_of, line_of
from app.dashboard.panels.registry import Figure, Options, panel
from app.dashboard.panels.style import PALETTES
from app.series import Series


@panel(
    "sharpness",
    "Sharpness and its limit",
    ("curvature.sharpness", "curvature.preconditioned_sharpness", "curvature.limit"),
    hint="Above the dashed limit, the optimizer is unstable at this learning rate.",
    controls=("log",),
    log=True,
)
def sharpness(series: Mapping[str, Series], options: Options) -> Figure:
    """Largest Hessian eigenvalue, preconditioned for adaptive optimizers, with the optimizer's limit."""
    colours = PALETTES[options.theme]
    adaptive = "curvature.preconditioned_sharpness"
    measured, label = (
        (adaptive, "preconditioned sharpness") if adaptive in series else ("curvature.sharpness", "sharpness")
    )
    lines = []
    if measured in series:
        lines.append((line_of(series[measured], label), colours.lines[0], "solid"))
    if "curvature.limit" in series:
        lines.append((line_of(series["curvature.limit"], "limit"), colours.critical, "dash"))
    return figure_of(lines, options, log=True if options.log is None else options.log)


@panel(
    "gradient-global",
    "Gradient norm, all parameters",
    ("gradient.global_norm", "gradient.clipped_norm"),
    hint="Before clipping; after it where the spec clips.",
    controls=("smooth", "log"),
    log=True,
)
def gradient_global(series: Mapping[str, Series], options: Options) -> Figure:
    """Norm of the whole gradient, before and after clipping."""
    labels = {"gradient.global_norm": "before clipping", "gradient.clipped_norm": "after clipping"}
    return curves(series, options, labels, log=True)


@panel(
    "learning-rate",
    "Learning rate",
    ("optimizer.learning_rate",),
    hint="Schedule and live factor included.",
    controls=("log",),
)
def learning_rate(series: Mapping[str, Series], options: Options) -> Figure:
    """The rate that each step used."""
    return curves(series, options, {"optimizer.learning_rate": "rate"}, log=False)


@panel(
    "throughput",
    "Throughput",
    ("throughput.samples_per_second",),
    hint="Samples trained per second.",
    controls=("smooth",),
)
def throughput(series: Mapping[str, Series], options: Options) -> Figure:
    """Samples per second."""
    return curves(series, options, {"throughput.samples_per_second": "samples/s"}, log=False, number_format=".3~s")
