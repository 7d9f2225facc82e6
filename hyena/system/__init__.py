"""The machine: cores, paths, files, text, locks, extras and the terminal. Loads no torch. Open `terminal.py` first."""

#: What other rooms may import.
__all__ = ["cores", "extras", "files", "paths", "terminal", "text", "waiting"]
