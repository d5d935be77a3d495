"""Which probes look into the network, how often, and what they may cost; one file for each family."""

from pydantic import Field

from gyrostat.spec.catalogue import Settings
from gyrostat.spec.probes.activations import ActivationsProbe, BranchesProbe, RanksProbe, SignalsProbe
from gyrostat.spec.probes.attention import AttentionProbe
from gyrostat.spec.probes.base import PROBES, Cost, Probe
from gyrostat.spec.probes.curvature import BlockCurvatureProbe, CurvatureProbe, SmoothnessProbe
from gyrostat.spec.probes.direction import DirectionProbe
from gyrostat.spec.probes.gradient_noise import GradientNoiseProbe
from gyrostat.spec.probes.gradients import GradientsProbe
from gyrostat.spec.probes.kernel import KernelProbe
from gyrostat.spec.probes.lipschitz import InputGradientProbe
from gyrostat.spec.probes.normalization import ModesProbe, StatisticsProbe
from gyrostat.spec.probes.recorder import Recorder
from gyrostat.spec.probes.representation import RepresentationProbe
from gyrostat.spec.probes.second_moment import SecondMomentProbe
from gyrostat.spec.probes.spectral import ConditionProbe, SpectralProbe
from gyrostat.spec.probes.weights import DistanceProbe, WeightsProbe

__all__ = [
    "PROBES",
    "ActivationsProbe",
    "AttentionProbe",
    "BlockCurvatureProbe",
    "BranchesProbe",
    "ConditionProbe",
    "Cost",
    "CurvatureProbe",
    "DirectionProbe",
    "DistanceProbe",
    "GradientNoiseProbe",
    "GradientsProbe",
    "InputGradientProbe",
    "KernelProbe",
    "ModesProbe",
    "Probe",
    "Probes",
    "RanksProbe",
    "Recorder",
    "RepresentationProbe",
    "SecondMomentProbe",
    "SignalsProbe",
    "SmoothnessProbe",
    "SpectralProbe",
    "StatisticsProbe",
    "WeightsProbe",
]


class Probes(Settings):
    """What is measured inside the network."""

    budget: float | None = Field(0.02, gt=0, le=1)
    """Largest share of training time that all probes may take; cadences stretch to keep it. Null keeps them as set."""
    recorder: Recorder = Recorder()
    """The steps before an incident, in full."""
    gradients: GradientsProbe = GradientsProbe()
    """Sizes of gradients."""
    direction: DirectionProbe = DirectionProbe()
    """How far gradients turn."""
    gradient_noise: GradientNoiseProbe = GradientNoiseProbe()
    """Noise of the gradient's samples."""
    weights: WeightsProbe = WeightsProbe()
    """Weight norms and update ratios."""
    second_moment: SecondMomentProbe = SecondMomentProbe()
    """Lag of what adaptive optimizers divide by."""
    activations: ActivationsProbe = ActivationsProbe()
    """Scale and shape of activations; zeros, saturation, dead units, outlier channels."""
    signals: SignalsProbe = SignalsProbe()
    """Backward signals."""
    branches: BranchesProbe = BranchesProbe()
    """Residual branches against their trunk."""
    ranks: RanksProbe = RanksProbe()
    """Effective and stable rank of activations."""
    attention: AttentionProbe = AttentionProbe()
    """Entropy and largest logit of attention heads."""
    spectral: SpectralProbe = SpectralProbe()
    """Spectral norms of the weights."""
    curvature: CurvatureProbe = CurvatureProbe()
    """Sharpness."""
    block_curvature: BlockCurvatureProbe = BlockCurvatureProbe()
    """Sharpness of each parameter alone."""
    smoothness: SmoothnessProbe = SmoothnessProbe()
    """How far the gradient can be trusted."""
    representation: RepresentationProbe = RepresentationProbe()
    """Features over depth and time."""
    condition: ConditionProbe = ConditionProbe()
    """Condition numbers of the weights."""
    distance: DistanceProbe = DistanceProbe()
    """Distance from the initial weights."""
    statistics: StatisticsProbe = StatisticsProbe()
    """Batch against running statistics."""
    modes: ModesProbe = ModesProbe()
    """Train against eval mode."""
    input_gradient: InputGradientProbe = InputGradientProbe()
    """Steepness of the loss in the inputs."""
    kernel: KernelProbe = KernelProbe()
    """The neural tangent kernel."""
