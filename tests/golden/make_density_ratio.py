# SPDX-License-Identifier: BSL-1.0
"""Balanced logistic regressions and the weights that BCO makes of them: scikit-learn's LogisticRegression, as TRL used it.

TRL's BCO trainer (experimental, before 1.16) fits LogisticRegression(class_weight="balanced") to embeddings of prompts,
liked ones as class 1, and weighs a disliked reply by clamp(p/(1 - p + 1e-8), 0.5, 10).
"""

import golden
import numpy
import torch
import transformers
from sklearn.linear_model import LogisticRegression

IDS = [1, 403, 20, 331, 40, 7, 250]


def case(name, positive, negative, width, shift, strength=1.0):
    drawn = numpy.random.default_rng(7)
    x = drawn.normal(size=(positive + negative, width)).round(4)
    x[:positive] += numpy.linspace(shift, -shift, width).round(4)
    x[:, 0] *= 30  # one number much larger than the others
    y = numpy.array([1] * positive + [0] * negative)
    fit = LogisticRegression(class_weight="balanced", C=strength, solver="newton-cholesky", tol=1e-13, max_iter=1000)
    fit.fit(x, y)
    p = fit.predict_proba(x)[:, 1]
    return {
        "name": name, "width": width, "strength": strength, "vectors": x.flatten().tolist(), "liked": y.tolist(),
        "weights": fit.coef_[0].tolist(), "bias": float(fit.intercept_[0]), "probabilities": p.tolist(),
        "ratios": numpy.clip(p / (1 - p + 1e-8), 0.5, 10).tolist(),
    }


def embedding(folder):
    """The mean over tokens of the last hidden states (after the last norm), float32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model.model(torch.tensor([IDS])).last_hidden_state[0].mean(0).tolist()


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    golden.write_json(
        options.out / "density_ratio.json",
        {
            "about": "vectors [n, width]; weights and bias of the fitted classifier, P(liked), and the clamped ratio of each;"
            " embedding: mean last hidden state of ids under stories260k",
            "packages": golden.versions("scikit-learn", "numpy", "torch", "transformers"),
            "ids": IDS,
            "embedding": embedding(options.data / "stories260k" / "hf"),
            "cases": [
                case("overlapping", 20, 12, 3, 0.4), case("unbalanced", 30, 5, 2, 0.5), case("separable", 8, 8, 2, 6.0),
                case("wider than many", 6, 7, 24, 0.6), case("weakly held", 15, 15, 4, 1.0, 100.0),
            ],
        },
    )


if __name__ == "__main__":
    main()
