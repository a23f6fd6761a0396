"""Golden values for label smoothing with z-loss, and for GKD's divergence, on stories260k with its LoRA: loss and gradient norms.

    python tests/golden/make_head.py PATH/stories260k > tests/golden/head.json        (torch, transformers, peft)
"""
import json
import math
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

folder = sys.argv[1]
base = AutoModelForCausalLM.from_pretrained(folder + "/hf", dtype=torch.float64)
model = PeftModel.from_pretrained(base, folder + "/lora_init", is_trainable=True).double()
torch.manual_seed(0)
with torch.no_grad():  # lora_B is zero at first: no gradient would reach lora_A
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.copy_(torch.sin(torch.arange(p.numel(), dtype=torch.float64) + 1).view_as(p) * 0.05)
rows = [{"prompt": [1, 403, 407], "reply": [261, 378, 2]}, {"prompt": [1, 300], "reply": [310, 320, 330, 340, 2]}]


def logits(row, adapter=True):
    ids = torch.tensor([row["prompt"] + row["reply"]])
    if adapter:
        z = model(ids).logits[0]
    else:
        with model.disable_adapter():
            z = model(ids).logits[0].detach()
    return z[len(row["prompt"]) - 1 : -1]


def report(loss):
    model.zero_grad()
    loss.backward()
    grads = {n.replace(".default", ""): p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.item(), "gradient_norms": grads}


def divergence(beta, temperature):
    total, count = 0.0, 0
    for row in rows:
        s = torch.log_softmax(logits(row) / temperature, -1)
        t = torch.log_softmax(logits(row, adapter=False) / temperature, -1)
        m = torch.logsumexp(torch.stack([s + math.log1p(-beta), t + math.log(beta)]), 0)
        kl = lambda p, q: (p.exp() * (p - q)).sum(-1)
        total, count = total + (beta * kl(t, m) + (1 - beta) * kl(s, m)).sum(), count + len(s)
    return total / count


smoothed = torch.nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum")
total, count = 0.0, 0
for row in rows:
    z = logits(row)
    total = total + smoothed(z, torch.tensor(row["reply"])) + 0.001 * z.logsumexp(-1).square().sum()
    count += len(z)
print(json.dumps({"rows": rows, "sft": report(total / count), "jsd": report(divergence(0.3, 1.7))}, indent=1))
