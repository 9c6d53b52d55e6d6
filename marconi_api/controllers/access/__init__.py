"""Who asks, and what that lets them do: the three modes of ``access.mode``."""
