"""What the person at the terminal sees: one line a step, with progress on the long ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status


@dataclass
class Step:
    """One step on the screen."""

    title: str
    status: Status | None
    result: str = ""

    def say(self, text: str) -> None:
        """Show what the step is doing now."""
        if self.status is not None:
            self.status.update(f"{self.title}: [dim]{text}[/dim]")

    def done(self, result: str) -> None:
        """Set the words that stay behind the step."""
        self.result = result


class Show:
    """Steps on standard error, so that standard output is free for a result."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step while its block runs, and one line when it is over."""
        began = time.monotonic()
        live = self._console.is_terminal
        step = Step(title, self._console.status(title) if live else None)
        if step.status:
            step.status.start()
        try:
            yield step
        except BaseException:
            if step.status:
                step.status.stop()
            self._console.print(f"[red]✗[/red] {title}")
            raise
        if step.status:
            step.status.stop()
        took = time.monotonic() - began
        self._console.print(f"[green]✓[/green] {title}  [cyan]{step.result}[/cyan]  [dim]{took:.1f} s[/dim]")

    def line(self, text: str = "") -> None:
        """Print one line."""
        self._console.print(text)
