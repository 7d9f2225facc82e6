"""The machine: cores, paths, files, text, locks and the terminal. Loads no torch. Open `terminal.py` first."""

#: What other rooms may import.
__all__ = ["cores", "files", "paths", "terminal", "text", "waiting"]
