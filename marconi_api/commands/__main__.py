"""``python -m marconi_api.commands``: the command ``marconi``, where it is not installed."""

import sys

from marconi_api.commands import main

if __name__ == '__main__':
    sys.exit(main())
