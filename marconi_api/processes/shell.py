"""What `pecan shell config.py` opens: a Python prompt that knows ``admin``.

Pecan's own prompt neither completes names nor knows what an administrator needs. Under
`pecan shell`, :func:`furnish` puts this one in its place.
"""

import rlcompleter
import sys
from typing import Any

from marconi_api import model
from marconi_api.model import Actor
from marconi_api.model.audit import SHELL

BANNER = """\

  Start with admin: it shows queues, messages and claims, and can change them.
  help(admin) and the Tab key list its methods; help says which of them change anything.
"""


def furnish() -> None:
    """Make this the prompt of `pecan shell`, if that is what is running."""
    command = sys.modules.get('pecan.commands.shell')
    if command is not None:
        native = command.ShellCommand.SHELLS['python']

        class Shell(native):  # type: ignore[misc, valid-type]
            """Pecan's prompt with ``admin``, and with names that complete."""

            @classmethod
            def invoke(cls, ns: dict[str, Any], banner: str) -> None:
                ns['admin'] = model.store.admin
                model.store.audit.actor = Actor.of_this_process(SHELL)
                _complete(ns)
                super().invoke(ns, banner + BANNER)

        command.ShellCommand.SHELLS['python'] = Shell


def _complete(names: dict[str, Any]) -> None:
    try:
        import readline
    except ImportError:  # a Python that was built without it
        return
    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind('tab: complete')
