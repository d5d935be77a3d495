"""The panels that map layers over steps."""

from collections.abc import Mapping

from app.dashboard.panels.grid import figure_of, grid_of
from app.dashboard.panels.registry import Draw, Figure, Options, panel
from app.series import Series


def _map(metric: str, quantity: str, *, log: bool = True, percent: bool = False) -> Draw:
    def draw(series: Mapping[str, Series], options: Options) -> Figure:
        if metric not in series:
            return Figure([], {}, "No values yet.")
        chosen = log if options.log is None else options.log
        return figure_of(grid_of(series[metric]), options, log=chosen, quantity=quantity, percent=percent)

    return draw


def _layers(slug: str, title: str, metric: str, hint: str, *, log: bool = True, percent: bool = False) -> None:
    panel(slug, title, (metric,), hint=hint, layered=True, log=log, controls=() if percent else ("log",))(
        _map(metric, title, log=log, percent=percent)
    )


_layers(
    "gradient-norm",
    "Gradient norm by parameter",
    "gradient.norm",
    "First layer on top. Far smaller there than below: vanishing; far larger: exploding.",
)
_layers(
    "activation-rms",
    "Activation scale by module",
    "activation.rms",
    "Should keep its order of magnitude over depth.",
)
_layers(
    "spectral-norm",
    "Spectral norm by weight matrix",
    "weight.spectral_norm",
    "Largest stretch that a layer can give its input.",
)
_layers(
    "update-ratio",
    "Update-to-weight ratio by parameter",
    "update.ratio",
    "Around 0.001 is usual; far above is too fast, far below stands still.",
)
_layers(
    "attention-entropy",
    "Attention entropy by head",
    "attention.entropy",
    "In nats. 0: each position reads a single one; falling towards 0 in many heads at once: attention collapses.",
    log=False,
)
_layers(
    "attention-max-logit",
    "Largest attention logit by head",
    "attention.max_logit",
    "Growing without end: each position reads a single one ever more surely, and the loss may jump.",
    log=False,
)
_layers(
    "zero-fraction",
    "Zeros in activations by module",
    "activation.zero_fraction",
    "Close to 100 % after a ReLU: dead units.",
    log=False,
    percent=True,
)
_layers(
    "cka-initial",
    "Likeness of features to the initial ones by module",
    "representation.cka_initial",
    "Centered kernel alignment. 1: training has only turned and scaled a module's features.",
    log=False,
)
_layers(
    "probe-accuracy",
    "Linear probe accuracy by module",
    "representation.probe_accuracy",
    "What a linear classifier reads out of a module's features; it should rise over depth.",
    log=False,
    percent=True,
)
