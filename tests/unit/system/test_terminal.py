"""The frame around every command: exit codes, errors of one line, and terminals that lack characters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyena.errors import InputError
from hyena.system import terminal
from tests.support.places import ROOT

COMMANDS = ("hyena.leakage", "hyena.pretrain", "sweep.run", "sweep.status", "sweep.compact", "analysis.report")


def raised(error: BaseException) -> int:
    def body() -> int:
        raise error

    return terminal.command(body, "interrupted; call again")


def written(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a fresh interpreter makes of a command's body."""
    changed = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", script_of(code)], capture_output=True, cwd=ROOT, env=changed)


def script_of(code: str) -> str:
    body = f"def body():\n    {code}\n    return 0\n"
    return f"from hyena.system import terminal\n{body}raise SystemExit(terminal.command(body))"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a: b; expected c"), 2, "error: a: b; expected c\n"),
        (InputError("two\nlines and \x1b[2J"), 2, "error: two lines and \\x1b[2J\n"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), 2, "error: a/b: no such file or directory\n"),
        (PermissionError(13, "Permission denied", b"a/\xe9"), 2, "error: a/\\xe9: permission denied\n"),
        (OSError("no space"), 2, "error: no space\n"),
        (BrokenPipeError(32, "Broken pipe"), 2, "error: Broken pipe\n"),  # of another pipe: the output is open
        (KeyboardInterrupt(), 130, "interrupted; call again\n"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(error, code, line, capsys):
    assert raised(error) == code
    captured = capsys.readouterr()
    assert captured.err == line
    assert captured.out == ""


def test_undecodable_text_is_not_a_traceback(capsys):
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\xe9".decode()
    assert raised(caught.value) == 2
    assert capsys.readouterr().err.startswith("error: text that cannot be decoded: 'utf-8' codec")


def test_a_bug_is_not_hidden():
    with pytest.raises(KeyError):
        raised(KeyError("a bug"))


def test_the_code_of_the_body_is_the_exit_code():
    assert terminal.command(lambda: 1) == 1


def test_a_terminal_without_utf8_gets_the_nearest_ascii():
    found = written("print('a · b … 1–2 × Δ ± 7/6 █░ 中')", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout == b"a - b ... 1-2 x delta  +/- 7/6 #. ?\n"


def test_a_name_that_is_not_utf8_is_shown_as_an_escape():
    found = written("import os; print(os.fsdecode(b'caf\\xe9'))", PYTHONIOENCODING="utf-8")
    assert (found.returncode, found.stderr, found.stdout) == (0, b"", b"caf\\xe9\n")


def test_the_console_interprets_neither_markup_nor_emoji():
    found = written("terminal.console().print('[lab] [/x] :dog: [red]a[/red]')")
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout == b"[lab] [/x] :dog: [red]a[/red]\n"


def test_tables_of_the_console_do_not_interpret_markup():
    code = "from rich.table import Table; t = Table('[/x]', box=None); t.add_row('[lab]'); terminal.console().print(t)"
    found = written(code)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [b"[/x]", b"[lab]"]


@pytest.mark.parametrize("lines", [1, 100_000])
def test_an_output_closed_early_ends_the_command_silently(lines):
    script = script_of(f"for i in range({lines}): print(i)")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        child = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, cwd=ROOT)
    finally:
        os.close(writing)
    assert (child.returncode, child.stderr) == (terminal.OUTPUT_CLOSED, b"")


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_runs_within_terminal_command(module):
    path = ROOT / Path(*module.split("."))
    source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    assert source.count("return terminal.command(") == 1
    assert "except KeyboardInterrupt" not in source or module == "analysis.report"


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_prints_its_help_on_a_terminal_without_utf8(module):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    found = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, cwd=ROOT, env=environment)
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout.startswith(f"usage: python -m {module}".encode())


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_an_output_closed_beforehand_is_not_an_error(closed: str) -> None:
    code = (
        "from hyena.system import terminal; import sys; "
        "sys.exit(terminal.command(lambda: terminal.console().print('x') or terminal.say('y') or 3))"
    )
    ended = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], capture_output=True, text=True
    )
    assert ended.returncode == 3
    assert ended.stdout + ended.stderr in {"x\n", "y\n", ""}


def test_a_console_without_a_reader_ends_the_command_silently() -> None:
    code = (
        "from hyena.system import terminal; import sys; c = terminal.console(); "
        "sys.exit(terminal.command(lambda: [c.print('x' * 1000) for _ in range(1000)] and 0))"
    )
    words = ["bash", "-c", '"$0" -c "$1" | head -c 1; echo ${PIPESTATUS[0]}', sys.executable, code]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("x141\n", "")
