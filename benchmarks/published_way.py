"""The baseline of the training benchmarks: HyenaDNA trained the way the published code does it, written plainly.

Source: the standalone model and the GenomicBenchmarks data set of HazyResearch/hyena-dna. Everything is float32 (a step
can be taken under autocast, too, as with Lightning's bf16-mixed); the long convolution is an FFT of length 2L that
autograd differentiates; the operator's steps are operations of their own on [B, D, L]; every sequence is a text file
that is opened, reverse-complemented and tokenized letter by letter in Python whenever it is needed, and padded on the
left to a fixed length; AdamW is PyTorch's default; one seed at a time. Left out, in its favour: Lightning, torchmetrics
and the Hugging Face tokenizer's own overhead. Parameter names are those of `hyena.model.hyenadna`, so that a state dict
moves between the two; `tests/unit/project/test_benchmarks.py` holds that their losses and gradients are equal.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hyena.model.config import HyenaConfig
from hyena.model.operator import ImplicitFilter, PositionFeatures
from hyena.training.optimisation import mixed_precision, optimizer_for
from hyena.training.recipe import TrainingConfig

VOCABULARY = {"[CLS]": 0, "[SEP]": 1, "[BOS]": 2, "[MASK]": 3, "[PAD]": 4, "[RESERVED]": 5, "[UNK]": 6,
              "A": 7, "C": 8, "G": 9, "T": 10, "N": 11}  # fmt: skip
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


def fft_convolution(u: Tensor, k: Tensor, bias: Tensor) -> Tensor:
    """`fftconv` of the published code: [B, D, L] with [D, L]. Under autocast u is bfloat16 and k float32, as there."""
    length, size = u.shape[-1], 2 * u.shape[-1]
    k_f = torch.fft.rfft(k, n=size) / size
    u_f = torch.fft.rfft(u.to(k.dtype), n=size)
    y = torch.fft.irfft(u_f * k_f, n=size, norm="forward")[..., :length]
    return (y + u * bias.unsqueeze(-1)).to(u.dtype)


class Operator(nn.Module):
    def __init__(self, config: HyenaConfig, position_features: PositionFeatures) -> None:
        super().__init__()
        width = 3 * config.d_model
        self.in_proj = nn.Linear(config.d_model, width)
        self.out_proj = nn.Linear(config.d_model, config.d_model)
        self.short_filter = nn.Conv1d(width, width, 3, groups=width, padding=2)
        self.filter_fn = ImplicitFilter(config, position_features)

    def forward(self, u: Tensor) -> Tensor:
        length = u.shape[1]
        u = rearrange(self.in_proj(u), "b l d -> b d l")
        x0, x1, v = self.short_filter(u)[..., :length].split(self.out_proj.in_features, dim=1)
        v = v * x1
        v = fft_convolution(v, self.filter_fn(length), self.filter_fn.bias)
        return self.out_proj(rearrange(v * x0, "b d l -> b l d"))


class Mlp(nn.Module):
    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.d_inner)
        self.fc2 = nn.Linear(config.d_inner, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config: HyenaConfig, position_features: PositionFeatures) -> None:
        super().__init__()
        self.mixer = Operator(config, position_features)
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def forward(self, residual: Tensor) -> Tensor:
        residual = residual + self.mixer(self.norm1(residual))
        return residual + self.mlp(self.norm2(residual))


class Backbone(nn.Module):
    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({"word_embeddings": nn.Embedding(config.vocabulary_rows, config.d_model)})
        self.dropout = nn.Dropout(config.embed_dropout)
        features = PositionFeatures(config.emb_dim, config.l_max)
        self.layers = nn.ModuleList(Block(config, features) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        residual = self.dropout(self.embeddings["word_embeddings"](tokens))
        for layer in self.layers:
            residual = layer(residual)
        return self.ln_f(residual)


class Classifier(nn.Module):
    """Tokens [B, L], int64, to logits [B, C]: the mean over all positions, padding included, and a linear head."""

    def __init__(self, config: HyenaConfig, num_classes: int) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.head = nn.ModuleDict({"output_transform": nn.Linear(config.d_model, num_classes)})

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head["output_transform"](self.backbone(tokens).mean(dim=1))


class TextFiles(Dataset[tuple[Tensor, int]]):
    """FOLDER/CLASS/N.txt, one sequence per file, read and tokenized at each access."""

    def __init__(self, folder: Path, max_length: int, reverse_complement: bool) -> None:
        classes = sorted(path.name for path in folder.iterdir())
        self.examples: list[tuple[Path, int]] = []
        for label, name in enumerate(classes):
            self.examples += [(path, label) for path in sorted((folder / name).iterdir())]
        self.max_length, self.reverse_complement = max_length, reverse_complement

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.examples[index]
        sequence = path.read_text()
        if self.reverse_complement and random.random() < 0.5:
            sequence = "".join(COMPLEMENT.get(letter, letter) for letter in reversed(sequence))
        ids = [VOCABULARY.get(letter, VOCABULARY["[UNK]"]) for letter in list(sequence)[: self.max_length]]
        padded = [VOCABULARY["[PAD]"]] * (self.max_length - len(ids)) + ids
        return torch.LongTensor(padded), label


def optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """The two published groups in PyTorch's default implementation."""
    groups = [{k: v for k, v in group.items() if k in ("params", "weight_decay")}
              for group in optimizer_for(model, config).param_groups]  # fmt: skip
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8)


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor, labels: Tensor, config: TrainingConfig
) -> Tensor:
    """Forward (in the precision of `config`), backward, clipping, update; returns the loss."""
    optimizer.zero_grad()
    with mixed_precision(tokens.device, config.precision):
        loss = F.cross_entropy(model(tokens), labels)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    optimizer.step()
    return loss.detach()


def epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    files: TextFiles,
    config: TrainingConfig,
    device: torch.device,
) -> Iterator[float]:
    """The losses of one epoch, each synchronised with the device, as for a progress bar that shows the loss."""
    for tokens, labels in DataLoader(files, batch_size=config.batch_size, shuffle=True):
        yield float(training_step(model, optimizer, tokens.to(device), labels.to(device), config))


@torch.no_grad()
def evaluate(model: nn.Module, files: TextFiles, config: TrainingConfig, device: torch.device) -> float:
    """Accuracy on a split, batch by batch, dropout off."""
    model.eval()
    right = 0
    for tokens, labels in DataLoader(files, batch_size=config.batch_size):
        right += int((model(tokens.to(device)).argmax(dim=-1) == labels.to(device)).sum())
    model.train()
    return right / len(files)
