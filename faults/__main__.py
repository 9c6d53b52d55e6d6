"""`python -m faults`: run one campaign or many, play one again, check its logs, or prove the checker."""

import argparse
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from faults import hostile, load, returns, upgrades
from faults.campaign import Terms, new_folder, run, terms_of
from faults.checker import check
from faults.controls import prove
from faults.goal import go_on
from faults.machine import Impossible

#: Seconds for which clients work in a run by continuous integration.
_CI = 60.0
#: The same in a round of a long run.
_ROUND = 240.0


def main(arguments: list[str]) -> int:
    """Carry out a command; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog='python -m faults', description=__doc__)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser('run', help='run a campaign')
    running.add_argument('--seed', default=str(int.from_bytes(os.urandom(4), 'big')))
    running.add_argument('--seconds', type=float, default=_CI, help='for which clients work')
    running.add_argument('--pace', type=float, default=1.0, help='accidents a second')
    running.add_argument('--standby', action='store_true', help='PostgreSQL fails over to one')
    running.add_argument(
        '--pooler', action='store_true', help='a service reaches PostgreSQL through PgBouncer'
    )
    running.add_argument(
        '--skew', type=int, default=0, help="seconds by which the second service's clock is ahead"
    )
    running.add_argument('--small-disk', action='store_true', help='it is full now and then')
    running.add_argument(
        '--only', nargs='+', default=[], metavar='ACCIDENT', help='all that happens'
    )
    running.add_argument('--defect', default='', help='one that the services have')
    running.set_defaults(carry_out=_run)
    lasting = commands.add_parser('goal', help='run campaigns until enough has happened')
    lasting.add_argument('--folder', type=Path, default=Path('build/faults'), help='of the counts')
    lasting.add_argument('--seed', default=str(int.from_bytes(os.urandom(4), 'big')))
    lasting.add_argument('--seconds', type=float, default=_ROUND, help='of a round')
    lasting.add_argument('--minutes', type=float, default=math.inf, help='after which none begins')
    lasting.set_defaults(carry_out=_go_on)
    returning = commands.add_parser('return', help='have the database go back to what it was')
    returning.add_argument('kind', choices=returns.KINDS)
    returning.add_argument('--seed', default=str(int.from_bytes(os.urandom(4), 'big')))
    returning.add_argument('--times', type=int, default=3, help='it goes back')
    returning.add_argument('--seconds', type=float, default=20.0, help='for which clients work')
    returning.set_defaults(carry_out=_return)
    upgrading = commands.add_parser('upgrade', help='bring the schema up and down under load')
    upgrading.add_argument('--seed', default=str(int.from_bytes(os.urandom(4), 'big')))
    upgrading.add_argument('--times', type=int, default=3, help='it is brought up')
    upgrading.add_argument('--seconds', type=float, default=10.0, help='of work before a change')
    upgrading.set_defaults(carry_out=_upgrade)
    hostile_one = commands.add_parser('hostile', help='send requests that no client should send')
    hostile_one.add_argument('--seed', type=int, default=1)
    hostile_one.add_argument('--cases', type=int, default=15000, help='made from the document')
    hostile_one.add_argument('--raw', type=int, default=5000, help='bytes that are nearly HTTP')
    hostile_one.set_defaults(carry_out=_be_hostile)
    loading = commands.add_parser('load', help='send more than a service can take')
    loading.add_argument('--seconds', type=float, default=60.0, help='of the overload')
    loading.add_argument('--factor', type=float, default=2.0, help='of the rate at saturation')
    loading.set_defaults(carry_out=_load)
    replaying = commands.add_parser('replay', help='run one again that has failed')
    replaying.add_argument('folder', type=Path)
    replaying.set_defaults(carry_out=_replay)
    checking = commands.add_parser('check', help='check the logs of a run')
    checking.add_argument('folder', type=Path)
    checking.set_defaults(carry_out=lambda given: _check(given.folder))
    proving = commands.add_parser('controls', help='prove that defects are found')
    proving.add_argument('defects', nargs='*', metavar='DEFECT', help='all of them')
    proving.add_argument('--seed', default='controls')
    proving.add_argument('--seconds', type=float, default=12.0, help='for which clients work')
    proving.add_argument('--pace', type=float, default=1.5, help='accidents a second')
    proving.set_defaults(carry_out=_prove)
    given = parser.parse_args(arguments)
    # Services are stopped then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status: int = given.carry_out(given)
    except KeyboardInterrupt:
        sys.exit('faults: told to stop')
    return status


def _run(given: argparse.Namespace) -> int:
    return _play(
        Terms(
            given.seed,
            given.seconds,
            given.pace,
            given.standby,
            given.pooler,
            given.skew,
            given.small_disk,
            dict.fromkeys(given.only, 1) or None,
            given.defect,
        )
    )


def _replay(given: argparse.Namespace) -> int:
    return _play(terms_of(given.folder))


def _play(terms: Terms) -> int:
    folder = new_folder()
    print(f'seed {terms.seed}, {terms.seconds:g} s, logs in {folder}', flush=True)
    began = time.monotonic()
    try:
        run(terms, folder)
    except Impossible as why:
        print(f'NOT RUN: {why}')
        return 0
    ran = time.monotonic()
    status = _check(folder)
    print(f'run in {ran - began:.0f} s, checked in {time.monotonic() - ran:.0f} s')
    if status:
        print(f'To run it again: make faults REPLAY={folder}')
    else:
        shutil.rmtree(folder)
    return status


def _go_on(given: argparse.Namespace) -> int:
    until = time.monotonic() + given.minutes * 60
    counts = go_on(given.folder, given.seed, given.seconds, until)
    print('Enough has happened.' if counts.is_enough() else 'To go on: the same command again.')
    return bool(counts.failed)


def _return(given: argparse.Namespace) -> int:
    folder = new_folder()
    print(f'seed {given.seed}, logs in {folder}', flush=True)
    returns.run(returns.Terms(given.kind, given.seed, given.times, given.seconds), folder)
    reports = returns.check_epochs(folder)
    for report in reports:
        print('\n'.join([*report.lines(), '']), flush=True)
    if all(report.is_good for report in reports):
        shutil.rmtree(folder)
        return 0
    return 1


def _upgrade(given: argparse.Namespace) -> int:
    folder = new_folder()
    print(f'seed {given.seed}, logs in {folder}', flush=True)
    try:
        upgrades.run(upgrades.Terms(given.seed, given.times, given.seconds), folder)
    except Impossible as why:
        print(f'NOT RUN: {why}')
        return 0
    status = _check(folder)
    if not status:
        shutil.rmtree(folder)
    return status


def _be_hostile(given: argparse.Namespace) -> int:
    folder = new_folder()
    outcome = hostile.run(given.seed, given.cases, given.raw, folder)
    print('\n'.join(outcome.lines()))
    if not outcome.is_good:
        print(f'The logs are in {folder}')
        return 1
    shutil.rmtree(folder)
    return 0


def _load(given: argparse.Namespace) -> int:
    folder = new_folder()
    outcome = load.run(given.seconds, given.factor, folder)
    shutil.rmtree(folder)
    for phase in (outcome.saturation, outcome.overload, outcome.afterwards):
        print(phase)
    print(f'{outcome.before:.0f} MiB before the overload, {outcome.after:.0f} MiB after')
    faults = list(outcome.faults())
    print('\n'.join(faults))
    return bool(faults)


def _prove(given: argparse.Namespace) -> int:
    proofs = prove(given.defects, given.seed, given.seconds, given.pace)
    missed = [proof.defect for proof in proofs if proof.finding is None]
    further = sum(proof.tries > 1 for proof in proofs)
    print(f'{len(proofs) - len(missed)} of {len(proofs)} defects found, {further} in a further run')
    if missed:
        print(f'The campaign proves nothing, as these were not found: {", ".join(missed)}')
    return bool(missed)


def _check(folder: Path) -> int:
    report = check(folder)
    print('\n'.join(report.lines()), flush=True)
    return 0 if report.is_good else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
