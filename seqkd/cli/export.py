"""``seqkd export``: trained models as files that run elsewhere, checked against PyTorch, each with its card."""

from __future__ import annotations

from pathlib import Path

from seqkd.cli.settings import compose, parse, parser, student_runs, system_overrides


def main(argv: list[str]) -> int:
    """Entry point: one model directory with ``--model`` and ``--out``, or else every student of a recipe, seed 0."""
    made = parser(
        "export",
        "Write exp/<system>/seed0/export for every system of systems=[...]: ONNX (float and 8-bit weights), "
        "torch.export, tokenizer, hashes and a model card. With --model, do it for one model directory.",
        tasks=("ctc_kd",),
    )
    made.add_argument("--model", type=Path, metavar="DIR", help="a model directory, exported without its recipe")
    made.add_argument("--out", type=Path, metavar="DIR", help="where to write it (with --model)")
    args = parse(made, argv)
    if (args.model is None) != (args.out is None):
        made.error("--model and --out go together")
    cfg = compose(args)
    if args.model:
        from seqkd.deploy.export import export_model
        from seqkd.deploy.origin import Origin

        fresh = export_model(args.model, args.out, origin=Origin(licence=cfg.export.licence))
        print(f"{args.out}: {'written' if fresh else 'is up to date'}")
        return 0
    from seqkd.tasks import task_of

    for system, seed in student_runs(cfg):
        if seed == 0:
            task_of(cfg).export(compose(args, *system_overrides(cfg, system, seed)))
    return 0
