#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs plumb's benchmarks and the peers' in turns, and prints ratios of medians as a table for docs/performance.md.

    benchmarks/compare.py training [--shape 135m] [--methods sft,dpo,orpo,kto,ppo] [--rounds 3] [--steps 4] [--quick]
    benchmarks/compare.py generation [--shape 135m] [--quick]
    benchmarks/compare.py tables                       what benchmarks/results/ holds, into docs/performance.md

Both sides train the same weights on the same tokens (bench_training --export). A peer's time counts only if its losses
are those of plumb: in float the first to 1e-4 and its gradient's norm to 1e-3, in bfloat16 to 3e-2 and 1e-1 (TRL's orpo,
whose likelihood term has the prompt in it, is compared by its log odds). Generators must find plumb's log-probabilities
of plumb's greedy reply: transformers in float to 1e-3, others within the rounding of their formats. Every configuration
is a process of its own, so that its peak memory is its own, and the rounds alternate between them. The peers live in
virtual environments that are made under build/ from peers/requirements*.txt, unless --python and --llama-python name
some. Results are kept in benchmarks/results/. Run it on a machine that does nothing else: PyTorch and llama.cpp lose
far more to a neighbour than plumb does, for their threads wait for each other in busy loops.
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
PEERS = {
    "training": ["torch:fp32", "torch+compile:fp32", "torch:autocast", "torch:bf16", "torch+compile:bf16", "trl:fp32",
                 "trl:autocast"],
    "generation": ["transformers:fp32", "transformers:bf16", "llama.cpp:f32", "llama.cpp:bf16", "llama.cpp:q8_0",
                   "llama.cpp:q4_0"],
}
QUICK_PEERS = {
    "training": ["torch:fp32", "torch:autocast", "torch:bf16", "trl:fp32", "trl:autocast"],
    "generation": ["transformers:fp32", "llama.cpp:f32", "llama.cpp:bf16", "llama.cpp:q8_0", "llama.cpp:q4_0"],
}
# bf16 of training keeps frozen weights and multiplies in it; "+" of generation multiplies in it, too.
PLUMB = {"training": "plumb:fp32,plumb:bf16", "generation": "plumb:fp32,plumb:bf16,plumb:bf16+,plumb:q8_0,plumb:q4_0"}
# From plumb in the same format. llama.cpp keeps keys and values in halves, and rounds what it multiplies by codes.
MOST_APART = {"fp32": 1e-3, "f32": 5e-2, "bf16": 2e-1, "q8_0": 3e-1, "q4_0": 3e-1}


def say(text):
    print(text, file=sys.stderr, flush=True)


def peers_python(given, build, requirements, name):
    """The interpreter that has the peers: the one named, or that of a virtual environment made on the first run."""
    if given:
        return given
    home = build / name
    python = home / "bin" / "python"
    wanted = (HERE / "peers" / requirements).read_text()
    mark = home / "installed.txt"
    if not mark.exists() or mark.read_text() != wanted:
        say(f"installing {requirements} into {home} (once, some minutes)")
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", HERE / "peers" / requirements], check=True)
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
        raise RuntimeError(f"it failed, see {pathlib.Path(log).name}\n{' '.join(str(part) for part in command)}\n{tail}")


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
        self.python = peers_python(options.python, options.build, "requirements.txt", "peers")
        self.program = options.build / "benchmarks" / "bench_training"
        self.reports = {}
        self.refused = {}
        self.machine = {}

    def plumb(self, *extra):
        return [self.program, "--shape", self.options.shape, "--threads", self.options.threads, "--steps",
                self.options.steps, *(["--full"] if self.options.full else []), *extra]

    def run_plumb(self, method, precision):
        out = self.folder / "plumb.json"
        extra = [] if precision == "fp32" else ["--compute", precision]
        if precision != "fp32" and not self.options.full:  # frozen weights as the peers keep them
            extra += ["--dtype", precision]
        run(self.plumb("--methods", method, "--model", self.folder, "--json", out, *extra), self.folder / "plumb.log")
        report = json.loads(out.read_text())
        peaks = ("peak_gflops", "peak_bf16_gflops")  # the best probe of all: other work only makes one lower
        self.machine = ({key: report[key] for key in ("processor", "threads", "version")}
                        | {key: max(report[key], self.machine.get(key, 0)) for key in peaks})
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

    def configurations(self, method):
        """All, but none of TRL for ppo: its trainers sample by themselves and take no replies that were sampled before."""
        peers = [p for p in self.options.peers if method != "ppo" or not p.startswith("trl")]
        return [*self.options.plumb, *peers]

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
            why = name != self.options.plumb[0] and disagreement(report, self.reports[method, self.options.plumb[0]][0])
            if why:
                raise RuntimeError(why)
        except RuntimeError as problem:
            if engine == "plumb":
                raise
            self.refused[key] = str(problem)
            say(f"{method} {name}: does not count: {problem}")
            return
        self.reports.setdefault(key, []).append(report)
        say(f"{method:5} {name:16} {report['ms']:10.1f} ms a step, {report['processor_ms']:10.1f} of processors, loss {report['losses'][0]:.6f}")

    def run(self):
        run(self.plumb("--methods", ",".join(self.options.methods), "--export", self.folder), self.folder / "export.log")
        for number in range(self.options.rounds):
            say(f"round {number + 1} of {self.options.rounds}")
            for method in self.options.methods:
                for name in self.configurations(method):
                    self.measure(method, name)

    @property
    def name(self):
        return f"training-{self.options.shape}-{self.trained}"

    def summary(self):
        rows = []
        for method in self.options.methods:
            for name in self.configurations(method):
                key = (method, name)
                if key in self.refused:
                    rows.append({"method": method, "configuration": name, "refused": self.refused[key].splitlines()[0]})
                    continue
                reports = self.reports[key]
                ms = statistics.median(r["ms"] for r in reports)
                own = [statistics.median(r["ms"] for r in self.reports[method, mine]) for mine in self.options.plumb]
                row = {"method": method, "configuration": name, "ms": ms, "ms_of_rounds": [r["ms"] for r in reports],
                       "processor_ms": statistics.median(r["processor_ms"] for r in reports),
                       "tokens": reports[0]["tokens"], "tokens_per_second": 1e3 * reports[0]["tokens"] / ms,
                       "peak_mb": statistics.median(r["peak_mb"] for r in reports),
                       "loss": reports[0]["losses"][0], "gradient_norm": reports[0]["gradient_norms"][0],
                       "plumb_is_faster": dict(zip(self.options.plumb, [ms / each for each in own], strict=True))}
                in_float = name.endswith(":fp32")
                peak = self.machine["peak_gflops" if in_float else "peak_bf16_gflops"]
                if peak:
                    floor = 1e3 * self.reports[method, self.options.plumb[0]][0]["gflop"] / peak
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
             f"{machine['peak_gflops']:.0f} GFLOP/s in float, {machine['peak_bf16_gflops']:.0f} in bfloat16; "
             f"{summary['rounds']} rounds of {summary['steps']} steps.", "",
             "| method | configuration | ms a step | processor ms | tokens/s | floor, ms | of the floor | peak MB | "
             "plumb is faster by |", "|---|---|---|---|---|---|---|---|---|"]
    for row in summary["rows"]:
        if "refused" in row:
            lines.append(f"| {row['method']} | {row['configuration']} | does not count: {row['refused']} | | | | | | |")
            continue
        floor = (f"{row['floor_ms']:.0f} | {100 * row['of_floor']:.0f} %") if "floor_ms" in row else "– | –"
        ratio = ", ".join(f"{each:.2f} ×" for each in row["plumb_is_faster"].values())
        if row["configuration"].startswith("plumb"):
            ratio = "–"
        lines.append(f"| {row['method']} | {row['configuration']} | {row['ms']:.0f} | {row['processor_ms']:.0f} | "
                     f"{row['tokens_per_second']:.0f} | "
                     f"{floor} | {row['peak_mb']:.0f} | {ratio} |")
    return "\n".join(lines)


class Generation:
    """Prefill, decoding and many samples of one prompt."""

    def __init__(self, options):
        self.options = options
        self.name = f"generation-{options.shape}"
        self.folder = options.build / "comparison" / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.python = {"transformers": peers_python(options.python, options.build, "requirements.txt", "peers")}
        if any(name.startswith("llama.cpp") for name in options.peers):
            self.python["llama.cpp"] = peers_python(options.llama_python, options.build, "requirements-llama.txt",
                                                    "peers-llama")
        self.program = options.build / "benchmarks" / "bench_generation"
        self.reports, self.refused = {}, {}

    def run(self):
        shape = ["--shape", self.options.shape, "--threads", self.options.threads]
        run([self.program, *shape, "--export", self.folder], self.folder / "export.log")
        for kind in [name.split(":")[1] for name in self.options.peers if name.startswith("llama.cpp")]:
            path = self.folder / f"model-{kind}.gguf"
            path.unlink(missing_ok=True)  # of an earlier run
            if kind == "q4_0":
                run([self.python["llama.cpp"], HERE / "peers" / "quantize.py", self.folder / "model-f32.gguf", path, kind],
                    self.folder / "convert.log")
            else:
                run([self.options.build / "plumb", "convert", "--model", self.folder / "model", "--out", path, "--type",
                     kind, "--quiet"], self.folder / "convert.log")
        for number in range(self.options.rounds):
            say(f"round {number + 1} of {self.options.rounds}")
            for name in self.options.plumb:
                out = self.folder / f"{name}.json"
                dtype = name.split(":")[1].replace("fp32", "f32")
                run([self.program, *shape, "--model", self.folder, "--dtype", dtype.removesuffix("+"), "--compute",
                     "bf16" if dtype.endswith("+") else "f32", "--repeats", self.options.steps, "--json", out],
                    self.folder / "plumb.log")
                self.keep(name, json.loads(out.read_text()))
            for name in self.options.peers:
                if name not in self.refused:
                    self.run_peer(name)

    def same(self, name):
        """Plumb in the format of this configuration, or else its first one."""
        precision = name.split(":")[1]
        own = "plumb:fp32" if precision == "f32" else f"plumb:{precision}"
        return own if own in self.options.plumb else self.options.plumb[0]

    def run_peer(self, name):
        engine, precision = name.split(":")
        out = self.folder / "peer.json"
        command = [self.python[engine], HERE / "peers" / "generation.py", self.folder, "--engine", engine, "--precision",
                   precision, "--gguf", self.folder / f"model-{precision}.gguf", "--reference",
                   self.folder / f"{self.same(name)}.json", "--threads", self.options.threads, "--repeats",
                   self.options.steps, "--json", out]
        environment = {"OMP_NUM_THREADS": str(self.options.threads)}
        if engine == "transformers" and (allocator := fast_allocator()):
            environment["LD_PRELOAD"] = allocator
        try:
            run(command, self.folder / f"{engine}-{precision}.log", environment)
            report = json.loads(out.read_text())
            if report["largest_difference"] > MOST_APART[precision]:
                raise RuntimeError(f"log-probabilities differ by {report['largest_difference']:.1e} nats")
            self.keep(name, report)
        except RuntimeError as problem:
            self.refused[name] = str(problem)
            say(f"{name}: does not count: {problem}")

    def keep(self, name, report):
        self.reports.setdefault(name, []).append(report)
        figures = ", ".join(f"{f['figure']} {f['ms']:.2f} ms ({f['processor_ms']:.2f} of processors)" for f in report["figures"])
        say(f"{name:18} {figures}")

    def summary(self):
        def of(name, which, key="ms"):
            return statistics.median(f[key] for r in self.reports[name] for f in r["figures"] if f["figure"] == which)

        own = self.reports[self.options.plumb[0]]
        rows = []
        for name in [*self.options.plumb, *self.options.peers]:
            if name in self.refused:
                rows.append({"configuration": name, "refused": self.refused[name].splitlines()[0]})
                continue
            ms = {which: of(name, which) for which in ("prefill", "decode", "samples")}
            rows.append({"configuration": name, "ms": ms,
                         "processor_ms": {which: of(name, which, "processor_ms") for which in ms},
                         "plumb_is_faster": {which: ms[which] / of(self.same(name), which) for which in ms},
                         "floor_ms": {f["figure"]: f["floor_ms"] for f in self.reports[self.same(name)][-1]["figures"]},
                         "largest_difference": self.reports[name][0].get("largest_difference"),
                         "peak_mb": statistics.median(r["peak_mb"] for r in self.reports[name])})
        machine = {key: own[0][key] for key in ("processor", "threads", "peak_gflops", "read_gbs", "version")}
        return {"benchmark": "generation", "shape": self.options.shape, "machine": machine,
                "prompt": len(own[0]["prompt"]), "tokens": own[0]["tokens"], "samples": own[0]["samples"],
                "requirements": [line for file in ("requirements.txt", "requirements-llama.txt")
                                 for line in (HERE / "peers" / file).read_text().splitlines()[1:]],
                "rounds": self.options.rounds, "repeats": self.options.steps, "rows": rows}


def generation_table(summary):
    """The summary as a table in Markdown."""
    machine, count = summary["machine"], summary["samples"] * summary["tokens"]
    lines = [f"{summary['shape']} shape, {machine['threads']} threads, peak {machine['peak_gflops']:.0f} GFLOP/s in float, "
             f"reads {machine['read_gbs']:.0f} GB/s; a prompt of {summary['prompt']} tokens, replies of "
             f"{summary['tokens']}; {summary['rounds']} rounds of {summary['repeats']}. In brackets plumb's share of the floor, and how much faster it "
             "is than the others in the same format.",
             "", f"| configuration | prefill, ms | decode, tokens/s | {summary['samples']} samples, tokens/s | peak MB |",
             "|---|---|---|---|---|"]
    for row in summary["rows"]:
        if "refused" in row:
            lines.append(f"| {row['configuration']} | does not count: {row['refused']} | | | |")
            continue
        ms, ratio = row["ms"], row["plumb_is_faster"]
        if row["configuration"].startswith("plumb"):
            notes = {which: f" ({100 * row['floor_ms'][which] / ms[which]:.0f} %)" for which in ms}
        else:
            notes = {which: f" ({ratio[which]:.2f} ×)" for which in ms}
        lines.append(f"| {row['configuration']} | {ms['prefill']:.0f}{notes['prefill']} | "
                     f"{1e3 / ms['decode']:.1f}{notes['decode']} | {1e3 * count / ms['samples']:.0f}{notes['samples']} | "
                     f"{row['peak_mb']:.0f} |")
    return "\n".join(lines)


def profile_table(summary):
    """Where the time of a step goes, one column a method."""
    methods = summary["methods"]
    lines = [f"{summary['shape']} shape, {summary['trained']}, {summary['precision']}, {summary['threads']} threads, peak "
             f"{summary['peak_gflops']:.0f} GFLOP/s.", "",
             "| work | " + " | ".join(f"{m['method']}, ms | share | GFLOP/s" for m in methods) + " |",
             "|---|" + "---|---|---|" * len(methods)]
    for i, row in enumerate(methods[0]["work"]):
        cells = [f"{m['work'][i]['ms']:.0f} | {100 * m['work'][i]['ms'] / m['ms']:.1f} % | "
                 + (f"{m['work'][i]['gflops']:.0f}" if "gflops" in row else "–") for m in methods]
        lines.append(f"| {row['work']} | " + " | ".join(cells) + " |")
    for label, of in [("between primitives", lambda m: f"{m['between_primitives_ms']:.0f} | "
                       f"{100 * m['between_primitives_ms'] / m['ms']:.1f} % | –"),
                      ("outside matrix products", lambda m: f"{m['outside_products'] * m['ms']:.0f} | "
                       f"{100 * m['outside_products']:.1f} % | –"),
                      ("… and outside attention's own, at the rate of the maps",
                       lambda m: f"{m['outside_all_products'] * m['ms']:.0f} | "
                       f"{100 * m['outside_all_products']:.1f} % | –"),
                      ("heap allocations", lambda m: f"{m['allocations']} | – | –")]:
        lines.append(f"| {label} | " + " | ".join(of(m) for m in methods) + " |")
    return "\n".join(lines)


def scaling_table(summary):
    """How the time of a step grows, one thing after the other."""
    lines = [f"{summary['layers']} layers, {summary['precision']}, {summary['threads']} threads, peak "
             f"{summary['peak_gflops']:.0f} GFLOP/s; medians of {summary['rounds']} rounds of {summary['steps']} steps.", "",
             "| what grows | to | ms a step | tokens/s | floor, ms | of the floor |", "|---|---|---|---|---|---|"]
    for axis in summary["axes"]:
        for i, point in enumerate(axis["points"]):
            what = f"{axis['title']}: {axis['label']}" if i == 0 else ""
            lines.append(f"| {what} | {point['x']} | {point['ms']:.0f} | {1e3 * point['tokens'] / point['ms']:.0f} | "
                         f"{point['floor_ms']:.0f} | {100 * point['floor_ms'] / point['ms']:.0f} % |")
    return "\n".join(lines)


def rows_table(summary):
    """Rows and single numbers: beside the bandwidth of memory, and beside Eigen."""
    lines = [f"{summary['threads']} threads, reads {summary['bandwidth_gbps']:.0f} GB/s.", "",
             "| kernel | width | from memory, GB/s | of reading | one thread in cache, ns a number | × Eigen |",
             "|---|---|---|---|---|---|"]
    for row in summary["kernels"]:
        eigen = f"{row['eigen_ns'] / row['cache_ns']:.1f}" if "eigen_ns" in row else "–"
        lines.append(f"| {row['kernel']} | {row['width']} | {row['gbps']:.1f} | "
                     f"{100 * row['gbps'] / summary['bandwidth_gbps']:.0f} % | {row['cache_ns']:.2f} | {eigen} |")
    return "\n".join(lines)


def write_tables(results):
    """Puts the tables of all results into docs/performance*.md, each between its two marks."""
    pages = {page: page.read_text() for page in sorted((ROOT / "docs").glob("performance*.md"))}
    kinds = {"training": training_table, "generation": generation_table, "profile": profile_table,
             "scaling": scaling_table, "rows": rows_table}
    for path in sorted(results.glob("*.json")):
        table = kinds[path.stem.split("-")[0]](json.loads(path.read_text()))
        print(f"\n### {path.stem}\n\n{table}")
        begin, end = f"<!-- {path.stem} -->\n", f"<!-- end of {path.stem} -->\n"
        for page, text in pages.items():
            if begin in text and end in text:
                pages[page] = text[:text.index(begin) + len(begin)] + f"\n{table}\n\n" + text[text.index(end):]
    for page, text in pages.items():
        page.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["training", "generation", "tables"])
    parser.add_argument("--shape", default="135m", choices=["small", "135m", "360m"])
    parser.add_argument("--full", action="store_true", help="all weights instead of LoRA of rank 16")
    parser.add_argument("--methods", default="sft,dpo,orpo,kto,ppo")
    parser.add_argument("--plumb", help="plumb's configurations, by precision or format")
    parser.add_argument("--peers", help="configurations, engine:precision (training: or engine+compile:precision)")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="steps, or repetitions, in a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="one round, fewer steps, fewer peers")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--python", default=os.environ.get("PEERS_PYTHON"), help="an interpreter that has the peers")
    parser.add_argument("--llama-python", default=os.environ.get("PEERS_LLAMA_PYTHON"), help="one that has llama.cpp")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "tables":
        return write_tables(options.out)
    options.methods = options.methods.split(",")
    options.plumb = (options.plumb or PLUMB[options.what]).split(",")
    usual = QUICK_PEERS if options.quick else PEERS
    options.peers = usual[options.what] if options.peers is None else [p for p in options.peers.split(",") if p]
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.steps = options.steps or (2 if options.quick else 4)
    comparison = {"training": Training, "generation": Generation}[options.what](options)
    comparison.run()
    summary = comparison.summary()
    (options.out / f"{comparison.name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    print({"training": training_table, "generation": generation_table}[options.what](summary))
    return None


if __name__ == "__main__":
    main()
