"""``seqkd systems``: what there is to train, the package's systems and a recipe's own."""

from __future__ import annotations

from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_settings, systems_of, variants_of


def main(argv: list[str]) -> int:
    """Entry point: a Markdown table, from the files that systems are."""
    cfg = compose(parse(parser("systems", "List the systems of a task, and with --conf a recipe's own."), argv))
    print("| system | is | compared with | which isolates |")
    print("|---|---|---|---|")
    for name in [*systems_of(cfg), *variants_of(cfg)]:
        system = system_settings(cfg, name)
        print(f"| `{name}` | {system.label} | {_code(system.get('control'))} | {system.get('isolates') or ''} |")
    return 0


def _code(name: str | None) -> str:
    return f"`{name}`" if name else ""
