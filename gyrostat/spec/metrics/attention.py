"""Attention heads."""

from gyrostat.spec.metrics.base import FORWARD, Metric

METRICS = (
    Metric(name="attention.entropy", unit="nat", axis="head", stage=FORWARD,
           description="Mean over queries of −Σ p·ln p, p the weights of a query on all keys that it may read; of the "
                       "first few sequences of the step's first micro-batch, before the update. 0: each query "
                       "reads one position; ln n: evenly all of n.",
           source="Zhai et al. 2023, arXiv 2303.06296, section 3"),
    Metric(name="attention.max_logit", unit="1", axis="head", stage=FORWARD,
           description="Largest logit that the head's softmax takes, after scaling, normalization of queries and keys, "
                       "and soft cap; of the same sequences.",
           source="Dehghani et al. 2023, arXiv 2302.05442, section 2"),
)  # fmt: skip
