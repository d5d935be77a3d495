"""Generative tasks: their second network, and what bounds a critic."""

from collections.abc import Iterator

from gyrostat.spec.checks import connections, norms
from gyrostat.spec.checks.problem import Problem
from gyrostat.spec.lipschitz import OneCentred, SpectralNorm
from gyrostat.spec.normalization import BatchNorm
from gyrostat.spec.run import RunSpec
from gyrostat.spec.tasks import Gan, Vae


def problems(spec: RunSpec) -> Iterator[Problem]:
    """What cannot be trained."""
    yield from _second_network_problems(spec)
    if isinstance(spec.task, Gan):
        yield from _critic_problems(spec, spec.task)


def warnings(spec: RunSpec) -> Iterator[Problem]:
    """What is expected to go wrong."""
    if isinstance(spec.task, Gan) and spec.task.objective == "wasserstein" and not _is_bounded(spec):
        yield Problem(
            path="task.objective",
            value="wasserstein",
            message="nothing bounds the critic's slope (parametrization, lipschitz): its scores will grow without end, "
            "and their difference is no distance (brief, section 12)",
            mend="lipschitz.gradient_penalty 'one_centred', parametrization 'spectral_norm', lipschitz.weight_clip, "
            "or task.objective 'non_saturating'",
        )
    if isinstance(spec.task, Vae) and spec.task.kl.beta == 0:
        yield Problem(
            path="task.kl.beta",
            value=0.0,
            message="without its divergence nothing keeps codes where samples are drawn from: what is shown as samples "
            "will look like nothing",
            mend="task.kl.beta between 0.1 and 10",
        )


def _second_network_problems(spec: RunSpec) -> Iterator[Problem]:
    """A decoder or generator must fit its own settings as every model must."""
    task = spec.task
    if not isinstance(task, Gan | Vae):
        return
    name, network = ("generator", task.generator) if isinstance(task, Gan) else ("decoder", task.decoder)
    alone = spec.model_copy(update={"model": network})
    for check in (norms.problems, connections.problems):
        for problem in check(alone):
            if problem.path.startswith("model."):
                yield Problem(
                    path=f"task.{name}.{problem.path.removeprefix('model.')}",
                    value=problem.value,
                    message=problem.message,
                    mend=problem.mend,
                )
    if isinstance(network.norm, BatchNorm) and spec.data.batch_size // spec.accumulation.steps < 2:
        yield Problem(
            path=f"task.{name}.norm.kind",
            value="batch",
            message="batch normalization needs at least 2 samples in a (micro-)batch to have a variance, and "
            f"data.batch_size {spec.data.batch_size} over accumulation.steps {spec.accumulation.steps} leaves fewer",
            mend="a larger batch, fewer micro-batches, or norm 'layer'",
        )


def _critic_problems(spec: RunSpec, task: Gan) -> Iterator[Problem]:
    if task.critic_steps > spec.steps:
        yield Problem(
            path="task.critic_steps",
            value=task.critic_steps,
            message=f"the generator moves at every {task.critic_steps}th step, and the run has steps {spec.steps}",
            mend=f"at most {spec.steps}; 1 to 5 are usual",
        )
    if isinstance(spec.lipschitz.gradient_penalty, OneCentred) and isinstance(spec.model.norm, BatchNorm):
        yield Problem(
            path="model.norm.kind",
            value="batch",
            message="lipschitz.gradient_penalty is on the slope of each sample's score, and with batch normalization a "
            "score depends on the other samples of its batch",
            mend="model.norm 'layer', or null",
        )


def _is_bounded(spec: RunSpec) -> bool:
    return (
        spec.lipschitz.gradient_penalty is not None
        or spec.lipschitz.weight_clip is not None
        or isinstance(spec.parametrization, SpectralNorm)
    )
