"""`python -m benchmarks`: operations, training steps and sampling beside other frameworks."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from .page import write_markdown
from .report import Report, write_json
from .rows import GROUPS, select
from .runner import PEERS, Plan, missing_peers, run
from .tables import print_tables


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    p.add_argument("--filter", action="append", default=[], metavar="TEXT",
                   help=f"only rows of this group ({', '.join(GROUPS)}) or whose name contains "
                        "TEXT; may be repeated (default: all rows, which takes long)")
    p.add_argument("--peers", default=None, metavar="NAMES",
                   help=f"comma-separated, of: {', '.join(PEERS)}; 'none' measures tinygen alone "
                        "(default: all that are installed)")
    p.add_argument("--no-jit", action="store_true",
                   help="leave out tinygen's training steps under tg.jit")
    p.add_argument("--rounds", type=int, default=None, help="turns of each side (default 7)")
    p.add_argument("--seconds", type=float, default=None, help="length of a turn (default 0.3)")
    p.add_argument("--threads", type=int, default=2, help="threads of each side (default 2)")
    p.add_argument("--quick", action="store_true",
                   help="3 short rounds and smaller sizes, to see that all works")
    p.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    p.add_argument("--markdown", type=Path, metavar="FILE",
                   help="write a page to FILE and a chart beside it")
    p.add_argument("--list", action="store_true", help="list the rows that fit --filter and end")
    return p


def main(argv: list[str] | None = None) -> int:
    """Measure and report; 1 if a side failed or no row fits, 130 if interrupted.

    Times never decide.
    """
    args = parser().parse_args(argv)
    chosen = select(args.filter, args.quick)
    if args.list:
        for row in chosen:
            print(f"{row.name:44} {row.title}")
        return 0
    if not chosen:
        print(f"no row fits --filter {' '.join(args.filter)}; --list shows all", file=sys.stderr)
        return 1
    named = list(PEERS) if args.peers is None else [
        p for p in args.peers.split(",") if p and p != "none"]
    missing = missing_peers(named)
    for peer, reason in missing.items():
        print(f"skipping {peer}: {reason}", file=sys.stderr)
    peers = [p for p in named if p not in missing]
    before = _load()
    plan = Plan(args.rounds or (3 if args.quick else 7),
                args.seconds or (0.05 if args.quick else 0.3), args.threads, args.quick,
                not args.no_jit, _say)
    results, ceiling = run(chosen, peers, plan)
    _say("")
    if not results:
        print("interrupted before the first row was finished", file=sys.stderr)
        return 130
    report = Report(results, ceiling, peers, plan.rounds, args.threads, args.quick,
                    shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if argv is None
                                                                else argv)]),
                    (before, _load()))
    print_tables(report)
    if args.json:
        write_json(report, args.json)
    if args.markdown:
        write_markdown(report, args.markdown)
    return 130 if len(results) < len(chosen) else int(any(r.failures for r in results))


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _say(text: str) -> None:
    """Where things stand: one line that is overwritten on a terminal, a line per row elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text and ": round" not in text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
