"""What a person reads about a configuration file: mistakes, warnings, and the error that carries all of them at once.

Owns the wording frame `FILE:LINE: KEY: what; what to write instead`. Never holds the content of a secret.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about one place. `line` and `column` are None where it is about the whole file."""

    file: str
    line: int | None
    column: int | None
    key: str  # path of the key, for example servers[0].url; "" for the whole file
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        parts = [where, self.key, self.message] if self.key else [where, self.message]
        text = ": ".join(parts)
        return f"{text}; {self.suggestion}" if self.suggestion else text


@dataclass(frozen=True, slots=True)
class Mistake(Finding):
    """Makes the file unusable."""


@dataclass(frozen=True, slots=True)
class ConfigWarning(Finding):
    """The file is usable; a person should still look."""


class ConfigError(Exception):
    """A configuration that cannot be used. `mistakes` holds everything found, in the order of the file."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class Rejected(ValueError):
    """A value that a parser of one setting refuses, with what to write instead."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


class Report:
    """Collects findings about one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.warnings: list[ConfigWarning] = []

    def mistake(self, mark: Mark | None, key: str, message: str, suggestion: str = "") -> None:
        """Record a mistake."""
        line, column = (mark.line, mark.column) if mark else (None, None)
        self.mistakes.append(Mistake(self.file, line, column, key, message, suggestion))

    def warn(self, mark: Mark | None, key: str, message: str, suggestion: str = "") -> None:
        """Record a warning."""
        line, column = (mark.line, mark.column) if mark else (None, None)
        self.warnings.append(ConfigWarning(self.file, line, column, key, message, suggestion))

    def has_mistake(self, path: str) -> bool:
        """Tell whether a mistake is known at this key or below it, so that follow-on mistakes stay unsaid."""
        return any(m.key == path or m.key.startswith((f"{path}.", f"{path}[")) for m in self.mistakes)

    def raise_mistakes(self) -> None:
        """Raise ConfigError if anything was found, sorted by place."""
        if self.mistakes:
            raise ConfigError(sorted(self.mistakes, key=lambda m: (m.line or 0, m.column or 0)))


def nearest(word: str, valid: Collection[str], what: str = "valid") -> str:
    """Suggest the nearest of the valid words, or list them all."""
    close = get_close_matches(word.lower(), sorted(valid), n=1, cutoff=0.6)
    listed = f"{what}: {', '.join(sorted(valid))}" if valid else f"{what}: none"
    return f"did you mean {close[0]}? ({listed})" if close else listed


def shown(text: str) -> str:
    """Quote a piece of a file for a message: shortened, control characters escaped."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
