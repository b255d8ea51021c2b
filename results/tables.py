"""Print the tables of results: `python results/tables.py NAME`, `--list` for the names, `--write` to renew the pages.

Most are computed from the trials in `results/*.parquet`. Those in `results/recorded/` hold what a benchmark printed,
beside the command that did. `--write` replaces each table in the Markdown pages, between `<!-- table: NAME -->` and
`<!-- end -->`, by what NAME prints.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import io
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas

FOLDER = Path(__file__).parent
PAGES = [*FOLDER.glob("*.md"), FOLDER.parent / "README.md", *(FOLDER.parent / "docs").rglob("*.md")]
BLOCK = re.compile(r"(?<=<!-- table: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
TORCH = "<CUDA, TORCH>"
SAVING = ["h200", "h200-engines", "h200-engines-earlier", "h200-batch", "h200-pythia-410m"]
"""The files in which torch-graph and TORCH are compared by the trial of TORCH that needed least."""


class Table:
    """A heading and rows of text, printed as Markdown."""

    def __init__(self, heading: Sequence[str], rows: Iterable[Sequence[object]], command: str = "") -> None:
        """`command` is what measured a recorded table."""
        self.heading = tuple(heading)
        self.rows = [tuple(str(cell) for cell in row) for row in rows]
        self.command = command

    def markdown(self) -> str:
        lines = [self.heading, tuple("---" for _ in self.heading), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.command}\n\n{table}\n" if self.command else f"{table}\n"


def trials(*names: str) -> pandas.DataFrame:
    """The valid trials of results files."""
    files = [pandas.read_parquet(FOLDER / f"{name}.parquet") for name in names]
    return pandas.concat(files).query("status == 'ok'")


def figure(number: float, digits: int = 3) -> str:
    """A number to so many significant digits, without an exponent."""
    shown = f"{number:.{digits}g}"
    return f"{float(shown):.0f}" if "e" in shown else shown


def interval(row: Any, name: str, scale: float = 1.0) -> str:
    """`estimate [low, high]` of the columns NAME, NAME_low and NAME_high."""
    low, high = float(row[f"{name}_low"]) * scale, float(row[f"{name}_high"]) * scale
    return f"{figure(float(row[name]) * scale)} [{figure(low)}, {figure(high)}]"


@functools.cache
def study_table(name: str, *files: str) -> list[dict[str, str]]:
    """The rows of `servewatt study tables FILES --table NAME`; of the published study without FILES."""
    from servewatt.cli.main import run

    paths = [str(FOLDER / f"{file}.parquet") for file in files] or ["--published"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run(["study", "tables", *paths, "--table", name, "--format", "csv"])
    if code:
        raise SystemExit(f"servewatt study tables {' '.join(paths)} --table {name} ended with {code}")
    return list(csv.DictReader(io.StringIO(printed.getvalue())))


def pairs(file: str, of: str = "energy", chosen: Callable[[str, str], bool] = lambda first, second: True) -> Table:
    """Ratios of two configurations over the models of a file; without a file, of the published study."""
    rows = study_table("across", *[file] if file else [])
    return Table(
        ("first", "second", "models", "first / second", "least", "greatest", "models, first less"),
        [
            (
                *(f"`{row['first']}`", f"`{row['second']}`", row["models"], interval(row, "ratio")),
                *(figure(float(row["least"])), figure(float(row["greatest"])), row["first_less"]),
            )
            for row in rows
            if row["of"] == of and chosen(row["first"], row["second"])
        ],
    )


def cpu_batches() -> Table:
    """Energy by batch on the CPU."""
    rows = study_table("energy", "cpu-2-core-batch")
    return Table(
        ("configuration", "mJ a token, estimated", "ms a token"),
        [
            (f"`{row['configuration']}`", interval(row, "energy_j_per_token", 1e3), interval(row, "s_per_token", 1e3))
            for row in rows
        ],
    )


def savings() -> pandas.DataFrame:
    """Per cent saved against the TORCH fp32 trial of the same model that needed least: model x (precision, batch)."""
    rows = trials(*SAVING)
    torch = rows.energy_j_per_token.where(rows.configuration == TORCH).groupby(rows.model).transform("min")
    rows["saved"] = 100 - 100 * rows.energy_j_per_token / torch
    earlier = rows.campaign.eq("h200-engines-earlier") & rows.batch.ne(64)  # kernels that are no more
    ours = rows[rows.engine.eq("torch-graph") & ~earlier]
    order = rows.drop_duplicates("model").sort_values("parameters").model
    columns = [("int4", 1), ("int8", 1), ("bf16", 64), ("bf16", 256)]
    return ours.pivot_table(values="saved", index="model", columns=["precision", "batch"], aggfunc="min").loc[
        order, columns
    ]


def h200_savings() -> Table:
    """What torch-graph saves at least, by model."""
    return _pivot(savings(), lambda value: f"{value:.1f} %")


def limits() -> Table:
    """Decode time over what the hardware allows, by model."""
    rows = trials("h200", "h200-engines", "h200-batch", "h200-pythia-410m")
    found = rows.pivot_table(
        values="times_floor", index="model", columns=["engine", "precision", "batch"], aggfunc="median"
    )
    columns = [("torch", "fp32", 1), ("onnx", "fp32", 1)]
    columns += [("torch-graph", "int4", 1), ("torch-graph", "int8", 1)]
    columns += [("torch-graph", "bf16", 64), ("torch-graph", "bf16", 256)]
    order = rows.drop_duplicates("model").sort_values("parameters").model
    return _pivot(found.loc[order, columns], lambda value: figure(value, 2))


def _pivot(frame: pandas.DataFrame, show: Callable[[float], str]) -> Table:
    heading = [", ".join(f"batch {part}" if isinstance(part, int) else part for part in name) for name in frame]
    rows = [[model, *("" if pandas.isna(v) else show(v) for v in row)] for model, *row in frame.itertuples()]
    return Table(("model", *heading), rows)


def prompts_kernel() -> Table:
    """phi2 with and without the kernel for prompts: 14 or 15 tokens in, 32 out."""
    rows = trials("h200-engines-earlier").query("model == 'phi2' and batch == 1 and engine == 'torch-graph'")
    return Table(
        ("configuration", "ms to the first token", "ms of all 32", "mJ a token"),
        [
            (
                *(f"`{row.configuration}`", figure(row.ttft_s * 1e3, 2), figure(row.s_per_token * 32e3)),
                figure(row.energy_j_per_token * 1e3),
            )
            for row in rows.sort_values("configuration").itertuples()
        ],
    )


def each_trial(file: str) -> Table:
    """Every valid trial of a file, its run beside it."""
    rows = trials(file).sort_values(["model", "engine", "precision", "batch", "run"])
    return Table(
        ("model", "configuration", "run", "mJ a token, prefill included", "ms a token", "times the floor"),
        [
            (
                *(row.model, f"`{row.configuration}`", row.run[:15], figure(row.energy_j_per_token * 1e3)),
                *(figure(row.s_per_token * 1e3), figure(row.times_floor, 2)),
            )
            for row in rows.itertuples()
        ],
    )


def beside_vllm_ratios() -> dict[int, list[float]]:
    """Batch -> energy of torch-graph over that of vLLM, a ratio a block, bf16."""
    rows = trials("h200-pythia-410m").query("precision == 'bf16' and via == 'process'")
    found = rows.pivot_table(values="energy_j_per_token", index=["run", "batch"], columns="engine").dropna(
        subset=["vllm", "torch-graph"]
    )
    ratios = found["torch-graph"] / found["vllm"]
    return {int(batch): list(each) for batch, each in ratios.groupby(level="batch")}


def beside_vllm() -> Table:
    """torch-graph beside vLLM, a row a batch."""
    found = beside_vllm_ratios().items()
    return Table(
        ("batch", "torch-graph / vLLM, energy a token, geometric mean", "each block"),
        [(batch, figure(_mean(each), 2), ", ".join(figure(ratio, 2) for ratio in each)) for batch, each in found],
    )


def _mean(ratios: Sequence[float]) -> float:
    product = 1.0
    for ratio in ratios:
        product *= ratio
    return float(product ** (1 / len(ratios)))


def http() -> Table:
    """The share of a client's time outside the engine."""
    rows = [*study_table("http", "cpu-2-core-http"), *study_table("http", "h200-pythia-410m")]
    share = "outside_engine_share"
    return Table(
        ("file", "model", "configuration", "% of a client's time outside the engine"),
        [
            (
                *(row["campaign"], row["model"], f"`{row['configuration']}`"),
                interval(row, share, 100) if row[f"{share}_low"] else figure(100 * float(row[share])),
            )
            for row in rows
        ],
    )


def memory() -> Table:
    """The largest peak of any trial, GB."""
    rows = trials("cpu-2-core")
    rows["gb"] = rows.rss_bytes / 1e9
    found = rows.pivot_table(values="gb", index="model", columns="configuration", aggfunc="max")
    order = rows.drop_duplicates("model").sort_values("parameters").model
    heading = [f"`{name}`" for name in found]
    return Table(("model", *heading), [(model, *(f"{v:.1f}" for v in found.loc[model])) for model in order])


def power() -> Table:
    """What a board draws while it generates, and with the model loaded and nothing asked."""
    rows = trials("h200")
    rows["power_w"] = rows.energy_j / rows.duration_s
    found = [(f"`{name}`", f"{watts:.0f}") for name, watts in rows.groupby("configuration").power_w.median().items()]
    return Table(("configuration", "W, median over trials"), [*found, ("idle", f"{rows.idle_power_w.median():.0f}")])


def spread() -> Table:
    """How far the blocks of one configuration lie apart."""
    by = trials("h200").groupby(["model", "configuration"]).energy_j_per_token.agg(["min", "max", "count"])
    ratios = by.query("count > 1").eval("max / min")
    return Table(
        ("of the configurations", "greatest energy of a block / least"),
        [("median", figure(ratios.median())), ("greatest", figure(ratios.max()))],
    )


def claims() -> Table:
    """What the results say, one claim a row."""
    saved, vllm = savings(), beside_vllm_ratios()
    other = (
        trials("h200-other-engines")
        .set_index(["run", "configuration"])
        .energy_j_per_token.unstack()
        .dropna(subset=["<CUDA, torch-graph, bf16>", "<CUDA, llama-cpp, bf16>"])
    )
    cpu = {(row["first"], row["second"]): row for row in study_table("across", "cpu-2-core-engines")}
    int4 = cpu["<CPU, ONNX>", "<CPU, llama-cpp, int4>"]
    rows = [
        (
            f"H200, {what}: torch-graph {precision} saves, against PyTorch eager fp32",
            _range(saved[precision, batch]),
            len(saved[precision, batch].dropna()),
        )
        for what, precision, batch in (
            ("one request at a time", "int4", 1),
            ("64 requests at once", "bf16", 64),
            ("256 requests at once", "bf16", 256),
        )
    ]
    rows += [(f"H200, batch {b}: torch-graph over vLLM, both bf16", figure(_mean(r), 2), 1) for b, r in vllm.items()]
    for theirs in ("bf16", "int4"):
        ratio = float((other["<CUDA, torch-graph, bf16>"] / other[f"<CUDA, llama-cpp, {theirs}>"]).iloc[0])
        rows.append((f"H200, batch 1: torch-graph bf16 over llama.cpp {theirs}", figure(ratio, 2), 1))
    over = f"{1 / float(int4['ratio']):.2f} [{1 / float(int4['ratio_high']):.2f}, {1 / float(int4['ratio_low']):.2f}]"
    rows.append(("2-core CPU, batch 1: llama.cpp int4 over ONNX Runtime fp32", over, int(int4["models"])))
    return Table(("claim, of energy a token", "figure", "models"), rows)


def _range(values: pandas.Series) -> str:
    return f"{values.min():.1f} to {values.max():.1f} %"


def recorded(name: str) -> Table:
    """What a benchmark printed, beside the command that did (lines of `# `) or a remark (lines of `## `)."""
    lines = (FOLDER / "recorded" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    above = [line[3:] if line.startswith("## ") else f"    {line[2:]}" for line in lines if line.startswith("#")]
    heading, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    return Table(heading, rows, "\n".join(above))


def _fp32_or_int4(first: str, second: str) -> bool:
    return first == "<CPU, ONNX>" or ("int4" in first and "int4" in second)


TABLES: dict[str, Callable[[], Table]] = {
    "claims": claims,
    "cpu-engines": lambda: pairs("cpu-2-core-engines", chosen=_fp32_or_int4),
    "cpu-batches": cpu_batches,
    "h200-engines": lambda: pairs("h200-engines"),
    "h200-engines-time": lambda: pairs("h200-engines", of="time"),
    "h200-savings": h200_savings,
    "h200-batches": lambda: pairs("h200-batch"),
    "h200-batches-time": lambda: pairs("h200-batch", of="time"),
    "h200-limits": limits,
    "h200-prompts-kernel": prompts_kernel,
    "h200-pythia-410m": lambda: each_trial("h200-pythia-410m"),
    "h200-beside-vllm": beside_vllm,
    "h200-other-engines": lambda: each_trial("h200-other-engines"),
    "h200-study": lambda: pairs("h200"),
    "h200-study-time": lambda: pairs("h200", of="time"),
    "h200-power": power,
    "h200-spread": spread,
    "published-study": lambda: pairs(""),
    "cpu-study": lambda: pairs("cpu-2-core"),
    "http": http,
    "cpu-memory": memory,
    **{path.stem: functools.partial(recorded, path.stem) for path in sorted((FOLDER / "recorded").glob("*.csv"))},
}


def renewed(page: str) -> str:
    """A page with every table as it is printed now."""
    return BLOCK.sub(lambda block: f"{block[1]}{block[2]}\n{TABLES[block[1]]().markdown()}\n", page)


def main() -> None:
    """Print the tables that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="tables to print")
    parser.add_argument("--list", action="store_true", help="list the names")
    parser.add_argument("--write", action="store_true", help="renew the tables in the pages")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}; --list has the names")
    if chosen.list:
        print("\n".join(TABLES))
    for name in chosen.names:
        print(TABLES[name]().markdown())
    for path in PAGES if chosen.write else ():
        before = path.read_text(encoding="utf-8")
        if (after := renewed(before)) != before:
            path.write_text(after, encoding="utf-8")
            print(f"renewed {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
