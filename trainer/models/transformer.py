"""The decoder-only transformer."""

import torch
from torch import Tensor, nn

from gyrostat.spec.architectures import Transformer
from gyrostat.spec.dropout import Dropout
from gyrostat.spec.regularization import Regularization
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.stabilizers import activations, attention, connections, dropout, normalization


class DecoderBlock(nn.Module):
    """Causal self-attention and an MLP four times as wide, each around its connection.

    Pre placement: x + F(norm(x)). Post placement: norm(x + F(x)), as in Vaswani et al. 2017. Without a connection:
    F(norm(x)).
    """

    def __init__(self, settings: Transformer, drop: Dropout | None) -> None:
        super().__init__()
        width, connection = settings.hidden, settings.connection
        self.post = connection is not None and connection.placement == "post"
        mlp = sequence(
            expand=nn.Linear(width, 4 * width),
            activation=activations.build(settings.activation),
            dropout=dropout.build(drop, dims=1),
            contract=nn.Linear(4 * width, width),
        )
        self._add_branch("attention", attention.build(settings.attention, width, causal=True), settings)
        self._add_branch("mlp", mlp, settings)

    def _add_branch(self, name: str, branch: nn.Module, settings: Transformer) -> None:
        """Adds the branch, its norm and its connection, as far as they are there, in the order in which they run."""
        parts = {name: branch}
        if settings.connection is not None:
            parts[f"{name}_connection"] = connections.build(settings.connection)
        if settings.norm is not None:
            norm = {f"{name}_norm": normalization.build(settings.norm, settings.hidden, dims=1)}
            parts = {**parts, **norm} if self.post else {**norm, **parts}
        for key, part in parts.items():
            self.add_module(key, part)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to (N, T, width)."""
        return self._around("mlp", self._around("attention", x))

    def _around(self, name: str, x: Tensor) -> Tensor:
        branch, join, norm = (self._modules.get(name + part) for part in ("", "_connection", "_norm"))
        assert branch is not None
        skipped = x
        if norm is not None and not self.post:
            x = norm(x)
        x = branch(x)
        if join is not None:
            x = join(x, skipped)
        return norm(x) if norm is not None and self.post else x


class Decoder(nn.Module):
    """Token and learned position embeddings, blocks, a last norm (but with post placement), a linear output.

    `context` is the longest sequence, in tokens; `vocabulary` the number of different tokens, in and out.
    """

    def __init__(self, settings: Transformer, drop: Dropout | None, context: int, vocabulary: int) -> None:
        super().__init__()
        post = settings.connection is not None and settings.connection.placement == "post"
        self.token_embedding = nn.Embedding(vocabulary, settings.hidden)
        self.position_embedding = nn.Embedding(context, settings.hidden)
        self.blocks = nn.ModuleList(DecoderBlock(settings, drop) for _ in range(settings.depth))
        last = None if post or settings.norm is None else normalization.build(settings.norm, settings.hidden, dims=1)
        self.final = None if last is None else sequence(norm=last)
        self.output = nn.Linear(settings.hidden, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) token numbers, T of at most `context`, to logits (N, T, vocabulary)."""
        positions = torch.arange(tokens.shape[-1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        for block in self.blocks:
            x = block(x)
        x = x if self.final is None else self.final(x)
        logits: Tensor = self.output(x)
        return logits


@MODELS.implements(Transformer)
def _transformer(
    settings: Transformer, regularization: Regularization, input_shape: tuple[int, ...], outputs: int
) -> nn.Module:
    return Decoder(settings, regularization.dropout, input_shape[0], outputs)
