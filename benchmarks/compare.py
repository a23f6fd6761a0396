#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs plumb's benchmarks and the peers' in turns, and prints ratios of medians as a table for docs/performance.md.

    benchmarks/compare.py training [--shape 135m] [--methods sft,dpo,orpo,kto] [--rounds 3] [--steps 5] [--quick]

Both sides train the same weights on the same tokens (bench_training --export). A peer's time counts only if its losses
are those of plumb: in float the first to 1e-4 and its gradient's norm to 1e-3, in bfloat16 to 3e-2 and 1e-1 (TRL's orpo,
whose likelihood term has the prompt in it, is compared by its log odds). Every configuration is a process of its own,
so that its peak memory is its own, and the rounds alternate between them. The peers live in a virtual environment that
is made under build/ from peers/requirements.txt, unless --python names one. Results are kept in benchmarks/results/.
"""
import argparse
import glob
import json
import os
import pathlib
import statistics
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = ["torch:fp32", "torch:autocast", "torch:bf16", "trl:fp32", "trl:autocast"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def peers_python(given, build):
    """The interpreter that has the peers: the one named, or that of a virtual environment made on the first run."""
    if given:
        return given
    home = build / "peers"
    python = home / "bin" / "python"
    wanted = (HERE / "peers" / "requirements.txt").read_text()
    mark = home / "installed.txt"
    if not mark.exists() or mark.read_text() != wanted:
        say(f"installing the peers into {home} (once, some minutes)")
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", HERE / "peers" / "requirements.txt"], check=True)
        mark.write_text(wanted)
    return python


def fast_allocator():
    """libjemalloc or libtcmalloc where the system has one: PyTorch's tensors come from malloc."""
    for name in ("libtcmalloc_minimal.so.4", "libjemalloc.so.2"):
        found = sorted(glob.glob(f"/usr/lib/*/{name}") + glob.glob(f"/usr/lib64/{name}"))
        if found:
            return found[0]
    return None


def run(command, log, environment=None):
    """Runs a command, its output into a log; its last lines are shown if it fails."""
    with open(log, "w") as file:
        status = subprocess.run([str(part) for part in command], stdout=file, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}, check=False)
    if status.returncode != 0:
        tail = "\n".join(pathlib.Path(log).read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(str(part) for part in command)} failed; see {log}\n{tail}")


def near(found, expected, share):
    return abs(found - expected) <= share * max(1.0, abs(expected))


def disagreement(peer, own):
    """What keeps a peer's time from counting, or nothing."""
    loss, norm = (1e-4, 1e-3) if peer["precision"] == "fp32" else (3e-2, 1e-1)
    if peer["program"] == "trl" and peer["method"] == "orpo":
        pairs = [("log odds", peer["log_odds_ratios"][0], own["log_odds_ratios"][0], 10 * loss)]
    else:
        pairs = [("loss", peer["losses"][0], own["losses"][0], loss),
                 ("norm of the gradient", peer["gradient_norms"][0], own["gradient_norms"][0], norm)]
    for what, found, expected, share in pairs:
        if not near(found, expected, share):
            return f"{what}: expected {expected:.6f}, found {found:.6f}"
    return None


class Training:
    """One comparison: configurations by method, each with the reports of all rounds."""

    def __init__(self, options):
        self.options = options
        self.trained = "full" if options.full else "lora"
        self.folder = options.build / "comparison" / f"{options.shape}-{self.trained}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.python = peers_python(options.python, options.build)
        self.program = options.build / "benchmarks" / "bench_training"
        self.reports = {}
        self.refused = {}
        self.machine = {}

    def plumb(self, *extra):
        return [self.program, "--shape", self.options.shape, "--threads", self.options.threads, "--steps",
                self.options.steps, *(["--full"] if self.options.full else []), *extra]

    def run_plumb(self, method, precision):
        out = self.folder / "plumb.json"
        extra = [] if precision == "fp32" else ["--precision", precision]
        run(self.plumb("--methods", method, "--model", self.folder, "--json", out, *extra), self.folder / "plumb.log")
        report = json.loads(out.read_text())
        self.machine = {key: report[key] for key in ("processor", "threads", "peak_gflops", "version")}
        return report["results"][0] | {"program": "plumb", "precision": precision}

    def run_peer(self, method, engine, precision):
        out = self.folder / "peer.json"
        environment = {"OMP_NUM_THREADS": str(self.options.threads), "TOKENIZERS_PARALLELISM": "false"}
        if allocator := fast_allocator():
            environment["LD_PRELOAD"] = allocator
        compiled = engine.endswith("+compile")
        command = [self.python, HERE / "peers" / "training.py", self.folder, "--method", method, "--engine",
                   engine.removesuffix("+compile"), "--precision", precision, "--threads", self.options.threads,
                   "--json", out]
        run(command + ["--compile"] * compiled + ["--full"] * self.options.full,
            self.folder / f"{method}-{engine}-{precision}.log", environment)
        return json.loads(out.read_text())

    def measure(self, method, name):
        engine, precision = name.split(":")
        key = (method, name)
        if key in self.refused:
            return
        try:
            if engine == "plumb":
                report = self.run_plumb(method, precision)
            else:
                report = self.run_peer(method, engine, precision)
                why = disagreement(report, self.reports[method, self.options.plumb[0]][0])
                if why:
                    raise RuntimeError(why)
        except RuntimeError as problem:
            if engine == "plumb":
                raise
            self.refused[key] = str(problem)
            say(f"{method} {name}: does not count: {problem}")
            return
        self.reports.setdefault(key, []).append(report)
        say(f"{method:5} {name:16} {report['ms']:10.1f} ms a step, loss {report['losses'][0]:.6f}")

    def run(self):
        run(self.plumb("--methods", ",".join(self.options.methods), "--export", self.folder), self.folder / "export.log")
        for number in range(self.options.rounds):
            say(f"round {number + 1} of {self.options.rounds}")
            for method in self.options.methods:
                for name in [*self.options.plumb, *self.options.peers]:
                    self.measure(method, name)

    def summary(self):
        rows = []
        for method in self.options.methods:
            for name in [*self.options.plumb, *self.options.peers]:
                key = (method, name)
                if key in self.refused:
                    rows.append({"method": method, "configuration": name, "refused": self.refused[key].splitlines()[0]})
                    continue
                reports = self.reports[key]
                ms = statistics.median(r["ms"] for r in reports)
                own = [statistics.median(r["ms"] for r in self.reports[method, mine]) for mine in self.options.plumb]
                row = {"method": method, "configuration": name, "ms": ms, "ms_of_rounds": [r["ms"] for r in reports],
                       "tokens": reports[0]["tokens"], "tokens_per_second": 1e3 * reports[0]["tokens"] / ms,
                       "peak_mb": statistics.median(r["peak_mb"] for r in reports),
                       "loss": reports[0]["losses"][0], "gradient_norm": reports[0]["gradient_norms"][0],
                       "plumb_is_faster": dict(zip(self.options.plumb, [ms / each for each in own], strict=True))}
                if "floor_ms" in reports[0]:
                    floor = statistics.median(r["floor_ms"] for r in reports)
                    row |= {"floor_ms": floor, "of_floor": floor / ms}
                rows.append(row)
        return {"benchmark": "training", "shape": self.options.shape, "trained": self.trained, "machine": self.machine,
                "allocator": pathlib.Path(fast_allocator() or "malloc").name,
                "requirements": (HERE / "peers" / "requirements.txt").read_text().splitlines()[1:],
                "rounds": self.options.rounds, "steps": self.options.steps, "rows": rows}


def training_table(summary):
    """The summary as a table in Markdown."""
    machine = summary["machine"]
    lines = [f"{summary['shape']} shape, {summary['trained']}, {machine['threads']} threads, peak "
             f"{machine['peak_gflops']:.0f} GFLOP/s in float; {summary['rounds']} rounds of {summary['steps']} steps.", "",
             "| method | configuration | ms a step | tokens/s | floor, ms | of the floor | peak MB | plumb is faster by |",
             "|---|---|---|---|---|---|---|---|"]
    for row in summary["rows"]:
        if "refused" in row:
            lines.append(f"| {row['method']} | {row['configuration']} | does not count: {row['refused']} | | | | | |")
            continue
        floor = (f"{row['floor_ms']:.0f} | {100 * row['of_floor']:.0f} %") if "floor_ms" in row else "– | –"
        ratio = ", ".join(f"{each:.2f} ×" for each in row["plumb_is_faster"].values())
        if row["configuration"].startswith("plumb"):
            ratio = "–"
        lines.append(f"| {row['method']} | {row['configuration']} | {row['ms']:.0f} | {row['tokens_per_second']:.0f} | "
                     f"{floor} | {row['peak_mb']:.0f} | {ratio} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["training"])
    parser.add_argument("--shape", default="135m", choices=["small", "135m", "360m"])
    parser.add_argument("--full", action="store_true", help="all weights instead of LoRA of rank 16")
    parser.add_argument("--methods", default=None, help="some of sft,dpo,orpo,kto")
    parser.add_argument("--plumb", default="plumb:fp32", help="plumb's configurations, by precision")
    parser.add_argument("--peers", default=None, help=f"engine:precision, engine+compile:precision; {','.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="sft and dpo, one round of two steps, fewer peers")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--python", help="an interpreter that has the peers")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results")
    options = parser.parse_args()
    options.methods = (options.methods or ("sft,dpo" if options.quick else "sft,dpo,orpo,kto")).split(",")
    options.plumb = options.plumb.split(",")
    peers = options.peers or ("torch:fp32,torch:bf16,trl:fp32" if options.quick else ",".join(PEERS))
    options.peers = [name for name in peers.split(",") if name != "none"]
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.steps = options.steps or (2 if options.quick else 4)
    comparison = Training(options)
    comparison.run()
    summary = comparison.summary()
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"training-{options.shape}-{comparison.trained}{'-quick' if options.quick else ''}"
    (options.out / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(training_table(summary))


if __name__ == "__main__":
    main()
