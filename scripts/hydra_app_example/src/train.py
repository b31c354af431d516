"""Trains what the configuration names, in the manner of lightning-hydra-template.

python src/train.py                                      trains
python src/train.py callbacks=[default,init]             with an initialization plan
python -m initsearch.hydra_app                           searches the initialization, without a change here
"""

from typing import Any

import hydra
import lightning.pytorch as pl
from hydra.utils import instantiate
from omegaconf import DictConfig


def train(cfg: DictConfig) -> dict[str, Any]:
    """Train once; returns what the module has logged."""
    if cfg.get("seed") is not None:
        pl.seed_everything(cfg.seed, workers=True)
    datamodule = instantiate(cfg.data)
    model = instantiate(cfg.model)
    callbacks = [instantiate(node) for node in (cfg.callbacks or {}).values()]
    trainer: pl.Trainer = instantiate(cfg.trainer, callbacks=callbacks)
    trainer.fit(model=model, datamodule=datamodule)
    return dict(trainer.callback_metrics)


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    metrics = train(cfg)
    print(f"{cfg.optimized_metric}: {float(metrics[cfg.optimized_metric]):.3f}")


if __name__ == "__main__":
    main()
