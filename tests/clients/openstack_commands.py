"""The command `openstack`, again and again in one process; run in its own environment.

Reads the arguments of a command from each line, a JSON array; answers each with a line, a JSON
array of the exit status, the output and the errors. The program `openstack` calls the same
function, once; its start takes fifty times as long as a command.
"""

import contextlib
import io
import json
import logging
import sys

from openstackclient.shell import main


def run(arguments):
    """The exit status, the output and the errors of a command."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(arguments)
    # Each command adds its own, which writes to its own errors.
    logging.getLogger().handlers.clear()
    return status, output.getvalue(), errors.getvalue()


if __name__ == '__main__':
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
