"""Scikit-learn's digits, split once."""

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, random_split


class DigitsDataModule(pl.LightningDataModule):
    """1797 images of 8 by 8 pixels, flattened."""

    def __init__(self, batch_size: int = 64, train_size: int = 1400) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)

    def setup(self, stage: str | None = None) -> None:
        x, y = load_digits(return_X_y=True)
        images = TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y))
        sizes = [self.hparams["train_size"], len(images) - self.hparams["train_size"]]
        fixed = torch.Generator().manual_seed(0)
        self.data_train, self.data_val = random_split(images, sizes, generator=fixed)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.data_train, self.hparams["batch_size"], shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.data_val, 512)
