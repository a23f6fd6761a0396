#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Drives the plumb program as a user would: what goes in, what comes out, exit codes, interruption and resumption.

    test_program.py build/plumb [unittest options]

Needs the standard library only. Tests that need the model of ../shared/data are skipped, and say so, where it is absent.
"""
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
DATA = (ROOT / ".." / "shared" / "data").resolve()
MODEL = DATA / "stories260k" / "hf"
PAIRS = DATA / "preference" / "instruction-data-with-preference.json"
TINY = GOLDEN / "tiny_llama"
PROGRAM = ""

needs_data = unittest.skipUnless(MODEL.is_dir(), f"no {os.path.relpath(DATA, ROOT)} beside the repository")


def plumb(*words, rows=None, stdin="", **more):
    """Runs the program; rows are given to it as JSON Lines."""
    if rows is not None:
        stdin = "".join(json.dumps(row) + "\n" for row in rows)
    environment = dict(os.environ, **more.pop("env", {}))
    return subprocess.run([PROGRAM, *map(str, words)], input=stdin, capture_output=True, text=True, timeout=600, env=environment, **more)


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def tensors(path):
    """The tensors of a safetensors file as name -> (shape, list of numbers)."""
    data = Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, out = json.loads(data[8 : 8 + size]), {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        code, width = {"F32": ("f", 4), "F64": ("d", 8)}[entry["dtype"]]
        out[name] = entry["shape"], struct.unpack(f"<{(last - first) // width}{code}", data[8 + size + first : 8 + size + last])
    return out


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="plumb-program-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def ok(self, *words, **more):
        result = plumb(*words, **more)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def refused(self, *words, code=2, says=(), **more):
        result = plumb(*words, **more)
        self.assertEqual(result.returncode, code, f"{words}: {result.stdout} {result.stderr}")
        self.assertTrue(result.stderr.startswith("plumb: "), result.stderr)
        for text in (says,) if isinstance(says, str) else says:
            self.assertIn(text, result.stderr)
        return result

    def write(self, name, rows):
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def near(self, found, expected, tolerance):
        self.assertLessEqual(abs(found - expected), tolerance, f"found {found}, expected {expected}")


class CommandLine(Case):
    COMMANDS = ["info", "tokenize", "render", "score", "generate", "objectives", "loss", "grad", "train", "merge", "convert"]

    def test_help(self):
        text = self.ok("--help").stdout
        for command in self.COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} ")
            help_of = self.ok(command, "--help").stdout
            self.assertEqual(help_of, self.ok("help", command).stdout)
            self.assertIn("Example:", help_of)
            for option in ("--threads", "--seed", "--backend", "--dtype", "--compute", "--quiet"):
                self.assertIn(option, help_of)
        for later in ("eval",):
            self.assertNotRegex(text, rf"(?m)^  {later} ")
            self.refused(later, says="not in this version")
        self.assertRegex(self.ok("--version").stdout, r"^plumb \d+\.\d+\.\d+\n$")

    def test_mistakes_name_the_nearest(self):
        self.refused("scroe", says="'score'")
        self.refused("loss", "dpoo", rows=[], says="'dpo'")
        self.refused("loss", "dpo", "--inn", "x", says="'--in'")
        self.refused("loss", "dpo", "--in", "-", "--set", "bta=1", rows=[], says="'beta'")
        self.refused("objectives", "--backend", "cpuu", says="'cpu'")
        self.refused("objectives", "--dtype", "f23", says="did you mean")
        self.refused("objectives", "--compute", "bf17", says=("did you mean", "bf16"))
        self.refused("objectives", "--compute", "bf16", "--dtype", "f64", says="leave one of them out")
        self.refused("objectives", "--compute", "bf16", "--backend", "reference", says="leave one of them out")

    def test_mistakes(self):
        self.assertEqual(plumb().returncode, 2)
        self.refused("info", says="MODEL")
        self.refused("score", "--in", "-", says="--model")
        self.refused("loss", "dpo", "--in", says="expected a value")
        self.refused("loss", "dpo", "--in=", says="expected a value")
        self.refused("loss", "dpo", "sft", "--in", "-", says="second word")
        self.refused("objectives", "--threads", "two", says="--threads")
        self.refused("objectives", "--threads=-1", says="--threads")
        self.refused("objectives", "--seed", "1.5", says="--seed")
        self.refused("objectives", "--quiet=yes", says="takes no value")
        self.refused("objectives", "--seed", "1", "--seed", "2", says="twice")
        self.refused("objectives", "--backend", "cuda", says="plumb::cuda")
        self.refused("objectives", "--dtype", "nf5", says=("did you mean", "nf4"))
        self.refused("--quiet", "objectives", says="command first")
        self.refused("loss", "dpo", "--in", "-", "--set", "beta", rows=[], says="key=value")
        self.refused("loss", "dpo", "--in", self.folder / "none.jsonl", says="there is no file")
        self.refused("loss", "dpo", "--in", self.folder, says="folder")
        self.refused("generate", "--model", TINY, "--in", "-", "--beams", "2", "--top-k", "3", says="--beams")
        self.refused("generate", "--model", TINY, "--in", "-", "--length-penalty", "2", says="needs --beams")
        for option, value in (("--temperature", "-1"), ("--top-p", "0"), ("--min-p", "1"), ("--top-k", "-3"), ("--max-tokens", "0"), ("--samples", "0"), ("--temperature", "nan")):
            self.refused("generate", "--model", TINY, f"{option}={value}", rows=[{"ids": [1]}])

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_a_full_disk_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([PROGRAM, "objectives"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("standard output", result.stderr)

    def test_closed_output_is_quiet(self):
        rows = json.dumps({"logp": -1}) + "\n"
        with subprocess.Popen([PROGRAM, "loss", "sft", "--in", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.close()
            process.stdin.write(rows * 50000)
            process.stdin.close()
            message = process.stderr.read()
            self.assertEqual(process.wait(), 1)
        self.assertEqual(message, "")
        with subprocess.Popen(f"exec '{PROGRAM}' objectives >&-", shell=True, stderr=subprocess.PIPE, text=True) as process:
            self.assertIn("standard output", process.stderr.read())
            self.assertEqual(process.wait(), 1)

    def test_out_is_whole_or_absent(self):
        out = self.folder / "out.jsonl"
        self.ok("objectives", "--out", out)
        before = out.read_text()
        self.assertEqual(before, self.ok("objectives").stdout)
        self.refused("loss", "sft", "--in", "-", "--out", out, stdin='{"logp": -1}\n{"logp": }\n', says="standard input:2")
        self.assertEqual(out.read_text(), before)
        self.assertEqual([p.name for p in self.folder.iterdir()], ["out.jsonl"])
        self.refused("objectives", "--out", self.folder, says="folder")
        self.refused("objectives", "--out", self.folder / "no" / "out", says="no folder")

    @needs_data
    def test_examples_of_help_work(self):
        for name in ("stories260k", "preference"):
            os.symlink(DATA / name, self.folder / name)
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        os.symlink(PROGRAM, bin_folder / "plumb")
        path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
        for command in [None, *self.COMMANDS]:
            text = self.ok(*([command] if command else []), "--help").stdout
            example = text.split("Example:\n", 1)[1].strip()
            result = subprocess.run(example, shell=True, cwd=self.folder, env=dict(os.environ, PATH=path), capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 0, f"{example}\n{result.stderr}")
            self.assertTrue(result.stdout or command in ("merge", "convert"), example)


class Losses(Case):
    def test_objectives(self):
        rows = {row["name"]: row for row in lines(self.ok("objectives"))}
        dpo = rows["dpo"]
        self.assertEqual((dpo["level"], dpo["needs"]), ("pair", ["logp", "reference"]))
        self.assertEqual({p["name"]: p["default"] for p in dpo["parameters"]}, {"beta": 0.1, "label_smoothing": 0})
        self.assertIn("2305.18290", dpo["paper"])
        self.assertEqual((rows["sft"]["level"], rows["sft_chosen"]["level"]), ("token", "pair"))

    PAIR = {"chosen": {"logp": -20, "ref": -21, "tokens": 5}, "rejected": {"logp": -25.5, "ref": -24, "tokens": 3}}

    def test_dpo(self):
        records = [self.PAIR, {"chosen": {"logp": -3, "ref": -3}, "rejected": {"logp": -4, "ref": -4}}]
        first, *rows = lines(self.ok("loss", "dpo", "--in", "-", rows=records))
        gap = 0.1 * 2.5
        expected = [math.log1p(math.exp(-gap)), math.log(2)]
        self.near(first["loss"], sum(expected) / 2, 1e-15)
        for row, loss in zip(rows, expected):
            self.near(row["loss"], loss, 1e-15)
        slope = -0.1 / (1 + math.exp(gap)) / 2
        self.assertEqual(set(rows[0]["slopes"]), {"chosen.logp", "rejected.logp"})
        self.near(rows[0]["slopes"]["chosen.logp"], slope, 1e-16)
        self.near(rows[0]["slopes"]["rejected.logp"], -slope, 1e-16)
        self.near(first["metrics"]["rewards/margins"], gap / 2, 1e-15)
        self.assertEqual(first["metrics"]["rewards/accuracies"], 0.5)

    def test_settings_and_sums(self):
        first, row = lines(self.ok("loss", "dpo", "--in", "-", "--set", "beta=0.2", "label_smoothing=0.1", "--set", "also=0.3*sft_chosen", rows=[self.PAIR]))
        gap = 0.2 * 2.5
        dpo = 0.9 * math.log1p(math.exp(-gap)) + 0.1 * math.log1p(math.exp(gap))
        self.near(first["loss"], dpo + 0.3 * 20 / 5, 1e-14)
        self.near(row["slopes"]["chosen.logp"] + row["slopes"]["rejected.logp"], -0.3 / 5, 1e-14)
        self.refused("loss", "dpo", "--in", "-", "--set", "beta=-1", rows=[self.PAIR], says="beta")
        self.refused("loss", "dpo", "--in", "-", "--set", "also=0.2*sft", rows=[self.PAIR], says="sft")
        self.refused("loss", "dpo", "--in", "-", "--set", "also=x*sft_chosen", rows=[self.PAIR])

    def test_sft_masks(self):
        records = [{"logp": -1}, {"logp": -3, "mask": False, "sequence": "a"}, {"logp": -2, "sequence": "b", "entropy": None}]
        first, *rows = lines(self.ok("loss", "sft", "--in", "-", rows=records))
        self.assertEqual((first["loss"], [r["loss"] for r in rows]), (1.5, [1, 0, 2]))
        self.assertEqual([r["slopes"]["logp"] for r in rows], [-0.5, 0, -0.5])

    def test_bad_records(self):
        path = self.write("records.jsonl", [self.PAIR, {"chosen": {"logp": -1, "ref": -1}, "rejected": {"logp": -1}}])
        self.refused("loss", "dpo", "--in", path, says=("records.jsonl:2", "rejected.ref", "reference"))
        self.refused("loss", "dpo", "--in", "-", rows=[{"chosen": {"lgp": -1}}], says="'chosen.logp'")
        self.refused("loss", "dpo", "--in", "-", rows=[{"chosenn": {}}], says="'chosen")
        self.refused("loss", "dpo", "--in", "-", rows=[{"chosen": 3}], says="object")
        self.refused("loss", "sft", "--in", "-", rows=[{"logp": "-1"}], says="number")
        self.refused("loss", "sft", "--in", "-", stdin='{"logp": NaN}\n')
        self.refused("loss", "sft", "--in", "-", stdin='{"logp": 1e999}\n')
        self.refused("loss", "sft", "--in", "-", stdin='{"logp": -1\n', says="standard input:1")
        self.refused("loss", "sft", "--in", "-", stdin="[]\n", says="object")
        self.refused("loss", "sft", "--in", "-", stdin="", says="found none")
        self.refused("loss", "sft_chosen", "--in", "-", rows=[{"chosen": {"logp": -1, "tokens": 0}, "rejected": {"logp": -1, "tokens": 1}}], says="count from 1")

    def test_groups(self):
        rewards = [2, 1, 0.5, -1]
        first, row = lines(self.ok("loss", "plackett_luce", "--in", "-", rows=[{"rewards": rewards}]))
        self.near(first["loss"], 1.2515520957106, 1e-12)
        self.assertEqual(list(row["slopes"]), ["rewards.0", "rewards.1", "rewards.2", "rewards.3"])
        self.near(sum(row["slopes"].values()), 0, 1e-15)
        self.assertEqual(first["metrics"]["rewards/accuracies"], 1)
        moved = [[r + (1e-6 if k == 1 else 0) for k, r in enumerate(rewards)], [r - (1e-6 if k == 1 else 0) for k, r in enumerate(rewards)]]
        above, below = [lines(self.ok("loss", "plackett_luce", "--in", "-", rows=[{"rewards": m}]))[0]["loss"] for m in moved]
        self.near((above - below) / 2e-6, row["slopes"]["rewards.1"], 1e-8)

        replies = [{"logp": -12, "ref": -12.5, "tokens": 10}, {"logp": -4.5, "ref": -4, "tokens": 5}, {"logp": -4, "ref": -4, "tokens": 2}]
        first, row = lines(self.ok("loss", "rrhf", "--in", "-", "--set", "weight=0.5", rows=[{"replies": replies}]))
        self.near(first["loss"], 0.3 + 0.5 * 1.2, 1e-15)
        for k, slope in enumerate([(-1 - 0.5) / 10, 1 / 5, 0]):
            self.near(row["slopes"][f"replies.{k}.logp"], slope, 1e-15)
        means = [{"rewards": [-1.2, -0.9, -2]}]
        self.near(lines(self.ok("loss", "rrhf", "--in", "-", "--set", "weight=0.5", rows=means))[0]["loss"], first["loss"], 1e-15)

        first, one, two = lines(self.ok("loss", "dpo_pl", "--in", "-", rows=[{"replies": replies[:2], "weight": 3}, {"replies": replies}]))
        self.near(one["loss"], math.log1p(math.exp(-0.1)), 1e-15)  # as dpo with a gap of 1
        self.near(first["loss"], (3 * one["loss"] + two["loss"]) / 2, 1e-15)
        self.near(lines(self.ok("loss", "infonce", "--in", "-", rows=[{"rewards": [1, 1, 1]}]))[0]["loss"], math.log(3), 1e-15)
        self.refused("loss", "plackett_luce", "--in", "-", rows=[{"rewards": [1]}], says="at least two replies")
        self.refused("loss", "plackett_luce", "--in", "-", rows=[{"rewards": "1"}], says="rewards")
        self.refused("loss", "plackett_luce", "--in", "-", rows=[{"reward": [1, 2]}], says="'rewards'")
        self.refused("loss", "plackett_luce", "--in", "-", rows=[{"rewards": [1, 2], "replies": replies}], says="found both")
        self.refused("loss", "plackett_luce", "--in", "-", rows=[{"replies": replies}], says=("replies.0.reward", "head"))
        self.refused("loss", "plackett_luce", "--in", "-", rows=[{"replies": [{"rewrd": 1}, {"reward": 2}]}], says="'reward'")
        self.refused("loss", "dpo_pl", "--in", "-", rows=[{"rewards": [1, 2]}], says=("logp, reference", "replies"))
        self.refused("loss", "plackett_luce", "--in", "-", "--set", "beta=1", rows=[{"rewards": [1, 2]}], says="beta")

    def test_rows_of_a_vocabulary(self):
        row = {"student": [0.7, 0.2, 0.1], "teacher": [0.5, 0.25, 0.25]}
        first, one = lines(self.ok("loss", "distill", "--in", "-", "--set", "divergence=forward_kl", rows=[row]))
        self.near(first["loss"], sum(t * math.log(t / s) for s, t in zip(row["student"], row["teacher"])), 1e-12)
        for k in range(3):
            self.near(one["slopes"][f"student_logits.{k}"], row["student"][k] - row["teacher"][k], 1e-12)
        as_logits = {f"{who}_logits": [math.log(p) + 5 for p in row[who]] for who in row}
        again = lines(self.ok("loss", "distill", "--in", "-", "--set", "divergence=forward_kl", rows=[as_logits]))
        self.near(again[0]["loss"], first["loss"], 1e-12)
        short, _ = lines(self.ok("loss", "distill", "--in", "-", "--set", "divergence=forward_kl", "top_k=1", rows=[row]))
        t, s = max(zip(row["teacher"], row["student"]))
        self.near(short["loss"], t * math.log(t / s) + (1 - t) * math.log((1 - t) / (1 - s)), 1e-12)
        alone, _ = lines(self.ok("loss", "distill", "--in", "-", "--set", "top_k=1", "tail=false", rows=[row]))
        self.near(alone["loss"], 0, 1e-15)
        self.refused("loss", "distill", "--in", "-", "--set", "tail=false", rows=[row], says="top_k")
        self.refused("loss", "distill", "--in", "-", rows=[{**row, "student": [0.7, 0.2, 0.2]}], says="sum to 1")
        self.refused("loss", "distill", "--in", "-", rows=[{**row, "student": [0.5, 0.5]}], says="same words")
        self.refused("loss", "distill", "--in", "-", rows=[{"student": row["student"]}], says="teacher")

    def test_pairs_with_more_of_the_head(self):
        def pair(**more):
            return {side: {**values, **more} for side, values in self.PAIR.items()}
        base = lines(self.ok("loss", "dpo", "--in", "-", rows=[self.PAIR]))[0]["loss"]
        wpo = lines(self.ok("loss", "wpo", "--in", "-", rows=[pair(confidence=-0.3)]))[0]["loss"]
        self.near(wpo, math.exp(-0.6) * base, 1e-12)
        self.refused("loss", "wpo", "--in", "-", rows=[self.PAIR], says="chosen.confidence")
        same = lines(self.ok("loss", "tdpo", "--in", "-", rows=[pair(sequential_kl=0.4)]))
        self.near(same[0]["loss"], base, 1e-12)  # equal divergences cancel
        self.assertIn("rejected.sequential_kl", same[1]["slopes"])
        self.refused("loss", "tdpo", "--in", "-", rows=[self.PAIR], says="sequential_kl")
        ld = lines(self.ok("loss", "ld_dpo", "--in", "-", "--set", "alpha=1", rows=[pair(tail=-1, ref_tail=-2)]))[0]["loss"]
        self.near(ld, base, 1e-12)  # the tail counts fully
        self.refused("loss", "ld_dpo", "--in", "-", rows=[self.PAIR], says="tail")

    def test_weights_of_records(self):
        rows = [{**self.PAIR, "weight": 2.5}, {**self.PAIR, "weight": 0}, self.PAIR]
        first, heavy, none, plain = lines(self.ok("loss", "dpo", "--in", "-", rows=rows))
        self.near(first["loss"], 3.5 * plain["loss"] / 3, 1e-15)
        self.near(heavy["slopes"]["chosen.logp"], 2.5 * plain["slopes"]["chosen.logp"], 1e-15)
        self.assertEqual((none["loss"], none["slopes"]["chosen.logp"]), (0, 0))
        self.refused("loss", "dpo", "--in", "-", rows=[{**self.PAIR, "weight": -1}], says="weight")

    def test_files_streams_and_arrays_agree(self):
        rows = [self.PAIR] * 3
        expected = self.ok("loss", "dpo", "--in", "-", rows=rows).stdout
        path = self.write("r.jsonl", rows)
        self.assertEqual(self.ok("loss", "dpo", "--in", path).stdout, expected)
        self.assertEqual(self.ok("loss", f"--in={path}", "dpo", "--quiet").stdout, expected)
        path.write_text(json.dumps(rows, indent=1))
        self.assertEqual(self.ok("loss", "dpo", "--in", path).stdout, expected)


class Tiny(Case):
    """A model of the repository without a tokenizer: rows are token ids."""

    def test_info(self):
        (info,) = lines(self.ok("info", TINY))
        golden = json.loads((GOLDEN / "tiny_llama" / "config.json").read_text())
        self.assertEqual(info["architecture"]["hidden_size"], golden["hidden_size"])
        self.assertEqual(info["architecture"]["kv_heads"], golden["num_key_value_heads"])
        self.assertEqual(info["parameters"], sum(len(numbers) for _, numbers in tensors(TINY / "model.safetensors").values()))
        self.assertEqual((info["dtype"], info["trainable_parameters"]), ("f32", 0))
        self.assertEqual(info["files"][0]["bytes"], (TINY / "model.safetensors").stat().st_size)
        (with_adapter,) = lines(self.ok("info", TINY, "--adapter", GOLDEN / "tiny_llama_adapter"))
        self.assertEqual((with_adapter["adapter"]["r"], with_adapter["adapter"]["lora_alpha"]), (3, 6))
        self.assertGreater(with_adapter["trainable_parameters"], 0)
        readers = {name: about["reads"] for name, about in with_adapter["adapter"]["readers"].items()}
        self.assertEqual(readers, {"plumb": "yes", "peft": "yes", "vllm": "yes", "llama.cpp": "yes"})
        (sharded,) = lines(self.ok("info", GOLDEN / "tiny_llama_sharded"))
        self.assertEqual((len(sharded["files"]), sharded["dtype"]), (2, "bf16"))

    def test_adapters_of_every_kind(self):
        """Trained, saved, described, scored and merged: what PEFT calls them, and who takes them."""
        rows = self.write("rows.jsonl", [{"prompt_ids": [1, 5], "completion_ids": [9, 33, 2]}, {"prompt_ids": [7], "completion_ids": [3, 4]}])
        row = [{"ids": [1, 5, 9, 33]}]
        (base,) = lines(self.ok("score", "--model", TINY, "--in", "-", rows=row))
        kinds = {  # settings, fields of adapter_config.json, vLLM, llama.cpp
            "dora": (["dora=true"], {"use_dora": True}, "refused", "refused"),
            "pissa": (["init=pissa", "lora_plus_ratio=4"], {"init_lora_weights": True, "r": 4, "lora_alpha": 8}, "yes", "yes"),
            "olora": (["init=olora", "rank_stabilised=true"], {"use_rslora": True, "r": 4}, "yes", "yes"),
            "saved": (["modules_to_save=norm,lm_head"], {"modules_to_save": ["norm", "lm_head"]}, "refused", "refused"),
            "embedding": (["targets=q_proj,embed_tokens"], {"target_modules": ["embed_tokens", "q_proj"]}, "refused", "refused"),
            "tokens": (["trainable_tokens=5, 9", "biases=all"], {"trainable_token_indices": [5, 9], "bias": "all"}, "refused", "refused"),
        }
        for name, (settings, fields, vllm, llama_cpp) in kinds.items():
            run = self.folder / name
            self.ok("train", "sft", "--model", TINY, "--data", rows, "--out", run, "--set", "steps=3", "rank=2", "rate=0.01", *settings)
            config = json.loads((run / "adapter_config.json").read_text())
            self.assertEqual({key: config[key] for key in fields}, fields)
            (about,) = lines(self.ok("info", run))
            self.assertEqual((about["readers"]["plumb"]["reads"], about["readers"]["peft"]["reads"]), ("yes", "yes"))
            self.assertEqual((about["readers"]["vllm"]["reads"], about["readers"]["llama.cpp"]["reads"]), (vllm, llama_cpp))
            self.assertEqual(about["peft_type"], "LORA")
            merged = self.folder / (name + "_merged")
            self.ok("merge", "--model", TINY, "--adapter", run, "--out", merged)
            (one,), (two,) = (lines(self.ok("score", "--in", "-", *where, rows=row)) for where in (("--model", TINY, "--adapter", run), ("--model", merged)))
            self.assertAlmostEqual(one["sum"], two["sum"], places=4)
            self.assertGreater(abs(one["sum"] - base["sum"]), 1e-3)
            to_gguf = ("convert", "--model", TINY, "--adapter", run, "--out", self.folder / (name + ".gguf"))
            self.ok(*to_gguf) if llama_cpp == "yes" else self.refused(*to_gguf, says="plain LoRA")
            again = self.folder / (name + "_again")  # from the settings that the run wrote down
            self.ok("train", "--config", run / "config.json", "--out", again)
            self.assertEqual(tensors(run / "adapter_model.safetensors"), tensors(again / "adapter_model.safetensors"))
        for name, settings in (("prompt", ["virtual_tokens=3"]), ("prefix", ["virtual_tokens=3", "prefix=true"])):
            run = self.folder / name
            self.ok("train", "dpo", "--model", TINY, "--data", self.write("pairs.jsonl", [{"prompt_ids": [1, 5], "chosen_ids": [9, 2], "rejected_ids": [4, 2]}]), "--out", run, "--set", "steps=3", "rate=0.05", *settings)
            config, settled = (json.loads((run / file).read_text()) for file in ("adapter_config.json", "config.json"))
            self.assertEqual((config["peft_type"], config["num_virtual_tokens"]), (name.upper() + "_TUNING", 3))
            self.assertNotIn("rank", settled)
            (about,) = lines(self.ok("info", run))
            self.assertEqual([about["readers"][program]["reads"] for program in ("plumb", "peft", "vllm", "llama.cpp")], ["yes", "yes", "refused", "refused"])
            (scored,) = lines(self.ok("score", "--model", TINY, "--adapter", run, "--in", "-", rows=row))
            self.assertGreater(abs(scored["sum"] - base["sum"]), 1e-3)
            self.ok("train", "dpo", "--config", run / "config.json", "--out", self.folder / (name + "_again"))
            self.assertEqual(tensors(run / "adapter_model.safetensors"), tensors(self.folder / (name + "_again") / "adapter_model.safetensors"))
            self.ok("train", "sft", "--model", TINY, "--data", rows, "--adapter", run, "--out", self.folder / (name + "_more"), "--set", "steps=1")
            self.refused("merge", "--model", TINY, "--adapter", run, "--out", self.folder / "y", says="merged")
            self.refused("convert", "--model", TINY, "--adapter", run, "--out", self.folder / "y.gguf", says="virtual tokens")
        patterns = self.folder / "patterns"
        shutil.copytree(GOLDEN / "adapters" / "pissa", patterns)
        config = json.loads((patterns / "adapter_config.json").read_text())
        (patterns / "adapter_config.json").write_text(json.dumps(config | {"alpha_pattern": {"q_proj": 3}}))
        (about,) = lines(self.ok("info", patterns))
        self.assertEqual((about["readers"]["vllm"]["reads"], len(about["readers"]["vllm"]["reasons"])), ("wrong", 2))
        self.assertIn("changes the base model", about["readers"]["peft"]["notes"][0])
        where = ("--model", TINY, "--data", rows, "--out", self.folder / "x", "--set")
        for setting, says in (("init=pisa", "pissa"), ("biases=some", "lora_only"), ("trainable_tokens=1,x", "token ids"), ("trainable_tokens=97", "vocabulary"),
                              ("modules_to_save=nowhere", "nowhere"), ("modules_to_save=self_attn", "twice"), ("lora_plus_ratio=0", "above 0"), ("pissa_iterations=4", "pissa")):
            self.refused("train", "sft", *where, setting, says=says)
        self.refused("train", "sft", *where[:-1], "--full", "--set", "lora_plus_ratio=4", says="--full")
        self.refused("train", "sft", *where[:-1], "--adapter", GOLDEN / "tiny_llama_adapter", "--set", "dora=true", says="dora")
        self.refused("train", "sft", *where, "dora=true", "init=olora", says="olora")
        self.refused("train", "sft", *where, "virtual_tokens=3", "rank=2", says="rank")
        self.refused("train", "sft", *where, "prefix=true", says="virtual_tokens")
        self.refused("train", "sft", *where, "virtual_tokens=256", says="positions")

    def test_bad_models(self):
        self.refused("info", self.folder / "none", says="no folder")
        self.refused("info", self.folder, says="config.json")
        self.refused("info", TINY / "config.json", says="file")
        model = self.folder / "model"
        shutil.copytree(TINY, model)
        text = (model / "config.json").read_text()
        (model / "config.json").write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
        for command in (("info", model), ("score", "--model", model, "--in", "-")):
            self.refused(*command, rows=[{"ids": [1, 2]}], says=("model.layers.2", "lack"))
        (model / "config.json").write_text(text)
        weights = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").write_bytes(weights[:-3])
        self.refused("info", model, says="model.safetensors")
        self.refused("score", "--model", TINY, "--adapter", self.folder, "--in", "-", rows=[{"ids": [1, 2]}], says="adapter_config.json")
        self.refused("score", "--model", TINY, "--in", "-", rows=[{"text": "hello"}], says="tokenizer")

    def test_objectives_that_need_more_of_the_head_train(self):
        pairs = self.write("pairs.jsonl", [{"prompt_ids": [1, i + 2], "chosen_ids": [5, i + 7, 9], "rejected_ids": [6 + i, 3, 11, 12, 40 + i]} for i in range(8)])
        steps = ("--set", "steps=6", "rate=1e-2", "batch=4", "--quiet")
        for name in ("wpo", "tdpo", "ld_dpo"):
            run = self.folder / name
            self.ok("train", name, "--model", TINY, "--data", pairs, "--out", run, *steps)
            log = lines_of(run / "log.jsonl")
            self.assertLess(log[-1]["loss"], log[0]["loss"])
            if name != "wpo":
                self.near(log[0]["loss"], math.log(2), 1e-5)

        rows = self.write("rows.jsonl", [{"prompt_ids": [1, 2 + i], "completion_ids": [5, 7 + i, 9, 30 - i]} for i in range(8)])
        words = ("train", "distill", "--model", TINY, "--data", rows)
        self.ok(*words, "--teacher", TINY, "--out", self.folder / "same", *steps)
        self.near(lines_of(self.folder / "same" / "log.jsonl")[0]["loss"], 0, 1e-6)  # its own teacher
        teacher = self.folder / "teacher"
        self.ok("train", "sft", "--model", TINY, "--full", "--data", rows, "--out", teacher, *steps)
        self.ok(*words, "--teacher", teacher / "model", "--out", self.folder / "other", *steps)
        log = lines_of(self.folder / "other" / "log.jsonl")
        self.assertGreater(log[0]["loss"], 1e-3)
        self.assertLess(log[-1]["loss"], 0.9 * log[0]["loss"])
        self.ok(*words, "--teacher", teacher / "model", "--out", self.folder / "few", *steps, "--set", "top_k=5")
        few = lines_of(self.folder / "few" / "log.jsonl")
        self.assertLess(few[0]["loss"], log[0]["loss"])  # merging words hides something
        self.assertLess(few[-1]["loss"], 0.9 * few[0]["loss"])
        # The teacher's words in the rows, made by scoring every word in the place of every token, teach the same.
        said = [json.loads(line) for line in rows.read_text().splitlines()]
        asked = [{"ids": r["prompt_ids"] + r["completion_ids"][:t] + [v], "from": len(r["prompt_ids"]) + t} for r in said for t in range(4) for v in range(97)]
        heard = [each["sum"] for each in lines(self.ok("score", "--model", teacher / "model", "--in", "-", rows=asked))]
        for i, r in enumerate(said):
            r["teacher_ids"] = [list(range(97))[::-1]] * 4
            r["teacher_logp"] = [heard[(4 * i + t) * 97 : (4 * i + t + 1) * 97][::-1] for t in range(4)]
        named = self.write("named.jsonl", said)
        self.ok("train", "distill", "--model", TINY, "--data", named, "--out", self.folder / "named", *steps, "--set", "top_k=5")
        for a, b in zip(few, lines_of(self.folder / "named" / "log.jsonl")):
            self.near(a["loss"], b["loss"], 1e-5)
        self.refused("train", "distill", "--model", TINY, "--data", named, "--out", self.folder / "none", says="top_k=20")
        self.refused("train", "distill", "--model", TINY, "--data", named, "--teacher", TINY, "--out", self.folder / "none", "--set", "top_k=5", says="leave one of them out")
        for change, says in (({"teacher_logp": [[-1]] * 4}, "97 words and 1"), ({"teacher_ids": [[1]] * 3}, "expected 4 lists"), ({"teacher_ids": [[1, 1]] * 4, "teacher_logp": [[-1, -2]] * 4}, "twice"),
                             ({"teacher_ids": [[1]] * 4, "teacher_logp": [[0.5]] * 4}, "at most 0"), ({"teacher_ids": [[1, 2]] * 4, "teacher_logp": [[-0.1, -0.1]] * 4}, "more than 1"), ({"teacher_ids": [[97]] * 4, "teacher_logp": [[-1]] * 4}, "vocabulary of 97")):
            self.refused("train", "distill", "--model", TINY, "--data", self.write("wrong.jsonl", [said[1], {**said[0], **change}]), "--out", self.folder / "none", "--set", "top_k=5", says=("wrong.jsonl:2", says))
        self.refused("train", "distill", "--model", TINY, "--data", self.write("some.jsonl", [said[1], {key: said[0][key] for key in ("prompt_ids", "completion_ids")}]), "--out", self.folder / "none", "--set", "top_k=5", says="some.jsonl:2")
        self.refused(*words, "--out", self.folder / "none", says="--teacher")
        self.refused(*words, "--teacher", self.folder / "nowhere", "--out", self.folder / "none", says="--teacher")
        self.refused("train", "dpo", "--model", TINY, "--data", pairs, "--teacher", TINY, "--out", self.folder / "none", says="takes no teacher")

    def test_rankings_train(self):
        rankings = [{"prompt_ids": [1, i + 2], "completions_ids": [[5, i + 7, 9], [6 + i, 3], [50 - i, 3, 3, 8]][: 2 + i % 2]} for i in range(8)]
        data = self.write("rankings.jsonl", rankings)
        for name in ("dpo_pl", "rrhf", "plackett_luce", "infonce"):
            self.ok("train", name, "--model", TINY, "--data", data, "--out", self.folder / name, "--set", "steps=8", "rate=1e-2", "batch=8", "--quiet")
            log = lines_of(self.folder / name / "log.jsonl")
            self.assertLess(log[-1]["loss"], log[0]["loss"])
            self.assertIn("rewards/accuracies", log[0])
        self.near(lines_of(self.folder / "dpo_pl" / "log.jsonl")[0]["loss"], (math.log(2) + math.log(6)) / 2, 1e-5)

        triples = [{"prompt_ids": [1, i + 2], "reference_ids": [5, i + 7, 9], "chosen_ids": [6 + i, 3], "rejected_ids": [50 - i, 3]} for i in range(8)]
        self.ok("train", "tpo", "--model", TINY, "--data", self.write("triples.jsonl", triples), "--out", self.folder / "tpo", "--set", "steps=8", "rate=1e-2", "batch=8", "beta=1", "--quiet")
        log = lines_of(self.folder / "tpo" / "log.jsonl")
        self.assertLess(log[-1]["loss"], log[0]["loss"])
        self.assertGreater(log[-1]["rewards/margins"], log[0]["rewards/margins"])
        self.refused("train", "tpo", "--model", TINY, "--data", data, "--out", self.folder / "x", "--quiet", says=("rankings.jsonl:1", "groups of 3 replies, found 2"))

        two = [{"prompt_ids": r["prompt_ids"], "chosen_ids": r["completions_ids"][0], "rejected_ids": r["completions_ids"][1]} for r in rankings]
        shuffled = [{"prompt_ids": r["prompt_ids"], "completions_ids": r["completions_ids"][1::-1], "ranks": [2, 1]} for r in rankings]
        losses = {}
        for name, rows in (("dpo", two), ("dpo_pl", two), ("dpo_pl", shuffled)):
            (losses[name, rows is two],) = lines(self.ok("grad", name, "--model", TINY, "--adapter", self.folder / "rrhf", "--data", self.write("two.jsonl", rows), "--dtype", "f64", "--out", self.folder / "g.safetensors"))
            losses[name, rows is two]["gradient"] = tensors(self.folder / "g.safetensors")
        pair = losses["dpo", True]
        for each in losses.values():
            self.near(each["loss"], pair["loss"], 1e-12)
            for key, (_, numbers) in pair["gradient"].items():
                self.near(max(abs(a - b) for a, b in zip(numbers, each["gradient"][key][1])), 0, 1e-12)
        self.refused("train", "dpo_pl", "--model", TINY, "--data", self.write("one.jsonl", [{"prompt_ids": [1], "completions_ids": [[2]]}]), "--out", self.folder / "x", says="one.jsonl:1")

    def test_disliked_replies_weigh_what_their_prompts_are_worth(self):
        rows = [{"prompt_ids": [1, 2 if (i % 3 > 0) == (i % 5 > 0) else 60], "completion_ids": [5, i + 7], "label": i % 3 > 0} for i in range(24)]
        data = self.write("labels.jsonl", rows)
        first = {}
        for name in ("bco", "kto"):
            for weighed in ("false", "true"):
                out = self.folder / f"{name}-{weighed}"
                self.ok("train", name, "--model", TINY, "--data", data, "--out", out, "--set", "steps=1", "batch=24", f"density_ratio={weighed}", "--quiet")
                first[name, weighed] = lines_of(out / "log.jsonl")[0]["loss"]
                self.assertEqual(json.loads((out / "config.json").read_text())["density_ratio"], weighed == "true")
        self.near(first["bco", "false"], math.log(2), 1e-6)
        self.assertGreater(abs(first["bco", "true"] - math.log(2)), 0.01)
        self.near(first["kto", "true"] / first["kto", "false"], first["bco", "true"] / math.log(2), 1e-5)  # the same weights
        self.refused("train", "dpo", "--model", TINY, "--data", data, "--out", self.folder / "x", "--set", "density_ratio=true", says="liked and disliked")
        liked = self.write("liked.jsonl", [{**row, "label": True} for row in rows])
        self.refused("train", "bco", "--model", TINY, "--data", liked, "--out", self.folder / "x", "--set", "density_ratio=true", says="both kinds")

    def test_backends_and_types_agree(self):
        row = {"ids": [1, 5, 9, 33, 2, 60], "from": 2}
        found = {}
        for backend in ("cpu", "reference"):
            for dtype in ("f32", "f64"):
                (found[backend, dtype],) = lines(self.ok("score", "--model", TINY, "--in", "-", "--entropy", "--backend", backend, "--dtype", dtype, rows=[row]))
        exact = found["reference", "f64"]
        self.assertEqual((exact["tokens"], len(exact["logp"]), len(exact["entropy"])), (4, 4, 4))
        self.near(exact["sum"], sum(exact["logp"]), 1e-12)
        self.near(exact["mean"] * 4, exact["sum"], 1e-12)
        for (_, dtype), scores in found.items():
            for a, b in zip(scores["logp"] + scores["entropy"], exact["logp"] + exact["entropy"]):
                self.near(a, b, 1e-5 if dtype == "f32" else 1e-11)
        self.assertNotEqual(found["cpu", "f32"], exact)

    def test_products_in_bfloat16(self):
        row = {"ids": [1, 5, 9, 33, 2, 60], "from": 2}

        def score(*how):
            result = self.ok("score", "--model", TINY, "--in", "-", *how, rows=[row])
            return lines(result)[0]["logp"], "changes nothing" in result.stderr

        (plain, _), (rounded, same) = score(), score("--compute", "bf16")
        self.assertEqual(same, plain == rounded)  # said where the machine has no faster products
        for a, b in zip(plain, rounded):
            self.near(a, b, 0.1)
        self.assertEqual(score("--compute", "bf16", "--threads", "1")[0], rounded)
        self.assertEqual(score("--compute", "f32")[0], plain)
        rows = [{"prompt_ids": [1, i], "completion_ids": [i + 1, i + 2, 2]} for i in range(3, 43)]
        words, run = ("train", "sft", "--data", self.write("d.jsonl", rows)), self.folder / "run"
        self.ok(*words, "--model", TINY, "--out", run, "--compute", "bf16", "--set", "rate=1e-2", "steps=20", "rank=4")
        log = lines_of(run / "log.jsonl")
        self.assertLess(log[-1]["loss"], 0.8 * log[0]["loss"])
        self.assertEqual(json.loads((run / "config.json").read_text())["compute"], "bf16")
        self.ok("train", "--config", run / "config.json", "--out", self.folder / "again")
        self.assertEqual([x["loss"] for x in lines_of(self.folder / "again" / "log.jsonl")], [x["loss"] for x in log])
        for other in (("--dtype", "f64"), ("--backend", "reference")):  # of the file, or of the line
            self.refused("train", "--config", run / "config.json", "--out", self.folder / "no", *other,
                         says=["--compute", "found " + " ".join(other)])
        where = ("--model", TINY, "--adapter", run, "--compute", "bf16", "--in", "-")
        replies = lines(self.ok("generate", *where, "--max-tokens", "8", "--samples", "3", rows=[{"ids": [1, 7]}]))
        scored = lines(self.ok("score", *where, rows=[{"prompt_ids": [1, 7], "completion_ids": r["ids"]} for r in replies]))
        self.assertEqual([s["logp"] for s in scored], [r["logp"] for r in replies])

    def test_rows_choose_their_adapter(self):
        folders = {"all": GOLDEN / "tiny_llama_adapter", "dora": GOLDEN / "adapters" / "dora"}
        named = [word for name, folder in folders.items() for word in ("--adapter", f"{name}={folder}")]
        names = ["dora", "", "all", "dora", None, "all"]
        prompts = [{"ids": [1, 5 + i, 9, 33]} for i in range(len(names))]
        rows = [row if name is None else row | {"adapter": name} for row, name in zip(prompts, names)]
        for command, options in (("score", ()), ("generate", ("--max-tokens", "6", "--temperature", "0")), ("generate", ("--max-tokens", "6", "--beams", "3"))):
            mixed = lines(self.ok(command, "--model", TINY, *named, "--in", "-", *options, rows=rows))
            for row, name, result in zip(prompts, names, mixed):
                alone = ("--adapter", folders[name]) if name else ()
                self.assertEqual(lines(self.ok(command, "--model", TINY, *alone, "--in", "-", *options, rows=[row])), [result])
        self.assertEqual(len({json.dumps(lines(self.ok("score", "--model", TINY, *named, "--in", "-", rows=[prompts[0] | {"adapter": name}]))) for name in ("", "all", "dora")}), 3)
        self.refused("score", "--model", TINY, *named, "--in", "-", rows=[prompts[0] | {"adapter": "dara"}], says=("standard input:1", "all, dora"))
        self.refused("generate", "--model", TINY, "--in", "-", rows=rows, says="NAME=FOLDER")
        self.refused("score", "--model", TINY, *named[:2], *named[:2], "--in", "-", rows=rows, says="already")
        self.refused("score", "--model", TINY, "--adapter", folders["all"], "--adapter", folders["dora"], "--in", "-", rows=rows, says="NAME=FOLDER")
        self.refused("score", "--model", TINY, "--adapter", f"saved={GOLDEN / 'adapters' / 'saved'}", "--in", "-", rows=rows, says="use it alone")

    def test_positions(self):
        row = {"ids": [1 + i % 90 for i in range(300)]}  # the model's own length is 256
        self.refused("score", "--model", TINY, "--in", "-", rows=[row], says="positions")
        (longer,) = lines(self.ok("score", "--model", TINY, "--positions", "300", "--in", "-", rows=[row]))
        (longest,) = lines(self.ok("score", "--model", TINY, "--positions", "4000", "--in", "-", rows=[row]))
        self.assertEqual((longer, longer["tokens"]), (longest, 299))
        (reply,) = lines(self.ok("generate", "--model", TINY, "--positions", "310", "--max-tokens", "99", "--temperature", "0", "--in", "-", rows=[row]))
        self.assertLessEqual(len(reply["ids"]), 11)
        data = self.write("long.jsonl", [{"prompt_ids": row["ids"], "completion_ids": [5, 6]}])
        run, again = self.folder / "long", self.folder / "again"
        self.ok("train", "sft", "--model", TINY, "--positions", "400", "--data", data, "--out", run, "--set", "steps=1", "max_tokens=400")
        self.assertEqual(json.loads((run / "config.json").read_text())["positions"], 400)
        self.ok("train", "--config", run / "config.json", "--out", again)
        self.assertEqual(tensors(run / "adapter_model.safetensors"), tensors(again / "adapter_model.safetensors"))
        self.refused("score", "--model", GOLDEN / "families" / "gpt2", "--positions", "100000", "--in", "-", rows=[row], says="learns a row")
        self.refused("score", "--model", TINY, "--positions", "10000000", "--in", "-", rows=[row], says="--positions")
        self.refused("score", "--model", TINY, "--positions", "0", "--in", "-", rows=[row], says="--positions")

    def test_bad_rows(self):
        for row, says in (({"ids": [1, 97]}, "vocabulary"), ({"ids": [1]}, "no token to score"), ({"ids": [1, 2], "from": 2}, "no token"), ({"ids": [1, 2, 3], "from": 0}, '"from"'),
                          ({"idz": [1, 2]}, "'ids'"), ({"ids": [1, -1]}, "vocabulary"), ({"ids": "1"}, "list"), ({"ids": [1, 2], "completion_ids": [3]}, "several")):
            self.refused("score", "--model", TINY, "--in", "-", rows=[{"ids": [1, 2]}, row], says=("standard input:2", says))
        self.refused("score", "--model", TINY, "--in", "-", rows=[{"ids": [1] * 5000}], says="positions")
        self.refused("generate", "--model", TINY, "--in", "-", rows=[{"ids": []}], says="empty")
        self.refused("generate", "--model", TINY, "--in", "-", rows=[{"ids": [1] * 5000}], says="positions")

    @needs_data
    def test_generate_streams_tokens(self):
        rows = [{"prompt": "Once upon a time"}, {"prompt": "Lily"}]
        options = ("generate", "--model", MODEL, "--in", "-", "--max-tokens", "12", "--samples", "2")
        plain = lines(self.ok(*options, rows=rows))
        found = lines(self.ok(*options, "--stream", rows=rows))
        self.assertEqual(found[-4:], plain)  # the replies themselves, as without it
        for number, reply in enumerate(plain):
            tokens = [t for t in found[:-4] if (t["row"], t["sample"]) == (number // 2, number % 2)]
            self.assertEqual([t["id"] for t in tokens], reply["ids"])
            self.assertEqual([t["logp"] for t in tokens], reply["logp"])
            self.assertEqual("".join(t["text"] for t in tokens), reply["completion"])
        self.refused("generate", "--model", TINY, "--in", "-", "--stream", "--beams", "2", says="--stream")

    def test_generate_is_reproducible_and_scored_by_score(self):
        rows = [{"ids": [i % 90 + 1, 3]} for i in range(70)]
        options = ("generate", "--model", TINY, "--in", "-", "--max-tokens", "5", "--samples", "2")
        replies = lines(self.ok(*options, "--seed", "7", rows=rows))
        self.assertEqual(len(replies), 140)
        self.assertEqual(replies, lines(self.ok(*options, "--seed", "7", "--threads", "1", rows=rows)))
        self.assertNotEqual(replies, lines(self.ok(*options, "--seed", "8", rows=rows)))
        self.assertEqual(replies[:20], lines(self.ok(*options, "--seed", "7", rows=rows[:10])))  # the first rows, alone
        same = lines(self.ok(*options, rows=[{"ids": [1, 3]}] * 70))
        self.assertGreater(len({tuple(r["ids"]) for r in same}), 100)  # no two rows share their random numbers
        scored = lines(self.ok("score", "--model", TINY, "--in", "-", rows=[{"prompt_ids": rows[i // 2]["ids"], "completion_ids": r["ids"]} for i, r in enumerate(replies)]))
        self.assertEqual([s["logp"] for s in scored], [r["logp"] for r in replies])  # the sampler's are the scorer's, bit for bit
        self.assertEqual({r["finish"] for r in replies} - {"stop", "length"}, set())

    def test_answers_come_while_the_input_is_open(self):
        with subprocess.Popen([PROGRAM, "score", "--model", str(TINY), "--in", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            for ids in ([1, 2, 3], [4, 5]):
                process.stdin.write(json.dumps({"ids": ids}) + "\n")
                process.stdin.flush()
                self.assertEqual(json.loads(process.stdout.readline())["tokens"], len(ids) - 1)
            process.stdin.close()
            self.assertEqual(process.wait(), 0)

    def test_interruption_of_a_stream(self):
        with subprocess.Popen([PROGRAM, "score", "--model", str(TINY), "--in", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdin.write('{"ids": [1, 2]}\n')
            process.stdin.flush()
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(20), 130)

    def test_gradient_of_all_weights(self):
        golden = json.loads((GOLDEN / "tiny_llama.json").read_text())["tiny_llama"]
        rows = [{"prompt_ids": p["prompt_ids"], "completion_ids": p["chosen_ids"]} for p in golden["pairs"]]
        out = self.folder / "g.safetensors"
        (result,) = lines(self.ok("grad", "sft", "--model", TINY, "--full", "--data", self.write("d.jsonl", rows), "--out", out, "--dtype", "f64", "--set", "batch=1"))
        self.near(result["loss"], golden["sft"]["loss_f64"], 1e-9)
        self.assertLess(worst(out, GOLDEN / "tiny_llama_grads_sft.safetensors"), 1e-6)

    def test_gradients_of_every_family(self):
        families = json.loads((GOLDEN / "families.json").read_text())
        for folder in sorted((GOLDEN / "families").iterdir()):
            golden, out = families[folder.name], self.folder / f"{folder.name}.safetensors"
            if "positions" in golden:  # numbers of a path beyond the model's own limit
                continue
            row = {"prompt_ids": golden["ids"][: golden["from"]], "completion_ids": golden["ids"][golden["from"] :]}
            (result,) = lines(self.ok("grad", "sft", "--model", folder, "--full", "--data", self.write("d.jsonl", [row]), "--out", out, "--dtype", "f64"))
            self.near(result["loss"], golden["loss"], 1e-4)
            self.assertLess(worst(out, folder / "grads.safetensors"), 2e-5, folder.name)  # GPT-2's maps as its files hold them

    def test_training_on_ids(self):
        rows = [{"prompt_ids": [1, i], "completion_ids": [i + 1, i + 2, 2]} for i in range(3, 43)]
        run = self.folder / "run"
        self.ok("train", "sft", "--model", TINY, "--data", self.write("d.jsonl", rows), "--out", run, "--set", "rate=1e-2", "steps=30", "rank=4")
        log = lines_of(run / "log.jsonl")
        self.assertEqual([entry["step"] for entry in log], list(range(1, 31)))
        self.assertLess(log[-1]["loss"], 0.8 * log[0]["loss"])
        row = {"ids": [1, 7, 8, 9, 2]}
        (one,), (base,) = (lines(self.ok("score", "--model", TINY, "--in", "-", *where, rows=[row])) for where in (("--adapter", run), ()))
        self.assertGreater(one["sum"], base["sum"] + 0.1)
        self.refused("train", "sft", "--model", TINY, "--data", self.write("x.jsonl", [{"ids": [1, 97]}]), "--out", self.folder / "x", says=("x.jsonl:1", "vocabulary"))
        self.refused("train", "sft", "--model", TINY, "--data", self.write("x.jsonl", rows), "--out", self.folder / "x", "--set", "max_tokens=100000", says="positions")
        self.assertFalse((self.folder / "x").exists())

    def test_packed_folders(self):
        with tempfile.TemporaryDirectory() as folder:
            row = {"ids": [1, 5, 9, 33, 2]}
            for kind in ("nf4", "int8"):
                out = Path(folder) / kind
                self.ok("convert", "--model", TINY, "--out", out, "--type", kind, "--quiet")
                self.assertEqual(json.loads((out / "config.json").read_text())["quantization_config"]["quant_method"], "bitsandbytes")
                stored = lines(self.ok("score", "--model", out, "--dtype", "stored", "--in", "-", rows=[row]))
                self.assertEqual(stored, lines(self.ok("score", "--model", TINY, "--dtype", kind, "--in", "-", rows=[row])))
                self.assertNotEqual(stored, lines(self.ok("score", "--model", TINY, "--in", "-", rows=[row])))
                same = Path(folder) / (kind + "-same")
                self.ok("convert", "--model", out, "--out", same, "--dtype", kind, "--quiet")  # bits that are there are kept
                self.assertEqual((same / "model.safetensors").read_bytes(), (out / "model.safetensors").read_bytes())
            for words, says in ((("--type", "q8_0"), "nf4 or int8"), (("--type", "nf4", "--dtype", "int8"), "one of them"), (("--dtype", "f64"), "f64")):
                self.refused("convert", "--model", TINY, "--out", Path(folder) / "x", *words, says=says)
            self.refused("convert", "--model", TINY, "--out", Path(folder) / "x.gguf", "--type", "nf4", says="GGUF")

    def test_a_model_in_few_bits(self):
        packed, row = GOLDEN / "packed" / "nf4", {"ids": [1, 17, 3, 40, 22, 5], "from": 2}

        def score(*where):
            (found,) = lines(self.ok("score", "--model", packed, "--in", "-", *where, rows=[row]))
            return found["logp"]

        plain = score()
        for where in (("--dtype", "stored"), ("--dtype", "nf4"), ("--dtype", "stored", "--threads", "1")):
            self.assertEqual(score(*where), plain)  # the same weights: the same bits
        for a, b in zip(score("--dtype", "nf4", "--backend", "reference"), plain):
            self.near(a, b, 1e-5)
        self.assertNotEqual(score("--dtype", "bf16"), plain)
        (info,) = lines(self.ok("info", packed, "--dtype", "nf4"))
        self.assertEqual((info["dtype"], info["memory"]["dtype"]), ("nf4", "nf4"))
        self.assertEqual(lines(self.ok("info", packed))[0]["memory"]["bytes"], 4 * info["parameters"])
        self.assertLess(info["memory"]["bytes"], 2 * info["parameters"])
        self.refused("score", "--model", packed, "--in", "-", "--dtype", "q8_0", rows=[row], says=("down_proj", "nf4"))
        # QLoRA learns, and what it made is merged into the rounded weights, with a note.
        rows = [{"prompt_ids": [1, i], "completion_ids": [i + 1, i + 2, 2]} for i in range(3, 43)]
        data, run = self.write("d.jsonl", rows), self.folder / "run"
        words = ("train", "sft", "--model", packed, "--data", data, "--dtype", "nf4")
        self.ok(*words, "--out", run, "--set", "rate=1e-2", "steps=20", "rank=4")
        log = lines_of(run / "log.jsonl")
        self.assertLess(log[-1]["loss"], 0.8 * log[0]["loss"])
        self.assertEqual(json.loads((run / "config.json").read_text())["dtype"], "nf4")
        self.refused(*words, "--full", "--out", self.folder / "x", says=("nf4", "cannot be trained"))
        result = self.ok("merge", "--model", packed, "--adapter", run, "--out", self.folder / "merged", "--dtype", "nf4")
        self.assertIn("rounded", result.stderr)
        (merged,) = lines(self.ok("score", "--model", self.folder / "merged", "--in", "-", rows=[row]))
        for a, b in zip(merged["logp"], score("--adapter", run, "--dtype", "nf4")):
            self.near(a, b, 1e-4)

    def test_training_with_routers(self):
        rows = [{"prompt_ids": [1, i], "completion_ids": [i + 1, i + 2, 2]} for i in range(3, 43)]
        where = "--data", self.write("d.jsonl", rows), "--out"
        mixture = GOLDEN / "families" / "olmoe"
        spread = {}
        for factor in (0, 3):
            run = self.folder / f"run{factor}"
            self.ok("train", "sft", "--model", mixture, *where, run, "--set", "rate=1e-2", "steps=20", "targets=gate", f"router_loss={factor}")
            log = lines_of(run / "log.jsonl")
            spread[factor] = [entry["aux_loss"] for entry in log]
            self.assertEqual(json.loads((run / "config.json").read_text())["router_loss"], factor)
            self.assertIn("model.layers.1.mlp.gate.lora_A.weight", "".join(tensors(run / "adapter_model.safetensors")))
        self.assertEqual(spread[0][0], spread[3][0])
        self.assertLess(spread[3][-1], spread[0][-1] - 0.005)
        self.refused("train", "sft", "--model", TINY, *where, self.folder / "x", "--set", "router_loss=0.1", says="router_loss")
        self.refused("train", "sft", "--model", mixture, *where, self.folder / "x", "--set", "router_loss=-1", says="router_loss")
        (info,) = lines(self.ok("info", mixture))
        self.assertEqual((info["architecture"]["experts"], info["architecture"]["experts_per_token"]), (5, 3))
        self.refused("convert", "--model", mixture, "--out", self.folder / "x.gguf", says="clip_qkv")

    def test_gradients_of_the_routers_loss(self):
        # Against transformers: the loss and every gradient with the load-balancing loss added; experts in one tensor, too.
        expected = json.loads((GOLDEN / "families.json").read_text())
        for family in ("olmoe", "granitemoe"):
            about, model = expected[family], GOLDEN / "families" / family
            row = {"prompt_ids": about["ids"][:about["from"]], "completion_ids": about["ids"][about["from"]:]}
            where = "--full", "--data", self.write("d.jsonl", [row]), "--out", self.folder / "g.safetensors", "--dtype", "f64"
            for factor, loss, file in ((about["router_loss"], "loss_with_routers", "grads_router"), (0, "loss", "grads")):
                (result,) = lines(self.ok("grad", "sft", "--model", model, *where, "--set", f"router_loss={factor}"))
                self.near(result["loss"], about[loss], 1e-5)
                found, wanted = tensors(self.folder / "g.safetensors"), tensors(model / f"{file}.safetensors")
                self.assertEqual(set(found), set(wanted))
                for name, (shape, numbers) in wanted.items():
                    self.assertEqual(found[name][0], shape)
                    bound = 2e-5 * max(map(abs, numbers)) + 1e-7
                    self.assertLessEqual(max(abs(a - b) for a, b in zip(found[name][1], numbers)), bound, name)
        self.refused("grad", "sft", "--model", TINY, *where, "--set", "router_loss=0.1", says="router_loss")

    def test_full_training(self):
        rows = [{"ids": [1, i, i + 1, i + 2, 2]} for i in range(3, 43)]
        run = self.folder / "run"
        self.ok("train", "sft", "--model", TINY, "--full", "--data", self.write("d.jsonl", rows), "--out", run, "--set", "rate=1e-3", "steps=10")
        (info,) = lines(self.ok("info", run / "model"))
        self.assertEqual(info["parameters"], lines(self.ok("info", TINY))[0]["parameters"])
        self.assertFalse((run / "adapter_config.json").exists())


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def worst(found, expected):
    """The largest difference of two gradients, relative to each tensor's largest number."""
    found, expected = tensors(found), tensors(expected)
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    most = 0
    for name, (shape, numbers) in expected.items():
        assert found[name][0] == shape, name
        scale = max(map(abs, numbers))
        if scale < 1e-6 and max(map(abs, found[name][1])) < 1e-6:  # a gradient that vanishes: noise on both sides
            continue
        most = max(most, max(abs(a - b) for a, b in zip(found[name][1], numbers)) / scale)
    return most


@needs_data
class Stories(Case):
    """The real model, against what transformers and PEFT computed."""

    def test_tokenize(self):
        golden = json.loads((GOLDEN / "stories_logits.json").read_text())["tokenizer"]
        texts = [{"text": t["text"]} for t in golden]
        self.assertEqual([r["ids"] for r in lines(self.ok("tokenize", "--model", MODEL, "--in", "-", rows=texts))], [t["ids_plain"] for t in golden])
        special = [r["ids"] for r in lines(self.ok("tokenize", "--model", MODEL / "tokenizer.json", "--in", "-", "--special", rows=texts))]
        self.assertEqual(special, [t["ids"] for t in golden])
        decoded = lines(self.ok("tokenize", "--model", MODEL, "--decode", "--in", "-", rows=[{"ids": ids} for ids in special]))
        self.assertEqual([r["text"] for r in decoded], [t["decoded"] for t in golden])
        self.assertIn("<s>", lines(self.ok("tokenize", "--model", MODEL, "--decode", "--special", "--in", "-", rows=[{"ids": [1, 403]}]))[0]["text"])
        self.refused("tokenize", "--model", MODEL, "--decode", "--in", "-", rows=[{"ids": [512]}], says="standard input:1")
        self.refused("tokenize", "--model", "vocab.gguf", "--in", "-", rows=texts, says="vocab.gguf")

    @needs_data
    def test_gguf(self):
        gguf = DATA / "stories260k" / "stories260K-f32.gguf"
        rows = [{"text": "Once upon a time, there was a little girl"}, {"text": "The cat sat."}]
        folder = lines(self.ok("score", "--model", MODEL, "--in", "-", rows=rows))
        self.assertEqual(lines(self.ok("score", "--model", gguf, "--in", "-", rows=rows)), folder)
        prompts = [{"prompt": "Once upon a time"}]
        self.assertEqual(lines(self.ok("generate", "--model", gguf, "--max-tokens", 20, "--in", "-", rows=prompts)),
                         lines(self.ok("generate", "--model", MODEL, "--max-tokens", 20, "--in", "-", rows=prompts)))
        about, same = json.loads(self.ok("info", gguf).stdout), json.loads(self.ok("info", MODEL).stdout)
        for key in ("architecture", "parameters", "dtype", "tokenizer"):
            self.assertEqual(about[key], same[key])

        out = self.folder
        self.ok("convert", "--model", MODEL, "--out", out / "m.gguf")
        self.ok("convert", "--model", out / "m.gguf", "--out", out / "hf")
        for model in (out / "m.gguf", out / "hf"):
            self.assertEqual(lines(self.ok("score", "--model", model, "--in", "-", rows=rows)), folder)
        for kind in ("f16", "bf16", "q8_0"):
            self.ok("convert", "--model", gguf, "--out", out / f"{kind}.gguf", "--type", kind)
            self.assertEqual(json.loads(self.ok("info", out / f"{kind}.gguf").stdout)["dtype"], kind)
            rounded = lines(self.ok("score", "--model", out / f"{kind}.gguf", "--in", "-", rows=rows))
            self.assertNotEqual(rounded, folder)
            for a, b in zip(rounded, folder):
                self.assertAlmostEqual(a["mean"], b["mean"], delta=0.05)
        self.ok("convert", "--model", gguf, "--adapter", GOLDEN / "stories_adapter", "--out", out / "adapter.gguf")
        self.refused("info", out / "adapter.gguf", says='type "adapter"')
        self.refused("convert", "--model", MODEL, "--out", out / "m.gguf", says="there already")
        self.refused("convert", "--model", MODEL, "--out", out / "x.gguf", "--type", "q4_k", says="expected f32")
        self.refused("convert", "--model", MODEL, "--out", out / "x", "--type", "q8_0", says="model folder")
        (out / "cut.gguf").write_bytes((out / "m.gguf").read_bytes()[:50000])
        self.refused("score", "--model", out / "cut.gguf", "--in", "-", rows=rows, says="Truncated")
        (out / "pytorch_model.bin").write_bytes(b"PK")
        self.refused("score", "--model", out / "pytorch_model.bin", "--in", "-", rows=rows, says="pickle")

    @needs_data
    def test_tokenizer_files(self):
        rows = [{"text": "Hello world"}]
        for file, ids in (("gpt2/ggml-vocab-gpt-2.gguf", [15496, 995]), ("qwen2/qwen.tiktoken", [9707, 1879]),
                          ("sentencepiece/test_model.model", [151, 88, 21, 887])):
            file = DATA / "tokenizers" / file
            self.assertEqual(lines(self.ok("tokenize", "--model", file, "--in", "-", rows=rows)), [{"ids": ids}])
            back = lines(self.ok("tokenize", "--model", file, "--decode", "--in", "-", rows=[{"ids": ids}]))
            self.assertEqual(back, rows)

    def test_score(self):
        golden = json.loads((GOLDEN / "stories_logits.json").read_text())["texts"]
        for row in ("text", "ids"):
            scored = lines(self.ok("score", "--model", MODEL, "--in", "-", rows=[{row: t[row]} for t in golden]))
            for found, text in zip(scored, golden):
                self.assertEqual(found["tokens"], len(text["logps_f64"]))
                for a, b in zip(found["logp"], text["logps_f64"]):
                    self.near(a, b, 1e-4)
        adapted = json.loads((GOLDEN / "stories_lora.json").read_text())
        for name in ("stories_adapter", "stories_adapter_all", "stories_adapter_head"):
            (found,) = lines(self.ok("score", "--model", MODEL, "--adapter", GOLDEN / name, "--in", "-", rows=[{"ids": adapted[name][0]["ids"]}]))
            for a, b in zip(found["logp"], adapted[name][0]["logps_f64"]):
                self.near(a, b, 1e-4)

    def test_score_of_a_completion_is_the_end_of_the_text(self):
        prompt, completion = "Once upon a time,", " there was a dog."
        whole, part = lines(self.ok("score", "--model", MODEL, "--in", "-", rows=[{"text": prompt + completion}, {"prompt": prompt, "completion": completion}]))
        self.assertEqual(part["logp"], whole["logp"][-part["tokens"] :])
        self.refused("score", "--model", MODEL, "--in", "-", rows=[{"prompt": "a", "completion": ""}], says="empty")
        self.refused("score", "--model", MODEL, "--in", "-", rows=[{"prompt": [{"role": "user", "content": "a"}], "completion": "b"}], says="messages")

    def test_greedy(self):
        golden = json.loads((GOLDEN / "stories_logits.json").read_text())["greedy"]
        found = lines(self.ok("generate", "--model", MODEL, "--in", "-", "--max-tokens", "64", "--temperature", "0", rows=[{"prompt": g["prompt"]} for g in golden]))
        for reply, g in zip(found, golden):
            self.assertEqual(reply["ids"], g["completion_ids"])
            self.assertEqual(reply["finish"], "length")
        (stopped,) = lines(self.ok("generate", "--model", MODEL, "--in", "-", "--temperature", "0", "--stop", "Lily", "--stop", "zzz", rows=[{"prompt": golden[0]["prompt"]}]))
        self.assertEqual(stopped["finish"], "stop")
        self.assertNotIn("Lily", stopped["completion"])

    def test_merge(self):
        text = {"text": "Tom had a big red ball."}
        for name in ("stories_adapter", "stories_adapter_head"):
            adapter, merged = GOLDEN / name, self.folder / name
            self.ok("merge", "--model", MODEL, "--adapter", adapter, "--out", merged)
            (on,), (off,), (one,) = (lines(self.ok("score", "--in", "-", *where, rows=[text])) for where in (("--model", MODEL, "--adapter", adapter), ("--model", MODEL), ("--model", merged)))
            for a, b in zip(on["logp"], one["logp"]):
                self.near(a, b, 1e-4)
            self.assertGreater(abs(one["sum"] - off["sum"]), 0.01)
            self.refused("merge", "--model", MODEL, "--adapter", adapter, "--out", merged, says="there already")
        pair = ("--adapter", GOLDEN / "stories_adapter", "--adapter", GOLDEN / "stories_adapter_all")
        both, joined, thinned = (self.folder / name for name in ("both", "joined", "thinned"))
        self.ok("merge", "--model", MODEL, *pair, "--weights", "0.5,-0.25", "--out", both)
        self.ok("merge", "--model", MODEL, *pair, "--weights", "0.5,-0.25", "--as-adapter", "--out", joined)
        self.ok("merge", "--model", MODEL, *pair, "--method", "ties", "--density", "0.3", "--out", thinned)
        (sum_, one, ties) = (lines(self.ok("score", "--in", "-", *where, rows=[text]))[0]["sum"] for where in (("--model", both), ("--model", MODEL, "--adapter", joined), ("--model", thinned)))
        self.assertAlmostEqual(sum_, one, places=3)
        self.assertGreater(abs(ties - sum_), 1e-2)
        self.refused("merge", "--model", MODEL, *pair, "--weights", "1", "--out", self.folder / "x", says="2 adapters, found 1")
        self.refused("merge", "--model", MODEL, *pair, "--weights", "1,x", "--out", self.folder / "x", says="commas")
        self.refused("merge", "--model", MODEL, *pair, "--method", "tie", "--out", self.folder / "x", says="'ties'")
        self.refused("merge", "--model", MODEL, *pair, "--method", "ties", "--as-adapter", "--out", self.folder / "x", says="--rank")
        # The closest adapter of a rank: as many singular values as the ranks together lose nothing, fewer do.
        adapter_of = lambda folder: json.loads((folder / "adapter_config.json").read_text())
        total = adapter_of(joined)["r"]
        for method, rank in (("linear", total), ("linear", 1), ("ties", 3)):
            out = self.folder / f"{method}{rank}"
            self.ok("merge", "--model", MODEL, *pair, "--weights", "0.5,-0.25", "--method", method, "--as-adapter", "--rank", rank, "--out", out)
            self.assertEqual(adapter_of(out)["r"], rank)
            (close,) = lines(self.ok("score", "--model", MODEL, "--adapter", out, "--in", "-", rows=[text]))
            (self.assertLess if rank == total else self.assertGreater)(abs(close["sum"] - sum_), 2e-3)
        self.refused("merge", "--model", MODEL, *pair, "--rank", "2", "--out", self.folder / "x", says="--as-adapter")
        # Models: sums of what each has beyond the base, and the arc between two.
        score_of = lambda folder: lines(self.ok("score", "--model", folder, "--in", "-", rows=[text]))[0]["sum"]
        one = self.folder / "stories_adapter"
        for name, options, expected in (("whole", (), score_of(one)), ("none", ("--weights", "0"), score_of(MODEL)),
                                        ("arc0", ("--method", "slerp", "--weights", "0"), score_of(MODEL)), ("arc1", ("--method", "slerp", "--weights", "1"), score_of(one))):
            self.ok("merge", "--model", MODEL, "--other", one, *options, "--out", self.folder / name)
            self.assertAlmostEqual(score_of(self.folder / name), expected, places=3)
        self.ok("merge", "--model", MODEL, "--other", one, "--other", both, "--method", "dare", "--seed", "3", "--out", self.folder / "dare")
        self.refused("merge", "--model", MODEL, "--other", one, "--other", both, "--method", "slerp", "--weights", "1,1", "--out", self.folder / "x", says="one --other")
        self.refused("merge", "--model", MODEL, "--other", one, "--method", "slerp", "--out", self.folder / "x", says="--weights")
        self.refused("merge", "--model", MODEL, *pair, "--method", "slerp", "--out", self.folder / "x", says="two models")
        self.refused("merge", "--model", MODEL, "--other", TINY, "--out", self.folder / "x", says="make")
        self.refused("merge", "--model", MODEL, "--other", self.folder / "nowhere", "--out", self.folder / "x", says="--other")
        self.refused("merge", "--model", MODEL, "--other", one, *pair, "--out", self.folder / "x", says="--adapter")
        self.refused("merge", "--model", MODEL, "--out", self.folder / "x", says="--adapter")
        self.refused("merge", "--model", TINY, "--adapter", adapter, "--out", self.folder / "x")
        self.assertFalse((self.folder / "x").exists())

    def test_gradients(self):
        golden = json.loads((GOLDEN / "stories_losses.json").read_text())
        pairs = self.write("pairs.jsonl", golden["pairs"])
        shown = self.write("shown.jsonl", [{"prompt_ids": p["prompt_ids"], "completion_ids": p["chosen_ids"]} for p in golden["pairs"]])
        for name, words in (("sft", ("sft", "--data", shown)), ("dpo", ("dpo", "--data", pairs)), ("cdpo", ("dpo", "--data", pairs, "--set", "label_smoothing=0.1", "batch=2"))):
            out = self.folder / f"{name}.safetensors"
            for dtype, tolerance in (("f32", 1e-5), ("f64", 1e-9)):
                (result,) = lines(self.ok("grad", *words, "--model", MODEL, "--adapter", GOLDEN / "stories_adapter", "--out", out, "--dtype", dtype))
                self.near(result["loss"] / golden[name]["loss_f64"], 1, tolerance)
                self.assertLess(worst(out, GOLDEN / f"stories_grads_{name}.safetensors"), tolerance)
        self.assertGreater(worst(out, GOLDEN / "stories_grads_dpo.safetensors"), 1e-3)  # another loss, other gradients
        self.refused("grad", "dpo", "--data", pairs, "--model", MODEL, "--out", out, says="--adapter")
        self.refused("grad", "dpo", "--data", pairs, "--model", MODEL, "--adapter", GOLDEN / "stories_adapter", "--out", out, "--set", "rate=1", says="rate")


@needs_data
class Rewards(Case):
    """Reward models: the same numbers as transformers with PEFT, and the whole way from pairs to scores."""

    def setUp(self):
        super().setUp()
        self.golden, self.judge = json.loads((GOLDEN / "stories_reward.json").read_text()), GOLDEN / "stories_reward"
        self.pairs = self.write("pairs.jsonl", self.golden["pairs"])

    def rows(self, which):
        return [{"prompt_ids": p["prompt_ids"], "completion_ids": p[which + "_ids"]} for p in self.golden["pairs"]]

    def test_scores(self):
        for which in ("chosen", "rejected"):
            found = lines(self.ok("score", "--model", MODEL, "--adapter", self.judge, "--in", "-", rows=self.rows(which)))
            for row, expected in zip(found, self.golden["scores"]):
                self.near(row["reward"], expected[which], 1e-5)
                self.assertEqual(len(row["logp"]), row["tokens"])
        self.assertNotIn("reward", lines(self.ok("score", "--model", MODEL, "--in", "-", rows=self.rows("chosen")))[0])

    def test_gradients(self):
        both = [r for pair in zip(self.rows("chosen"), self.rows("rejected")) for r in pair]
        rated = self.write("rated.jsonl", [r | {"rating": y} for r, y in zip(both, self.golden["ratings"])] + [both[0] | {"rating": None}])
        steps = [
            {"prompt_ids": r["prompt_ids"], "completions_ids": [[t] for t in r["completion_ids"]], "labels": labels}
            for r, labels in zip(self.rows("chosen"), self.golden["labels"])
        ]
        critic = [r | {"advantage": 0, "return": returns, "value": [0] * len(returns)} for r, returns in zip(self.rows("chosen"), self.golden["returns"])]
        expected = tensors(GOLDEN / "stories_reward_grads.safetensors")
        out = self.folder / "g.safetensors"
        for name, words in (
            ("bt", ("reward", "--data", self.pairs, "--set", "centre=0.01", "batch=1")),
            ("regression", ("reward_regression", "--data", rated)),
            ("process", ("process_reward", "--data", self.write("steps.jsonl", steps))),
            ("value", ("ppo", "--data", self.write("critic.jsonl", critic), "--set", "value_weight=1", "value_clip=1e6")),
        ):
            (result,) = lines(self.ok("grad", *words, "--model", MODEL, "--adapter", self.judge, "--out", out, "--dtype", "f64"))
            self.near(result["loss"], self.golden["losses"][name], 1e-9)
            own = {key.split(":", 1)[1]: value for key, value in expected.items() if key.startswith(name + ":")}
            found = tensors(out)
            self.assertEqual(set(found), set(own))
            self.assertIn("base_model.model.score.weight", found)
            for key, (shape, numbers) in own.items():
                self.assertEqual(found[key][0], shape)
                most = max(abs(x) for x in numbers)
                self.assertLess(max(abs(a - b) for a, b in zip(found[key][1], numbers)), 1e-8 * most, key)
        where = ("--model", MODEL, "--out", out)
        self.refused("grad", "reward", "--data", self.pairs, *where, "--adapter", GOLDEN / "stories_adapter", says=("score head", "plumb train"))
        self.refused("grad", "process_reward", "--data", rated, *where, "--adapter", self.judge, says="completions")
        self.refused("grad", "reward_regression", "--data", self.pairs, *where, "--adapter", self.judge, says="rating")

    def test_from_pairs_to_a_judge(self):
        rows = [r for r in json.loads(PAIRS.read_text()) if r["chosen"] != r["rejected"]]
        short = [r for r in rows if len(r["instruction"] + r["input"] + r["chosen"] + r["rejected"]) < 220]
        run, merged = self.folder / "run", self.folder / "merged"
        words = ("--model", MODEL, "--data", self.write("train.jsonl", short[:160]), "--set", "rate=3e-3", "steps=25", "batch=8")
        self.ok("train", "reward", *words, "--out", run, "--set", "centre=0.01", f"eval_data={self.write('e.jsonl', short[160:220])}")
        log = lines_of(run / "log.jsonl")
        self.assertGreater(log[-1]["eval_accuracy"], 0.6)
        self.assertEqual(log[-1]["eval_accuracy"], log[-1]["eval_rewards/accuracies"])
        self.assertLess(log[-1]["eval_min_reward"], log[-1]["eval_max_reward"])
        config = json.loads((run / "adapter_config.json").read_text())
        self.assertEqual((config["task_type"], config["modules_to_save"]), ("SEQ_CLS", ["score"]))
        self.assertTrue(lines(self.ok("info", MODEL, "--adapter", run))[0]["adapter"]["score_head"])
        replies = [{"ids": [1, 403, 407, 261, 378], "from": 3}]
        (one,) = lines(self.ok("score", "--model", MODEL, "--adapter", run, "--in", "-", rows=replies))
        self.ok("merge", "--model", MODEL, "--adapter", run, "--out", merged)
        (two,) = lines(self.ok("score", "--model", merged, "--in", "-", rows=replies))
        self.near(two["reward"], one["reward"], 1e-4)
        self.assertEqual(json.loads((merged / "config.json").read_text())["architectures"], ["LlamaForSequenceClassification"])
        self.refused("train", "dpo", *words, "--out", self.folder / "x", "--set", "train_on_last_step_only=true", says="process_reward")

    def test_a_critic_leaves_the_adapter_a_language_models(self):
        rows = [r | {"advantage": 0.5, "return": [1] * len(r["completion_ids"])} for r in self.rows("chosen")]
        run = self.folder / "run"
        self.ok("train", "ppo", "--model", MODEL, "--data", self.write("d.jsonl", rows), "--out", run, "--set", "steps=3", "value_weight=0.5")
        self.assertEqual(json.loads((run / "adapter_config.json").read_text())["task_type"], "CAUSAL_LM")
        self.assertEqual(set(tensors(run / "value_head.safetensors")), {"score.weight"})
        self.assertNotIn("base_model.model.score.weight", tensors(run / "adapter_model.safetensors"))
        where = ("--model", MODEL, "--data", self.folder / "d.jsonl", "--out", self.folder / "g.safetensors")
        self.ok("grad", "ppo", *where, "--adapter", run)
        self.refused("grad", "ppo", *where, "--adapter", GOLDEN / "stories_adapter", says="score head")
        self.ok("grad", "ppo", *where, "--adapter", GOLDEN / "stories_adapter", "--set", "value_weight=0")


class Conversations(Case):
    """Rows with messages, on the small model with a small tokenizer whose folder has chat templates."""

    CHAT = GOLDEN / "chat"

    def setUp(self):
        super().setUp()
        cases = json.loads((self.CHAT / "cases.json").read_text(encoding="utf-8"))
        self.templates, self.talks = cases["templates"], cases["talks"]
        self.cases = [c for c in cases["cases"] if c["template"] == "marked"]

    def model(self, **config):
        """The model of the shared data, whose tokenizer has no chat template, with one of a .jinja file."""
        folder = self.folder / "model"
        if not folder.is_dir():
            shutil.copytree(MODEL, folder)
            (folder / "chat_template.jinja").write_text(
                "{{ '<s>' }}{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}</s>{% else %}Say: {{ m.content }}\n{% endif %}{% endfor %}",
                encoding="utf-8")
        return folder

    def test_render(self):
        for case in self.cases:
            row = {"messages": self.talks[case["talk"]]}
            found = lines(self.ok("render", "--model", self.CHAT, "--ids", "--in", "-", rows=[row]))[0]
            self.assertEqual(found, {"text": case["text"], "ids": case["ids"], "assistant_mask": case["mask"]})
            self.assertEqual(lines(self.ok("render", "--model", self.CHAT, "--in", "-", rows=[row])), [{"text": case["text"]}])
        template = self.folder / "t.jinja"
        template.write_text("{{ bos_token }}{{ x }}{{ tools is defined }}{{ strftime_now('%Y') }}{{ messages | length }}", encoding="utf-8")
        row = {"messages": [], "x": "é", "strftime_now": "then"}
        self.assertEqual(lines(self.ok("render", "--template", template, "--in", "-", rows=[row]))[0]["text"], "éFalsethen0")
        found = lines(self.ok("render", "--template", template, "--model", self.CHAT, "--in", "-", rows=[row]))[0]
        self.assertEqual(found["text"], "<s>éTruethen0")

    def test_render_refuses(self):
        row = {"messages": [{"role": "user", "content": "x"}]}
        self.refused("render", "--in", "-", rows=[row], says="--template")
        self.refused("render", "--template", "chatmll", "--in", "-", rows=[row], says="chatml, zephyr, llama2, vicuna, alpaca")
        self.refused("render", "--template", "no/file.jinja", "--in", "-", rows=[row], says="there is no file")
        self.refused("render", "--template", "chatml", "--ids", "--in", "-", rows=[row], says="give --model")
        self.refused("render", "--template", "chatml", "--in", "-", rows=[{"messages": "x"}], says="standard input:1")
        self.refused("render", "--model", TINY, "--in", "-", rows=[row], says="template=chatml")
        bad = self.folder / "t.jinja"
        bad.write_text("a\n{% if x %}", encoding="utf-8")
        self.refused("render", "--template", bad, "--in", "-", rows=[row], says="t.jinja:2: {% if %} is never closed")
        bad.write_text("\n\n{{ raise_exception('no tools here') }}", encoding="utf-8")
        self.refused("render", "--template", bad, "--in", "-", rows=[row, row], says="standard input:1: ")
        result = plumb("render", "--template", "chatml", "--model", MODEL if MODEL.is_dir() else self.CHAT, "--ids", "--in", "-",
                       rows=[{"messages": row["messages"] + [{"role": "assistant", "content": "y"}]}])
        self.assertEqual(result.returncode, 0)
        if MODEL.is_dir():
            self.assertIn("does not learn to stop", result.stderr)

    @needs_data
    def test_score_and_generate(self):
        model = self.model()
        prompt, reply = [{"role": "user", "content": "Once upon a time"}], "there was a dog."
        found = lines(self.ok("score", "--model", model, "--in", "-", rows=[{"prompt": prompt, "completion": reply}]))[0]
        text = lines(self.ok("tokenize", "--model", model, "--in", "-", rows=[{"text": "<s>Say: Once upon a time\nthere was a dog.</s>"}]))[0]["ids"]
        start = len(text) - found["tokens"]
        same = lines(self.ok("score", "--model", model, "--in", "-", rows=[{"ids": text, "from": start}]))[0]
        self.assertEqual(found, same)
        self.assertEqual(text[0], 1)
        first = lines(self.ok("generate", "--model", model, "--in", "-", "--temperature", "0", "--max-tokens", "8", rows=[{"prompt": prompt}]))
        ids = lines(self.ok("tokenize", "--model", model, "--in", "-", rows=[{"text": "<s>Say: Once upon a time\n"}]))[0]["ids"]
        self.assertEqual(first, lines(self.ok("generate", "--model", model, "--in", "-", "--temperature", "0", "--max-tokens", "8", rows=[{"ids": ids}])))
        self.refused("generate", "--model", MODEL, "--in", "-", rows=[{"prompt": prompt}], says="template=chatml")
        self.ok("generate", "--model", MODEL, "--template", "vicuna", "--max-tokens", "2", "--in", "-", rows=[{"prompt": prompt}])
        self.refused("score", "--model", model, "--in", "-", rows=[{"text": "x", "tools": []}], says="goes with messages")

    @needs_data
    def test_every_turn_is_learnt_in_one_pass(self):
        model = self.model()
        talk = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "A little dog."},
                {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "In the park."}]
        data = self.write("talk.jsonl", [{"messages": talk}])
        adapter = DATA / "stories260k" / "lora_init"
        rendered = lines(self.ok("render", "--model", model, "--ids", "--in", "-", rows=[{"messages": talk}]))[0]
        ids, mask = rendered["ids"], rendered["assistant_mask"]
        logp = [None] + lines(self.ok("score", "--model", model, "--in", "-", rows=[{"ids": ids}]))[0]["logp"]

        def loss(learnt):
            return -sum(logp[i] for i in learnt) / len(learnt)

        def grad(rows, *more):
            out = self.folder / "g.safetensors"
            return lines(self.ok("grad", "sft", "--model", model, "--adapter", adapter, "--data", rows, "--out", out, *more))[0]["loss"], tensors(out)

        said = [i for i in range(len(ids)) if mask[i]]
        last = [i for i in said if all(mask[i:])]
        self.assertLess(len(last), len(said))
        for setting, learnt in ((None, said), ("assistant", said), ("completion", last), ("all", range(1, len(ids)))):
            more = [] if setting is None else ["--set", f"tokens={setting}"]
            self.near(grad(data, *more)[0], loss(list(learnt)), 1e-5)
        # The turns one by one, weighted by their tokens, give the same gradient.
        cut = self.write("turns.jsonl", [{"prompt_ids": ids[: last[0]], "completion_ids": ids[last[0] :]},
                                         {"prompt_ids": ids[: said[0]], "completion_ids": ids[said[0] : said[-len(last) - 1] + 1]}])
        whole, parts = grad(data), grad(cut)
        self.near(whole[0], parts[0], 1e-6)
        for name, (_, numbers) in whole[1].items():
            for a, b in zip(numbers, parts[1][name][1]):
                self.near(a, b, 1e-5)
        check = self.ok("train", "sft", "--model", model, "--data", data, "--out", self.folder / "x", "--check")
        self.assertIn(json.dumps(mask[1:])[1:-1], check.stdout)
        self.ok("train", "sft", "--model", model, "--data", data, "--out", self.folder / "y", "--set", "steps=2", "rank=2")
        self.ok("train", "dpo", "--model", model, "--out", self.folder / "z", "--set", "steps=2", "rank=2", "--data",
                self.write("p.jsonl", [{"prompt": talk[:1], "chosen": talk[1:2], "rejected": "A cat."}] * 2))
        self.refused("train", "sft", "--model", MODEL, "--data", data, "--out", self.folder / "w", says=("talk.jsonl:1", "template=chatml"))
        warned = self.ok("train", "sft", "--model", MODEL, "--data", data, "--out", self.folder / "v", "--set", "steps=1", "template=chatml")
        self.assertIn("will not learn to stop", warned.stderr)
        self.assertEqual(json.loads((self.folder / "v" / "config.json").read_text())["template"], "chatml")
        self.refused("train", "dpo", "--model", model, "--data", data, "--out", self.folder / "u", "--set", "tokens=all", says="tokens")
        self.refused("train", "sft", "--model", model, "--data", data, "--out", self.folder / "u", "--set", "tokens=most", says="completion, assistant, all")

    @needs_data
    def test_trees_and_rows_of_other_tools(self):
        tree = {"message_tree_id": "t", "prompt": {"text": "q", "role": "prompter", "replies": [
            {"text": "worse", "role": "assistant", "rank": 1, "replies": []},
            {"text": "best", "role": "assistant", "rank": 0, "replies": [
                {"text": "more", "role": "prompter", "replies": [{"text": "yes", "role": "assistant", "rank": 0}]}]},
            {"text": "new", "role": "assistant", "rank": None}]}}
        other = {"instruction": "a", "input": "b", "output": "c", "system": "s", "history": [["x", "y"]]}
        data = self.write("trees.jsonl", [tree, other])
        words = ["--model", self.model(), "--data", data, "--out", self.folder / "run", "--quiet", "--check"]
        *rows, last = lines(self.ok("train", "sft", *words))
        self.assertEqual(last["forecast"]["rows"], 3)
        texts = ["".join(row[side]["tokens"]) for row in rows for side in row if side != "row"]
        self.assertEqual(len(texts), 5)  # three replies to q, one to more, one conversation
        for text, part in zip(texts, ["best", "worse", "new", "yes", "c"]):
            self.assertIn(part, text)
        ranked = self.write("ranked.jsonl", [tree])
        words[3] = ranked
        pairs = lines(self.ok("train", "dpo", *words))
        self.assertEqual((len(pairs), pairs[-1]["forecast"]["rows"]), (2, 1))
        self.refused("train", "kto", *words, says=("ranked.jsonl:1", "tree"))
        self.refused("train", "dpo", *words, "--stream", says="without --stream")
        image = self.write("image.jsonl", [{"prompt": "a", "completion": "b", "images": ["x.png"]}])
        words[3] = image
        self.refused("train", "sft", *words, says="images")


@needs_data
class SingleReplies(Case):
    """Thumbs, samples and rankings: gradients against torch, training, what is refused."""

    ADAPTER = GOLDEN / "stories_adapter"

    def gradients_follow(self, file, cases):
        expected = json.loads((GOLDEN / f"{file}.json").read_text())
        stored = tensors(GOLDEN / f"{file}.safetensors")
        for case, method, settings in cases:
            data, out = self.write("rows.jsonl", expected[case]["rows"]), self.folder / "gradient.safetensors"
            found = lines(self.ok("grad", method, "--model", MODEL, "--adapter", self.ADAPTER, "--data", data, "--out", out, "--set", *settings))[0]
            self.near(found["loss"], expected[case].get("loss", expected[case].get("loss_f64")), 1e-5)
            wanted = {key.split("/", 1)[1]: value for key, value in stored.items() if key.startswith(case + "/")}
            mine = tensors(out)
            self.assertEqual(set(mine), set(wanted))
            for key, (shape, numbers) in wanted.items():
                self.assertEqual(mine[key][0], shape)
                scale = max(map(abs, numbers))
                self.assertLess(max(abs(a - b) for a, b in zip(mine[key][1], numbers)), 2e-5 * scale, (case, key))

    def test_gradients_of_labelled_replies(self):
        own = ["beta=0.2", "batch=2"]
        self.gradients_follow("stories_single_replies", [
            ("kto", "kto", [*own, "undesirable=1.25"]),
            ("kto_given", "kto", [*own, "undesirable=1.25"]),
            ("kto_low", "kto", [*own, "undesirable=1.25"]),
            ("bco", "bco", own),
            ("apo_zero_unpaired", "apo_zero_unpaired", own),
        ])

    def test_gradients_of_samples_and_rankings(self):
        grpo = ["clip_high=0.28", "kl_weight=0.3"]
        self.gradients_follow("stories_sampled_replies", [
            ("grpo_fresh", "grpo", grpo),
            ("grpo", "grpo", grpo),
            ("ppo", "ppo", ["value_weight=0"]),
            ("dpo_pl", "dpo_pl", ["beta=0.2"]),
        ])

    def rows(self, count=12):
        names = ["Tom", "Lily", "Ben", "Mia"]
        return [
            {"prompt": f"{names[i % 4]} saw a big", "completion": f" {('dog', 'cat', 'ball')[i % 3]} in the {('park', 'house')[i % 2]}.", "label": i % 2 == 0}
            for i in range(count)
        ]

    def test_training(self):
        data = self.write("rows.jsonl", self.rows())
        for method, start in (("kto", 0.5), ("bco", math.log(2)), ("apo_zero_unpaired", 0.5)):
            run = self.folder / method
            self.ok("train", method, "--model", MODEL, "--data", data, "--out", run, "--set", "steps=12", "batch=4", "accumulate=2", "rate=3e-3", f"eval_data={data}", "beta=0.5")
            log = lines_of(run / "log.jsonl")
            self.near(log[0]["loss"], start, 1e-5)
            self.assertLess(log[-1]["eval_loss"], start - 0.05)
            self.assertGreater(log[-1]["eval_rewards/chosen"], log[-1]["eval_rewards/rejected"])
        self.assertIn("kl", lines_of(self.folder / "kto" / "log.jsonl")[0])
        self.assertIn("delta", lines_of(self.folder / "bco" / "log.jsonl")[0])

    def test_preferences_are_taken_apart(self):
        pairs = [{"prompt": r["prompt"], "chosen": r["completion"], "rejected": " no no."} for r in self.rows(4)]
        apart = [{"prompt": p["prompt"], "completion": p[which], "label": which == "chosen"} for which in ("chosen", "rejected") for p in pairs]
        results = []
        for name, rows in (("pairs", pairs), ("apart", apart)):
            out = self.folder / f"{name}.safetensors"
            self.ok("grad", "kto", "--model", MODEL, "--adapter", self.ADAPTER, "--data", self.write(f"{name}.jsonl", rows), "--out", out)
            results.append(tensors(out))
        self.assertEqual(*results)

    def test_check_shows_labels(self):
        shown = lines(self.ok("train", "kto", "--model", MODEL, "--data", self.write("rows.jsonl", self.rows()), "--out", self.folder / "none", "--check"))
        self.assertEqual([row["label"] for row in shown[:2]], [True, False])
        self.assertFalse((self.folder / "none").exists())

    def test_refused(self):
        data = self.write("rows.jsonl", self.rows())
        run = self.folder / "run"
        train = lambda method, rows, *settings, says: self.refused("train", method, "--model", MODEL, "--data", rows, "--out", run, *settings, says=says)  # noqa: E731
        train("kto", data, "--set", "batch=1", says=("batch", "accumulate"))
        train("kto", self.write("one.jsonl", self.rows(1)), says=("one.jsonl:1", "apo_zero_unpaired"))
        train("bco", self.write("none.jsonl", [{"prompt": "a", "completion": "b"}]), says=("none.jsonl:1", "label"))
        train("grpo", data, says="advantage")
        train("ppo", self.write("a.jsonl", [{"prompt": "a", "completion": "b", "advantage": 1}]), "--set", "value_weight=0", "neftune=-1", says="neftune")
        train("dpo_pl", data, says=("rows.jsonl:1", "completions"))
        train("bco", data, "--set", "reference_sync=5", "reference_share=0.5", says="reference_share")
        train("sft", data, "--set", "reference_sync=5", says="reference")
        self.assertFalse((run / "log.jsonl").exists() and (run / "log.jsonl").stat().st_size)


@needs_data
class Training(Case):
    def setUp(self):
        super().setUp()
        rows = [r for r in json.loads(PAIRS.read_text()) if r["chosen"] != r["rejected"]]
        short = [r for r in rows if len(r["instruction"] + r["input"] + r["chosen"] + r["rejected"]) < 220]
        self.data, self.held_out = self.write("train.jsonl", short[:200]), self.write("held_out.jsonl", short[200:240])
        self.run_folder = self.folder / "run"

    def train(self, *words, out=None, **more):
        return plumb("train", "dpo", "--model", MODEL, "--data", self.data, "--out", out or self.run_folder, *words, **more)

    def test_dpo_separates_held_out_pairs(self):
        result = self.train("--set", "rate=1e-3", "steps=40", f"eval_data={self.held_out}", "eval_every=20", "save_every=40")
        self.assertEqual(result.returncode, 0, result.stderr)
        log = lines_of(self.run_folder / "log.jsonl")
        self.near(log[0]["loss"], math.log(2), 1e-6)
        self.assertGreater(log[-1]["eval_rewards/accuracies"], 0.65)
        self.assertEqual([e["step"] for e in log if "eval_loss" in e], [20, 40])
        names = {p.name for p in self.run_folder.iterdir()}
        self.assertEqual(names, {"adapter_config.json", "adapter_model.safetensors", "log.jsonl", "config.json", "report.html", "README.md", "checkpoint-40"})
        adapter = json.loads((self.run_folder / "adapter_config.json").read_text())
        self.assertEqual((adapter["peft_type"], adapter["r"], adapter["lora_alpha"]), ("LORA", 16, 32))
        config = json.loads((self.run_folder / "config.json").read_text())
        self.assertEqual((config["method"], config["rate"], config["steps"], config["beta"], config["alpha"]), ("dpo", 1e-3, 40, 0.1, 32))
        report = (self.run_folder / "report.html").read_text()
        for text in ("rewards/accuracies", "Before training", "Below is an instruction", "eval_every"):
            self.assertIn(text, report)
        self.assertNotIn(str(DATA), report + (self.run_folder / "README.md").read_text())
        self.assertEqual(result.stdout.count("\n"), 1)
        self.assertIn("held out, after step 40", result.stderr)
        self.assertNotIn("\x1b", result.stderr)

        self.assertEqual(self.train().returncode, 2)  # the folder is taken
        again = self.folder / "again"
        self.assertEqual(plumb("train", "--config", self.run_folder / "config.json", "--out", again, "--quiet").returncode, 0)
        self.assertEqual((again / "adapter_model.safetensors").read_bytes(), (self.run_folder / "adapter_model.safetensors").read_bytes())
        complete = self.train("--config", self.run_folder / "config.json", "--resume", "auto")
        self.assertIn("complete", complete.stderr)
        self.assertEqual(self.train("--set", "steps=2", "--overwrite", "--quiet").stderr, "")
        self.assertEqual(len(lines_of(self.run_folder / "log.jsonl")), 2)
        self.assertFalse((self.run_folder / "checkpoint-40").exists())
        # Going on from a trained adapter, whose shape is not for changing.
        self.refused("train", "dpo", "--model", MODEL, "--adapter", again, "--data", self.data, "--out", self.folder / "on", "--set", "rank=2", says="rank")
        on = plumb("train", "dpo", "--model", MODEL, "--adapter", again, "--data", self.data, "--out", self.folder / "on", "--set", "steps=2")
        self.assertIn("without the adapter", on.stderr)
        self.assertLess(lines_of(self.folder / "on" / "log.jsonl")[0]["loss"], 0.6)

    def interrupt(self, words, after):
        """Starts a run and sends SIGINT when its log has `after` lines."""
        log = self.run_folder / "log.jsonl"
        with subprocess.Popen([PROGRAM, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            end = time.time() + 120
            while time.time() < end and process.poll() is None and not (log.exists() and log.read_text().count("\n") >= after):
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, message = process.communicate(timeout=120)
        return process.returncode, message

    def test_interrupted_and_resumed_is_the_same_run(self):
        settings = ("--set", "rate=1e-3", "steps=60", "dropout=0.1", "batch=2", "accumulate=2", "rank=4", "targets=.*\\.(q_proj|v_proj)", "log_every=3", "schedule=cosine", "warmup=0.1")
        words = ["train", "dpo", "--model", MODEL, "--data", self.data, "--out", self.run_folder, *settings]
        code, message = self.interrupt(words, 3)
        self.assertEqual(code, 130, message)
        self.assertIn("--resume auto", message)
        (checkpoint,) = self.run_folder.glob("checkpoint-*")
        self.assertFalse((self.run_folder / "adapter_model.safetensors").exists())
        self.refused(*words, says="--resume auto")
        self.refused(*words, "beta=0.3", "--resume", "auto", says="beta")
        self.refused(*words, "--resume", "never", says="auto")
        code, message = self.interrupt([*words, "--resume", "auto"], int(checkpoint.name.split("-")[1]) // 3 + 3)
        self.assertEqual(code, 130, message)
        self.assertEqual(len(list(self.run_folder.glob("checkpoint-*"))), 2)
        self.ok(*words, "--resume", "auto", "--threads", "1")
        whole = self.folder / "whole"
        self.assertEqual(self.train(*settings, "recompute_blocks=true", out=whole).returncode, 0)
        self.assertEqual((self.run_folder / "adapter_model.safetensors").read_bytes(), (whole / "adapter_model.safetensors").read_bytes())
        self.assertEqual((self.run_folder / "log.jsonl").read_text(), (whole / "log.jsonl").read_text())

    def test_check(self):
        result = self.train("--check", "--set", "batch=4")
        self.assertEqual(result.returncode, 0, result.stderr)
        *rows, last = lines(result)
        self.assertEqual(len(rows), 3)
        for row in rows:
            for side in ("chosen", "rejected"):
                ids, mask = row[side]["ids"], row[side]["mask"]
                self.assertEqual(len(ids), len(mask))
                self.assertEqual(mask, sorted(mask))
                self.assertEqual((mask[0], mask[-1], ids[-1]), (0, 1, 2))
        forecast = last["forecast"]
        self.assertEqual((forecast["rows"], forecast["steps"]), (200, 50))
        for number in (forecast["seconds"], forecast["memory_bytes"]["total"], forecast["disk_bytes"]):
            self.assertGreater(number, 0)
        self.assertIn("forecast", result.stderr)
        self.assertFalse(self.run_folder.exists())
        self.assertEqual(plumb("train", "dpo", "--model", MODEL, "--data", self.data, "--check", "--quiet").stderr, "")

    def test_settings(self):
        config = self.folder / "c.json"
        config.write_text(json.dumps({"rate": 2e-3, "steps": 3, "beta": 0.3, "targets": ["q_proj", "v_proj"], "seed": 5, "also": "0.2*sft_chosen"}))
        self.assertEqual(self.train("--config", config, "--set", "steps=2", "rank=2").returncode, 0)
        resolved = json.loads((self.run_folder / "config.json").read_text())
        self.assertEqual({k: resolved[k] for k in ("rate", "steps", "beta", "rank", "alpha", "targets", "seed", "also")},
                         {"rate": 2e-3, "steps": 2, "beta": 0.3, "rank": 2, "alpha": 4, "targets": "q_proj,v_proj", "seed": 5, "also": "0.2*sft_chosen"})
        self.assertGreater(lines_of(self.run_folder / "log.jsonl")[0]["loss"], math.log(2) + 0.1)
        out = self.folder / "other"
        for words, says in ((["--set", "rat=1"], "'rate'"), (["--set", "bata=1"], "'beta'"), (["--set", "rate=fast"], "rate"), (["--set", "batch=1.5"], "whole"),
                            (["--set", "schedule=steep"], "cosine"), (["--set", "rank=0"], "rank"), (["--set", "targets=nothing_proj"], "q_proj"), (["--set", "batch=0"], "batch"),
                            (["--set", "targets=,"], "targets"), (["--set", f"eval_data={out}"], "eval_data"), (["--full", "--set", "rank=2"], "rank")):
            self.refused("train", "dpo", "--model", MODEL, "--data", self.data, "--out", out, *words, says=says)
        config.write_text('{"rate": 1e-3, "rate": 2}')
        self.refused("train", "dpo", "--model", MODEL, "--data", self.data, "--out", out, "--config", config, says="twice")
        config.write_text('{"lerning_rate": 1}')
        self.refused("train", "dpo", "--model", MODEL, "--data", self.data, "--out", out, "--config", config, says="lerning_rate")
        self.assertFalse(out.exists())

    def test_bad_data(self):
        out = self.folder / "other"
        words = ("train", "dpo", "--model", MODEL, "--out", out, "--data")
        good = {"prompt": "Tom saw", "chosen": " a dog.", "rejected": " x."}
        self.refused(*words, self.write("a.jsonl", [good, {"prompt": "a", "chosen": "b"}]), says=("a.jsonl:2", "rejected"))
        self.refused(*words, self.write("b.jsonl", [good, {"prompt": "a", "chosen": "", "rejected": "b"}]), says=("b.jsonl:2", "empty"))
        self.refused(*words, self.write("c.jsonl", [{"prompt_ids": [1], "chosen_ids": [600], "rejected_ids": [2]}]), says="vocabulary")
        self.refused(*words, self.folder / "none", says="--data")
        self.refused(*words, self.folder, says="folder")
        (self.folder / "d.jsonl").write_text(json.dumps(good) + "\n{broken\n")
        self.refused(*words, self.folder / "d.jsonl", says="d.jsonl:2")
        self.refused(*words, self.write("e.jsonl", [dict(good, rejected=good["chosen"])]), says="no rows")
        result = plumb(*words, self.write("f.jsonl", [good, dict(good, rejected=good["chosen"])]), "--set", "steps=1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("f.jsonl:2", result.stderr)


class Streams(Case):
    """Rows of several files, drawn from disk, in proportion, in stages."""

    def setUp(self):
        super().setUp()
        def pair(i, length):
            return {"prompt_ids": [1, 5 + i % 50], "chosen_ids": [7 + i % 80] * (1 + i % length), "rejected_ids": [3 + i % 90, 6]}
        self.a = self.write("a.jsonl", [pair(i, 5) for i in range(30)])
        self.b = self.write("b.jsonl", [pair(100 + i, 9) for i in range(10)])

    def train(self, *words, out="run", settings=(), run=None):
        return (run or self.ok)("train", "dpo", "--model", TINY, "--out", self.folder / out, *words, "--quiet", "--threads", "1",
                                "--set", "rate=1e-3", "rank=2", "batch=4", "dropout=0.1", *settings)

    def log(self, out="run"):
        return [json.loads(line) for line in (self.folder / out / "log.jsonl").read_text().splitlines()]

    def test_several_files_are_one_after_the_other(self):
        both = self.folder / "both.jsonl"
        both.write_text(self.a.read_text() + self.b.read_text())
        self.train("--data", self.a, "--data", self.b, settings=["steps=5"])
        self.train("--data", both, out="whole", settings=["steps=5"])
        self.assertEqual(self.log(), self.log("whole"))
        config = json.loads((self.folder / "run" / "config.json").read_text())
        self.assertEqual(config["data"], [str(self.a), str(self.b)])
        self.assertNotIn("stream", config)
        self.train("--config", self.folder / "run" / "config.json", out="again")
        self.assertEqual(self.log(), self.log("again"))
        self.assertNotIn(str(self.folder), (self.folder / "run" / "README.md").read_text())

    def test_a_stream_that_stops_and_resumes_is_the_same(self):
        for name, words, settings in [
            ("plain", ["--data", self.a, "--stream", "--shuffle-buffer", "7"], ["epochs=2"]),
            ("mixed", ["--data", self.a, "--data", f"{self.b}:0.5"], ["steps=12", "batch_tokens=40", "accumulate=2"]),
            ("staged", ["--data", f"{self.a}@1", "--data", f"{self.b}@2", "--mix-cap", "20"], ["epochs=1", "stage_rows=22"]),
        ]:
            with self.subTest(name):
                self.train(*words, out=name, settings=[*settings, "save_every=4"])
                whole = self.log(name)
                adapter = (self.folder / name / "adapter_model.safetensors").read_bytes()
                for path in [*(self.folder / name).glob("checkpoint-*"), self.folder / name / "README.md"]:
                    if path.name != "checkpoint-4":
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                self.train(*words, "--resume", "auto", out=name, settings=[*settings, "save_every=4"])
                self.assertEqual(self.log(name), whole)
                self.assertEqual((self.folder / name / "adapter_model.safetensors").read_bytes(), adapter)
        self.assertEqual(self.log("plain")[-1]["epoch"], 2)
        self.assertEqual(self.log("staged")[-1]["step"], 8)  # (22 + 10) / 4

    def test_check(self):
        result = self.train("--data", self.a, "--stream", "--check", settings=["steps=6"])
        *rows, last = lines(result)
        self.assertEqual(len(rows), 3)
        self.assertEqual((last["forecast"]["rows"], last["forecast"]["steps"]), (30, 6))
        self.assertFalse((self.folder / "run").exists())

    def test_weights_of_a_step_are_referred_to_as_they_were(self):
        self.train("--data", self.a, "--stream", "--full", settings=["steps=3"], run=self.full)
        self.assertAlmostEqual(self.log()[0]["loss"], math.log(2), places=5)
        self.assertLess(self.log()[-1]["loss"], math.log(2))

    def full(self, *words):
        return self.ok(*[w for w in words if w not in ("rank=2", "dropout=0.1")])

    def test_refused(self):
        def refused(*words, says, settings=()):
            self.train(*words, settings=settings, run=lambda *w: self.refused(*w, says=says))
        refused("--data", f"{self.a}:0", says="a share above 0")
        refused("--data", f"{self.a}:x", says="a share above 0")
        refused("--data", f"{self.a}@0", says="a stage from 1")
        refused("--data", f"{self.a}@2", says="stage 1 of 2 has no file")
        refused("--data", f"{self.a}@1", "--data", self.b, "--data", f"{self.b}@2", says="write FILE@STAGE")
        refused("--data", self.a, "--data", f"{self.b}:1.5", says="leave nothing")
        refused("--data", self.a, "--mix-temperature", "0.5", says="mix_temperature: expected")
        refused("--data", f"{self.a}:1", "--mix-cap", "5", says="mix_cap: every source has a share")
        refused("--data", self.a, "--stage-rows", "5,6", says="at most one number per stage")
        refused("--data", self.a, "--stage-rows", "many", says="counts of rows")
        refused("--data", f"{self.a}:1", settings=["stream=false"], says="stream: expected true")
        refused("--data", self.a, "--stream", settings=["batch_tokens=50"], says="expected a number of steps")
        refused("--data", self.folder / "none.jsonl", says="none.jsonl")
        broken = self.write("broken.jsonl", [{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}, {"prompt": "x"}])
        refused("--data", broken, "--stream", says="broken.jsonl:2")
        self.refused("grad", "dpo", "--model", TINY, "--adapter", GOLDEN / "tiny_llama_adapter", "--data", f"{self.a}:2", "--out",
                     self.folder / "g.safetensors", says="shares and stages are for `train`")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    PROGRAM = str(Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=2)
