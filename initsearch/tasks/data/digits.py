"""scikit-learn's handwritten digits: 1797 images of 8x8 pixels that come inside the package."""

import torch
from sklearn.datasets import load_digits

from initsearch.tasks.data.images import ImageData, LabelledImages, assemble
from initsearch.tasks.data.settings import DataSettings
from initsearch.tasks.data.split import hold_out

# A pixel counts 0..16 dots. Times 15 it spans 0..240 in whole steps: normalising the bytes gives exactly
# what normalising the counts would.
BYTES_PER_DOT = 15


def load(settings: DataSettings) -> ImageData:
    """The digits, uint8 (N, 1, 8, 8): 1498 to train on and a fixed stratified test set of 299.

    scikit-learn's copy has no test set of its own: a sixth of the images is held out, the same for every
    seed. See `sklearn.datasets.load_digits`.
    """
    bunch = load_digits()
    x = torch.from_numpy(bunch.images).mul(BYTES_PER_DOT).to(torch.uint8).unsqueeze(1)
    y = torch.from_numpy(bunch.target).long()
    classes = tuple(str(name) for name in bunch.target_names)
    train, test = hold_out("digits", y, classes)
    return assemble(
        "digits",
        LabelledImages(x[train], y[train]),
        LabelledImages(x[test], y[test]),
        classes,
        "sklearn.datasets.load_digits",
        settings.image_size,
    )
