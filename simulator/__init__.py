"""The sample province: an invented Ningxia whose truth is known, written as the extracts that counties send."""

from simulator.run import SimulationReport, simulate

__all__ = ["SimulationReport", "simulate"]
