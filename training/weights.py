"""What a fitted model is: trees or layers that answer, and the bytes they lie in. Nothing here trains."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

if TYPE_CHECKING:
    import lightgbm

_END = "end of trees\n\npandas_categorical:null\n"


@dataclass(frozen=True)
class Trees:
    """Trees as LightGBM text: boosted ones, or a forest whose trees are averaged.

    text: one multiclass booster, also for two classes. `booster` is what evaluation asks for contributions.
    """

    text: str
    kind: ClassVar[Literal["trees"]] = "trees"
    file: ClassVar[str] = "model.txt"

    @cached_property
    def booster(self) -> "lightgbm.Booster":
        """The LightGBM booster, read from the text once."""
        import lightgbm

        return lightgbm.Booster(model_str=self.text)

    @cached_property
    def of_class(self) -> "tuple[Trees, ...]":
        """The trees of one class as a booster of their own, for each class: to explain one costs a k-th of all.

        Each predicts the sum of its trees, and knows neither softmax nor objective.
        """
        head, _, rest = self.text.partition("\nTree=0\n")
        every = re.split(r"\nTree=\d+\n", f"{rest.partition('end of trees')[0]}")
        count = int(re.search(r"^num_tree_per_iteration=(\d+)$", head, re.MULTILINE)[1])  # type: ignore[index]
        one = re.sub(r"^(num_class|num_tree_per_iteration)=\d+$", r"\1=1", head, flags=re.MULTILINE)
        one = re.sub(r"^(objective|tree_sizes)=.*\n", "", one, flags=re.MULTILINE)
        return tuple(
            Trees(one + "".join(f"\nTree={i}\n{tree}" for i, tree in enumerate(every[c::count])) + _END)
            for c in range(count)
        )

    @property
    def averaged(self) -> bool:
        """Whether what the trees give is averaged, not summed."""
        return "\naverage_output\n" in self.text[: self.text.index("feature_names=")]

    @property
    def scored(self) -> bool:
        """Whether the trees give scores, of which a softmax makes probabilities; else they give these themselves."""
        return "\nobjective=" in self.text[: self.text.index("feature_names=")]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return uncalibrated class probabilities, (n, k), of rows (n, f); NaN is a missing value."""
        # One thread: two on a busy two-core machine were four times slower on small requests.
        return np.asarray(self.booster.predict(X, num_threads=1), dtype=np.float64)

    def to_bytes(self) -> bytes:
        """Return the content of `model.txt`."""
        return self.text.encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return the trees kept in the content of `model.txt`."""
        return cls(content.decode())


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron, as named arrays; it answers from numpy, so that a server needs no torch.

    arrays: `categories` (f,) number of categories of each input, 0 for a number; `center` and `scale` of the
    numbers after signed_log; `weight_i` (out, in) and `bias_i` (out,) of layer i, the last giving k logits;
    `background` (m, f), rows learnt from, against which an answer is explained (absent in older files).
    """

    arrays: Mapping[str, np.ndarray]
    kind: ClassVar[Literal["network"]] = "network"
    file: ClassVar[str] = "weights.safetensors"

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return uncalibrated class probabilities, (n, k), of rows (n, f); NaN is a missing value."""
        values = network_inputs(X, self.arrays)
        layers = sum(name.startswith("weight_") for name in self.arrays)
        for i in range(layers):
            values = values @ self.arrays[f"weight_{i}"].T.astype(np.float64) + self.arrays[f"bias_{i}"]
            values = np.maximum(values, 0.0) if i < layers - 1 else values
        return softmax(values)

    @property
    def background(self) -> np.ndarray:
        """Rows (m, f) that stand in for a feature left out; in an older file the mean of each number, no text."""
        if "background" in self.arrays:
            return self.arrays["background"]
        categories, center = self.arrays["categories"], self.arrays["center"]
        row = np.full(len(categories), np.nan)
        row[categories == 0] = np.sign(center) * np.expm1(np.abs(center))
        return row[None, :]

    def to_bytes(self) -> bytes:
        """Return the content of `weights.safetensors`."""
        from safetensors.numpy import save

        return bytes(save(dict(self.arrays)))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return the network kept in the content of `weights.safetensors`."""
        from safetensors.numpy import load

        return cls(load(content))


Weights = Trees | Network


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (n, k), rows sum to 1, of logits (n, k)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def tempered(proba: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (n, k) sharpened (temperature < 1) or flattened (> 1); the order of classes stays.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    tiny = np.finfo(np.float64).tiny
    return softmax(np.log(np.maximum(proba, tiny)) / temperature)


def network_inputs(X: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what the first layer sees, (n, inputs): scaled numbers, a missing mark each, one-hot categories.

    Numbers pass signed_log first: bytes and counts span six decades. A missing number becomes 0, the mean.
    """
    categories = arrays["categories"]
    numbers = signed_log(X[:, categories == 0])
    missing = np.isnan(numbers)
    scaled = np.where(missing, 0.0, (numbers - arrays["center"]) / arrays["scale"])
    hot = [X[:, [i]] == np.arange(categories[i]) for i in np.flatnonzero(categories)]
    return np.hstack([scaled, missing, *hot]).astype(np.float64)


def signed_log(X: np.ndarray) -> np.ndarray:
    """Return sign(x) log(1 + |x|), element by element."""
    return np.asarray(np.sign(X) * np.log1p(np.abs(X)))
