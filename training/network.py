"""Fit a small torch network on the same table: the second of the two verbs, a peer for the trees."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from training.artifact import InputFeature
from training.experiment import NetworkSettings
from training.weights import Network, network_inputs, signed_log

if TYPE_CHECKING:
    import torch

BACKGROUND_ROWS = 20  # kept beside the layers, to explain an answer; each costs as much as the one explained


def fit(
    X: np.ndarray,
    codes: np.ndarray,
    *,
    features: Sequence[InputFeature],
    settings: NetworkSettings,
    seed: int,
) -> Network:
    """Return layers that tell the classes 0..k-1 apart; the same input and seed give the same arrays.

    X: float64 (n, f), NaN where missing. codes: (n,), every class 0..k-1 present, k >= 2.
    """
    import torch

    arrays = _scaler(X, features)
    inputs = network_inputs(X, arrays)
    model = learn(inputs, codes, outputs=int(codes.max()) + 1, settings=settings, seed=seed)
    linear = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    for i, layer in enumerate(linear):
        arrays[f"weight_{i}"] = layer.weight.detach().numpy().copy()
        arrays[f"bias_{i}"] = layer.bias.detach().numpy().copy()
    some = np.random.default_rng(seed).permutation(len(X))[:BACKGROUND_ROWS]
    arrays["background"] = np.ascontiguousarray(X[np.sort(some)], dtype=np.float64)
    return Network(arrays)


def learn(
    inputs: np.ndarray, target: np.ndarray, *, outputs: int, settings: NetworkSettings, seed: int
) -> "torch.nn.Sequential":
    """Return layers that give one logit for each class, or where `outputs` is 1 a number, by squared error.

    inputs: (n, i) without NaN, each of about unit size. target: (n,) codes 0..outputs-1, or numbers of unit size.
    """
    import torch

    told = target.astype(np.int64) if outputs > 1 else target.astype(np.float32)[:, None]
    with reproducible(seed):
        model = layers([inputs.shape[1], *settings.hidden, outputs], settings.dropout)
        _descend(model, torch.from_numpy(inputs).float(), torch.from_numpy(told), settings)
    return model


def layers(sizes: Sequence[int], dropout: float) -> "torch.nn.Sequential":
    """Return the network in torch: linear layers of these sizes, ReLU and dropout between them; k logits."""
    from torch import nn

    stack: list[nn.Module] = []
    for into, out in pairwise(sizes):
        stack += [nn.Linear(into, out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*stack[:-2])


def _scaler(X: np.ndarray, features: Sequence[InputFeature]) -> dict[str, np.ndarray]:
    """Return what turns rows into inputs: mean and deviation of what is there; 0 and 1 where nothing is."""
    categories = np.array([len(feature.categories) for feature in features], dtype=np.int64)
    numbers = signed_log(X[:, categories == 0])
    there = ~np.isnan(numbers)
    count = np.maximum(there.sum(axis=0), 1)
    center = np.where(there, numbers, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(there, numbers - center, 0.0) ** 2).sum(axis=0) / count)
    return {"categories": categories, "center": center, "scale": np.where(deviation > 0, deviation, 1.0)}


def _descend(
    model: "torch.nn.Sequential", inputs: "torch.Tensor", target: "torch.Tensor", settings: NetworkSettings
) -> None:
    """Train the layers in place: AdamW, a cosine from the learning rate to zero, rows shuffled each epoch."""
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.epochs)
    classes = torch.nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    loss = torch.nn.MSELoss() if target.is_floating_point() else classes
    model.train()
    epochs = range(settings.epochs)
    for _ in tqdm(epochs, desc="fit network", unit="epoch", delay=2, disable=None, leave=False):
        for rows in torch.split(torch.randperm(len(inputs)), settings.batch_size):
            optimizer.zero_grad()
            loss(model(inputs[rows]), target[rows]).backward()
            optimizer.step()
        schedule.step()


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Give torch this seed and one thread, and the caller's generator and threads back afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums over several threads round differently
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
