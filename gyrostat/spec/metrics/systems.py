"""Number formats, ranks, speed, memory, and the probes themselves."""

from gyrostat.spec.metrics.base import GRADIENT, PROCESS, UPDATED, Metric

METRICS = (
    Metric(name="precision.loss_scale", unit="1", axis="run", stage=PROCESS, log=True,
           description="Factor S on the loss that the step's backward pass began with; float16 only.",
           source="Micikevicius et al. 2018, arXiv 1710.03740, section 3.2"),
    Metric(name="precision.overflow", unit="1", axis="run", stage=PROCESS,
           description="1 where the step was left out, since its scaled gradient was not finite; else 0. The step's "
                       "gradient metrics then show what overflowed. Float16 only."),
    Metric(name="rank.parameter_digest_gap", unit="1", axis="rank", stage=UPDATED, log=True,
           description="‖s(θᵣ) − s(θ₀)‖ / ‖s(θ₀)‖ of rank r's weights against rank 0's after the step, s a random "
                       "sketch that keeps distances in expectation; exactly 0 while they are equal.",
           source="Charikar, Chen and Farach-Colton 2002, Count Sketch"),
    Metric(name="rank.gradient_digest_gap", unit="1", axis="rank", stage=GRADIENT, log=True,
           description="The same of each rank's gradient: reduced over ranks, unscaled, before clipping.",
           source="Charikar, Chen and Farach-Colton 2002, Count Sketch"),
    Metric(name="throughput.samples_per_second", unit="1/s", axis="run", stage=PROCESS,
           description="Samples trained per second of wall time since the last frame that holds it."),
    Metric(name="throughput.step_seconds", unit="s", axis="run", stage=PROCESS,
           description="Mean wall time of a step since the last frame that holds it."),
    Metric(name="memory.resident_bytes", unit="B", axis="run", stage=PROCESS,
           description="Resident memory of the training process."),
    Metric(name="memory.device_bytes", unit="B", axis="run", stage=PROCESS,
           description="Peak memory allocated on the accelerator since the start; absent on a CPU."),
    Metric(name="probe.overhead", unit="1", axis="run", stage=PROCESS,
           description="Share of wall time spent in probes since the last frame that holds it."),
    Metric(name="probe.total_overhead", unit="1", axis="run", stage=PROCESS,
           description="Share of wall time spent in probes since the process's first 20 steps, which are warm-up and "
                       "left out: what `probes.budget` bounds, but for a training's first second of measuring and for "
                       "steps at which something looked wrong."),
    Metric(name="probe.memory_bytes", unit="B", axis="run", stage=PROCESS,
           description="Memory that probes keep from one step to the next: tensors of theirs, on host and device, and "
                       "at most 32 MiB of the flight recorder. Looked at with every 1st, 2nd, 4th, 8th ... report of "
                       "probe.overhead."),
)  # fmt: skip
