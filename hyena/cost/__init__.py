"""Forecasts of a run's time and memory: formulas, and probes that take seconds. Open `flops.py` first."""

#: What other rooms may import.
__all__ = ["flops", "memory_forecast", "speed_probe", "step_probe", "step_rates"]
