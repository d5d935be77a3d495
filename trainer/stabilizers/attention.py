"""Attention (brief section 6)."""

from torch import Tensor, nn
from torch.nn import functional

from gyrostat.spec.attention import Attention, MultiHead
from trainer.stabilizers.registry import Registry

ATTENTIONS: Registry[nn.Module] = Registry("attention")


def build(settings: Attention, width: int, *, causal: bool) -> nn.Module:
    """Self-attention over inputs (N, T, width)."""
    return ATTENTIONS.of(settings)(width, settings, causal=causal)


def attend(query: Tensor, key: Tensor, value: Tensor, *, heads: int, causal: bool) -> Tensor:
    """Concat(h₁..h_H), h = softmax(QKᵀ/√d_k)·V, of projected queries, keys and values, each (N, T, heads·d_k).

    torch picks the kernel; its fused ones cannot be differentiated twice, so take Hessian-vector products under
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.

    Source: Vaswani et al. 2017, arXiv 1706.03762, eq. 1 and section 3.2.2.
    """
    query, key, value = (_split(each, heads) for each in (query, key, value))
    attended = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return attended.transpose(-3, -2).flatten(-2)


def _split(projected: Tensor, heads: int) -> Tensor:
    """(N, T, heads·d_k) to (N, heads, T, d_k)."""
    return projected.view(*projected.shape[:-1], heads, -1).transpose(-3, -2)


@ATTENTIONS.implements(MultiHead)
class MultiHeadSelfAttention(nn.Module):
    """Multi-head self-attention with projections of its own for queries, keys, values and output.

    Keys have no bias: it would add the same to all logits of a query, which the softmax takes away again.

    Args:
        width: features of each position; a multiple of `settings.heads`.
        causal: each position reads itself and those before it only.
    """

    def __init__(self, width: int, settings: MultiHead, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.causal = settings.heads, causal
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to (N, T, width)."""
        attended = attend(self.query(x), self.key(x), self.value(x), heads=self.heads, causal=self.causal)
        projected: Tensor = self.output(attended)
        return projected
