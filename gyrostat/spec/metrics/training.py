"""What the loop itself knows of a step and of a validation."""

from gyrostat.spec.metrics.base import BATCH, PROCESS, VALIDATION, Metric

METRICS = (
    Metric(name="loss.train", unit="1", axis="run", stage=BATCH, log=True,
           description="Training loss of the step's whole batch, before the update, mean over samples: with "
                       "label smoothing, penalties and teacher, where there are any. Of adversarial training: energy "
                       "distance of data and samples, √(2·E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖), mean over micro-batches."),
    Metric(name="loss.validation", unit="1", axis="run", stage=VALIDATION, log=True,
           description="Mean loss over the held-out data, eval mode, after the step: the plain loss, "
                       "without label smoothing, penalties or teacher. Of adversarial training: the energy distance of "
                       "at most 1024 held-out samples and as many of the generator's."),
    Metric(name="accuracy.train", unit="1", axis="run", stage=BATCH,
           description="Share of the step's batch (or tokens, or pixels) classified rightly, before the update."),
    Metric(name="accuracy.validation", unit="1", axis="run", stage=VALIDATION,
           description="Share of the held-out data (or tokens, or pixels) classified rightly, eval mode."),
    Metric(name="accuracy.worst_class_recall", unit="1", axis="run", stage=VALIDATION,
           description="Smallest share, over the classes that the held-out data has, of a class's samples that is "
                       "classified rightly, eval mode."),
    Metric(name="mean_iou.train", unit="1", axis="run", stage=BATCH,
           description="Intersection over union of true and predicted regions, mean over classes, of each micro-batch, "
                       "averaged over the step's; before the update."),
    Metric(name="mean_iou.validation", unit="1", axis="run", stage=VALIDATION,
           description="Intersection over union of true and predicted regions, mean over the classes that the held-out "
                       "data has or that are predicted; all its pixels together, eval mode.",
           source="Everingham et al. 2010, International Journal of Computer Vision 88"),
    Metric(name="data.mix_lambda", unit="1", axis="run", stage=PROCESS,
           description="λ: what the samples of the step's batch kept of themselves in mixup or CutMix; 1 where the "
                       "batch was not mixed.",
           source="Zhang et al. 2017, arXiv 1710.09412; Yun et al. 2019, arXiv 1905.04899"),
    Metric(name="data.pool_fraction", unit="1", axis="run", stage=PROCESS,
           description="Part of the training data, easiest first, that the curriculum lets the step draw from.",
           source="Platanios et al. 2019, arXiv 1903.09848"),
    Metric(name="sequence_accuracy.train", unit="1", axis="run", stage=BATCH,
           description="Share of the step's sequences whose every token is the likeliest after the true ones before "
                       "it, before the update."),
    Metric(name="sequence_accuracy.validation", unit="1", axis="run", stage=VALIDATION,
           description="Share of the held-out sequences whose every token is the likeliest after the true ones before "
                       "it, eval mode: just those that greedy decoding makes rightly from their source alone."),
    Metric(name="optimizer.learning_rate", unit="1", axis="run", stage=PROCESS, log=True,
           description="Rate that the step used, schedule and live factor included."),
)  # fmt: skip
