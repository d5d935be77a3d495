"""The process that a launcher starts for a training: `python -m trainer.launch.child FD RUN ATTEMPT`.

RUN and ATTEMPT are there for `ps`. Stdin brings the job and then requests, one JSON object a line; FD takes reports the
same way. A training of one rank runs in this process; for several, it starts and supervises theirs (`elastic`), and
passes requests and reports on. The process never outlives its agent: another one may be given the run as soon as the
agent is gone.
"""

import faulthandler
import os
import sys
import traceback

from gyrostat.spec.parse import SpecError, parse
from trainer.device import choose
from trainer.launch.base import Job
from trainer.launch.process import die_with_parent, orphaned
from trainer.launch.training import Desk, Reports, failure


def main() -> None:
    """Trains the job on stdin, tells its stream how that ended, and leaves."""
    # the thread that crashed, alone: the others run on while they are read, and a torn frame would end the report early
    faulthandler.enable(all_threads=False)
    die_with_parent()
    reports, requests = Reports(int(sys.argv[1])), sys.stdin.buffer
    job = Job.model_validate_json(requests.readline() or orphaned())
    if (ranks := _ranks(job)) > 1:
        from trainer.launch.elastic import Supervisor  # torch's launcher loads what a single rank does without

        Supervisor(job, ranks, requests, reports).run()
    else:
        desk = Desk(job, requests, reports)
        desk.end_on_signals()
        try:
            desk.train(choose(job.device))
        except Exception as error:
            traceback.print_exc()
            desk.stream.event("failed", reports.step, failure(error))
        desk.close()
    reports.end()
    # not `return`: threads of native libraries may hang an orderly exit, and nothing is left to be done
    os._exit(0)


def _ranks(job: Job) -> int:
    try:
        distributed = parse(job.spec).spec.distributed
    except SpecError:  # the training itself tells what is wrong with it
        return 1
    return 1 if distributed is None else distributed.ranks


if __name__ == "__main__":
    main()
