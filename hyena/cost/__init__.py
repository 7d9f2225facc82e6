"""Time and memory of a run before it runs: formulas, and probes of seconds. Open `flops.py` first."""

#: What other rooms may import.
__all__ = ["flops", "memory_forecast", "speed_probe", "step_probe", "step_rates"]
