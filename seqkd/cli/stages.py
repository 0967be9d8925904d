"""``seqkd stages``: stages of a recipe, one after the other, in one process: what they import is imported once."""

from __future__ import annotations

import argparse

from seqkd.stages import STAGES

COMMANDS = {
    "corpus": ("prepare", "corpus"),
    "prepare": ("prepare",),
    "teachers": ("train", "--group", "teachers"),
    "check": ("check-teacher",),
    "book": ("book", "make"),
    "students": ("train", "--group", "students"),
    "decode": ("decode",),
    "score": ("score", "--recipe"),
    "report": ("report",),
    "export": ("export",),
}


def main(argv: list[str]) -> int:
    """Entry point: the first command that fails ends it, with its status."""
    from seqkd.cli import main as command

    made = argparse.ArgumentParser(
        prog="seqkd stages",
        usage="seqkd stages STAGE ... -- OPTION ...",
        description="Run stages of a recipe, in the order given: what recipes/run.sh does.",
        epilog=f"stages: {', '.join(STAGES)}; options: those that every stage's command takes",
    )
    made.add_argument("stages", metavar="STAGE", nargs="+", choices=STAGES)
    at = argv.index("--") if "--" in argv else len(argv)
    stages = made.parse_args(argv[:at]).stages
    import torch

    threads = torch.get_num_threads()
    for stage in stages:
        print(f"== stage {STAGES.index(stage)}: {stage}", flush=True)
        torch.set_num_threads(threads)  # which training sets for itself
        if status := command.main([*COMMANDS[stage], *argv[at + 1 :]]):
            return status
    return 0
