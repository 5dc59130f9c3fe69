"""Run every example in full mode and write docs/results.md from what they found.

    python examples/run_all.py                    # all of them: hours on two cores
    python examples/run_all.py --list             # what there is, how long, what data it needs
    python examples/run_all.py sentiment.py vae   # rows whose command contains one of these words

What each row of the page says, and which figure has to be reached, is in results.toml beside this
file. Rows that were not run keep the line that they had. A row whose data is missing is named and
left out; a target that is missed is named at the end, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results.md"
BEGIN, END = "<!-- rows: written by examples/run_all.py -->", "<!-- end of the rows -->"
HEAD = "| model | data | command | result | time |\n|---|---|---|---|---|\n"

# What the child runs: the example as a script, its figures and its CPU time into a file.
CHILD = """
import json, runpy, sys, time
found = runpy.run_path(sys.argv[0])["main"]()
json.dump({"figures": found, "cpu": time.process_time()}, open({path!r}, "w"), default=float)
"""

Row = dict[str, Any]


def load_rows(path: Path = HERE / "results.toml") -> list[Row]:
    """The rows of results.toml, each with its `command` as text."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["row"]
    for row in rows:
        if "example" in row:
            row["command"] = shlex.join(["python", f"examples/{row['example']}",
                                         *row.get("arguments", [])])
    return rows


def named(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures by names that a format string can hold: "Recall@20" becomes Recall_20."""
    return {re.sub(r"\W", "_", name): value for name, value in figures.items()}


def missing_data(row: Row) -> list[str]:
    """The folders that a row needs and TINYGEN_DATA does not have."""
    root = Path(os.environ.get("TINYGEN_DATA") or "nowhere")
    return [name for name in row.get("needs", []) if not (root / name).is_dir()]


def run(command: str, out: Path) -> dict[str, Any]:
    """Run a command line of the table; its figures by name, and its CPU seconds as `cpu`.

    An example's figures are what its main() returns; a `tinygen train` run's are the last values
    in its metrics.jsonl.

    Raises:
        RuntimeError: the command failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    program, *arguments = shlex.split(command)
    result = out / "result.json"
    result.unlink(missing_ok=True)
    if program == "python":
        code = CHILD.replace("{path!r}", repr(str(result)))
        script = HERE.parent / arguments[0]
        start = f"import sys; sys.argv = {[str(script), *arguments[1:]]!r}\n"
        line = [sys.executable, "-c", start + code]
        if '"--out"' in script.read_text(encoding="utf-8") and "--out" not in arguments:
            line[2] = start.replace("]\n", f", '--out', {str(out)!r}]\n") + code
    else:
        line = [sys.executable, "-m", program, *arguments, "--out", str(out)]
        shutil.rmtree(out)
    before = os.times()
    if subprocess.run(line, cwd=HERE.parent, check=False).returncode:
        raise RuntimeError(f"failed: {command}")
    if result.is_file():
        return json.loads(result.read_text())
    used = os.times()
    figures: dict[str, Any] = {}
    for text in (out / "metrics.jsonl").read_text().splitlines():
        figures |= json.loads(text)
    return {"figures": figures, "cpu": used.children_user + used.children_system
            - before.children_user - before.children_system}


def table_line(row: Row, figures: dict[str, Any], cpu: float) -> str:
    """The row's line in docs/results.md."""
    spent = f"{cpu:.0f} s" if cpu < 120 else f"{cpu / 60:.0f} min"
    threads = os.environ.get("TINYGEN_NUM_THREADS", str(os.cpu_count()))
    text = row["result"].format(**named(figures))
    return (f"| {row['model']} | {row['data']} | `{row['command']}` | {text} | "
            f"{spent} of CPU time, {threads} thread{'s' * (threads != '1')} |")


def missed_targets(row: Row, figures: dict[str, Any]) -> list[str]:
    """The targets of a row that its figures do not reach, each with the figures in it."""
    missed = []
    for target in row.get("targets", []):
        # "Recall@20 > 0.2": names as the example gives them, longest first, then Python.
        text = target
        for name in sorted(figures, key=len, reverse=True):
            text = text.replace(name, re.sub(r"\W", "_", name))
        if not eval(text, {"__builtins__": {"abs": abs, "min": min, "max": max}}, named(figures)):
            missed.append(f"{row['command']}: {target}, with " + ", ".join(
                f"{name} = {value:.4g}" for name, value in figures.items() if name in target))
    return missed


def write_page(lines: dict[tuple[str, str], str], page: Path = PAGE) -> None:
    """Put lines, by (model, command), into the page's table; others stay as they are."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    table, after = rest.split(END)
    kept = {key_of(line): line for line in table.strip().splitlines()[2:]}
    body = "\n".join((kept | lines).values())
    temporary = page.with_suffix(".part")
    temporary.write_text(f"{before}{BEGIN}\n\n{HEAD}{body}\n\n{END}{after}", encoding="utf-8")
    temporary.replace(page)


def key_of(line: str) -> tuple[str, str]:
    """(model, command) of a line of the table."""
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    return cells[0], cells[2].strip("`")


def run_group(rows: list[Row]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Run a command that one or more rows share: their lines, and the targets missed."""
    command = rows[0]["command"]
    out = HERE.parent / "runs" / "results" / re.sub(r"\W+", "-", command.split("/")[-1])
    start = time.perf_counter()
    print(f"\n== {command}", flush=True)
    done = run(command, out)
    print(f"== {time.perf_counter() - start:.0f} s", flush=True)
    lines, missed = {}, []
    for row in rows:
        lines[row["model"], command] = table_line(row, done["figures"], done["cpu"])
        missed += missed_targets(row, done["figures"])
        for source, name in row.get("pictures", {}).items():
            shutil.copyfile(out / source, PAGE.parent / "results" / name)
    return lines, missed


def main() -> int:
    """Run what was asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="run rows whose command contains one of them")
    parser.add_argument("--list", action="store_true", help="list the rows and run nothing")
    args = parser.parse_args()
    groups: dict[str, list[Row]] = {}
    for row in load_rows():
        if not args.words or any(word in row["command"] for word in args.words):
            groups.setdefault(row["command"], []).append(row)
    if not groups:
        parser.error(f"no command contains {' or '.join(args.words)}; --list shows them")
    problems: list[str] = []
    for command, rows in groups.items():
        absent = sorted({name for row in rows for name in missing_data(row)})
        if args.list:
            minutes = rows[0].get("minutes", 1)
            print(f"{minutes:>4} min  {command}"
                  + (f"  (missing: {', '.join(absent)})" if absent else ""))
        elif absent:
            print(f"\n== left out, {', '.join(absent)} missing below TINYGEN_DATA: {command}")
        else:
            try:
                lines, missed = run_group(rows)
            except RuntimeError as error:  # the others are still worth running
                problems.append(str(error))
                continue
            write_page(lines)
            problems += missed
    for problem in problems:
        print(f"missed: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
