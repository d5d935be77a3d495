"""Schedules of faults, drawn from a seed: which faults, when, on which database, under which weather."""

import random
from dataclasses import dataclass
from typing import Literal

DATABASES = ("sqlite", "postgresql")
Database = Literal["sqlite", "postgresql"]

FAULTS = {
    "backend_killed": 3,
    "backend_killed_in_commit": 4,
    "backend_killed_in_merge": 3,
    "backend_killed_in_migration": 1,
    "backend_stopped": 1,
    "producer_killed": 4,
    "network_down": 2,
    "network_flapping": 2,
    "database_full": 2,
    "clock_stepped": 2,
    "garbage_sent": 2,
}
"""Faults of every database, by how often they are drawn."""
POSTGRESQL_FAULTS = {"connections_cut": 4, "database_killed": 2, "database_restarted": 2}
FATES = (
    "refuse", "cut_request", "lose_answer", "cut_answer", "duplicate", "late", "replay", "slow", "delay", "swallow"
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Happens once the fraction `at` of all frames is emitted; `amount` in 0..1 says how much, `target` to whom."""

    at: float
    kind: str
    amount: float
    target: int


@dataclass(frozen=True)
class Producing:
    """One producer over all its lives; see `producer.Plan`."""

    steps: int
    burst: int
    width: int
    relayout: int
    flood: bool
    shuffled: bool
    clock: tuple[tuple[int, float], ...]
    spool: Literal["ample", "small", "full_disk"]
    flush_seconds: float


@dataclass(frozen=True)
class Schedule:
    """Everything that is drawn; `weather` has a weight for each fate of a request."""

    seed: int
    database: Database
    backends: int
    faults: tuple[Fault, ...]
    producers: tuple[Producing, ...]
    weather: dict[str, float]

    @property
    def kinds(self) -> set[str]:
        return {fault.kind for fault in self.faults}


def drawn(seed: int, database: Database) -> Schedule:
    """The schedule of a seed."""
    source = random.Random(f"{seed} {database}")
    weights = FAULTS | (POSTGRESQL_FAULTS if database == "postgresql" else {})
    kinds = source.choices(list(weights), list(weights.values()), k=source.randint(1, 4))
    if "backend_killed_in_migration" in kinds:  # the older tables are made once
        kinds = [kind for kind in kinds if kind != "backend_killed_in_migration"] + ["backend_killed_in_migration"]
    faults = [Fault(source.uniform(0.0, 0.95), kind, source.random(), source.randrange(100)) for kind in kinds]
    producers = tuple(_producing(source) for _ in range(source.randint(1, 3)))
    if any(made.spool == "full_disk" for made in producers):
        faults.append(Fault(source.uniform(0.0, 0.5), "spool_disk_full", source.random(), 0))
    fates = source.sample(FATES, source.randint(0, 5))
    return Schedule(
        seed=seed,
        database=database,
        backends=source.choice((1, 1, 2)) if database == "postgresql" else 1,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        producers=producers,
        weather={fate: source.uniform(0.01, 0.8 / len(fates)) for fate in fates},
    )


def _producing(source: random.Random) -> Producing:
    wide = source.random() < 0.1
    steps = source.randint(10, 20) if wide else source.randint(100, 400)
    wrong = [(source.randint(1, steps), source.choice((-3600.0, 259_200.0, -259_200.0, 5.0, 0.0))) for _ in range(2)]
    return Producing(
        steps=steps,
        burst=1 if wide else source.randint(1, 12),
        width=10_000 if wide else source.choice((1, 3, 31, 100)),
        relayout=source.randint(2, 2 * steps),
        flood=source.random() < 0.4,
        shuffled=source.random() < 0.15,
        clock=tuple(sorted(wrong)) if source.random() < 0.3 else (),
        spool=source.choices(("ample", "small", "full_disk"), (8, 1, 1))[0],
        flush_seconds=source.choice((0.02, 0.05, 0.2)),
    )
