"""``seqkd export``: trained models as files that run elsewhere, checked against PyTorch, each with its card."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides
from seqkd.errors import ConfigError
from seqkd.layout import run_directory


def main(argv: list[str]) -> int:
    """Entry point: one model directory with ``--model`` and ``--out``, or else what a recipe has trained."""
    made = parser(
        "export",
        "Write files to deploy. Of speech recognisers exp/<system>/seed0/export for every system of systems=[...]: "
        "ONNX (float and 8-bit weights), torch.export, tokenizer, hashes and a model card; of classifiers "
        "exp/<system>/export, the best seed as ONNX with its classes and card; of shots exp/model, the best student. "
        "With --model, do it for one model directory of a speech recogniser or a classifier. With --sherpa or --web, "
        "write an exported speech recogniser in the form that sherpa-onnx or a browser runs.",
    )
    made.add_argument("--model", type=Path, metavar="DIR", help="a model directory, exported without its recipe")
    made.add_argument("--out", type=Path, metavar="DIR", help="where to write it (with --model)")
    made.add_argument(
        "--sherpa",
        action="store_true",
        help="write a folder that sherpa-onnx runs instead, exp/<system>/seed0/sherpa-onnx; --model is an export",
    )
    made.add_argument(
        "--web",
        action="store_true",
        help="write a folder with a page that recognises speech in a browser, exp/<system>/seed0/web; likewise",
    )
    made.add_argument("--int8", action="store_true", help="with --web: take the network with 8-bit weights")
    made.add_argument(
        "--runtime",
        type=Path,
        metavar="DIR",
        help="with --web: where the files of ONNX Runtime Web are (default: npm fetches them once)",
    )
    args = parse(made, argv)
    if (args.model is None) != (args.out is None):
        made.error("--model and --out go together")
    if args.model and args.sherpa and args.web:
        made.error("--sherpa and --web write a folder each; give one of them with --out")
    if not args.web and (args.int8 or args.runtime):
        made.error("--int8 and --runtime are of --web")
    cfg = compose(args)
    if args.model and args.sherpa:
        for_sherpa(args.model, args.out)
        return 0
    if args.model and args.web:
        for_browser(args.model, args.out, args)
        return 0
    if args.model:
        from seqkd.deploy.classifier import export_classifier, is_classifier
        from seqkd.deploy.export import export_model
        from seqkd.deploy.origin import ClassifierOrigin, Origin

        licence = cfg.export.licence
        if is_classifier(args.model):
            fresh = export_classifier(args.model, args.out, origin=ClassifierOrigin(licence=licence))
        else:
            fresh = export_model(args.model, args.out, origin=Origin(licence=licence))
        report(args.out, fresh)
        return 0
    from seqkd.tasks import task_of

    if cfg.task != "asr" and (args.sherpa or args.web):
        raise ConfigError(f"--sherpa and --web are for speech recognisers, but --task is {cfg.task}; leave them out")
    task = task_of(cfg)
    systems = [compose(args, *system_overrides(cfg, system, 0)) for system in cfg.systems]
    task.export(cfg, systems)
    for one in systems:
        run = run_directory(one)
        if args.sherpa:
            for_sherpa(run / "export", run / "sherpa-onnx", [Path(cfg.data) / name for name in cfg.sets.test])
        if args.web:
            for_browser(run / "export", run / "web", args)
    return 0


def for_sherpa(export: Path, out: Path, tests: Sequence[Path] = ()) -> None:
    """Write an export's folder for sherpa-onnx, compared with it on the sets ``tests``."""
    from seqkd.deploy.sherpa.folder import write_sherpa

    report(out, write_sherpa(export, out, tests))


def for_browser(export: Path, out: Path, args: argparse.Namespace) -> None:
    """Write an export's folder for a browser."""
    from seqkd.deploy.web.page import write_page

    report(out, write_page(export, out, int8=args.int8, runtime=args.runtime))


def report(out: Path, fresh: bool) -> None:
    """Print whether a directory was written."""
    print(f"{out}: {'written' if fresh else 'is up to date'}")
