"""Print NAME==VERSION of all that a requirement brings here: python scripts/lock_environment.py 'a[b]'"""

import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def brought(requirement: Requirement, found: dict[tuple[str, str], str]) -> None:
    """Add what is installed for a requirement to `found`: (name, extra) -> version."""
    name = canonicalize_name(requirement.name)
    for extra in {"", *requirement.extras}:
        if (name, extra) in found:
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            print(f"left out, since it is not installed: {requirement}", file=sys.stderr)
            return
        found[name, extra] = installed.version
        for line in installed.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                brought(needed, found)


def main() -> None:
    asked = Requirement(sys.argv[1])
    found: dict[tuple[str, str], str] = {}
    brought(asked, found)
    own = canonicalize_name(asked.name)
    for name, version in sorted({(name, version) for (name, _), version in found.items() if name != own}):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
