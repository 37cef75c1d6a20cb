"""Interactive shells in a pseudo-terminal, in which the tests type."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.postgres import wait_until
from tests.support.programs import require

DEADLINE = 600.0
SHELLS = ("bash", "zsh", "fish")

# What makes Ctrl-G write the line to a file, and Ctrl-O put all candidates into it where a shell can do that.
_SET_UP = {
    "bash": r"""
PS1='> '
bind -x '"\C-g": printf "%s\0" "$READLINE_LINE" >>"$LINES_FILE"'
bind '"\C-o": insert-completions'
set +o history
""",
    "zsh": r"""
PS1='> '
unsetopt beep
autoload -Uz compinit && compinit -u -d "$HOME/dump"
write_line() { print -rn -- "$BUFFER"$'\0' >>"$LINES_FILE" }
zle -N write_line && bindkey '^G' write_line
zstyle ':completion:all:*' completer _all_matches _complete
zstyle ':completion:all:*' insert yes
zle -C all complete-word _generic && bindkey '^O' all
""",
    "fish": r"""
function fish_prompt; echo '> '; end
function fish_greeting; end
bind \cg 'printf "%s\0" (commandline -b | string collect) >>$LINES_FILE'
""",
}
_COMMANDS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_SOURCE = {"bash": 'source "$SET_UP"', "zsh": 'source "$SET_UP"', "fish": "source $SET_UP"}


class Shell:
    """A shell at its prompt. It ends with the block that `shell` opens."""

    def __init__(self, name: str, folder: Path, script: str, environment: dict[str, str]) -> None:
        """Start a shell.

        Args:
            name: Its name.
            folder: An empty folder for it, which becomes its home and its working directory.
            script: What it runs before its first prompt.
            environment: More variables.
        """
        self._lines_file = folder / "lines"
        (folder / "set_up").write_text(f"{_SET_UP[name]}\n{script}\n")
        home = {"HOME": str(folder), "TERM": "xterm", "COLUMNS": "200", "LINES": "60"}
        files = {"LINES_FILE": str(self._lines_file), "SET_UP": str(folder / "set_up")}
        bin_folder = str(Path(sys.executable).parent)
        path = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        self._taken = 0
        self.output = b""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe(name, _COMMANDS[name], {**os.environ, **environment, **home, **files, **path})
        self.type(f"{_SOURCE[name]}\r")
        self.line_after("")

    def type(self, keys: str) -> None:
        """Send keys."""
        os.write(self._terminal, keys.encode())

    def line_after(self, keys: str) -> str:
        """Type keys, and return the line as it is then. The line is left empty."""
        # Ctrl-G comes first too: the shell has to be at its prompt, since keys typed before that may be lost.
        self.type("\x15")
        self._next_line("\x07")
        return self._next_line(f"{keys}\x07")

    def _next_line(self, keys: str) -> str:
        lines: list[bytes] = []
        typed_at = 0.0

        def is_there() -> bool:
            nonlocal lines, typed_at
            if keys == "\x07" and time.monotonic() - typed_at > 1:  # a shell that starts throws keys away
                self.type(keys)
                typed_at = time.monotonic()
            self._read()
            content = self._lines_file.read_bytes() if self._lines_file.exists() else b""
            lines = content.split(b"\0")[:-1]
            return len(lines) > self._taken

        if keys != "\x07":
            self.type(keys)
        wait_until(is_there, lambda: f"the shell does not answer to {keys!r}: {self.output.decode()}", DEADLINE)
        line = lines[self._taken]
        self._taken = len(lines)
        return line.decode()

    def _read(self) -> None:
        while select.select([self._terminal], [], [], 0.01)[0]:
            try:
                self.output += os.read(self._terminal, 65536)
            except OSError:  # the shell has ended
                raise AssertionError(f"the shell has ended: {self.output.decode()}") from None

    def close(self) -> None:
        """End the shell."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


@contextlib.contextmanager
def shell(name: str, folder: Path, script: str, environment: dict[str, str]) -> Iterator[Shell]:
    """Start a shell and end it after the block."""
    require(name)
    opened = Shell(name, folder, script, environment)
    try:
        yield opened
    finally:
        opened.close()


ODD = [
    "my queue",
    'it\'s "q" $x `b` !h \\e',
    "new\nline",
    "tab\there",
    "\x1b[31mred",
    "#hash",
    "~t",
    "ünï",
    "a:b=c@d",
    "*",
]
