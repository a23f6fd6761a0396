# SPDX-License-Identifier: BSL-1.0
"""What every fixture generator here shares: an exact float64 Llama, log-probs, the two losses, and compact files.

transformers computes RMS norm, softmax and rotary angles of Llama in float32 whatever the model's dtype is, so a
"float64 model" is no better than float32 there. `exact_llama()` replaces these three functions by their float64
meaning; the rest (modules, PEFT's adapters, autograd) is the packages' own. A float32 run never uses it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the packages below are imported

import numpy
import safetensors.torch
import torch
import transformers
import transformers.models.llama.modeling_llama as llama

HERE = pathlib.Path(__file__).resolve().parent


def setup():
    """One thread, deterministic kernels, no console noise, no network."""
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", UserWarning)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def arguments(description):
    """The command line of a generator: the shared data folder and where to write."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "data",
        nargs="?",
        type=pathlib.Path,
        default=HERE.parents[1] / ".." / "shared" / "data",
        help="the shared data folder (default: ../shared/data beside the repository)",
    )
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="folder to write to (default: this one)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def versions(*names):
    """The packages behind a fixture, e.g. {"torch": "2.15.0"}: local build tags removed."""
    from importlib.metadata import version

    return {name: version(name).split("+")[0] for name in names}


@contextlib.contextmanager
def exact_llama(on=True):
    """Within it, Llama of transformers computes norm, softmax, rotary angles and mask in the dtype of its input."""
    if not on:
        yield
        return

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotary(self, x, position_ids):
        dim = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        theta = float(self.config.rope_parameters["rope_theta"])
        frequency = theta ** (-torch.arange(0, dim, 2, dtype=x.dtype) / dim)
        angle = position_ids[..., None].to(x.dtype) * frequency
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos(), angle.sin()

    def attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **unused):
        key = llama.repeat_kv(key, module.num_key_value_groups)
        value = llama.repeat_kv(value, module.num_key_value_groups)
        n, keys = query.shape[2], key.shape[2]  # more keys than queries: a prefix
        score = query @ key.transpose(2, 3) * scaling
        score = score.masked_fill(torch.ones(n, keys, dtype=torch.bool).triu(1 + keys - n), -torch.inf)
        weight = score.softmax(-1)
        return (weight @ value).transpose(1, 2).contiguous(), weight

    saved = llama.LlamaRMSNorm.forward, llama.LlamaRotaryEmbedding.forward, llama.eager_attention_forward
    llama.LlamaRMSNorm.forward, llama.LlamaRotaryEmbedding.forward, llama.eager_attention_forward = (
        norm,
        rotary,
        attention,
    )
    try:
        yield
    finally:
        llama.LlamaRMSNorm.forward, llama.LlamaRotaryEmbedding.forward, llama.eager_attention_forward = saved


def load_model(folder, dtype=torch.float32):
    """A causal model from a Hugging Face folder, with eager attention and dropout off; stored numbers widen exactly."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    return model.to(dtype).eval()


def load_adapter(folder, adapter, dtype=torch.float32, trainable=True):
    """The model with a PEFT adapter on it, checked to have no missing and no unexpected tensor."""
    import peft

    model = peft.PeftModel.from_pretrained(load_model(folder), adapter, is_trainable=trainable)
    stored = set(safetensors.torch.load_file(pathlib.Path(adapter) / "adapter_model.safetensors"))
    # PEFT stores a targeted head's frozen weight too.
    stored = {key for key in stored if not key.endswith(".base_layer.weight")}
    wanted = set(peft.get_peft_model_state_dict(model, save_embedding_layers=False))
    if stored != wanted:
        raise SystemExit(
            f"adapter tensors differ: missing {sorted(wanted - stored)}, unexpected {sorted(stored - wanted)}"
        )
    return model.to(dtype).eval()


def logits(model, ids):
    """[positions, vocabulary] in the model's dtype; every sequence runs alone, without padding or cache."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def token_logps(model, ids, start=1):
    """log p(ids[t] | ids[<t]) in nats for t = start … n−1."""
    table = logits(model, ids)[start - 1 : -1].log_softmax(-1)
    return table.gather(1, torch.tensor(ids[start:])[:, None])[:, 0]


def reply_logps(model, pair, which):
    """Log-probs of the tokens of pair["chosen_ids"] or pair["rejected_ids"], given pair["prompt_ids"]."""
    return token_logps(model, pair["prompt_ids"] + pair[which + "_ids"], len(pair["prompt_ids"]))


def sft_loss(model, pairs):
    """Mean of −log p over all chosen reply tokens of the batch (prompt tokens have no target)."""
    return -torch.cat([reply_logps(model, pair, "chosen") for pair in pairs]).mean()


def dpo_loss(model, pairs, beta=0.1, label_smoothing=0.0):
    """(loss, details): mean over pairs of −(1−ε)·logσ(βΔ) − ε·logσ(−βΔ); the reference is the adapter switched off."""
    losses, details = [], []
    for pair in pairs:
        policy = {w: reply_logps(model, pair, w).sum() for w in ("chosen", "rejected")}
        with torch.no_grad(), model.disable_adapter():
            reference = {w: reply_logps(model, pair, w).sum() for w in ("chosen", "rejected")}
        delta = (policy["chosen"] - reference["chosen"]) - (policy["rejected"] - reference["rejected"])
        losses.append(
            -(1 - label_smoothing) * torch.nn.functional.logsigmoid(beta * delta)
            - label_smoothing * torch.nn.functional.logsigmoid(-beta * delta)
        )
        details.append(
            {
                w: {"logp": policy[w].item(), "ref": reference[w].item(), "tokens": len(pair[w + "_ids"])}
                for w in ("chosen", "rejected")
            }
            | {"loss": losses[-1].item()}
        )
    return torch.stack(losses).mean(), details


def adapter_gradients(model, loss):
    """{PEFT key: gradient} of every trainable tensor; keys as in adapter_model.safetensors."""
    model.zero_grad()
    loss.backward()
    named = {n.replace(".default", ""): p.grad.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    import peft

    if set(named) != set(peft.get_peft_model_state_dict(model, save_embedding_layers=False)):
        raise SystemExit("trainable tensors and stored tensors have different keys")
    return named


def relative_difference(a, b):
    """Largest over the tensors of max|a − b| / max|b|: how far a float32 run is from the float64 one."""
    return max((a[k].double() - b[k].double()).abs().max().item() / b[k].abs().max().item() for k in b)


def attach(model, config, scale, seed):
    """The model with a PEFT adapter of small random A and B (in a fresh adapter B is zero and tests nothing)."""
    import peft

    model = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted((n, p) for n, p in model.named_parameters() if p.requires_grad):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def save_adapter(model, folder, base, **options):
    """PEFT's own files, without its model card, with `base` in place of this machine's path and targets in a fixed
    order."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **options)
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "adapter_model.safetensors").chmod(0o644)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    if "target_modules" in config:
        config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def rows(tensor):
    """Nested lists of Python floats; float32 numbers get their shortest text that reads back exactly."""
    array = tensor.detach().numpy()
    if array.dtype == numpy.float32:
        return [rows(torch.from_numpy(r)) for r in array] if array.ndim > 1 else [float(str(x)) for x in array]
    return array.tolist()


def write_json(path, value):
    """One member of the top object a line: compact, and a diff still shows what changed."""
    body = ",\n".join(
        f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False, separators=(',', ':'), allow_nan=False)}"
        for k, v in value.items()
    )
    path.write_text("{\n" + body + "\n}\n", encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes", file=sys.stderr)


def write_tensors(path, tensors):
    """A safetensors file with tensors in key order."""
    safetensors.torch.save_file({k: tensors[k].contiguous() for k in sorted(tensors)}, path)
    path.chmod(0o644)
    print(f"{path.name}: {path.stat().st_size} bytes", file=sys.stderr)
