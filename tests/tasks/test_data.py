"""Data sets in memory: what is loaded, what a seed draws from it, and what bad copies say."""

import gzip
import json
import os
import pickle
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mnist_files import NAMES, as_idx, write_mnist
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets
from torchvision.transforms.v2 import functional as transforms

from initsearch.errors import ConfigError, DataError
from initsearch.tasks.data import (
    DataSettings,
    ImageData,
    default_root,
    list_data,
    split,
    split_sizes,
)
from initsearch.tasks.data import load_data as load_settings
from initsearch.tasks.data.cached import cached

CONF = Path(__file__).resolve().parents[2] / "conf" / "data"


def load_data(settings: Mapping[str, Any]) -> ImageData:
    """Load what a configuration's group `data` names."""
    return load_settings(DataSettings.parse("data", settings))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache folder."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("INITSEARCH_DATA", raising=False)
    return cache / "initsearch"


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data({"name": "digits"})


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def write_images(
    folder: Path, per_class: Mapping[str, int], size: int = 6, mode: str = "RGB"
) -> None:
    """PNG files of random pixels, a folder per class."""
    rng = np.random.default_rng(1)
    for name, count in per_class.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            shape = (size, size) if mode == "L" else (size, size, 3)
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")


# --- digits -----------------------------------------------------------------------------------


def test_digits_are_scikit_learns_own_images_each_once(digits: ImageData) -> None:
    theirs = load_digits()
    ours = torch.cat([digits.train_x, digits.test_x]).flatten(1).float() / 15
    labels = torch.cat([digits.train_y, digits.test_y])
    rows = sorted(zip(map(tuple, ours.tolist()), labels.tolist(), strict=True))
    expected = sorted(zip(map(tuple, theirs.data.tolist()), theirs.target.tolist(), strict=True))
    assert rows == expected
    assert digits.train_x.dtype == torch.uint8
    assert digits.train_y.dtype == torch.int64
    assert digits.input_shape == (1, 8, 8)
    assert digits.num_classes == 10
    assert (digits.name, digits.requested, digits.is_fallback) == ("digits", "digits", False)


def test_digits_test_set_is_stratified_and_always_the_same(digits: ImageData) -> None:
    again = load_data({"name": "digits", "train_size": 100})
    assert torch.equal(digits.test_x, again.test_x)
    assert len(digits.test_y) == 299
    shares = torch.bincount(digits.test_y) / torch.bincount(
        torch.cat([digits.train_y, digits.test_y])
    )
    assert torch.allclose(shares, torch.full((10,), 1 / 6), atol=0.006)


# --- normalising ------------------------------------------------------------------------------


def test_normalised_training_images_have_mean_0_and_std_1(digits: ImageData) -> None:
    x = digits.normalize(digits.train_x).double()
    assert x.mean().item() == pytest.approx(0, abs=1e-6)
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_normalize_is_the_formula_in_any_dtype(digits: ImageData) -> None:
    batch = digits.train_x[:5]
    formula = (batch / 255 - digits.mean.view(-1, 1, 1)) / digits.std.view(-1, 1, 1)
    torch.testing.assert_close(digits.normalize(batch), formula, atol=1e-6, rtol=1e-6)
    assert digits.normalize(batch, torch.bfloat16).dtype == torch.bfloat16


def test_a_constant_channel_normalises_to_zeros(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = np.zeros((4, 4, 3), np.uint8)
            pixels[..., 0] = number * 10  # red varies, green is 7 everywhere, blue is 0
            pixels[..., 1] = 7
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    data = load_data({"name": "image_folder", "root": str(tmp_path)})
    x = data.normalize(data.train_x)
    assert x.isfinite().all()
    torch.testing.assert_close(x[:, 1:], torch.zeros_like(x[:, 1:]), atol=1e-6, rtol=0)


def test_to_moves_every_tensor(digits: ImageData) -> None:
    moved = digits.to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6
    assert {tensor.device.type for tensor in tensors} == {"meta"}


# --- splits -----------------------------------------------------------------------------------


def test_a_split_covers_the_training_images_without_overlap(digits: ImageData) -> None:
    drawn = split(digits, seed=3)
    assert torch.cat([drawn.train, drawn.val]).sort().values.tolist() == list(range(1498))
    assert len(drawn.val) == 1498 // 6


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        ((6000, 4000), (1249, 249)),  # a sweep made for MNIST
        ((1498, None), (1249, 249)),
        ((1400, 200), (1298, 200)),
        ((None, 1490), (1249, 249)),
        ((1000, 498), (1000, 498)),
    ],
)
def test_sizes_beyond_the_data_set_are_lowered_to_what_there_is(
    digits: ImageData, asked: tuple[int | None, int | None], sizes: tuple[int, int]
) -> None:
    assert split_sizes(digits, *asked) == sizes


@pytest.mark.parametrize(("train_size", "val_size"), [(500, 200), (10, 10), (None, 700)])
def test_a_split_has_the_sizes_asked_for_and_every_class_in_its_share(
    digits: ImageData, train_size: int | None, val_size: int
) -> None:
    drawn = split(digits, 0, train_size, val_size)
    assert (len(drawn.train), len(drawn.val)) == (train_size or 1498 - 700, val_size)
    assert not set(drawn.train.tolist()) & set(drawn.val.tolist())
    shares = torch.bincount(digits.train_y) / len(digits.train_y)
    for index in (drawn.train, drawn.val):
        counts = torch.bincount(digits.train_y[index], minlength=10)
        assert (counts - shares * len(index)).abs().max() <= 1


def test_a_split_is_a_function_of_the_seed_alone(digits: ImageData) -> None:
    first = split(digits, seed=5, train_size=300)
    torch.manual_seed(123)
    np.random.seed(99)
    again = split(digits, seed=5, train_size=300)
    other = split(digits, seed=6, train_size=300)
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.val, again.val)
    assert not torch.equal(first.train, other.train)
    assert not torch.equal(first.val, other.val)


def test_seeds_beyond_32_bits_are_told_apart(digits: ImageData) -> None:
    draws = [split(digits, seed, 300).train for seed in (1, 2**32 + 1, 2**64 + 1)]
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[1], draws[2])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train_size": 9}, ["data.train_size", "10", "9"]),
        ({"val_size": 3}, ["data.val_size", "10", "3"]),
    ],
)
def test_sizes_that_the_data_cannot_give_name_what_is_available(
    settings: dict[str, int], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        load_data({"name": "digits", **settings})
    assert all(word in one_line(error) for word in words)


def test_a_negative_seed_is_refused(digits: ImageData) -> None:
    with pytest.raises(ConfigError, match="seed must be an integer >= 0, but got -1"):
        split(digits, -1)


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "mnits"}, ["unknown data set 'mnits'", "mnist"]),
        ({"name": None}, ["unknown data set None"]),
        ({"fallback": "digit"}, ["data.fallback", "digits"]),
        ({"fallback": "image_folder"}, ["data.fallback", "image_folder"]),
        ({"train_sizes": 5}, ["unknown setting of data 'train_sizes'", "train_size"]),
        ({"train_size": 0}, ["data.train_size", "greater than or equal to 1", "0"]),
        ({"train_size": "many"}, ["data.train_size", "'many'"]),
        ({"train_size": True}, ["data.train_size", "True"]),
        ({"val_size": 2.5}, ["data.val_size", "2.5"]),
        ({"image_size": -8}, ["data.image_size", "-8"]),
        ({"timeout": 0}, ["data.timeout", "0"]),
        ({"deadline": float("nan")}, ["data.deadline", "nan"]),
        ({"download": "no"}, ["data.download", "'no'"]),
        ({"root": 5}, ["data.root", "5"]),
    ],
)
def test_a_bad_setting_is_named_with_its_value(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_data(settings)
    assert all(word in one_line(error) for word in words)


def test_settings_are_plain_data() -> None:
    settings = DataSettings(name="digits", train_size=100)
    again = json.loads(json.dumps(settings.model_dump()))
    assert DataSettings.parse("data", again) == settings
    assert hash(DataSettings.parse("data", again)) == hash(settings)


def test_a_key_says_which_images_not_how_they_are_found() -> None:
    mnist = DataSettings(name="mnist")
    elsewhere = DataSettings(name="mnist", root="elsewhere", download=False, timeout=1.0)
    assert mnist.key() == elsewhere.key()
    assert mnist.key() != DataSettings(name="mnist", image_size=14).key()
    one, other = (DataSettings(name="image_folder", root=root).key() for root in ("a", "b"))
    assert one != other


def test_root_defaults_to_the_environment_then_to_the_users_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_root() == own_cache
    monkeypatch.setenv("INITSEARCH_DATA", str(tmp_path / "named"))
    assert DataSettings().folder == tmp_path / "named"
    assert DataSettings(root=str(tmp_path / "given")).folder == tmp_path / "given"
    monkeypatch.delenv("INITSEARCH_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache" / "initsearch"


def test_there_is_a_config_file_per_data_set_with_every_setting() -> None:
    files = [
        path for path in CONF.glob("*.yaml") if path.stem in list_data()
    ]  # others: other tasks
    assert sorted(path.stem for path in files) == list_data()
    for path in files:
        settings = yaml.safe_load(path.read_text())
        assert DataSettings.parse("data", settings).name == path.stem
        assert set(settings) == set(DataSettings.model_fields)


# --- MNIST ------------------------------------------------------------------------------------


@pytest.mark.mnist
def test_real_mnist_is_whole_and_has_the_known_mean_and_std(mnist_root: Path) -> None:
    data = load_data({"name": "mnist", "root": str(mnist_root), "download": False})
    assert data.train_x.shape == (60000, 1, 28, 28)
    assert data.test_x.shape == (10000, 1, 28, 28)
    # Figures that every MNIST example has: mean 0.1307, std 0.3081; 5923 zeros, 6742 ones.
    assert data.mean.item() == pytest.approx(0.1307, abs=5e-5)
    assert data.std.item() == pytest.approx(0.3081, abs=5e-5)
    assert torch.bincount(data.train_y)[:2].tolist() == [5923, 6742]
    assert split_sizes(data) == (50000, 10000)
    assert split_sizes(data, train_size=1000) == (1000, 10000)


def test_mnist_is_read_from_torchvisions_layout(tmp_path: Path) -> None:
    arrays = write_mnist(tmp_path)
    data = load_data({"name": "mnist", "root": str(tmp_path)})
    assert np.array_equal(data.train_x[:, 0].numpy(), arrays["train-images-idx3-ubyte"])
    assert np.array_equal(data.test_x[:, 0].numpy(), arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(data.test_y.numpy(), arrays["t10k-labels-idx1-ubyte"])
    assert data.source == str(tmp_path / "MNIST" / "raw")


def test_image_size_resizes_with_antialiasing(tmp_path: Path) -> None:
    arrays = write_mnist(tmp_path)
    data = load_data({"name": "mnist", "root": str(tmp_path), "image_size": 14})
    assert data.input_shape == (1, 14, 14)
    image = Image.fromarray(arrays["train-images-idx3-ubyte"][0])
    pillow = transforms.pil_to_tensor(image.resize((14, 14), Image.Resampling.BILINEAR))
    assert (data.train_x[0].int() - pillow.int()).abs().max() <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda whole: whole[:-7], "by its header, but has"),
        (lambda whole: whole + b"more", "by its header, but has"),
        (lambda whole: whole[:3], "not an IDX file"),
        (lambda whole: b"", "not an IDX file"),
        (
            lambda whole: b"<!DOCTYPE html><html>a page of a captive portal</html>",
            "not an IDX file",
        ),
        (gzip.compress, "not an IDX file"),
        (lambda whole: whole[:4] + bytes(4) + whole[8 : 4 + 4 * whole[3]], "but has none"),
    ],
)
def test_a_damaged_mnist_file_is_named_and_no_fallback_hides_it(
    tmp_path: Path, name: str, damage: Any, says: str
) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as error:
        load_data({"name": "mnist", "root": str(tmp_path), "fallback": "digits"})
    text = one_line(error)
    assert str(path) in text
    assert says in text
    assert "data.root=" in text


@pytest.mark.parametrize(
    ("labels", "says"),
    [(np.arange(50) % 10, "60 training images and 50 labels"), (np.arange(60), "outside its 10")],
)
def test_labels_that_do_not_fit_the_images_are_refused(
    tmp_path: Path, labels: np.ndarray, says: str
) -> None:
    write_mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(as_idx(labels))
    with pytest.raises(DataError, match=says) as error:
        load_data({"name": "mnist", "root": str(tmp_path)})
    one_line(error)


# --- CIFAR-10 ---------------------------------------------------------------------------------


def write_cifar10(root: Path) -> np.ndarray:
    """A small CIFAR-10 in torchvision's layout: 20 images to a batch file."""
    rng = np.random.default_rng(2)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    first = np.empty(0)
    for number, (name, _) in enumerate((*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list)):
        rows = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        first = rows if number == 0 else first
        entry = {"data": rows, "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(entry))
    names = [f"class {i}" for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    return first


def test_cifar10_is_read_from_torchvisions_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_cifar10(tmp_path)
    for name in ("train_list", "test_list"):  # the MD5 sums are those of the real files
        unsigned = [[file, None] for file, _ in getattr(datasets.CIFAR10, name)]
        monkeypatch.setattr(datasets.CIFAR10, name, unsigned)
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", None)
    data = load_data({"name": "cifar10", "root": str(tmp_path)})
    # A row is a red, a green and a blue plane of 32 rows (the format's own description).
    assert np.array_equal(data.train_x[:20].numpy(), first.reshape(20, 3, 32, 32))
    assert data.train_x.is_contiguous()
    assert (len(data.train_y), len(data.test_y)) == (100, 20)
    assert data.classes[3] == "class 3"
    assert data.mean.shape == (3,)


def test_a_foreign_cifar10_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    write_cifar10(tmp_path)  # of right names, but not of the right MD5 sums
    with pytest.raises(DataError, match="truncated or foreign") as error:
        load_data({"name": "cifar10", "root": str(tmp_path), "fallback": "digits"})
    assert "data.root=" in one_line(error)


# --- image folders ----------------------------------------------------------------------------


def test_a_folder_by_class_is_split_into_training_and_a_fixed_test_set(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 24, "dog": 12})
    (tmp_path / "cat" / "notes.txt").write_text("not an image, and not read")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    config = {"name": "image_folder", "root": str(tmp_path)}
    data = load_data(config)
    assert data.classes == ("cat", "dog")
    assert data.input_shape == (3, 6, 6)
    assert torch.bincount(data.test_y).tolist() == [4, 2]
    assert torch.bincount(data.train_y).tolist() == [20, 10]
    seen = {tuple(x.flatten().tolist()) for x in torch.cat([data.train_x, data.test_x])}
    files = sorted(tmp_path.glob("*/*.png"))
    assert seen == {tuple(np.asarray(Image.open(f)).transpose(2, 0, 1).ravel()) for f in files}
    assert torch.equal(load_data(config).test_x, data.test_x)


@pytest.mark.parametrize(
    ("train", "name"),
    [("train", "test"), ("train", "val"), ("Train", "Test"), ("training", "validation")],
)
def test_train_and_test_folders_are_the_official_split(
    tmp_path: Path, train: str, name: str
) -> None:
    write_images(tmp_path / train, {"a": 5, "b": 4}, mode="L")
    write_images(tmp_path / name, {"a": 2, "b": 3}, mode="L")
    data = load_data({"name": "image_folder", "root": str(tmp_path)})
    assert data.input_shape == (1, 6, 6)
    assert data.train_y.tolist() == [0] * 5 + [1] * 4
    assert data.test_y.tolist() == [0] * 2 + [1] * 3
    pixels = np.asarray(Image.open(tmp_path / name / "b" / "002.png"))
    assert np.array_equal(data.test_x[-1, 0].numpy(), pixels)


@pytest.mark.parametrize("val", ["val", "valid"])
def test_with_three_folders_val_belongs_to_the_training_images(tmp_path: Path, val: str) -> None:
    for name, count in (("train", 5), (val, 3), ("test", 2)):
        write_images(tmp_path / name, {"a": count, "b": count})
    data = load_data({"name": "image_folder", "root": str(tmp_path)})
    assert (len(data.train_y), len(data.test_y)) == (16, 4)


def test_gray_and_colour_together_are_colour(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"a": 2})
    write_images(tmp_path / "train", {"b": 2}, mode="L")
    write_images(tmp_path / "test", {"a": 1, "b": 1})
    data = load_data({"name": "image_folder", "root": str(tmp_path)})
    assert data.input_shape == (3, 6, 6)
    gray = data.train_x[data.train_y == 1]
    assert torch.equal(gray[:, 0], gray[:, 1])
    assert torch.equal(gray[:, 0], gray[:, 2])


def test_images_of_many_sizes_need_image_size(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3}, size=6)
    write_images(tmp_path, {"b": 3}, size=9)
    config = {"name": "image_folder", "root": str(tmp_path)}
    with pytest.raises(DataError, match=r"data\.image_size=") as error:
        load_data(config)
    assert "9x9" in one_line(error)
    assert load_data({**config, "image_size": 4}).input_shape == (3, 4, 4)


def test_a_wide_image_is_cropped_at_the_centre(tmp_path: Path) -> None:
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = 200  # the middle third is bright
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    data = load_data({"name": "image_folder", "root": str(tmp_path), "image_size": 4})
    assert torch.equal(data.train_x, torch.full_like(data.train_x, 200))


def test_decoded_images_are_kept_until_a_file_changes(tmp_path: Path, own_cache: Path) -> None:
    folder = tmp_path / "images"
    write_images(folder, {"a": 3, "b": 3})
    config = {"name": "image_folder", "root": str(folder)}
    first = load_data(config)
    (file,) = (own_cache / "decoded").glob("images-*.pt")
    content = torch.load(file, weights_only=True)
    content["x"] = torch.full_like(content["x"], 9)
    torch.save(content, file)
    assert load_data(config).train_x.unique().tolist() == [9]  # read from what is kept
    write_images(folder, {"b": 4})
    changed = load_data(config)
    assert len(changed.train_y) + len(changed.test_y) == 7
    assert changed.train_x.unique().numel() > 1
    file.write_bytes(file.read_bytes()[:100])
    again = load_data(config)  # a damaged file is no obstacle
    assert torch.equal(again.train_x, changed.train_x)
    assert first.train_x.shape[1:] == again.train_x.shape[1:]
    assert [path.suffix for path in (own_cache / "decoded").iterdir() if path != file] == [".lock"]


def test_a_cache_folder_that_cannot_be_written_only_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write_images(tmp_path / "images", {"a": 3, "b": 3})
    with pytest.warns(UserWarning, match="XDG_CACHE_HOME"):
        data = load_data({"name": "image_folder", "root": str(tmp_path / "images")})
    assert len(data.train_y) + len(data.test_y) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"GIF89a but no more",
        lambda whole: b"",
        lambda whole: whole[:8] + bytes(len(whole) - 8),
    ],
)
def test_an_undecodable_image_is_named(tmp_path: Path, damage: Any) -> None:
    write_images(tmp_path, {"a": 3, "b": 3}, size=32)
    bad = tmp_path / "b" / "001.png"
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(DataError) as error:
        load_data({"name": "image_folder", "root": str(tmp_path)})
    assert str(bad) in one_line(error)
    assert "remove that file" in one_line(error)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3, "b": 3})
    link = tmp_path / "b" / "003.png"
    link.symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="No such file") as error:
        load_data({"name": "image_folder", "root": str(tmp_path)})
    assert str(link) in one_line(error)
    assert "remove that file" in one_line(error)


def labels_of(folder: Path) -> list[int]:
    images = load_data({"name": "image_folder", "root": str(folder)})
    return sorted([*images.train_y.tolist(), *images.test_y.tolist()])


@pytest.mark.parametrize("target", ["..", ".", "../b"])
def test_a_link_to_a_folder_adds_no_images_to_its_class(tmp_path: Path, target: str) -> None:
    write_images(tmp_path, {"a": 12, "b": 12})
    (tmp_path / "a" / "more").symlink_to(target, target_is_directory=True)
    assert labels_of(tmp_path) == [0] * 12 + [1] * 12


def test_a_second_name_of_an_image_in_its_class_is_ignored(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 12, "b": 12})
    (tmp_path / "a" / "again.png").symlink_to("000.png")
    assert labels_of(tmp_path) == [0] * 12 + [1] * 12


def test_a_class_may_be_a_link_to_its_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", {"a": 12})
    write_images(tmp_path / "data", {"b": 12})
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere" / "a", target_is_directory=True)
    assert labels_of(tmp_path / "data") == [0] * 12 + [1] * 12


@pytest.mark.parametrize("place", ["train/b/000.png", "test/a/100.png"])
def test_an_image_in_two_classes_or_parts_is_refused(tmp_path: Path, place: str) -> None:
    write_images(tmp_path / "train", {"a": 6, "b": 6})
    write_images(tmp_path / "test", {"a": 3, "b": 3})
    (tmp_path / place).unlink(missing_ok=True)
    (tmp_path / place).symlink_to(tmp_path / "train" / "a" / "005.png")
    with pytest.raises(DataError, match="one class and one part") as error:
        load_data({"name": "image_folder", "root": str(tmp_path)})
    assert "train/a/005.png" in one_line(error)


def test_a_named_pipe_is_no_image(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 12, "b": 12})
    os.mkfifo(tmp_path / "a" / "x.png")
    assert labels_of(tmp_path) == [0] * 12 + [1] * 12


def test_images_of_16_bits_are_refused_not_clipped(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3, "b": 3})
    deep = np.full((6, 6), 40000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "b" / "001.png")
    with pytest.raises(DataError, match="8 bits") as error:
        load_data({"name": "image_folder", "root": str(tmp_path)})
    one_line(error)


def test_folders_that_are_no_classes_of_images_say_so(tmp_path: Path) -> None:
    def refused(root: Path | None, match: str, kind: type[Exception] = DataError) -> None:
        with pytest.raises(kind, match=match) as error:
            load_data({"name": "image_folder", "root": root and str(root), "fallback": "digits"})
        one_line(error)

    refused(None, "data.root must name the folder of images", ConfigError)
    refused(tmp_path / "nowhere", "there is no folder")
    (tmp_path / "bare").mkdir()
    refused(tmp_path / "bare", "2 classes or more")
    write_images(tmp_path / "single", {"a": 3})
    refused(tmp_path / "single", "2 classes or more")
    write_images(tmp_path / "hollow", {"a": 3, "b": 0})
    refused(tmp_path / "hollow", "b")
    write_images(tmp_path / "rare", {"a": 30, "b": 1})
    refused(tmp_path / "rare", "class 'b' .* at least 2 examples")
    write_images(tmp_path / "apart" / "train", {"a": 3, "b": 3})
    write_images(tmp_path / "apart" / "test", {"a": 3, "c": 3})
    refused(tmp_path / "apart", r"does not have \(c\)")
    for name in ("train", "valid", "validation"):
        write_images(tmp_path / "twice" / name, {"a": 3, "b": 3})
    refused(tmp_path / "twice", "has valid and validation, which mean the same part")
    write_images(tmp_path / "unsorted" / "train", {"a": 3, "b": 3})
    write_images(tmp_path / "unsorted", {"validation": 3})
    refused(tmp_path / "unsorted", "validation must have its images in sub-folders by class")
    write_images(tmp_path / "unclear" / "training", {"monday": 3, "tuesday": 3})
    write_images(tmp_path / "unclear", {"match": 3})
    refused(tmp_path / "unclear", "the classes training and match: move match elsewhere, or rename")


def test_classes_may_be_called_as_parts_are(tmp_path: Path) -> None:
    write_images(tmp_path, {"bus": 3, "train": 3, "Training": 3})
    data = load_data({"name": "image_folder", "root": str(tmp_path)})
    assert data.classes == ("Training", "bus", "train")


def test_folders_beside_the_parts_are_no_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_images(tmp_path / part, {"a": 2, "b": 2})
    write_images(tmp_path, {"unlabelled": 5})
    assert load_data({"name": "image_folder", "root": str(tmp_path)}).classes == ("a", "b")


def test_those_that_come_while_images_are_decoded_wait_for_them(tmp_path: Path) -> None:
    decoded = []

    def decode() -> torch.Tensor:
        time.sleep(0.1)
        decoded.append(1)
        return torch.arange(5, dtype=torch.uint8)

    path = tmp_path / "folder" / "images.pt"
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(cached, path, "same files", decode) for _ in range(4)]
        results = [future.result().tolist() for future in waiting]
    assert results == [[0, 1, 2, 3, 4]] * 4
    assert decoded == [1]


# --- what is missing --------------------------------------------------------------------------


def test_a_whole_copy_is_read_without_a_lock(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    load_data({"name": "mnist", "root": str(tmp_path)})
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


def test_a_missing_data_set_names_the_remedies(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load_data({"name": "mnist", "root": str(tmp_path), "download": False})
    text = one_line(error)
    assert all(word in text for word in ("data.root=", "data.fallback=digits", "data=digits"))
    assert str(tmp_path) in text


def test_a_fallback_says_what_it_is_and_what_was_asked_for(
    tmp_path: Path, digits: ImageData
) -> None:
    config = {
        "name": "mnist",
        "root": str(tmp_path),
        "download": False,
        "fallback": "digits",
        "train_size": 20000,
        "val_size": 5000,
    }
    data = load_data(config)
    assert (data.name, data.requested, data.is_fallback) == ("digits", "mnist", True)
    assert torch.equal(data.train_x, digits.train_x)
    assert "download is false" in str(data.reason)
    # The sizes were meant for MNIST: the stand-in gives what it has.
    assert split_sizes(data, 20000, 5000) == (1249, 249)
    assert split_sizes(data, 100, 50) == (100, 50)


def test_a_copy_with_a_file_missing_is_not_whole(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    shutil.move(tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte", tmp_path / "away")
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is missing") as error:
        load_data({"name": "mnist", "root": str(tmp_path), "download": False})
    one_line(error)


def test_loading_the_same_data_twice_gives_the_same_tensors(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    first, second = (load_data({"name": "mnist", "root": str(tmp_path)}) for _ in range(2))
    assert torch.equal(first.train_x, second.train_x)
    assert torch.equal(first.mean, second.mean)
