"""Learning from a teacher's answers besides the labels (brief section 11)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Entry, Shorthand, Technique


class MeanTeacher(Technique):
    """Distillation from a teacher that is the moving average of the student's own weights.

    The teacher answers in eval mode, has the student's buffers (running statistics), and is kept in checkpoints.
    """

    family: ClassVar[str] = "distillation"
    entry: ClassVar[Entry] = Entry(
        section="11",
        title="Distillation from a mean teacher",
        formula="L + λ·T²·KL(softmax(z′/T) ‖ softmax(z/T)), z′ of the teacher θ′ ← a·θ′ + (1 − a)·θ after each step, "
        "a = min(decay, 1 − 1/(t + 1))",
        controls="how far a step may carry the answers from those of the average of the weights so far",
        when="Labels are few or noisy, or the last steps' weights jump about.",
        source="Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2; Tarvainen and Valpola 2017, "
        "arXiv 1703.01780, section 2",
    )

    kind: Literal["mean_teacher"] = "mean_teacher"
    temperature: float = Field(1.0, gt=0, le=100)
    """T: higher compares the small probabilities too."""
    weight: float = Field(1.0, ge=0, le=1000)
    """λ."""
    decay: float = Field(0.99, ge=0, lt=1)
    """Of the average; reached slowly, so that the first steps' weights are soon forgotten."""


Distillation = Annotated[MeanTeacher, Shorthand]
"""Any distillation."""
