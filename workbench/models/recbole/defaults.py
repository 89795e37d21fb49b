"""What the supported models are given where nobody says otherwise, and what is worth trying. Facts, no code."""

from typing import Any

from workbench.models.space import Choices, Range

CONTEXT: dict[str, Any] = {"epochs": 40, "patience": 3, "judge_every": 5, "learning_rate": 0.003, "batch_size": 1024}
DEFAULTS: dict[str, dict[str, Any]] = {
    "BPR": {"epochs": 30, "patience": 5, "learning_rate": 0.003, "batch_size": 512},
    "NeuMF": {"epochs": 30, "patience": 5, "batch_size": 512, "judge_every": 2},
    "LightGCN": {"epochs": 60, "patience": 8, "learning_rate": 0.005, "batch_size": 1024},
    "SGL": {"epochs": 30, "patience": 5, "learning_rate": 0.005, "batch_size": 1024},
    "SimpleX": {"epochs": 30, "patience": 5, "batch_size": 512, "negatives": 20, "judge_every": 2},
    "MultiVAE": {"epochs": 40, "patience": 8, "batch_size": 64},
    "RecVAE": {"epochs": 40, "patience": 8, "batch_size": 128},
    "NGCF": {"epochs": 30, "patience": 5, "learning_rate": 0.004, "batch_size": 1024},
    "GRU4Rec": {"epochs": 25, "patience": 5, "learning_rate": 0.003, "batch_size": 16},
    "NARM": {"epochs": 10, "patience": 3, "learning_rate": 0.003, "batch_size": 512},
    "SASRec": {"epochs": 30, "patience": 5, "learning_rate": 0.002, "batch_size": 16, "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2},
    "BERT4Rec": {"epochs": 60, "patience": 10, "learning_rate": 0.002, "batch_size": 32},
    "LightSANs": {"epochs": 20, "patience": 3, "learning_rate": 0.002, "batch_size": 512},
    "CORE": {"epochs": 20, "patience": 3, "learning_rate": 0.002, "batch_size": 512},
    "FM": CONTEXT | {"epochs": 100},
    "DeepFM": CONTEXT,
    "xDeepFM": CONTEXT | {"epochs": 20, "judge_every": 10, "cin_layer_size": (32, 32), "mlp_hidden_size": (64, 64), "reg_weight": 1e-5},
    "DCNV2": CONTEXT | {"mlp_hidden_size": (128, 128), "reg_weight": 1e-4},
    "AutoInt": CONTEXT,
    "WideDeep": CONTEXT | {"epochs": 80},
}
"""Where a log of ML-100k's size asks for others than RecBole's, or than those of `Learning`."""

Space = dict[str, Range | Choices]

RATE: Space = {"learning_rate": Range(3e-4, 1e-2, log=True)}
WEIGHT: Space = {"reg_weight": Range(1e-6, 1e-2, log=True)}
WIDTH: Space = {"embedding_size": Choices(32, 64, 128)}
ATTENTION: Space = {"hidden_size": Choices(32, 64, 128), "hidden_dropout_prob": Range(0.1, 0.5), "attn_dropout_prob": Range(0.1, 0.5)}
FIELDS: Space = RATE | {"embedding_size": Choices(8, 16, 32)}
DEEP: Space = FIELDS | {"dropout_prob": Range(0.0, 0.5)}
SPACES: dict[str, Space] = {
    "BPR": RATE | WIDTH,
    "NeuMF": RATE | {"mf_embedding_size": Choices(32, 64, 128), "dropout_prob": Range(0.0, 0.5)},
    "LightGCN": RATE | WIDTH | WEIGHT | {"n_layers": Choices(1, 2, 3, 4)},
    "SGL": RATE | WEIGHT | {"ssl_weight": Range(0.005, 0.5, log=True), "ssl_tau": Range(0.1, 1.0), "n_layers": Choices(1, 2, 3)},
    "SimpleX": RATE | WIDTH | {"margin": Range(0.0, 1.0), "gamma": Range(0.1, 0.9), "negative_weight": Range(1.0, 50.0, log=True)},
    "MultiVAE": RATE | {"latent_dimension": Choices(64, 128, 256), "dropout_prob": Range(0.2, 0.8), "anneal_cap": Range(0.05, 0.5)},
    "RecVAE": RATE | {"latent_dimension": Choices(64, 128, 256), "dropout_prob": Range(0.2, 0.8), "gamma": Range(0.001, 0.05, log=True)},
    "SLIMElastic": {"alpha": Range(0.02, 1.0, log=True), "l1_ratio": Range(0.005, 0.5, log=True)},
    "NGCF": RATE | WIDTH | WEIGHT | {"message_dropout": Range(0.0, 0.5)},
    "GRU4Rec": RATE | WIDTH | {"hidden_size": Choices(64, 128, 256), "dropout_prob": Range(0.1, 0.5), "batch_size": Choices(8, 16, 32)},
    "NARM": RATE | WIDTH | {"hidden_size": Choices(64, 128), "length": Choices(20, 50)},
    "SASRec": RATE | ATTENTION | {"n_layers": Choices(1, 2), "batch_size": Choices(8, 16, 32)},
    "BERT4Rec": RATE | ATTENTION | {"mask_ratio": Range(0.1, 0.6), "ft_ratio": Range(0.0, 1.0)},
    "LightSANs": RATE | ATTENTION | {"k_interests": Choices(5, 10, 20)},
    "CORE": RATE | WIDTH | {"temperature": Range(0.03, 0.3, log=True), "sess_dropout": Range(0.0, 0.5)},
    "FM": FIELDS,
    "DeepFM": DEEP,
    "xDeepFM": DEEP | WEIGHT,
    "DCNV2": DEEP | WEIGHT,
    "AutoInt": FIELDS | {"attention_size": Choices(8, 16, 32), "n_layers": Choices(1, 2, 3)},
    "WideDeep": DEEP,
}
"""What `workbench tune` may give to which setting."""
