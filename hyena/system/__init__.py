"""The machine: cores, terminal, paths, text files, waits. Loads no torch. Open `terminal.py` first."""

#: What other rooms may import.
__all__ = ["cores", "paths", "terminal", "text", "waiting"]
