"""The ``seqkd`` command. Nothing heavy is imported before a command is chosen, so ``--help`` answers at once."""

from __future__ import annotations

import argparse
import importlib
import sys

from seqkd import __version__
from seqkd.errors import SeqkdError

COMMANDS = {
    "prepare": "get the corpus, check it, make features, units, books",
    "systems": "list the systems of a task or recipe",
    "train": "train the systems of a recipe, or one of them",
    "book": "make, inspect, verify and merge stored teacher outputs",
    "tune": "train variants of systems and rank them by dev WER",
    "tune-lm": "choose a language model's weight on dev",
    "check-teacher": "measure the teachers' WER, blank share, entropy and spike offsets",
    "decode": "decode the test sets with trained models",
    "score": "score hypotheses, with confidence intervals; or a recipe's decodings",
    "report": "write RESULTS.md and its figures, print the table",
    "claims": "write what the tables of all recipes show of each published claim",
    "export": "write trained models as ONNX and torch.export files, checked, with a model card",
    "transcribe": "recognise recordings with an exported model: words with times",
    "classify": "classify sounds or images with an exported model",
    "shots": "cut songs into camera shots: edit list, timeline or storyboard",
    "stages": "run stages of a recipe, one after the other: what run.sh calls",
    "clean": "list or remove runs and books that changed settings have moved aside",
    "doctor": "print versions, devices, compiled parts, what is missing and how to get it",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; a user's fault is one sentence on stderr and status 1."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="seqkd",
        usage="seqkd [--version] [--help] COMMAND ...",
        description="Speech and sequence distillation.",
        epilog="commands:\n"
        + "\n".join(f"  {name:<14}{text}" for name, text in COMMANDS.items())
        + "\n\n'seqkd COMMAND --help' explains one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"seqkd {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=list(COMMANDS))
    if not argv:
        parser.print_help()
        return 0
    command = parser.parse_args(argv[:1]).command
    try:
        module = importlib.import_module(f"seqkd.cli.{command.replace('-', '_')}")
        return module.main(argv[1:]) or 0
    except SeqkdError as error:
        print(f"seqkd {command}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "seqkd").partition(".")[0] == "seqkd":
            raise
        print(
            f"seqkd {command}: needs {error.name}, which is not installed; "
            "install the recipes' libraries: pip install 'seqkd[recipes]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"seqkd {command}: interrupted; run it again to carry on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        from seqkd.disk import disk_fault

        fault = disk_fault(error)
        if fault is None:
            raise
        print(f"seqkd {command}: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
