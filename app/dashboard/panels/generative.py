"""The panels of what learns to make samples."""

from collections.abc import Mapping

from app.dashboard.panels.line import curves
from app.dashboard.panels.registry import Figure, Options, panel
from app.series import Series


@panel(
    "autoencoder",
    "Reconstruction and divergence",
    ("reconstruction.train", "reconstruction.validation", "kl.train", "kl.validation"),
    hint="A divergence near 0 is a code that tells nothing; one that grows without end is no distribution.",
    controls=("smooth", "log"),
    log=True,
)
def autoencoder(series: Mapping[str, Series], options: Options) -> Figure:
    """The two parts of a variational autoencoder's loss."""
    labels = {
        "reconstruction.validation": "reconstruction, validation",
        "kl.validation": "KL, validation",
        "reconstruction.train": "reconstruction, train",
        "kl.train": "KL, train",
    }
    return curves(series, options, labels, log=True)


@panel(
    "players",
    "Critic and generator",
    ("gan.critic", "gan.generator", "gan.wasserstein"),
    hint="Losses of players: they need not fall, but neither may run away. The loss panel tells how good samples are.",
    controls=("smooth",),
)
def players(series: Mapping[str, Series], options: Options) -> Figure:
    """Both players' losses, and the difference of mean scores."""
    labels = {"gan.critic": "critic", "gan.generator": "generator", "gan.wasserstein": "score difference"}
    return curves(series, options, labels, log=False)


@panel(
    "critic-slope",
    "Steepest slope of the critic",
    ("gan.lipschitz",),
    hint="With a gradient penalty near 1; under spectral normalization below the product of the layers' bounds.",
    controls=("log",),
    log=True,
)
def critic_slope(series: Mapping[str, Series], options: Options) -> Figure:
    """The critic's Lipschitz constant, from below."""
    return curves(series, options, {"gan.lipschitz": "largest slope"}, log=True)


@panel(
    "modes",
    "Modes hit",
    ("gan.modes",),
    hint="Should reach the number of the data's modes and stay there.",
)
def modes(series: Mapping[str, Series], options: Options) -> Figure:
    """How many of the data's modes have samples near them."""
    return curves(series, options, {"gan.modes": "modes"}, log=False)
