"""Linearized training (brief section 8)."""

import warnings

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from gyrostat.spec.linearized import Linearized
from trainer.stabilizers.registry import Registry

LINEARIZATIONS: Registry[nn.Module] = Registry("linearization")


def linearize(network: nn.Module, settings: Linearized | None) -> nn.Module:
    """The network's linearization around its present parameters, or for None the network itself."""
    return network if settings is None else LINEARIZATIONS.of(settings)(network, settings)


@LINEARIZATIONS.implements(Linearized)
class Linearization(nn.Module):
    """f(x; θ₀) + ∇f(x; θ₀)·(θ − θ₀) (Lee et al. 2019, arXiv 1902.06720, eq. 5).

    Its children and parameters θ are those of the network, under the network's names; θ₀ are buffers of the child
    `start`, whose names have `/` for the dots. At θ = θ₀ it is the network, bit for bit. Hooks on the children see the
    network at θ₀, whatever θ is.

    The product with the Jacobian is forward-mode differentiation: on plain dual tensors rather than in
    `torch.func.jvp`, which computes the same, because hooks may keep what they see. Forward mode has no rule for fused
    attention, so that is off inside.

    Args:
        network: one that, called with the same, answers the same (but for dropout), and moves no buffer.
    """

    def __init__(self, network: nn.Module, settings: Linearized) -> None:
        super().__init__()
        # not a child of its own: its parameters would be there twice, and renamed
        self._network = (network,)
        for name, child in network.named_children():
            self.add_module(name, child)
        for name, parameter in network.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.start = nn.Module()
        for name, parameter in network.named_parameters():
            self.start.register_buffer(_flat(name), parameter.detach().clone())
        self.train(network.training)
        _prepare_forward_mode()

    def train(self, mode: bool = True) -> "Linearization":
        """As of any module, and of the network, which is not a child."""
        self._network[0].training = mode
        return super().train(mode)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Whatever the network takes, to the shape of its answer."""
        (network,) = self._network
        with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
            duals = {}
            for name, parameter in network.named_parameters():
                start = self.start.get_buffer(_flat(name))
                duals[name] = forward_ad.make_dual(start, parameter - start)  # type: ignore[no-untyped-call]
            answer = functional_call(network, duals, inputs)
            value, change = forward_ad.unpack_dual(answer)  # type: ignore[no-untyped-call]
            expanded: Tensor = value if change is None else value + change
            return expanded


def _flat(name: str) -> str:
    return name.replace(".", "/")


def _prepare_forward_mode() -> None:
    """Lets torch load its rules of forward mode, which at their first use go through a deprecated part of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(()), torch.zeros(()))  # type: ignore[no-untyped-call]
