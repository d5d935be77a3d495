"""What may be asked about runs: the bodies of requests, strict to the last field."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"

Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=PRINTABLE)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True, pattern=PRINTABLE)]
Tags = Annotated[list[Word], Field(max_length=50)]
Notes = Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")]
Step = Annotated[int, Field(ge=0, le=2**53)]


class Body(BaseModel):
    """Base of request bodies: unknown keys and wrong types are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


EXAMPLE_SPEC: dict[str, Any] = {
    "task": {"kind": "classification", "dataset": "digits"},
    "model": {"kind": "mlp", "depth": 3, "width": 128, "activation": "relu"},
    "init": "he_normal",
    "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "schedule": "cosine",
    "steps": 1000,
}


class RunRequest(Body):
    """Starts a run: exactly one of `spec`, `preset` or `attached`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"spec": EXAMPLE_SPEC, "project": "digits", "tags": ["baseline"]}]}
    )

    spec: dict[str, Any] | None = None
    """What to train; GET /v1/spec-schema describes it."""
    preset: Word | None = None
    """Id of a preset to train; GET /v1/presets lists them."""
    attached: bool = False
    """True for a training that runs elsewhere and only sends its measurements."""
    resume: bool | Word = False
    """Attached only: goes on with an earlier attached run, as its next attempt. An id names it, and it must be there;
    true takes the newest one with this name in this project, and makes it where there is none."""
    from_step: Step = 0
    """Steps done before a resumed run goes on: what it sent of later ones is replaced."""
    patch: dict[str, Any] | None = None
    """JSON merge patch (RFC 7396) on the spec or preset."""
    name: Line | None = None
    """Name to show; null makes one of data set, model and a number."""
    project: Word = "default"
    """Groups runs."""
    tags: Tags = Field(default_factory=list)
    """Words to find the run by."""
    notes: Notes = ""
    """Free text."""

    @model_validator(mode="after")
    def _names_one_source(self) -> Self:
        given = [name for name in ("spec", "preset") if getattr(self, name) is not None]
        given += ["attached"] if self.attached else []
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of spec, preset and attached, got {' and '.join(given) or 'none'}; send one of them"
            )
        if self.attached and self.patch is not None:
            raise ValueError("patch changes a spec, and an attached run has none; leave patch out")
        if self.resume and not self.attached:
            raise ValueError("resume goes on with a run that is attached; set attached, or fork the run instead")
        if self.resume is True and self.name is None:
            raise ValueError(
                "resume finds the run by its name, and none is given; give a name, or the run's id as resume"
            )
        return self


class ValidateRequest(Body):
    """A spec or preset to look at, without training it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"spec": EXAMPLE_SPEC}]})

    spec: dict[str, Any] | None = None
    """What would be trained."""
    preset: Word | None = None
    """Id of a preset."""
    patch: dict[str, Any] | None = None
    """JSON merge patch (RFC 7396) on the spec or preset."""

    @model_validator(mode="after")
    def _names_one_source(self) -> Self:
        if (self.spec is None) == (self.preset is None):
            raise ValueError("needs exactly one of spec and preset; send one of them")
        return self


class PatchRequest(Body):
    """Changes what a run is called and found by; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "baseline", "tags": ["kept"]}]})

    name: Line | None = None
    """New name."""
    project: Word | None = None
    """New project."""
    tags: Tags | None = None
    """All tags it shall have."""
    notes: Notes | None = None
    """New notes."""


class ForkRequest(Body):
    """Starts a new run from this one's spec, changed, and from one of its checkpoints."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"from_step": 300, "patch": {"optimizer": {"learning_rate": 0.005}}}]}
    )

    from_step: Step | None = None
    """Step of the checkpoint to begin at; null trains from scratch."""
    patch: dict[str, Any] = Field(default_factory=dict)
    """JSON merge patch (RFC 7396) on the run's spec."""
    name: Line | None = None
    """Name of the new run; null adds a number to this one's."""


class ControlRequest(Body):
    """Changes a training while it runs; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"learning_rate_factor": 0.5}]})

    learning_rate_factor: float | None = Field(None, gt=0, le=1000)
    """Multiplies the scheduled learning rate from now on; 1 undoes it."""
    clip_norm: float | None = Field(None, gt=0, le=1e12)
    """Largest global gradient norm from now on."""
    tighten_probes: bool | None = None
    """True measures more often for a while."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("changes nothing; send learning_rate_factor, clip_norm or tighten_probes")
        return self
