"""Transformers: decoder, encoder, and both together."""

from collections.abc import Iterator
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.spec.architectures import Transformer
from gyrostat.spec.attention import CrossAttention
from gyrostat.spec.regularization import Regularization
from trainer.models.registry import MODELS
from trainer.models.sequence import sequence
from trainer.stabilizers import activations, attention, connections, dropout, normalization


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention where asked for, and an MLP four times as wide, each around its connection.

    Pre placement: x + F(norm(x)). Post placement: norm(x + F(x)), as in Vaswani et al. 2017. Without a connection:
    F(norm(x)).

    Args:
        causal: each position sees itself and those before it only.
        cross: how a memory is read; None for a block that reads none.
        survival: probability that a branch is kept for a sample in training.
    """

    def __init__(
        self,
        settings: Transformer,
        regularization: Regularization,
        *,
        causal: bool,
        cross: CrossAttention | None = None,
        survival: float = 1.0,
    ) -> None:
        super().__init__()
        width, connection = settings.hidden, settings.connection
        self.post = connection is not None and connection.placement == "post"
        self.reads_memory = cross is not None
        mlp = sequence(
            expand=nn.Linear(width, 4 * width),
            activation=activations.build(settings.activation),
            dropout=dropout.build(regularization.dropout, dims=1),
            contract=nn.Linear(4 * width, width),
        )
        branches: dict[str, nn.Module] = {"attention": attention.build(settings.attention, width, causal=causal)}
        if cross is not None:
            branches["cross_attention"] = attention.build(cross, width)
        for name, branch in {**branches, "mlp": mlp}.items():
            self._add_branch(name, branch, settings, survival)

    def _add_branch(self, name: str, branch: nn.Module, settings: Transformer, survival: float) -> None:
        """Adds the branch, its norm and its connection, as far as they are there, in the order in which they run."""
        parts = {name: branch}
        if settings.connection is not None:
            join = connections.build(settings.connection, settings.hidden, dims=1, survival=survival)
            parts[f"{name}_connection"] = join
        if settings.norm is not None:
            norm = {f"{name}_norm": normalization.build(settings.norm, settings.hidden, dims=1)}
            parts = {**parts, **norm} if self.post else {**norm, **parts}
        for key, part in parts.items():
            self.add_module(key, part)

    def branches(self) -> Iterator[list[nn.Module]]:
        """The one part of each branch that is joined with what it skips (see `connections.Block.branches`)."""
        for name, part in self._modules.items():
            if part is not None and f"{name}_connection" in self._modules:
                yield [part]

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """(N, T, width), and where the block reads a memory (N, S, width), to (N, T, width)."""
        x = self._around("attention", x)
        if self.reads_memory:
            x = self._around("cross_attention", x, memory)
        return self._around("mlp", x)

    def _around(self, name: str, x: Tensor, *read: Tensor | None) -> Tensor:
        branch, join, norm = (self._modules.get(name + part) for part in ("", "_connection", "_norm"))
        assert branch is not None
        skipped = x
        if norm is not None and not self.post:
            x = norm(x)
        x = branch(x, *read)
        if join is not None:
            x = join(x, skipped)
        return norm(x) if norm is not None and self.post else x


class Stack(nn.Module):
    """Blocks in a row, then a last norm (but with post placement, which has normalized already).

    Subclasses add, before and after it, what makes positions of their inputs, and outputs of positions.
    """

    blocks: nn.ModuleList
    final: nn.Module | None

    def _add_blocks(
        self,
        settings: Transformer,
        regularization: Regularization,
        *,
        causal: bool,
        cross: CrossAttention | None = None,
    ) -> None:
        depth, drops = settings.depth, regularization.stochastic_depth
        self.blocks = nn.ModuleList(
            TransformerBlock(
                settings, regularization, causal=causal, cross=cross, survival=dropout.survival(drops, block, depth)
            )
            for block in range(depth)
        )
        post = settings.connection is not None and settings.connection.placement == "post"
        last = None if post or settings.norm is None else normalization.build(settings.norm, settings.hidden, dims=1)
        self.final = None if last is None else sequence(norm=last)

    def _through(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """(N, T, width) to (N, T, width)."""
        for block in self.blocks:
            x = block(x, memory)
        return x if self.final is None else self.final(x)


class TokenStack(Stack):
    """Token and learnt position embeddings, then the blocks.

    `context` is the longest sequence, in tokens; `vocabulary` the number of different tokens.
    """

    def __init__(
        self,
        settings: Transformer,
        regularization: Regularization,
        *,
        context: int,
        vocabulary: int,
        causal: bool,
        cross: CrossAttention | None = None,
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, settings.hidden)
        self.position_embedding = nn.Embedding(context, settings.hidden)
        self._add_blocks(settings, regularization, causal=causal, cross=cross)

    def forward(self, tokens: Tensor, memory: Tensor | None = None) -> Tensor:
        """(N, T) token numbers, T of at most `context`, and what the blocks read, to (N, T, width)."""
        x = self.token_embedding(tokens) + self.position_embedding(_positions(tokens.shape[-1], tokens.device))
        return self._through(x, memory)


class Decoder(TokenStack):
    """Predicts each next token from those before it: causal blocks over tokens, a linear output."""

    def __init__(self, settings: Transformer, regularization: Regularization, *, context: int, vocabulary: int) -> None:
        super().__init__(settings, regularization, context=context, vocabulary=vocabulary, causal=True)
        self.output = nn.Linear(settings.hidden, vocabulary)

    def forward(self, tokens: Tensor, memory: Tensor | None = None) -> Tensor:
        """(N, T) token numbers, T of at most `context`, to logits (N, T, vocabulary)."""
        logits: Tensor = self.output(super().forward(tokens, memory))
        return logits


class Encoder(Stack):
    """Tells one thing of a whole sample: bidirectional blocks over its parts, their mean, a linear output.

    An image (C, H, W) is cut into square patches, padded with zeros where they do not fit, as in Dosovitskiy et al.
    2020, arXiv 2010.11929, eq. 1 (but for the mean in place of a class token). Of any other sample the parts lie along
    the first axis: the columns of a table, as in Gorishniy et al. 2021, arXiv 2106.11959, section 3.3 (with one weight
    for all columns, which their positions tell apart), or the rows of a matrix.
    """

    def __init__(
        self, settings: Transformer, regularization: Regularization, input_shape: tuple[int, ...], outputs: int
    ) -> None:
        super().__init__()
        self.patch = settings.patch if len(input_shape) == 3 else None
        if self.patch is None:
            parts, values = input_shape[0], prod(input_shape[1:])
        else:
            parts = prod(ceil(side / self.patch) for side in input_shape[1:])
            values = input_shape[0] * self.patch**2
        # no bias: each position has one of its own
        self.part_embedding = nn.Linear(values, settings.hidden, bias=False)
        self.position_embedding = nn.Embedding(parts, settings.hidden)
        self._add_blocks(settings, regularization, causal=False)
        self.output = nn.Linear(settings.hidden, outputs)

    def parts(self, x: Tensor) -> Tensor:
        """Samples (N, *input_shape) to the values of their parts (N, T, values)."""
        if self.patch is None:
            return x.flatten(2) if x.ndim > 2 else x.unsqueeze(-1)
        height, width = (-side % self.patch for side in x.shape[-2:])
        padded = functional.pad(x, (0, width, 0, height)) if height or width else x
        return functional.unfold(padded, self.patch, stride=self.patch).mT

    def features(self, x: Tensor) -> Tensor:
        """Samples (N, *input_shape) to what the output sees of them (N, width)."""
        parts = self.part_embedding(self.parts(x))
        return self._through(parts + self.position_embedding(_positions(parts.shape[1], x.device))).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """Samples (N, *input_shape) to (N, outputs)."""
        outputs: Tensor = self.output(self.features(x))
        return outputs


class EncoderDecoder(nn.Module):
    """Predicts each next token of a target from those before it and a source (Vaswani et al. 2017, section 3).

    The encoder's bidirectional blocks turn the source into a memory, which the decoder's causal blocks read by
    cross-attention. Without cross-attention nothing reads a source, and there is no encoder.

    Args:
        contexts: tokens of the longest source and the longest target.
        vocabulary: number of different tokens, of sources and targets together.
    """

    def __init__(
        self, settings: Transformer, regularization: Regularization, contexts: tuple[int, int], vocabulary: int
    ) -> None:
        super().__init__()
        longest_source, longest_target = contexts
        self.encoder = (
            None
            if settings.cross is None
            else TokenStack(settings, regularization, context=longest_source, vocabulary=vocabulary, causal=False)
        )
        self.decoder = TokenStack(
            settings,
            regularization,
            context=longest_target,
            vocabulary=vocabulary,
            causal=True,
            cross=settings.cross,
        )
        self.output = nn.Linear(settings.hidden, vocabulary)

    def forward(self, source: Tensor, target_inputs: Tensor) -> Tensor:
        """Tokens (N, S), and (N, T) each of which stands before the one to predict, to logits (N, T, vocabulary)."""
        memory = None if self.encoder is None else self.encoder(source)
        logits: Tensor = self.output(self.decoder(target_inputs, memory))
        return logits


def _positions(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device)


@MODELS.implements(Transformer)
def _transformer(
    settings: Transformer, regularization: Regularization, input_shape: tuple[int, ...], outputs: int
) -> nn.Module:
    """`input_shape` is (T,) for a decoder, (S, T) for an encoder-decoder, and a sample's shape for an encoder."""
    if settings.layout == "encoder":
        return Encoder(settings, regularization, input_shape, outputs)
    if settings.layout == "encoder_decoder":
        return EncoderDecoder(settings, regularization, (input_shape[0], input_shape[1]), outputs)
    return Decoder(settings, regularization, context=input_shape[0], vocabulary=outputs)
