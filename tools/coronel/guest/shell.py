"""The console as a person uses it: type a line, read what it prints, see the prompt again."""

from __future__ import annotations

from coronel.guest.console import Console

PROMPT = "coronel> "


class Shell:
    """Commands for people, over COM1. Programs use the `Channel`: its answers are checked and typed."""

    def __init__(self, console: Console, timeout: float) -> None:
        self.console = console
        self.timeout = timeout
        self._at_prompt = False

    def wait_prompt(self, timeout: float | None = None) -> str:
        """What was printed until the prompt stood there."""
        if self._at_prompt:
            return ""
        self.console.expect_exact(PROMPT, timeout=self.timeout if timeout is None else timeout)
        self._at_prompt = True
        return str(self.console.before).replace("\r\n", "\n")

    def type(self, line: str | bytes) -> None:
        """Types `line` and Enter, and does not wait for anything."""
        self._at_prompt = False
        self.console.sendline(line)

    def run(self, line: str, timeout: float | None = None) -> str:
        """Types `line` and returns what it printed, without its echo and without the next prompt."""
        self.wait_prompt(timeout)
        self.type(line)
        output = self.wait_prompt(timeout)
        echo, newline, rest = output.partition("\n")
        return rest if newline and echo.strip() == line.strip() else output
