"""How a command fails, in one line and with an exit code."""


class CommandFailed(Exception):
    """The command could not do what it was asked to; the message is one line that says why."""

    exit_code = 1


class NothingFound(CommandFailed):
    """There is no such queue, claim or message."""


class Declined(CommandFailed):
    """Whoever typed the command said no when asked."""


class WrongUse(CommandFailed):
    """The command cannot be meant as it was typed; the message says what to change."""

    exit_code = 2
