"""`make bench`: ask the questions, write the answers to benchmarks/results/."""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from benchmarks import machine, report
from benchmarks.plan import Plan

QUESTIONS = (
    *('framework', 'end_to_end', 'growth', 'peers', 'footprint', 'verdicts', 'waiting', 'replies'),
    *('access', 'row_security', 'metrics', 'deliveries', 'beside', 'subscriptions', 'shortcuts'),
    *('console', 'fifo', 'sqs'),
)
RESULTS = Path(__file__).with_name('results')


def main() -> None:
    """Ask one question after the other; what one leaves unanswered does not stop the next."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=main.__doc__)
    parser.add_argument(
        'questions', nargs='*', metavar='QUESTION', help=f'{", ".join(QUESTIONS)}; all of them'
    )
    parser.add_argument(
        '--quick', action='store_true', help='rough figures in less than two minutes'
    )
    parser.add_argument('--into', type=Path, default=RESULTS, help='the directory for the results')
    arguments = parser.parse_args()
    if unknown := set(arguments.questions) - set(QUESTIONS):
        parser.error(f'no such question: {", ".join(unknown)}')

    plan = Plan(quick=arguments.quick)
    facts = machine.facts() | plan.facts
    stolen = machine.Stolen()
    answers = []
    for name in arguments.questions or QUESTIONS:
        question = importlib.import_module(f'benchmarks.{name}')
        method = question.__doc__ or ''
        print(f'{name}: {method.splitlines()[0]}', file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            answer = question.ask(plan)
        except (Exception, SystemExit) as error:
            if not isinstance(error, SystemExit):
                traceback.print_exc()
            answer = report.Answer(name, method, notes=[f'Not measured: {error}'])
        print(answer, f'\n({time.monotonic() - started:.0f} s)\n', flush=True)
        answers.append(answer)
        # What is there is kept, should a later question be interrupted.
        report.write(arguments.into, answers, facts | {'CPU time stolen by the host': str(stolen)})
    print(f'Written to {arguments.into}: report.md, results.json, charts')


if __name__ == '__main__':
    main()
