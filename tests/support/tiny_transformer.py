"""A transformer small enough for a test, in the folder layout that Hugging Face libraries use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]
_TEXTS = ["the customer leaves", "the customer stays", "a model of churn", "next month"]


def write_transformer(folder: Path, *, width: int = 16, seed: int = 7) -> None:
    """Writes config.json, tokenizer.json, a vocabulary, a README and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(_TEXTS, trainers.WordLevelTrainer(special_tokens=["[UNK]"]))
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    words = sorted(vocabulary, key=lambda word: vocabulary[word])
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    config = {"architectures": ["TinyEncoder"], "hidden_size": width, "vocab_size": len(words)}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "README.md").write_text("# Tiny encoder\n\nOne layer of attention.\n")
    random = np.random.default_rng(seed)
    shapes = {"embedding": (len(words), width), "query": (width, width), "key": (width, width)}
    shapes |= {"value": (width, width), "head": (width, 2)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "np"})


def predict(folder: Path, texts: list[str] | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Loads the folder and gives one row of two scores for each text."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    weights: Weights = load_file(folder / "model.safetensors")
    scale = np.sqrt(config["hidden_size"])
    rows = []
    for text in texts or _TEXTS:
        tokens = weights["embedding"][tokenizer.encode(text).ids]
        scores = (tokens @ weights["query"]) @ (tokens @ weights["key"]).T / scale
        attention = np.exp(scores - scores.max(axis=1, keepdims=True))
        attention /= attention.sum(axis=1, keepdims=True)
        rows.append((attention @ (tokens @ weights["value"])).mean(axis=0) @ weights["head"])
    return np.array(rows, dtype=np.float32)
