"""Figures for Prometheus: each process counts in a file, and one process tells them all."""
