"""What Marconi costs, and what others do on the same machine at the same moment.

Each question is one file, whose docstring says how it is answered: ``framework``,
``end_to_end``, ``growth``, ``peers``, ``footprint``, ``verdicts``. ``make bench`` asks them all.
"""
