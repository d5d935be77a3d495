"""Regularization and data-space enrichment (brief sections 4 and 5)."""

from benchmarks.claims import measures
from benchmarks.claims.bases import Document, changed, digits_cnn, digits_mlp
from benchmarks.claims.study import Statement, Study, study

SMALL_SAMPLE = {"limit": 400, "batch_size": 32, "validation_fraction": 0.5}
OVERFIT = changed(
    digits_mlp(),
    model={"depth": 3, "width": 128},
    data={**SMALL_SAMPLE, "label_noise": 0.1},
    optimizer={"learning_rate": 0.03},
    steps=300,
)
OVERFIT_CNN = changed(digits_cnn(), data=SMALL_SAMPLE, optimizer={"learning_rate": 0.02}, steps=200)
OVERFIT_RESNET = changed(
    digits_mlp(),
    model={"kind": "resnet", "depth": 6, "width": 8, "stages": 2},
    data={**SMALL_SAMPLE, "label_noise": 0.1},
    optimizer={"learning_rate": 0.05},
    steps=200,
)
OVERFIT_TEXT = "200 training samples of digits (a tenth of the labels wrong where not said otherwise)"


def smaller_gap(name: str) -> Statement:
    """The arm `with` has a smaller gap between validation and training loss than `without`."""
    return Statement(
        text=f"gap between validation and training loss with {name} less that without is below 0",
        on="with",
        off="without",
        effect="difference",
        measure=lambda runs: measures.gap(runs[0]),
        quantity="validation loss − training loss (both plain)",
        at_most=0,
    )


def gap_study(
    name: str, shows: tuple[str, ...], base: Document, patch: Document, setting: str, *, seeds: int = 4
) -> Study:
    """The usual study of a regularizer."""
    return Study(
        section="4" if not any(one.startswith("augment") for one in shows) else "5",
        shows=shows,
        claim=f"{name[0].upper()}{name[1:]} makes the gap between training and validation smaller",
        setting=setting,
        arms={"with": changed(base, **patch), "without": base},
        statements=(smaller_gap(name),),
        seeds=seeds,
    )


@study
def dropout_narrows_the_gap() -> Study:
    """Element dropout."""
    patch = {"regularization": {"dropout": {"kind": "element", "rate": 0.4}}}
    return gap_study("dropout", ("dropout.element",), OVERFIT, patch, f"MLP 3 x 128, {OVERFIT_TEXT}; rate 0.4.")


@study
def gaussian_dropout_narrows_the_gap() -> Study:
    """Gaussian dropout."""
    patch = {"regularization": {"dropout": {"kind": "gaussian", "rate": 0.4}}}
    return gap_study(
        "Gaussian dropout",
        ("dropout.gaussian",),
        OVERFIT,
        patch,
        f"MLP 3 x 128, {OVERFIT_TEXT}; rate 0.4. Four seeds, tried first, did not decide.",
        seeds=8,
    )


@study
def spatial_dropout_narrows_the_gap() -> Study:
    """Spatial dropout."""
    patch = {"regularization": {"dropout": {"kind": "spatial", "rate": 0.2}}}
    return gap_study(
        "spatial dropout",
        ("dropout.spatial",),
        OVERFIT_CNN,
        patch,
        "6-layer CNN of 16 channels, 200 clean training samples of digits; rate 0.2.",
    )


@study
def dropconnect_narrows_the_gap() -> Study:
    """DropConnect."""
    patch = {"regularization": {"dropconnect": {"kind": "dropconnect", "rate": 0.4}}}
    return gap_study(
        "dropConnect", ("dropconnect.dropconnect",), OVERFIT, patch, f"MLP 3 x 128, {OVERFIT_TEXT}; rate 0.4."
    )


@study
def stochastic_depth_narrows_the_gap() -> Study:
    """Stochastic depth."""
    patch = {"regularization": {"stochastic_depth": {"kind": "stochastic_depth", "survival": 0.5}}}
    return gap_study(
        "stochastic depth",
        ("stochastic_depth.stochastic_depth", "arch.resnet"),
        OVERFIT_RESNET,
        patch,
        f"ResNet of 6 blocks, 8 to 16 channels, {OVERFIT_TEXT}; survival 0.5 at the last block.",
    )


@study
def weight_decay_narrows_the_gap() -> Study:
    """Coupled and decoupled weight decay."""
    base = changed(OVERFIT, optimizer={"learning_rate": 0.03, "weight_decay": 0.0})
    quantity = "validation loss − training loss (both plain)"
    decays = {
        "coupled": changed(base, regularization={"weight_decay": {"kind": "coupled", "rate": 0.02}}),
        "decoupled": changed(base, regularization={"weight_decay": {"kind": "decoupled", "rate": 0.02}}),
    }
    return Study(
        section="4",
        shows=("weight_decay.coupled", "weight_decay.decoupled"),
        claim="Weight decay, coupled or decoupled, makes the gap between training and validation smaller",
        setting=f"MLP 3 x 128, {OVERFIT_TEXT}; SGD with momentum, λ 0.02.",
        arms={**decays, "none": base},
        statements=tuple(
            Statement(
                text=f"gap with {name} decay less that without is below 0",
                on=name,
                off="none",
                effect="difference",
                measure=lambda runs: measures.gap(runs[0]),
                quantity=quantity,
                at_most=0,
            )
            for name in decays
        ),
        seeds=4,
    )


@study
def augmentation_narrows_the_gap() -> Study:
    """Shifts, turns and noise."""
    patch = {
        "data": {
            **SMALL_SAMPLE,
            "augment": [
                {"kind": "affine", "degrees": 10.0, "translate": 0.1, "scale": 0.1},
                {"kind": "noise", "probability": 0.5, "sigma": 0.1},
            ],
        }
    }
    return gap_study(
        "augmentation",
        ("augment.affine", "augment.noise"),
        OVERFIT_CNN,
        patch,
        "6-layer CNN, 200 clean training samples of digits; 10° turns, shifts and scales of 10 %, noise of 0.1. "
        "Flips, crops and colours are tried alone in the next study. Four seeds, tried first, did not decide.",
        seeds=8,
    )


@study
def single_augmentations_narrow_the_gap() -> Study:
    """Flips, crops and changes of colour, each alone."""
    augmented = {
        "flip": {"kind": "flip"},
        "crop": {"kind": "crop"},
        "colour jitter": {"kind": "colour_jitter"},
    }
    arms = {name: changed(OVERFIT_CNN, data={**SMALL_SAMPLE, "augment": [one]}) for name, one in augmented.items()}
    return Study(
        section="5",
        shows=("augment.flip", "augment.crop", "augment.colour_jitter"),
        claim="Crops, flips and colour jitter, each alone, make the gap between training and validation smaller",
        setting=f"Plain CNN of 6 layers, {OVERFIT_TEXT}, none wrong. A mirrored digit is no digit: the flip is here to "
        "be measured, not to be recommended.",
        arms={**arms, "none": OVERFIT_CNN},
        statements=tuple(
            Statement(
                text=f"gap with {name} less that without is below 0",
                on=name,
                off="none",
                effect="difference",
                measure=lambda runs: measures.gap(runs[0]),
                quantity="validation loss − training loss (both plain)",
                at_most=0,
            )
            for name in augmented
        ),
        seeds=4,
    )


@study
def label_smoothing_calibrates() -> Study:
    """Expected calibration error."""
    base = changed(OVERFIT, data={"label_noise": 0.3}, steps=1500)
    return Study(
        section="4",
        shows=("label_smoothing.uniform", "confidence_penalty.entropy"),
        claim="Label smoothing lowers the expected calibration error of an overconfident net",
        setting="MLP 3 x 128 on 200 training samples of digits, three in ten of the labels wrong, 1500 steps, in which "
        "it learns them by heart; ε 0.1. The confidence penalty (0.3) is tried beside it. Tried first: a tenth of the "
        "labels wrong (400 and 1500 steps) or none (1500). The plain net is not overconfident there (error 0.04 to "
        "0.12), and smoothing makes it less confident than it is right: 0.12 to 0.21.",
        arms={
            "smoothing": changed(base, regularization={"label_smoothing": {"kind": "uniform", "epsilon": 0.1}}),
            "confidence penalty": changed(
                base, regularization={"confidence_penalty": {"kind": "entropy", "weight": 0.3}}
            ),
            "none": base,
        },
        statements=tuple(
            Statement(
                text=f"calibration error with {name} less that without is below 0",
                on=name,
                off="none",
                effect="difference",
                measure=lambda runs: runs[0].last("calibration.expected_error"),
                quantity="expected calibration error, held out",
                at_most=0,
            )
            for name in ("smoothing", "confidence penalty")
        ),
        seeds=6,
    )


@study
def mixing_smooths_the_boundary() -> Study:
    """Mixup and CutMix against the input gradient."""
    base = changed(digits_cnn(), optimizer={"learning_rate": 0.02}, steps=250)
    return Study(
        section="5",
        shows=("mix.mixup", "mix.cutmix"),
        claim="Mixup and CutMix lower the input-gradient norm: a smoother decision boundary",
        setting="6-layer CNN on digits, 250 steps; α 1 for mixup and CutMix.",
        arms={
            "mixup": changed(base, data={"mix": {"kind": "mixup", "alpha": 1.0}}),
            "cutmix": changed(base, data={"mix": {"kind": "cutmix", "alpha": 1.0}}),
            "none": base,
        },
        statements=tuple(
            Statement(
                text=f"input-gradient norm with {name} over that without is below 1",
                on=name,
                off="none",
                measure=lambda runs: runs[0].last("generalization.input_gradient_norm"),
                quantity="mean ‖∇ₓ loss‖ on held-out samples",
                at_most=1,
            )
            for name in ("mixup", "cutmix")
        ),
        seeds=4,
    )


@study
def curriculum_speeds_up_the_start() -> Study:
    """Easy samples first, by three scores."""
    base = changed(digits_mlp(), data={"label_noise": 0.2}, validation={"every": 60}, steps=60)
    return Study(
        section="5",
        shows=("curriculum.loss", "curriculum.noise"),
        claim="Easy samples first: the validation loss is lower after a quarter of the usual training",
        setting="MLP 3 x 64 on digits with a fifth of the labels wrong, 60 steps; scored by a teacher's loss and by "
        "the image's noise, root pacing over 45 steps from 30 % of the data.",
        arms={
            "loss": changed(base, data={"curriculum": {"kind": "loss", "start_fraction": 0.3, "steps": 45}}),
            "noise": changed(base, data={"curriculum": {"kind": "noise", "start_fraction": 0.3, "steps": 45}}),
            "none": base,
        },
        statements=tuple(
            Statement(
                text=f"validation loss with the {name} curriculum over that without is below 1",
                on=name,
                off="none",
                measure=lambda runs: runs[0].last("loss.validation"),
                quantity="validation loss after 60 steps",
                at_most=1,
            )
            for name in ("loss", "noise")
        ),
        seeds=4,
    )


@study
def texts_of_few_characters_first_speed_up_the_start() -> Study:
    """The curriculum by length, on text."""
    base = {
        **digits_mlp(),
        "task": {"kind": "language_model", "dataset": "python_topics"},
        "model": {"kind": "transformer", "depth": 2, "width": 48, "attention": {"kind": "multi_head", "heads": 4}},
        "init": "xavier_uniform",
        "optimizer": {"kind": "adamw", "learning_rate": 0.003},
        "data": {"batch_size": 16, "sequence_length": 48},
        "validation": {"every": 80, "max_batches": 20},
        "steps": 80,
    }
    return Study(
        section="5",
        shows=("curriculum.length",),
        claim="Windows of few different characters first: the validation loss is lower after the first 80 steps",
        setting="Transformer of 2 blocks on Python's documentation, AdamW, 80 steps; root pacing over 60 steps from 30 "
        "% of the windows.",
        arms={
            "length": changed(base, data={"curriculum": {"kind": "length", "start_fraction": 0.3, "steps": 60}}),
            "none": base,
        },
        statements=(
            Statement(
                text="validation loss with the curriculum over that without is below 1",
                on="length",
                off="none",
                measure=lambda runs: runs[0].last("loss.validation"),
                quantity="validation loss after 80 steps",
                at_most=1,
            ),
        ),
        seeds=4,
    )


@study
def noise_smooths_the_function() -> Study:
    """Input noise, multiplicative noise, gradient penalty on inputs."""
    base = changed(digits_mlp(), steps=200)
    arms = {
        "input noise": changed(base, noise={"input": {"kind": "input", "sigma": 0.3}}),
        "multiplicative noise": changed(base, noise={"multiplicative": {"kind": "multiplicative", "sigma": 0.5}}),
        "gradient penalty": changed(base, lipschitz={"gradient_penalty": {"kind": "inputs", "weight": 0.3}}),
    }
    return Study(
        section="12, 13",
        shows=("noise.input", "noise.multiplicative", "gradient_penalty.inputs"),
        claim="Noise on inputs, and a penalty on the input gradient, make the function smoother",
        setting="MLP 3 x 64 on digits, 200 steps; σ 0.3 added, σ 0.5 multiplied, penalty 0.3.",
        arms={**arms, "none": base},
        statements=tuple(
            Statement(
                text=f"input-gradient norm with {name} over that without is below 1",
                on=name,
                off="none",
                measure=lambda runs: runs[0].last("generalization.input_gradient_norm"),
                quantity="mean ‖∇ₓ loss‖ on held-out samples",
                at_most=1,
            )
            for name in arms
        ),
        seeds=4,
    )
