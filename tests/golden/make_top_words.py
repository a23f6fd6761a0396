# SPDX-License-Identifier: BSL-1.0
"""Divergences from a teacher's top-k words, with the rest as one bucket or renormalised: torch float64 and autograd.

As TRL's server and asynchronous distillation define them: log-softmax over the whole vocabulary at the temperature, the teacher's k largest,
then either a bucket of log(1 - sum) appended to both sides, or both renormalised to the k words.
"""

import itertools

import golden
import torch

STUDENT = [0.3, -1.2, 2.0, 0.7, -0.4, 1.1, -3.0]
TEACHER = [1.0, 0.1, -0.5, 0.2, 2.9, -8.0, 1.5]


def short(log_p, words, tail):
    chosen = log_p[words]
    if tail:
        return torch.cat([chosen, torch.log1p(-chosen.exp().sum())[None]])
    return chosen - torch.logsumexp(chosen, 0)


def loss(settings, student, teacher):
    s = torch.log_softmax(student / settings["temperature"], 0)
    t = torch.log_softmax(teacher / settings["temperature"], 0)
    words = torch.topk(t, settings["top_k"]).indices
    s, t = short(s, words, settings["tail"]), short(t, words, settings["tail"])
    kl = lambda p, q: (p.exp() * (p - q)).sum()  # noqa: E731
    if settings["divergence"] == "forward_kl":
        return kl(t, s)
    if settings["divergence"] == "reverse_kl":
        return kl(s, t)
    m = ((1 - settings["beta"]) * s.exp() + settings["beta"] * t.exp()).log()
    return settings["beta"] * kl(t, m) + (1 - settings["beta"]) * kl(s, m)


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    teacher = torch.tensor(TEACHER, dtype=torch.float64)
    cases = []
    for divergence, top_k, tail, temperature in itertools.product(
        ("forward_kl", "reverse_kl", "jsd"), (1, 3), (True, False), (1.0, 1.7)
    ):
        settings = {"divergence": divergence, "temperature": temperature, "top_k": top_k, "tail": tail}
        if divergence == "jsd":
            settings["beta"] = 0.3
        student = torch.tensor(STUDENT, dtype=torch.float64, requires_grad=True)
        value = loss(settings, student, teacher)
        (slopes,) = torch.autograd.grad(value, student)
        cases.append({"settings": settings, "loss": value.item(), "slopes": slopes.tolist()})
    golden.write_json(
        options.out / "top_words.json",
        {
            "about": "logits of student and teacher; cases: loss and its slopes by the student's logits",
            "packages": golden.versions("torch"), "student": STUDENT, "teacher": TEACHER, "cases": cases,
        },
    )


if __name__ == "__main__":
    main()
