"""``seqkd export``: trained models as files that run elsewhere, checked against PyTorch, each with its card."""

from __future__ import annotations

from pathlib import Path

from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides


def main(argv: list[str]) -> int:
    """Entry point: one model directory with ``--model`` and ``--out``, or else what a recipe has trained."""
    made = parser(
        "export",
        "Write files to deploy. Of speech recognisers exp/<system>/seed0/export for every system of systems=[...]: "
        "ONNX (float and 8-bit weights), torch.export, tokenizer, hashes and a model card; of classifiers "
        "exp/<system>/export, the best seed as ONNX with its classes and card; of shots exp/model, the best student. "
        "With --model, do it for one model directory of a speech recogniser or a classifier.",
    )
    made.add_argument("--model", type=Path, metavar="DIR", help="a model directory, exported without its recipe")
    made.add_argument("--out", type=Path, metavar="DIR", help="where to write it (with --model)")
    args = parse(made, argv)
    if (args.model is None) != (args.out is None):
        made.error("--model and --out go together")
    cfg = compose(args)
    if args.model:
        from seqkd.deploy.classifier import export_classifier, is_classifier
        from seqkd.deploy.export import export_model
        from seqkd.deploy.origin import ClassifierOrigin, Origin

        licence = cfg.export.licence
        if is_classifier(args.model):
            fresh = export_classifier(args.model, args.out, origin=ClassifierOrigin(licence=licence))
        else:
            fresh = export_model(args.model, args.out, origin=Origin(licence=licence))
        print(f"{args.out}: {'written' if fresh else 'is up to date'}")
        return 0
    from seqkd.tasks import task_of

    task = task_of(cfg)
    task.export(cfg, [compose(args, *system_overrides(cfg, system, 0)) for system in cfg.systems])
    return 0
