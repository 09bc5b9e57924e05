import gzip
import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from scipy.io import savemat

from bench.datasets import load
from bench.datasets.download import Download, obtain
from bench.errors import UsageError


def silent(message: str) -> None:
    raise AssertionError(f"nothing to announce, but: {message}")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


# --- MNIST and Fashion-MNIST -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist_is_the_content_of_its_raw_files(data_root: Path, name: str, folder: str) -> None:
    raw = data_root / folder / "raw"
    if not raw.is_dir():
        pytest.skip(f"needs {folder} in BENCH_DATA")
    dataset = load(name, data_root, announce=silent)
    pixels = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(-1, 1, 28, 28)
    truth = np.frombuffer((raw / "t10k-labels-idx1-ubyte").read_bytes()[8:], np.uint8).astype(np.int64)
    assert (dataset.name, dataset.n_train, dataset.n_test, dataset.classes) == (name, 60_000, 10_000, 10)
    assert np.array_equal(dataset.train_images.numpy(), pixels)
    assert dataset.examiner.wrong(torch.from_numpy(truth)).item() == 0
    assert (dataset.shift, dataset.divisor, dataset.value_range) == (0.0, 255.0, (0.0, 1.0))


def test_a_corrupted_raw_file_is_named(data_root: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (data_root / "MNIST" / "raw").glob("*-ubyte"):
        (raw / path.name).symlink_to(path.resolve())
    broken = raw / "t10k-labels-idx1-ubyte"
    content = bytearray(broken.read_bytes())
    content[100] ^= 1
    broken.unlink()
    broken.write_bytes(content)
    with pytest.raises(UsageError, match=r"t10k-labels-idx1-ubyte: wrong checksum.*Delete it") as caught:
        load("mnist", tmp_path, announce=silent)
    assert len(str(caught.value)) <= 1500
    assert broken.read_bytes() == content


# --- SVHN ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def svhn_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in SVHN's format (X: [32, 32, 3, n], y: [n, 1] with 10 for the digit 0), accepted by their checksums."""
    rng = np.random.default_rng(0)
    accepted = {}
    for split, n in (("train", 12), ("test", 5)):
        path = tmp_path / f"{split}_32x32.mat"
        labels = (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]
        savemat(path, {"X": rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8), "y": labels})
        accepted[split] = ["http://unused", path.name, md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", accepted)
    return tmp_path


def test_svhn_reads_official_files(svhn_root: Path) -> None:
    dataset = load("svhn", svhn_root, announce=silent)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 12), dtype=np.uint8)
    assert (dataset.n_train, dataset.n_test, dataset.classes, dataset.image_shape) == (12, 5, 10, (3, 32, 32))
    assert dataset.train_images.dtype == torch.uint8
    assert dataset.train_images[7, 1, 20, 30] == pixels[20, 30, 1, 7]
    assert dataset.vault.open(range(12)).read(range(12)).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert dataset.examiner.wrong(torch.tensor([1, 2, 3, 4, 5])).item() == 0
    expected = (dataset.test_images.numpy().astype(np.float32) - 127.5) / 127.5
    assert np.allclose(dataset.scale(dataset.test_images).numpy(), expected, atol=1e-6)
    assert dataset.value_range == (-1.0, 1.0)


def test_svhn_with_a_wrong_checksum(svhn_root: Path) -> None:
    path = svhn_root / "test_32x32.mat"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UsageError, match=r"test_32x32\.mat: wrong checksum"):
        load("svhn", svhn_root, announce=silent)


# --- CIFAR-10 --------------------------------------------------------------------------------------------------------


def cifar_arrays(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8),
        "y_train": np.arange(20, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8),
        "y_test": np.arange(10, dtype=np.uint8),
    }


def test_cifar10_from_an_archive(tmp_path: Path) -> None:
    arrays = cifar_arrays()
    np.savez(tmp_path / "cifar10.npz", **arrays)
    dataset = load("cifar10", tmp_path, announce=silent)
    assert (dataset.name, dataset.n_train, dataset.n_test, dataset.classes) == ("cifar10", 20, 10, 10)
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.train_images[3, 2, 5, 6] == arrays["x_train"][3, 5, 6, 2]
    assert (dataset.shift, dataset.divisor, dataset.value_range) == (127.5, 128.0, (-1.0, 1.0))
    assert dataset.class_names[:3] == ("airplane", "automobile", "bird")


def test_cifar10_content_hash_ignores_the_path_and_follows_the_content(tmp_path: Path) -> None:
    hashes = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "cifar10.npz", **cifar_arrays(seed))
        hashes.append(load("cifar10", tmp_path / folder).content_hash)
    assert hashes[0] == hashes[1] != hashes[2]
    relabelled = cifar_arrays() | {"y_test": np.arange(10, dtype=np.uint8)[::-1]}
    np.savez(tmp_path / "b" / "cifar10.npz", **relabelled)
    assert load("cifar10", tmp_path / "b").content_hash not in hashes
    assert load(f"npz:{tmp_path}/a/cifar10.npz", tmp_path).content_hash != hashes[0]  # another scale


@pytest.mark.parametrize(
    "changed",
    [
        {"x_train": np.zeros((20, 28, 28), np.uint8), "x_test": np.zeros((10, 28, 28), np.uint8)},
        {"y_train": np.arange(20) % 5, "y_test": np.arange(10) % 5},
        {"x_unlabelled": np.zeros((1, 32, 32, 3), np.uint8)},
    ],
)
def test_an_archive_that_is_not_cifar10(tmp_path: Path, changed: dict[str, Any]) -> None:
    np.savez(tmp_path / "cifar10.npz", **(cifar_arrays() | changed))
    with pytest.raises(UsageError, match="not CIFAR-10"):
        load("cifar10", tmp_path)


def test_cifar10_from_the_official_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3072), dtype=np.uint8)
    listed = {}
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": list(range(10))}))
        listed[name] = [[name, md5(folder / name)]]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", listed["data_batch_1"])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", listed["test_batch"])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "meta", meta)
    dataset = load("cifar10", tmp_path, announce=silent)
    assert np.array_equal(dataset.train_images.numpy(), pixels.reshape(10, 3, 32, 32))
    assert dataset.examiner.wrong(torch.arange(10)).item() == 0
    (folder / "test_batch").write_bytes(b"")
    with pytest.raises(UsageError, match=r"test_batch: wrong checksum"):
        load("cifar10", tmp_path, announce=silent)


# --- downloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
        ("fashion-mnist", "FashionMNIST/raw/train-images-idx3-ubyte"),
        ("svhn", "train_32x32.mat"),
        ("cifar10", "cifar-10-batches-py/data_batch_5"),
    ],
)
def test_a_failed_download_says_what_is_needed_and_leaves_nothing(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    said: list[str] = []
    root = tmp_path / "new" / "data"
    with pytest.raises(UsageError, match="BENCH_DATA") as caught:
        load(name, root, announce=said.append)
    assert len(said) == 1
    assert said[0].startswith(f"{name}: downloading about ")
    assert str(root) in said[0]
    for part in (str(root), file, "--data"):
        assert part in str(caught.value)
    assert len(str(caught.value)) <= 1500
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_mnist_is_unpacked_from_what_torchvision_downloads(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transfer is replaced by packing the raw files of BENCH_DATA; unpacking, checks and moving are real."""

    def packed(url: str, download_root: str, filename: str, md5: str) -> None:
        raw = data_root / "MNIST" / "raw" / filename.removesuffix(".gz")
        Path(download_root, filename).write_bytes(gzip.compress(raw.read_bytes(), compresslevel=1))

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", _then_extract(packed))
    said: list[str] = []
    dataset = load("mnist", tmp_path, announce=said.append)
    assert len(said) == 1
    assert dataset.n_train == 60_000
    assert sorted(path.name for path in (tmp_path / "MNIST" / "raw").iterdir()) == sorted(
        ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]
    load("mnist", tmp_path, announce=silent)


def _then_extract(transfer: Callable[[str, str, str, str], None]) -> Callable[[str, str, str, str], None]:
    def download_and_extract(url: str, download_root: str, filename: str, md5: str) -> None:
        transfer(url, download_root, filename, md5)
        torchvision.datasets.utils.extract_archive(str(Path(download_root, filename)), download_root)

    return download_and_extract


def _one_file(content: bytes, fetched: bytes, folder: str = "set") -> Download:
    def fetch(root: Path) -> None:
        (root / folder).mkdir()
        (root / folder / "file").write_bytes(fetched)
        (root / folder / "rest").write_bytes(b"not needed")

    name = f"{folder}/file"
    return Download("sample", 1, "example.org", {name: hashlib.md5(content, usedforsecurity=False).hexdigest()}, fetch)


def test_obtain_moves_the_files_and_keeps_no_rest(tmp_path: Path) -> None:
    said: list[str] = []
    obtain(_one_file(b"good", b"good"), tmp_path / "root", said.append)
    assert said == [f"sample: downloading about 1 MB from example.org to {tmp_path / 'root'}"]
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "root",
        "root/set",
        "root/set/file",
    ]
    obtain(_one_file(b"good", b"never fetched"), tmp_path / "root", silent)


@pytest.mark.parametrize(
    ("fetched", "folder", "reason"), [(b"bad", "set", "wrong checksum"), (b"good", "nothing", "holds no")]
)
def test_a_download_with_other_content_is_thrown_away(tmp_path: Path, fetched: bytes, folder: str, reason: str) -> None:
    expected = _one_file(b"good", b"good").files
    download = Download("sample", 1, "example.org", expected, _one_file(b"", fetched, folder).fetch)
    (tmp_path / "root").mkdir()
    with pytest.raises(UsageError, match=reason):
        obtain(download, tmp_path / "root", lambda message: None)
    assert not list((tmp_path / "root").iterdir())


@pytest.mark.parametrize("root", ["x" * 5000, "a\0b"])
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_data_folders_beyond_reason(name: str, root: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(name, Path(root), announce=lambda message: None)
    assert len(str(caught.value)) <= 1500


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--data"):
        obtain(_one_file(b"good", b"good"), tmp_path / "file", lambda message: None)
    assert (tmp_path / "file").read_text() == ""


def test_cats_and_dogs_are_two_classes_of_cifar10(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    dataset = load("cats-dogs", tmp_path, announce=silent)
    assert dataset.class_names == ("cat", "dog")
    assert np.array_equal(dataset.train_images.numpy(), x[np.isin(y, [3, 5])].transpose(0, 3, 1, 2))
    assert [members.tolist() for members in dataset.vault.by_class()] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert dataset.n_test == 4


def test_images_are_resized_and_the_name_says_so(svhn_root: Path) -> None:
    plain, large = (load("svhn", svhn_root, image_size=size, announce=silent) for size in (None, 48))
    assert large.name == "svhn-48"
    assert large.image_shape == (3, 48, 48)
    assert large.train_images.dtype == torch.uint8
    assert large.content_hash != plain.content_hash
    means = [images.float().mean().item() for images in (plain.train_images, large.train_images)]
    assert means[0] == pytest.approx(means[1], abs=1)
