# SPDX-License-Identifier: BSL-1.0
"""AdamW with clipping as torch does it, step by step (adamw.json); transformers' learning rates (schedules.json)."""

import warnings

import torch
import transformers

import golden

RATE, BETAS, EPSILON, DECAY, CLIP, STEPS = 1e-2, (0.9, 0.999), 1e-8, 0.1, 1.0, 10


def recorded_gradients(start):
    """Gradients of a small least-squares problem along its own float64 AdamW path, rounded to float32 so that both
    precisions get the same numbers. The targets jump at step 6, so that some steps are clipped and others are not."""
    generator = torch.Generator().manual_seed(3)
    x, target = torch.randn(7, 4, generator=generator), torch.randn(7, 3, generator=generator)
    weight, bias = (p.double().clone().requires_grad_() for p in start)
    optimiser = torch.optim.AdamW([weight, bias], lr=RATE, foreach=False)
    steps = []
    for step in range(STEPS):
        scale = 0.15 if step < 6 else 4.0
        loss = scale * ((x.double() @ weight.T + bias).tanh() - target.double()).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        steps.append([weight.grad.float(), bias.grad.float()])
        optimiser.step()
    return steps


def trajectory(start, gradients, dtype):
    """Parameters after each step and the gradient norm before clipping."""
    parameters = [p.to(dtype).clone().requires_grad_() for p in start]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, betas=BETAS, eps=EPSILON, weight_decay=DECAY, foreach=False)
    path, norms = [], []
    for step in gradients:
        for parameter, gradient in zip(parameters, step):
            parameter.grad = gradient.to(dtype).clone()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, CLIP, foreach=False))
        optimiser.step()
        path.append(torch.cat([p.detach().flatten() for p in parameters]))
    return golden.rows(torch.stack(path)), golden.rows(torch.stack(norms))


def schedule(name, warmup, steps, rate):
    """The rate that each optimiser step uses, first step first."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler = transformers.get_scheduler(name, optimiser, num_warmup_steps=warmup, num_training_steps=steps)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    warnings.simplefilter("ignore")
    generator = torch.Generator().manual_seed(2)
    start = [torch.randn(3, 4, generator=generator), torch.randn(3, generator=generator)]
    gradients = recorded_gradients(start)
    result = {}
    for tag, dtype in (("f32", torch.float32), ("f64", torch.float64)):
        result["parameters_" + tag], result["norms_" + tag] = trajectory(start, gradients, dtype)
    clipped = [n > CLIP for n in result["norms_f64"]]
    assert any(clipped) and not all(clipped), result["norms_f64"]
    golden.write_json(
        options.out / "adamw.json",
        {
            "about": (
                "torch.optim.AdamW after torch.nn.utils.clip_grad_norm_ (factor min(1, clip / (norm + 1e-6))); a [3,4]"
                " and a [3] tensor flattened one after the other; gradients[i] are fed before clipping at step i,"
                " norms[i] is their norm, parameters[i] what step i leaves"
            ),
            "packages": golden.versions("torch"),
            "rate": RATE,
            "beta1": BETAS[0],
            "beta2": BETAS[1],
            "epsilon": EPSILON,
            "weight_decay": DECAY,
            "clip_norm": CLIP,
            "shapes": [[3, 4], [3]],
            "start": golden.rows(torch.cat([p.flatten() for p in start])),
            "gradients": golden.rows(torch.stack([torch.cat([g.flatten() for g in step]) for step in gradients])),
            **result,
        },
    )
    golden.write_json(
        options.out / "schedules.json",
        {
            "about": (
                "transformers.get_scheduler; rates[i] is the learning rate that optimiser step i uses (i from 0; with"
                " warm-up the first is 0)"
            ),
            "packages": golden.versions("transformers", "torch"),
            "cases": [
                {"name": n, "rate": 1e-3, "warmup": w, "steps": s, "rates": schedule(n, w, s, 1e-3)}
                for n in ("linear", "cosine", "constant_with_warmup", "constant")
                for w, s in ((3, 20), (0, 20), (5, 5))
                if n != "constant" or w == 0
            ],
        },
    )


if __name__ == "__main__":
    main()
