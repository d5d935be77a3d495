"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597), also of a time (Ho et al. 2020, 2006.11239)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.probes.lipschitz import LogOf
from gyrostat.spec.activations import Activation
from gyrostat.spec.architectures import UNet
from gyrostat.spec.regularization import Regularization
from trainer.models.blocks import Blocks
from trainer.models.registry import MODELS
from trainer.models.stages import units
from trainer.stabilizers import activations

LONGEST_PERIOD = 10_000
"""Of the waves that embed a time, in steps."""


def sinusoids(t: Tensor, pairs: int, dtype: torch.dtype) -> Tensor:
    """(N,) times to (N, 2·pairs): sines, then cosines, of frequencies from 1 down to 1/`LONGEST_PERIOD`.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.5; of diffusion steps: Ho et al. 2020, arXiv 2006.11239,
    appendix B.
    """
    exponents = torch.arange(pairs, device=t.device, dtype=dtype) / max(1, pairs - 1)
    angles = t[:, None].to(dtype) * torch.exp(-math.log(LONGEST_PERIOD) * exponents)
    return torch.cat((angles.sin(), angles.cos()), -1)


class TimeEmbedding(nn.Module):
    """Sinusoids of a time, through a net of one hidden layer: (N,) to (N, features)."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.pairs, self.features = -(-width // 2), 4 * width
        self.expand = nn.Linear(2 * self.pairs, self.features)
        self.activation1 = activations.build(activation)
        self.contract = nn.Linear(self.features, self.features)
        self.activation2 = activations.build(activation)

    def forward(self, t: Tensor) -> Tensor:
        """(N,) times, in diffusion steps, to (N, features)."""
        x = sinusoids(t, self.pairs, self.expand.weight.dtype)
        embedded: Tensor = self.activation2(self.contract(self.activation1(self.expand(x))))
        return embedded


class EncoderDecoder(nn.Module):
    """Down in stages of two-convolution blocks, and up again with one block for each halving, `decoder.0` the coarsest.

    On the way up the image is enlarged to the very size it had on the way down, so that any size goes through, odd ones
    too, and stands beside what the way down had there.

    Args:
        time: whether the answer also depends on a time for each sample, as in diffusion: `build` says so where the task
            is denoising. It shifts the channels of every block.
    """

    def __init__(
        self, settings: UNet, regularization: Regularization, channels: int, outputs: int, *, time: bool = False
    ) -> None:
        super().__init__()
        width, halvings = settings.hidden, settings.stages - 1
        self.time = TimeEmbedding(width, settings.activation) if time else None
        blocks = Blocks(
            settings.norm,
            settings.activation,
            settings.connection,
            regularization,
            number=settings.depth + halvings,
            condition=None if self.time is None else self.time.features,
        )
        plan = units(settings.depth, width, settings.stages, width)
        self.stem = blocks.stem(channels, width)
        self.stages = nn.ModuleList(blocks.stage(row) for row in plan)
        skipped = 1 if settings.skips else 0
        decoder = [
            blocks.block((2 + skipped) * width * 2**stage, width * 2**stage) for stage in range(halvings - 1, -1, -1)
        ]
        self.decoder = nn.ModuleList(decoder) if decoder else None
        self._skips = settings.skips
        self.final = blocks.final(width)
        self.output = nn.Conv2d(width, outputs, 1)

    def log_lipschitz(self, of: LogOf) -> Tensor:
        """Not known: its paths run side by side."""
        return torch.tensor(math.inf)

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """(N, C, H, W), and where the net knows time (N,) diffusion steps, to (N, outputs, H, W).

        Raises:
            ValueError: a time is missing, or given to a net that knows none.
        """
        if (t is None) != (self.time is None):
            known = "a net without time" if self.time is None else "a net that depends on time"
            raise ValueError(f"{known} was called with{'out' if t is None else ''} t; tell build whether there is one")
        condition = None if self.time is None else self.time(t)
        x = self.stem(x)
        passed: list[Tensor] = []
        for stage in self.stages:
            for block in stage.get_submodule("blocks").children():
                x = block(x, condition)
            passed.append(x)
        for block, skipped in zip(self.decoder or (), reversed(passed[:-1]), strict=True):
            x = functional.interpolate(x, size=skipped.shape[-2:])
            x = block(torch.cat((skipped, x), -3) if self._skips else x, condition)
        x = x if self.final is None else self.final(x)
        answers: Tensor = self.output(x)
        return answers


@MODELS.implements(UNet)
def _unet(
    settings: UNet,
    regularization: Regularization,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    time: bool = False,
) -> nn.Module:
    return EncoderDecoder(settings, regularization, input_shape[0], outputs, time=time)
