"""Probes against scikit-learn and against plain loops."""

import math

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ninefold.tasks import probe
from ninefold.tasks.probe import fit_linear, neighbours, votes

CPU = torch.device("cpu")


def blobs(n: int, *, seed: int, classes: int = 4, d: int = 12) -> tuple[Tensor, Tensor]:
    """Overlapping clouds far from zero, of very different scales, and a constant feature."""
    centres = torch.randn(classes, d, generator=torch.Generator().manual_seed(9))
    draws = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=draws)
    x = centres[y] + 1.3 * torch.randn(n, d, generator=draws)
    x = 10 + x * torch.logspace(-2, 2, d)
    x[:, 3] = 7.0
    return x, y


@pytest.mark.parametrize("strength", [1e-1, 1e-5])
def test_a_linear_probe_gives_the_probabilities_of_scikit_learn(strength: float) -> None:
    x, y = blobs(400, seed=0)
    new, truth = blobs(2000, seed=1)
    ((_, fitted),) = fit_linear(x, y, num_classes=4, strengths=[strength], device=CPU)
    scaler = StandardScaler().fit(x.double().numpy())
    oracle = LogisticRegression(C=1 / (strength * len(x)), tol=1e-8, max_iter=5000)
    oracle.fit(scaler.transform(x.double().numpy()), y.numpy())
    expected = torch.from_numpy(oracle.predict_proba(scaler.transform(new.double().numpy())))
    found = fitted.logits(new).softmax(dim=1)
    torch.testing.assert_close(found.double(), expected, atol=5e-3, rtol=0)
    gap = (found.argmax(1) == truth).double().mean() - (expected.argmax(1) == truth).double().mean()
    assert abs(float(gap)) <= 1e-3
    assert float((expected.argmax(1) == truth).double().mean()) > 0.6


def test_with_several_labels_each_class_is_a_logistic_regression_of_its_own() -> None:
    x, y = blobs(300, seed=0)
    targets = torch.stack([y == 0, y >= 2], dim=1).to(torch.uint8)
    ((_, fitted),) = fit_linear(x, targets, num_classes=2, strengths=[1e-2], device=CPU)
    scaled = StandardScaler().fit_transform(x.double().numpy())
    for i in range(2):
        oracle = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-8, max_iter=5000)
        oracle.fit(scaled, targets[:, i].numpy())
        expected = torch.from_numpy(oracle.predict_proba(scaled)[:, 1])
        found = fitted.logits(x)[:, i].sigmoid().double()
        torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


def test_a_path_of_strengths_ends_where_each_alone_does_and_parts_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = blobs(200, seed=0)
    path = dict(fit_linear(x, y, num_classes=4, strengths=[1.0, 1e-2], device=CPU))
    monkeypatch.setattr(probe, "ROWS", 64)
    ((_, alone),) = fit_linear(x, y, num_classes=4, strengths=[1e-2], device=CPU)
    torch.testing.assert_close(
        path[1e-2].logits(x).softmax(1), alone.logits(x).softmax(1), atol=5e-3, rtol=0
    )


@pytest.mark.parametrize("rows", [10_000, 16])
def test_nearest_neighbours_and_their_votes_are_those_of_a_plain_loop(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "ROWS", rows)
    monkeypatch.setattr(probe, "QUERIES", 7)
    (x, y), (queries, _) = blobs(50, seed=0), blobs(20, seed=1)
    x, queries = x - 10, queries - 10
    cosine, near = neighbours(queries, x, k=5, device=CPU)
    share = votes(cosine, y[near], num_classes=4)
    for i, query in enumerate(queries):
        similar = [float(query @ row / (query.norm() * row.norm())) for row in x]
        best = sorted(range(len(x)), key=lambda j: -similar[j])[:5]
        assert near[i].tolist() == best
        weights = [math.exp(similar[j] / 0.07) for j in best]
        expected = [0.0] * 4
        for j, weight in zip(best, weights, strict=True):
            expected[int(y[j])] += weight / sum(weights)
        torch.testing.assert_close(share[i], torch.tensor(expected), atol=1e-5, rtol=0)


def test_votes_for_several_labels_are_shares_a_class() -> None:
    labels = torch.tensor([[[1, 0], [1, 1]]], dtype=torch.uint8)
    found = votes(torch.tensor([[0.5, 0.5]]), labels, num_classes=2)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.5]]))
