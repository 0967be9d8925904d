"""``seqkd tune``: choose settings on dev. The test sets are not touched."""

from __future__ import annotations

import json
from pathlib import Path

from seqkd.cli.jobs import Job, run_jobs
from seqkd.cli.settings import compose, parse, parser
from seqkd.errors import ConfigError
from seqkd.files import write_text


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser("tune", "Train variants of systems and rank them by dev WER; needs stages 0 to 3.")
    made.add_argument("--variants", type=Path, required=True, help="YAML: name: [system=NAME, key=value, ...]")
    made.add_argument("--out", type=Path, help="write the table here (Markdown)")
    args = parse(made, argv)
    import yaml

    cfg = compose(args)
    from seqkd.layout import run_directory, teacher_directory

    variants = yaml.safe_load(args.variants.read_text(encoding="utf-8"))
    if not isinstance(variants, dict) or not all(isinstance(v, list) for v in variants.values()):
        raise ConfigError(f"{args.variants}: expected a mapping of names to lists of key=value settings")
    shared = [
        *(("--conf", str(args.conf)) if args.conf else ()),
        *(("--preset", args.preset) if args.preset else ()),
        *("--data", str(args.data), "--ngpu", str(args.ngpu)),
        *args.overrides,
        f"tokens.directory={cfg.tokens.directory}",
        f"teacher.import_from={teacher_directory(cfg)}",
    ]
    jobs, where = [], {}
    for name, overrides in variants.items():
        exp = Path(cfg.exp) / "tune" / name
        jobs.append(Job(name, ["train", "--one", "--exp", str(exp), *shared, *overrides], exp / "train.log"))
        system = next((o.split("=")[1] for o in overrides if o.startswith("system=")), cfg.system.name)
        where[name] = run_directory(cfg, system).relative_to(cfg.exp)
    run_jobs(jobs, args.nj)
    text = table(Path(cfg.exp) / "tune", variants, where)
    print(text)
    if args.out:
        write_text(args.out, text)
    return 0


def table(tune: Path, variants: dict[str, list[str]], where: dict[str, Path]) -> str:
    """Markdown, best first."""
    rows = []
    for name, overrides in variants.items():
        run = json.loads((tune / name / where[name] / "summary.json").read_text())
        rows.append((run["best_dev_wer"], name, run, overrides))
    lines = ["| variant | dev WER % | updates | seconds | settings |", "|---|---|---|---|---|"]
    for wer, name, run, overrides in sorted(rows, key=lambda row: row[:2]):
        settings = ", ".join(o.replace("system.objective.", "") for o in overrides)
        lines.append(f"| {name} | {100 * wer:.2f} | {run['steps']} | {run['train_seconds']:.0f} | {settings} |")
    return "\n".join(lines) + "\n"
