"""One finding of the doctor."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, whether it passed, what was seen, and how to fix it where it failed."""

    subject: str
    passed: bool
    seen: str
    remedy: str = ""


@dataclass(slots=True)
class Faults:
    """What one check found wrong, counted; the first few are kept in words."""

    noun: str
    """What is counted: "rows", "images", …"""
    shown: int = 3
    count: int = 0
    examples: list[str] | None = None

    def add(self, what: str) -> None:
        """Count one more."""
        self.count += 1
        self.examples = self.examples or []
        if len(self.examples) < self.shown:
            self.examples.append(what)

    def finding(self, subject: str, remedy: str, passed: str = "yes") -> Finding:
        """Passed where nothing was added; `passed` is then what is said."""
        if not self.count:
            return Finding(subject, True, passed)
        return Finding(subject, False, f"{self.count} {self.noun} not: {'; '.join(self.examples or ())}", remedy)
