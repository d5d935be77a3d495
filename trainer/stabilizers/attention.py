"""Attention (brief section 6)."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.spec.attention import Attention, AttentionTechnique, CrossAttention, LogitSoftCap, MultiHead, QkNorm
from gyrostat.spec.attention import SelfAttention as SelfAttentionSettings
from trainer.stabilizers.registry import Registry

ATTENTIONS: Registry["AttentionLayer"] = Registry("attention")
QK_NORMS: Registry[nn.Module] = Registry("normalization of queries and keys")
CAPS: Registry[Callable[[Tensor], Tensor]] = Registry("cap on logits")


def build(settings: Attention | CrossAttention, width: int, *, causal: bool = False) -> "AttentionLayer":
    """Attention over inputs (N, T, width): called with them alone, or for cross-attention with a memory (N, S, width).

    `causal`: each position reads itself and those before it only; not for cross-attention.
    """
    return ATTENTIONS.of(settings)(width, settings, causal=causal)


class ScaledDotProduct(nn.Module):
    """softmax(QKᵀ/√d_k)·V of each head (Vaswani et al. 2017, arXiv 1706.03762, eq. 1).

    Without a cap torch picks the kernel; its fused ones cannot be differentiated twice, so take Hessian-vector products
    under `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`, as `gyrostat.probes.undisturbed` does.
    """

    def __init__(self, *, causal: bool, cap: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.causal, self.cap = causal, cap

    def logits(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What the softmax takes: (N, heads, T, S), −∞ where a query must not read."""
        logits = query / math.sqrt(query.shape[-1]) @ key.mT
        if self.cap is not None:
            logits = self.cap(logits)
        if self.causal:
            # filling by a mask takes a CPU seven times as long as a sum
            logits = logits + torch.full(logits.shape[-2:], -math.inf, dtype=logits.dtype, device=logits.device).triu(1)
        return logits

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(N, heads, T, d_k) and twice (N, heads, S, d_k) to (N, heads, T, d_k)."""
        if self.cap is None:
            return functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.logits(query, key, value).softmax(-1) @ value


class AttentionLayer(nn.Module):
    """Projections of queries, keys, values and output around a product of queries and keys.

    Keys have no bias: without `qk_norm` and `logit_soft_cap` it would add the same to all logits of a query, which the
    softmax takes away again.

    Attributes:
        heads, core: what the attention probe looks at (`gyrostat.probes.attention.AttentionLayer`).

    Args:
        width: features of each position; a multiple of `settings.heads`.
        causal: each position reads itself and those before it only.
    """

    def __init__(self, width: int, settings: Attention | CrossAttention, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = settings.heads, causal
        size = width // settings.heads
        # in the order in which they run
        self.query = nn.Linear(width, width)
        self.query_norm = _qk_norm(settings, size)
        self.key = nn.Linear(width, width, bias=False)
        self.key_norm = _qk_norm(settings, size)
        self.value = nn.Linear(width, width)
        cap = settings.logit_soft_cap
        self.core = ScaledDotProduct(causal=causal, cap=None if cap is None else CAPS.of(cap)(cap))
        self.output = nn.Linear(width, width)

    def attended(self, x: Tensor, memory: Tensor) -> Tensor:
        """(N, T, width): each position of `x` (N, T, width) has read `memory` (N, S, width)."""
        query = self._split(self.query(x))
        query = query if self.query_norm is None else self.query_norm(query)
        key = self._split(self.key(memory))
        key = key if self.key_norm is None else self.key_norm(key)
        joined = self.core(query, key, self._split(self.value(memory))).transpose(-3, -2).flatten(-2)
        projected: Tensor = self.output(joined)
        return projected

    def _split(self, projected: Tensor) -> Tensor:
        """(N, T, heads·d_k) to (N, heads, T, d_k)."""
        return projected.view(*projected.shape[:-1], self.heads, -1).transpose(-3, -2)


@ATTENTIONS.implements(MultiHead)
@ATTENTIONS.implements(SelfAttentionSettings)
class SelfAttention(AttentionLayer):
    """Attention of a sequence to itself, with one head or several."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to (N, T, width)."""
        return self.attended(x, x)


@ATTENTIONS.implements(CrossAttention)
class CrossAttentionLayer(AttentionLayer):
    """Attention of a sequence to another one, the memory."""

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(N, T, width) and (N, S, width) to (N, T, width)."""
        return self.attended(x, memory)


@QK_NORMS.implements(QkNorm)
class HeadNorm(nn.RMSNorm):
    """γ ⊙ x/rms(x) over the last axis, with one γ for all heads.

    Computed in the precision of γ: autocast hands in bfloat16 and leaves γ in float32, and torch mixes them badly.
    """

    def __init__(self, settings: QkNorm, size: int) -> None:
        super().__init__(size, eps=settings.eps)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_k), normalized, of the type of `x`."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


def _qk_norm(settings: AttentionTechnique, size: int) -> nn.Module | None:
    return None if settings.qk_norm is None else QK_NORMS.of(settings.qk_norm)(settings.qk_norm, size)


def soft_cap(logits: Tensor, cap: float) -> Tensor:
    """c·tanh(logits/c), of any shape (Gemma Team 2024, arXiv 2408.00118, section 2)."""
    return cap * torch.tanh(logits / cap)


@CAPS.implements(LogitSoftCap)
def _soft_cap(settings: LogitSoftCap) -> Callable[[Tensor], Tensor]:
    return partial(soft_cap, cap=settings.cap)
