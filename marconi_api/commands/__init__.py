"""What an operator types: ``marconi serve``, ``marconi queues``, ``marconi redrive`` and others.

Each command is one file. Its function ``run`` does it, and what it promises is the docstring of
that, which ``--help`` shows. ``command_line`` reads what was typed, and says how it went.
"""

import signal
from collections.abc import Sequence

#: As a shell says it of a command.
ENDED_BY_CTRL_C = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code."""
    try:
        # It imports all that Marconi consists of. Ctrl-C may come meanwhile, too.
        from marconi_api.commands import command_line

        return command_line.run(argv)
    except KeyboardInterrupt:
        return ENDED_BY_CTRL_C
