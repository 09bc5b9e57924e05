"""`npz:PATH` and `folder:PATH`."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.datasets import Dataset, load, make_split
from bench.errors import UsageError

NOWHERE = Path("unused")


def silent(message: str) -> None:
    raise AssertionError(f"nothing to announce, but: {message}")


# --- npz -------------------------------------------------------------------------------------------------------------


def arrays(**changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    good: dict[str, Any] = {
        "x_train": rng.integers(0, 256, (6, 5, 4), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.integers(0, 256, (3, 5, 4), dtype=np.uint8),
        "y_test": np.array([0, 1, 2]),
    }
    return {name: value for name, value in (good | changed).items() if value is not None}


def load_arrays(folder: Path, **changed: Any) -> Dataset:
    np.savez(folder / "mine.npz", **arrays(**changed))
    return load(f"npz:{folder}/mine.npz", NOWHERE, announce=silent)


def test_npz_of_grey_images(tmp_path: Path) -> None:
    dataset = load_arrays(tmp_path)
    assert (dataset.name, dataset.n_train, dataset.n_test, dataset.classes) == ("npz:mine", 6, 3, 3)
    assert np.array_equal(dataset.train_images.numpy()[:, 0], arrays()["x_train"])
    assert (dataset.shift, dataset.divisor, dataset.value_range) == (0.0, 255.0, (0.0, 1.0))
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.examiner.wrong(torch.tensor([0, 1, 0])).item() == 1


@pytest.mark.parametrize(
    ("shape", "expected", "scale"),
    [
        ((5, 4, 1), (1, 5, 4), (0.0, 255.0, (0.0, 1.0))),
        ((5, 4, 3), (3, 5, 4), (127.5, 127.5, (-1.0, 1.0))),
        ((7,), (7,), (0.0, 255.0, (0.0, 1.0))),
    ],
)
def test_shapes_and_scales_of_bytes(tmp_path: Path, shape: Any, expected: Any, scale: Any) -> None:
    rng = np.random.default_rng(1)
    train = rng.integers(0, 256, (6, *shape), dtype=np.uint8)
    dataset = load_arrays(tmp_path, x_train=train, x_test=train[:3])
    assert dataset.image_shape == expected
    assert (dataset.shift, dataset.divisor, dataset.value_range) == scale
    if len(shape) == 3:
        assert dataset.train_images[2, shape[2] - 1, 4, 3] == train[2, 4, 3, shape[2] - 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 1, (0.0, 1.0)), (-1, 1, (-1.0, 1.0)), (-1.5, 1, None), (0, 2, None)]
)
def test_floats_stay_as_they_are(tmp_path: Path, dtype: Any, low: float, high: float, expected: Any) -> None:
    train = np.linspace(low, high, 12).reshape(6, 2).astype(dtype)
    dataset = load_arrays(tmp_path, x_train=train, x_test=train[:3])
    assert dataset.train_images.dtype == torch.float32
    assert np.array_equal(dataset.scale(dataset.train_images).numpy(), train.astype(np.float32))
    assert dataset.value_range == expected


def test_unlabelled_images_come_last_and_have_no_label(tmp_path: Path) -> None:
    extra = np.full((4, 5, 4), 9, np.uint8)
    dataset = load_arrays(tmp_path, x_unlabelled=extra)
    assert (dataset.n_train, dataset.n_images) == (6, 10)
    assert np.array_equal(dataset.train_images[6:, 0].numpy(), extra)
    split = make_split(dataset, seed=0, budget=6, selection="balanced")
    assert split.unlabelled.tolist() == [6, 7, 8, 9]
    assert dataset.content_hash != load_arrays(tmp_path).content_hash


def test_labels_may_be_a_column_of_any_integers(tmp_path: Path) -> None:
    plain = load_arrays(tmp_path)
    column = load_arrays(tmp_path, y_train=np.array([[0], [1], [2], [0], [1], [2]], np.uint8))
    assert plain.content_hash == column.content_hash


def test_npz_content_hash_ignores_names(tmp_path: Path) -> None:
    first = load_arrays(tmp_path)
    (tmp_path / "mine.npz").rename(tmp_path / "yours.npz")
    second = load(f"npz:{tmp_path}/yours.npz", NOWHERE)
    assert (second.name, second.content_hash) == ("npz:yours", first.content_hash)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": None, "x_test": None}, "y_train, x_test missing"),
        ({"x_train": np.zeros((6, 5, 4), np.int64)}, "x_train has type int64; allowed are uint8 and float"),
        ({"x_train": np.zeros((6, 5, 4), bool)}, "x_train has type bool"),
        ({"x_train": np.zeros((6, 5, 4), complex)}, "x_train has type complex128"),
        ({"x_train": np.zeros((6, 3, 5, 4), np.uint8)}, r"x_train has shape \[6, 3, 5, 4\]"),
        ({"x_train": np.zeros(6, np.uint8)}, r"x_train has shape \[6\]"),
        ({"x_train": np.zeros((0, 5, 4), np.uint8)}, r"x_train has shape \[0, 5, 4\].*none of them empty"),
        ({"x_test": np.zeros((0, 5, 4), np.uint8), "y_test": np.zeros(0, int)}, "x_test has shape"),
        ({"x_train": np.uint8(3)}, r"x_train has shape \[\]"),
        ({"x_train": np.full((6, 2), np.nan)}, "not finite"),
        ({"x_train": np.full((6, 2), 1e300)}, "not finite float32"),
        ({"y_train": np.zeros(5, int)}, "x_train has 6 images but y_train has 5 labels"),
        ({"y_test": np.zeros(4, int)}, "x_test has 3 images but y_test has 4 labels"),
        ({"x_test": np.zeros((3, 4, 4), np.uint8)}, "x_test differs from x_train in shape or type"),
        ({"x_test": np.zeros((3, 5, 4))}, "x_test differs from x_train in shape or type"),
        ({"x_unlabelled": np.zeros((3, 5, 5), np.uint8)}, "x_unlabelled differs from x_train"),
        ({"y_train": np.zeros(6)}, "y_train must be integers"),
        ({"y_train": np.eye(6, dtype=int)}, "y_train must be integers of shape"),
        ({"y_train": np.array(list("abcabc"))}, "y_train must be integers"),
        ({"y_train": np.zeros(6, int), "y_test": np.zeros(3, int)}, "y_train has 1 class; there must be at least 2"),
        ({"y_train": np.array([1, 2, 3, 1, 2, 3])}, "every class 0 to K-1; it has 3 from 1 to 3"),
        ({"y_train": np.array([0, 2, 0, 2, 0, 2])}, "every class 0 to K-1; it has 2 from 0 to 2"),
        ({"y_train": np.array([-1, 0, 1, 0, 1, 0])}, "it has 3 from -1 to 1"),
        ({"y_test": np.array([0, 1, 10**15])}, "y_test has the label 1000000000000000"),
        ({"x_train": np.array([{}] * 6, dtype=object)}, "pickled objects are never loaded"),
    ],
)
def test_unfit_archives(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_arrays(tmp_path, **changed)
    assert "mine.npz" in str(caught.value)
    assert len(str(caught.value)) <= 1500


def archive_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays())
    return buffer.getvalue()


def single_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def corrupted() -> bytes:
    content = bytearray(archive_bytes())
    content[60:120] = bytes(60)
    return bytes(content)


def foreign_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in arrays():
            file.writestr(f"{name}.npy", b"no array")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"some text", pickle.dumps([1, 2]), archive_bytes()[:200], corrupted(), single_array(), foreign_zip()],
    ids=["empty", "text", "pickle", "truncated", "corrupted", "single array", "foreign zip"],
)
def test_files_that_are_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"broken\.npz: ") as caught:
        load(f"npz:{tmp_path}/broken.npz", NOWHERE)
    assert len(str(caught.value)) <= 1500


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.npz", "no such file"),
        (".", "cannot be read"),
        ("x" * 5000, "too long|cannot"),
        ("a\0b", "cannot be read"),
    ],
)
def test_paths_that_are_no_archive(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(f"npz:{tmp_path}/{name}", NOWHERE)
    assert len(str(caught.value)) <= 1500


# --- folder ----------------------------------------------------------------------------------------------------------


def picture(path: Path, size: tuple[int, int] = (6, 5), mode: str = "RGB", colour: Any = (10, 20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two cats and one dog to train on, one of each to test, images 6 wide and 5 high."""
    root = tmp_path / "pets"
    picture(root / "train" / "dog" / "a.png", colour=(1, 2, 3))
    picture(root / "train" / "cat" / "b.PNG", colour=(4, 5, 6))
    picture(root / "train" / "cat" / "a.png", colour=(7, 8, 9))
    picture(root / "test" / "cat" / "a.png", colour=(10, 11, 12))
    picture(root / "test" / "dog" / "a.png", colour=(13, 14, 15))
    return root


def test_folder_of_colour_images(pets: Path) -> None:
    dataset = load(f"folder:{pets}", NOWHERE, announce=silent)
    assert (dataset.name, dataset.classes, dataset.class_names) == ("folder:pets", 2, ("cat", "dog"))
    assert dataset.train_images.shape == (3, 3, 5, 6)
    assert dataset.train_images[:, :, 4, 5].tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    assert dataset.vault.open([0, 1, 2]).read([0, 1, 2]).tolist() == [0, 0, 1]
    assert dataset.test_images[:, 0, 0, 0].tolist() == [10, 13]
    assert dataset.examiner.wrong(torch.tensor([0, 1])).item() == 0
    assert (dataset.shift, dataset.divisor, dataset.value_range) == (127.5, 127.5, (-1.0, 1.0))


def test_unlabelled_folder_and_name_of_the_path(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load(f"folder:{pets}", NOWHERE)
    picture(pets / "unlabelled" / "x.webp")
    picture(pets / "unlabelled" / "y.jpeg")
    monkeypatch.chdir(pets)
    dataset = load("folder:.", NOWHERE, announce=silent)
    assert dataset.name == "folder:pets"
    assert (dataset.n_train, dataset.n_images) == (3, 5)
    assert dataset.content_hash != plain.content_hash


def test_folder_content_hash_ignores_its_path(pets: Path) -> None:
    before = load(f"folder:{pets}", NOWHERE).content_hash
    moved = pets.rename(pets.parent / "animals")
    assert load(f"folder:{moved}", NOWHERE).content_hash == before


def test_grey_folder_and_one_colour_image_in_it(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for k, name in enumerate(("x", "y")):
            picture(tmp_path / part / name / "a.png", mode="L", colour=50 + k)
    grey = load(f"folder:{tmp_path}", NOWHERE)
    assert grey.train_images[:, :, 0, 0].tolist() == [[50], [51]]
    assert (grey.divisor, grey.value_range) == (255.0, (0.0, 1.0))
    picture(tmp_path / "train" / "y" / "b.png", mode="RGBA", colour=(1, 2, 3, 4))
    mixed = load(f"folder:{tmp_path}", NOWHERE)
    assert mixed.train_images[:, :, 0, 0].tolist() == [[50, 50, 50], [51, 51, 51], [1, 2, 3]]


def test_image_size_resizes_the_shorter_side_and_crops_the_centre(pets: Path) -> None:
    wide = Image.new("RGB", (40, 10))
    wide.paste((200, 0, 0), (15, 0, 25, 10))  # the middle square is red
    wide.save(pets / "train" / "cat" / "a.png")
    dataset = load(f"folder:{pets}", NOWHERE, image_size=20)
    assert dataset.image_shape == (3, 20, 20)
    centre = dataset.train_images[0, :, 4:16, 4:16].reshape(3, -1)
    assert [set(channel) for channel in centre.tolist()] == [{200}, {0}, {0}]


def test_a_photo_is_turned_as_its_exif_data_say(pets: Path) -> None:
    photo = Image.new("RGB", (5, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    photo.save(pets / "train" / "dog" / "a.png", exif=exif)
    assert load(f"folder:{pets}", NOWHERE).image_shape == (3, 5, 6)


def test_other_files_are_mentioned_and_hidden_ones_are_not(pets: Path) -> None:
    (pets / "train" / "cat" / "c.bmp").write_text("")
    (pets / "train" / "cat" / ".DS_Store").write_text("")
    (pets / "train" / "cat" / "._a.png").write_text("")
    (pets / "train" / ".hidden").mkdir()
    said: list[str] = []
    assert load(f"folder:{pets}", NOWHERE, announce=said.append).n_train == 3
    assert len(said) == 1
    assert "left out 1" in said[0]
    assert "c.bmp" in said[0]


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: _remove(root), "no such folder. It holds train/CLASS"),
        (lambda root: _remove(root / "train"), "0 classes; it needs at least 2"),
        (lambda root: _remove(root / "train" / "dog"), "1 classes; it needs at least 2"),
        (lambda root: _remove(root / "test"), "test: no classes"),
        (lambda root: (root / "train" / "dog" / "a.png").unlink(), "dog: no images"),
        (lambda root: (root / "test" / "dog" / "a.png").unlink(), "dog: no images"),
        (lambda root: (root / "unlabelled").mkdir(), "unlabelled: no images"),
        (lambda root: picture(root / "test" / "cow" / "a.png"), "test class 'cow' has no folder in train.*cat, dog"),
        (lambda root: picture(root / "test" / "dog" / "b.png", (6, 6)), "differ in size.*6 x 5.*6 x 6.*--image-size"),
        (lambda root: (root / "test" / "dog" / "b.png").write_bytes(b"no image"), r"b\.png: cannot be read"),
        (lambda root: (root / "test" / "dog" / "b.png").mkdir(), r"b\.png: cannot be read"),
        (lambda root: picture(root / "test" / "dog" / "b.png", mode="I;16", colour=9), "more than 8 bits"),
    ],
)
def test_unfit_folders(pets: Path, spoil: Any, message: str) -> None:
    spoil(pets)
    with pytest.raises(UsageError, match=message) as caught:
        load(f"folder:{pets}", NOWHERE)
    assert len(str(caught.value)) <= 1500


def test_a_truncated_image(pets: Path) -> None:
    path = pets / "train" / "cat" / "a.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match=r"a\.png: cannot be read"):
        load(f"folder:{pets}", NOWHERE)


@pytest.mark.parametrize("image_size", [0, -3, 3, 1025, 10**9])
def test_image_sizes_out_of_range(pets: Path, image_size: int) -> None:
    with pytest.raises(UsageError, match=r"--image-size.*allowed are 4 to 1024"):
        load(f"folder:{pets}", NOWHERE, image_size=image_size)


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "~nobody-has-this-name/data"])
def test_folder_paths_beyond_reason(path: str) -> None:
    with pytest.raises(UsageError, match="no such folder") as caught:
        load(f"folder:{path}", NOWHERE)
    assert len(str(caught.value)) <= 1500


def test_a_folder_that_cannot_be_listed(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(UsageError, match="train: Permission denied"):
        load(f"folder:{pets}", NOWHERE)
