"""Complete specs to start from: functions that return one, healthy or sick, trained in under two minutes on a CPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gyrostat.spec.parse import parse
from gyrostat.spec.run import RunSpec

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named spec; `expected_alerts` are the kinds that a sick one raises, and none for a healthy one."""

    id: str
    title: str
    healthy: bool
    expected_alerts: tuple[str, ...]
    document: Document

    @property
    def spec(self) -> RunSpec:
        """The validated spec."""
        return parse(self.document).spec


PRESETS: dict[str, Preset] = {}
"""Every preset by its id."""

PROBE_BUDGET = 0.2
"""Ten times the default: a run of half a minute shall show as many sharpness points as one of hours does by default."""


def preset(
    title: str, *, healthy: bool = True, expected_alerts: tuple[str, ...] = ()
) -> Callable[[Callable[[], Document]], Callable[[], Document]]:
    """Registers the function's spec under its name, with dashes."""

    def register(build: Callable[[], Document]) -> Callable[[], Document]:
        name = build.__name__.replace("_", "-")
        if name in PRESETS:
            raise TypeError(f"two presets are named {name!r}")
        document = build() | {"probes": {"budget": PROBE_BUDGET}}
        PRESETS[name] = Preset(
            id=name, title=title, healthy=healthy, expected_alerts=expected_alerts, document=document
        )
        return build

    return register


@preset("Digits, small MLP")
def digits_mlp() -> Document:
    """Three hidden layers, SGD with momentum and a little weight decay; validation accuracy 98.9 %, in seconds."""
    return {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "mlp", "depth": 3, "width": 128, "activation": "relu"},
        "init": "he_normal",
        "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-3},
        "schedule": "cosine",
        "steps": 600,
    }


@preset("Digits, ResNet")
def digits_resnet() -> Document:
    """Six residual blocks with batch normalization; validation accuracy 99.2 %."""
    return {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "resnet", "depth": 6, "width": 16, "norm": "batch", "activation": "relu"},
        "init": "he_normal",
        "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 30}},
        "steps": 600,
    }


@preset("Digits, plain CNN")
def digits_cnn() -> Document:
    """Six convolutions with group normalization, AdamW; validation accuracy 99.2 %."""
    return {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "cnn", "depth": 6, "width": 32, "norm": {"kind": "group", "groups": 8}},
        "init": "he_normal",
        "optimizer": {"kind": "adamw", "learning_rate": 0.001},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 30}},
        "steps": 600,
    }


@preset("Digits, augmented and mixed")
def digits_enriched() -> Document:
    """300 digits, moved by a pixel, turned and mixed; validation accuracy 92.7 to 93.0 % on two seeds.

    It shows how data is enriched, not that it must be: on images of 8 x 8 pixels, the same net without reaches 94.0 to
    94.3 % in as many steps.
    """
    return {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "cnn", "depth": 4, "width": 16, "norm": {"kind": "group", "groups": 8}},
        "init": "he_normal",
        "data": {
            "limit": 600,
            "validation_fraction": 0.5,
            "batch_size": 32,
            "augment": ["crop", {"kind": "affine", "translate": 0.0}],
            "mix": "mixup",
        },
        "optimizer": {"kind": "adamw", "learning_rate": 0.003},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 30}},
        "steps": 500,
    }


@preset("Fashion-MNIST, ResNet")
def fashion_resnet() -> Document:
    """Three blocks, 0.9 epochs, validation accuracy 87 %; where Debian's package dataset-fashion-mnist is installed."""
    return {
        "task": {"kind": "classification", "dataset": "fashion_mnist"},
        "model": {"kind": "resnet", "depth": 3, "width": 8, "norm": "batch"},
        "init": "he_normal",
        "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 50}},
        "validation": {"every": 100, "max_batches": 20},
        "steps": 800,
    }


@preset("Diabetes, small MLP")
def diabetes_mlp() -> Document:
    """Regression on ten measurements, with dropout against overfitting; explains 62 % of the held-out variance."""
    return {
        "task": {"kind": "regression", "dataset": "diabetes"},
        "model": {"kind": "mlp", "depth": 2, "width": 64, "activation": "gelu"},
        "init": "xavier_normal",
        "regularization": {"dropout": {"kind": "element", "rate": 0.2}},
        "optimizer": {"kind": "adamw", "learning_rate": 0.001, "weight_decay": 0.1},
        "schedule": "cosine",
        "steps": 800,
    }


@preset("Python's documentation, small transformer")
def text_transformer() -> Document:
    """Two pre-norm blocks over bytes, AdamW with warmup and clipping; validation loss 1.65, 54 % right."""
    return {
        "task": {"kind": "language_model", "dataset": "python_topics"},
        "model": {"kind": "transformer", "depth": 2, "width": 64, "attention": {"kind": "multi_head", "heads": 4}},
        "init": {"kind": "xavier_uniform", "gain": 1.0},
        "data": {"batch_size": 16, "sequence_length": 64},
        "optimizer": {"kind": "adamw", "learning_rate": 0.005, "beta2": 0.99},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 50}},
        "gradients": {"clip": {"kind": "norm", "max_norm": 1.0}},
        "validation": {"every": 100, "max_batches": 20},
        "steps": 800,
    }


@preset("Digits, contrastive")
def digits_contrastive() -> Document:
    """Three residual blocks learn from pairs of views alone, labels unseen.

    A linear classifier on the features is right on 93.3 % of held-out digits; on those of the untrained net, on 79.2 %.
    """
    return {
        "task": {"kind": "contrastive", "dataset": "digits", "projection": 64},
        "model": {"kind": "resnet", "depth": 3, "width": 16, "stages": 2, "norm": "batch"},
        "init": "he_normal",
        "data": {
            "batch_size": 128,
            "augment": [
                {"kind": "affine", "degrees": 15.0, "translate": 0.1, "scale": 0.15},
                {"kind": "noise", "probability": 1.0, "sigma": 0.3},
            ],
        },
        "loss": {"kind": "infonce", "temperature": 0.2},
        "optimizer": {"kind": "adamw", "learning_rate": 0.002},
        "schedule": "cosine",
        "steps": 200,
    }


@preset("Digits, diffusion")
def digits_diffusion() -> Document:
    """A small U-Net predicts the noise at each of 200 diffusion steps; validation loss 0.24, samples look like digits.

    Without normalization: it would take the brightness of a whole image away, and samples would come out grey.
    """
    return {
        "task": {
            "kind": "denoising",
            "dataset": "digits",
            "noise_schedule": {"kind": "cosine", "timesteps": 200},
        },
        "model": {"kind": "unet", "depth": 2, "stages": 2, "width": 24, "norm": None, "activation": "silu"},
        "init": "he_normal",
        "optimizer": {"kind": "adamw", "learning_rate": 0.002},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 50}},
        "validation": {"every": 100},
        "steps": 800,
    }


@preset("Digits, variational autoencoder")
def digits_vae() -> Document:
    """Eight numbers for an image of 64 pixels, β = 0.2: held-out reconstruction 2.8 (of 23 untrained), KL 8.8 nats."""
    network = {"kind": "mlp", "depth": 2, "width": 256, "activation": "gelu"}
    return {
        "task": {
            "kind": "vae",
            "dataset": "digits",
            "latent": 8,
            "kl": {"kind": "vae", "beta": 0.2},
            "decoder": network,
        },
        "model": network,
        "init": "xavier_normal",
        "optimizer": {"kind": "adamw", "learning_rate": 0.001},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 50}},
        "validation": {"every": 100},
        "steps": 1500,
    }


@preset("Digits, adversarial, with gradient penalty")
def digits_gan() -> Document:
    """A Wasserstein critic held to a slope of 1 moves three times as often as its generator.

    The energy distance to held-out digits falls from 2.6 to 0.23, that of training digits is 0.19; the critic's
    steepest slope stays between 1.3 and 1.5.
    """
    return {
        "task": {
            "kind": "gan",
            "dataset": "digits",
            "latent": 16,
            "critic_steps": 3,
            "generator": {"kind": "mlp", "depth": 2, "width": 128, "activation": "relu"},
        },
        "model": {"kind": "mlp", "depth": 3, "width": 128, "activation": "leaky_relu"},
        "init": "he_normal",
        "lipschitz": {"gradient_penalty": {"kind": "one_centred", "weight": 10.0}},
        "data": {"batch_size": 256},
        "optimizer": {"kind": "adamw", "learning_rate": 0.001, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.0},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 50}},
        "validation": {"every": 100},
        "steps": 1500,
    }


@preset("Shapes, U-Net segmentation")
def shapes_unet() -> Document:
    """A small U-Net tells discs, rectangles and triangles from a noisy background.

    Of held-out pixels 99.0 % right, mean intersection over union 0.89.
    """
    return {
        "task": {"kind": "segmentation", "dataset": "shapes"},
        "model": {"kind": "unet", "depth": 3, "width": 16, "stages": 3, "norm": "batch"},
        "init": "he_normal",
        "data": {"batch_size": 16},
        "optimizer": {"kind": "adamw", "learning_rate": 0.005},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 20}},
        "steps": 300,
    }


@preset("Sequences to reverse, encoder-decoder")
def transduction() -> Document:
    """One block on each side, joined by cross-attention, solves it within 100 steps: every held-out sequence is right.

    Without cross-attention it stays at chance, 3 % of tokens.
    """
    return {
        "task": {
            "kind": "sequence_to_sequence",
            "dataset": {"kind": "transduction", "operation": "reverse", "alphabet": 32, "length": 16},
        },
        "model": {"kind": "transformer", "layout": "encoder_decoder", "depth": 1, "width": 64, "cross": "cross"},
        "init": {"kind": "xavier_uniform", "gain": 1.0},
        "optimizer": {"kind": "adamw", "learning_rate": 0.003, "beta2": 0.99},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 50}},
        "gradients": {"clip": {"kind": "norm", "max_norm": 1.0}},
        "steps": 300,
    }


@preset("Digits, transformer over patches")
def digits_transformer() -> Document:
    """Two bidirectional blocks over patches of 2 x 2 pixels; validation accuracy 98.3 %."""
    return {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "transformer", "layout": "encoder", "depth": 2, "width": 64},
        "init": {"kind": "xavier_uniform", "gain": 1.0},
        "regularization": {"dropout": {"kind": "element", "rate": 0.2}},
        "optimizer": {"kind": "adamw", "learning_rate": 0.003, "beta2": 0.99, "weight_decay": 0.3},
        "schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 50}},
        "gradients": {"clip": {"kind": "norm", "max_norm": 1.0}},
        "steps": 600,
    }


@preset("Sick: deep sigmoid MLP, gradients vanish", healthy=False, expected_alerts=("vanishing_gradient",))
def sick_deep_sigmoid() -> Document:
    """Twelve sigmoid layers, one flat loss of ln 10.

    Over the whole run the first layer's gradient norm is 5 to 17 million times smaller than the output layer's.
    """
    return {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "mlp", "depth": 12, "width": 64, "activation": "sigmoid"},
        "init": "xavier_normal",
        "optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "steps": 600,
    }


@preset("Sick: learning rate ten times too large", healthy=False, expected_alerts=("divergence", "exploding_gradient"))
def sick_large_rate() -> Document:
    """The small MLP at ten times a constant rate that trains it well (0.1; 0.3 fails on two of three seeds).

    On each of three seeds its gradient explodes by step 5 and the loss diverges by step 11.
    """
    document = digits_mlp()
    document["optimizer"] = {**document["optimizer"], "learning_rate": 1.0}
    document["schedule"] = "constant"
    return document


@preset("Sick: ReLU units die", healthy=False, expected_alerts=("dead_units",))
def sick_dead_relu() -> Document:
    """AdamW at a hundred times its usual rate: the first updates push ReLUs below zero for good.

    From step 100 on, 96 to 99 % of each of the six layers' outputs are zero (on other seeds 94 % over all layers).
    """
    return {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "mlp", "depth": 6, "width": 64, "activation": "relu"},
        "init": "he_normal",
        "optimizer": {"kind": "adamw", "learning_rate": 0.1},
        "steps": 500,
    }
