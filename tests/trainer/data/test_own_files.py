import io
import os
import struct
import zipfile
import zlib

import numpy
import pandas
import pytest
import torch
from PIL import Image

from gyrostat.spec.files import Csv, HuggingFace, ImageFolder, MaskFolder, Npz, Parquet
from trainer.data import own_files
from trainer.data.datasets import available, load
from trainer.data.hub import read
from trainer.data.samples import DataError, Text


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "data"


def image(path, colour, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def refused(settings, root, message):
    with pytest.raises(DataError, match=message):
        load(settings, root)


def test_files_are_available_where_there_is_a_data_root(root):
    kinds = {"npz", "csv", "parquet", "image_folder", "mask_folder"}
    assert kinds <= set(available(root))
    assert not kinds & set(available())


# NumPy arrays


def test_arrays_are_read_by_their_names(root):
    x, y = numpy.random.default_rng(0).normal(size=(5, 3)), numpy.arange(5)
    numpy.savez(root / "a.npz", inputs=x, labels=y)
    data = load(Npz(path="a.npz", inputs="inputs", targets="labels"), root)
    assert data.inputs.tolist() == x.tolist()
    assert data.targets.tolist() == y.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", ">f4", "bool", "uint64"])
def test_grey_images_get_a_channel_whatever_their_type(root, dtype):
    x = (numpy.arange(32).reshape(2, 4, 4) % 2).astype(dtype)
    numpy.savez_compressed(root / "a.npz", x=x, y=numpy.zeros(2, numpy.int64))
    data = load(Npz(path="a.npz"), root)
    assert tuple(data.inputs.shape) == (2, 1, 4, 4)
    assert data.inputs.float().numpy().tolist() == x[:, None].astype(float).tolist()


def test_pickled_objects_are_never_loaded(root):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(root / "made"),))

    numpy.savez(root / "a.npz", x=numpy.array([Evil()], dtype=object), y=numpy.zeros(1))
    refused(Npz(path="a.npz"), root, r"only numbers are read \(no pickled objects\)")
    assert not (root / "made").exists()


def npy(shape, dtype="<f8", content=b""):
    head = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def test_a_few_bytes_that_claim_to_be_terabytes_are_refused_before_they_are_held(root):
    with zipfile.ZipFile(root / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy((10**6, 10**6)))
        archive.writestr("y.npy", npy((10**6,)))
    refused(Npz(path="a.npz"), root, "shorter than its header says")


def test_what_would_unpack_to_more_than_the_limit_is_refused(root, monkeypatch):
    monkeypatch.setattr(own_files, "LIMIT_BYTES", 2**20)
    numpy.savez_compressed(root / "a.npz", x=numpy.zeros((2**18, 1)), y=numpy.zeros(2**18))
    assert (root / "a.npz").stat().st_size < 2**14
    refused(Npz(path="a.npz"), root, "would take .* GiB of memory")


def test_arrays_that_are_damaged_missing_or_of_other_shapes_are_named(root):
    (root / "text.npz").write_text("no archive")
    numpy.savez(root / "a.npz", x=numpy.zeros((3, 2)), y=numpy.zeros(4), words=numpy.array(["a", "b", "c"]))
    with zipfile.ZipFile(root / "b.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00garbage")
    refused(Npz(path="text.npz"), root, "cannot be read as .npz")
    refused(Npz(path="a.npz"), root, r"shape \(3, 2\) and targets 'y' \(4,\)")
    refused(Npz(path="a.npz", inputs="z"), root, "no array 'z', but 'x', 'y', 'words'")
    refused(Npz(path="a.npz", targets="words"), root, "only numbers are read")
    refused(Npz(path="b.npz"), root, "is damaged")
    refused(Npz(path="missing.npz"), root, "no file 'missing.npz' under the data root")


# Tables


FRAME = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 0.25, 1.0], "good": [True, False, True], "kind": ["x", "y", "x"]})


def test_csv_and_parquet_hold_the_same_table(root):
    FRAME.to_csv(root / "t.csv", index=False)
    FRAME.to_csv(root / "s.csv", index=False, sep=";")
    FRAME.to_parquet(root / "t.parquet")
    for settings in (
        Csv(path="t.csv", target="kind"),
        Csv(path="s.csv", target="kind", separator=";"),
        Parquet(path="t.parquet", target="kind"),
    ):
        data = load(settings, root)
        assert data.inputs.tolist() == [[1, 0.5, 1], [2, 0.25, 0], [3, 1, 1]]
        assert data.targets.tolist() == [0, 1, 0]


def test_columns_are_those_that_are_named_in_that_order(root):
    FRAME.to_parquet(root / "t.parquet")
    data = load(Parquet(path="t.parquet", target="a", columns=("b", "good")), root)
    assert data.inputs.tolist() == [[0.5, 1], [0.25, 0], [1, 1]]
    assert (data.targets.tolist(), data.targets.dtype) == ([1, 2, 3], torch.int64)


def test_a_missing_value_is_told_by_column_and_row(root):
    (root / "t.csv").write_text("a,target\n1,0\n2,1\n,1\n4,0\n")
    refused(Csv(path="t.csv"), root, r"column 'a' of 't.csv' has no value in row 4 \(1 in all\)")
    (root / "t.csv").write_text("a,target\n1,0\n2,\n")
    refused(Csv(path="t.csv"), root, "column 'target' of 't.csv' has no value in row 3")


def test_tables_that_cannot_be_learnt_from_are_told_why(root):
    FRAME.to_csv(root / "t.csv", index=False)
    refused(Csv(path="t.csv"), root, "no column 'target'; it has 'a', 'b', 'good', 'kind'")
    refused(Csv(path="t.csv", target="a"), root, r"column 'kind' of 't.csv' holds no numbers \(for example 'x'\)")
    refused(Csv(path="t.csv", target="a", columns=("a", "b")), root, "the target 'a' is among the columns")
    (root / "empty.csv").write_text("")
    refused(Csv(path="empty.csv"), root, "cannot be read as CSV")
    (root / "head.csv").write_text("a,target\n")
    refused(Csv(path="head.csv"), root, "no column beside 'target', or no row")
    (root / "latin.csv").write_bytes(b"a,target\n1,\xdf\n")
    refused(Csv(path="latin.csv"), root, "cannot be read as CSV")
    refused(Parquet(path="t.csv"), root, "cannot be read as Parquet")


def test_a_small_file_of_many_equal_values_is_refused_before_it_is_held(root, monkeypatch):
    pandas.DataFrame({"a": numpy.zeros(200_000), "target": numpy.zeros(200_000, int)}).to_parquet(root / "t.parquet")
    monkeypatch.setattr(own_files, "LIMIT_BYTES", 2**20)
    assert (root / "t.parquet").stat().st_size < 2**17
    refused(Parquet(path="t.parquet"), root, "would take")


# Images


def test_a_sub_folder_is_a_class_and_images_are_brought_to_one_size(root):
    image(root / "pets" / "cat" / "1.png", (255, 0, 0))
    image(root / "pets" / "cat" / "2.JPG", (255, 0, 0), size=(40, 40))
    image(root / "pets" / "dog" / "ö\n1.bmp", (0, 0, 255), size=(1, 9))
    (root / "pets" / "dog" / "notes.txt").write_text("no image")
    (root / "pets" / "empty").mkdir()
    data = load(ImageFolder(path="pets", size=8), root)
    assert (tuple(data.inputs.shape), data.outputs) == ((3, 3, 8, 8), 2)
    assert data.targets.tolist() == [0, 0, 1]
    assert data.inputs[0, :, 4, 4].tolist() == [255, 0, 0]
    assert data.inputs[2, :, 4, 4].tolist() == [0, 0, 255]
    assert tuple(load(ImageFolder(path="pets", size=8, channels=1), root).inputs.shape) == (3, 1, 8, 8)


def test_masks_belong_to_images_of_their_name_and_keep_their_classes(root):
    image(root / "seg" / "images" / "a.jpg", (9, 9, 9), size=(16, 16))
    mask = Image.new("L", (16, 16), 0)
    mask.paste(2, (8, 0, 16, 16))
    (root / "seg" / "masks").mkdir()
    mask.save(root / "seg" / "masks" / "a.png")
    data = load(MaskFolder(path="seg", size=4), root)
    assert data.targets[0].tolist() == [[0, 0, 2, 2]] * 4
    assert data.outputs == 3
    image(root / "seg" / "images" / "b.png", (9, 9, 9))
    refused(MaskFolder(path="seg", size=4), root, "image 'b.png' in 'seg' has no mask of its name")
    image(root / "seg" / "masks" / "b.png", (1, 1, 1))
    refused(MaskFolder(path="seg", size=4), root, "mask 'b.png' is of Pillow's mode 'RGB'")


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (10_000, "'bomb.png' has 10000 x 10000 pixels; at most 50,000,000"),
        (30_000, r"image 'bomb.png' in 'pets' cannot be read \(Image size"),
    ],
)
def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded(root, side, message):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    image(root / "pets" / "cat" / "1.png", 0)
    (root / "pets" / "dog").mkdir()
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    (root / "pets" / "dog" / "bomb.png").write_bytes(content)
    refused(ImageFolder(path="pets"), root, message)


def test_folders_that_hold_no_classes_or_no_images_are_told_so(root):
    (root / "pets" / "cat").mkdir(parents=True)
    refused(ImageFolder(path="pets"), root, "has 0 sub-folders with images")
    image(root / "pets" / "cat" / "1.png", 0)
    refused(ImageFolder(path="pets"), root, "has 1 sub-folders with images")
    (root / "pets" / "dog").mkdir()
    (root / "pets" / "dog" / "1.png").write_bytes(b"no image")
    refused(ImageFolder(path="pets"), root, "image '1.png' in 'pets' cannot be read")
    refused(ImageFolder(path="nowhere"), root, "no folder 'nowhere'")
    refused(MaskFolder(path="pets"), root, "no folder 'pets/images'")


def test_a_file_s_ending_must_say_what_it_is(root):
    image(root / "pets" / "cat" / "1.png", 0)
    (root / "pets" / "dog").mkdir()
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "TIFF")
    (root / "pets" / "dog" / "1.png").write_bytes(stream.getvalue())
    refused(ImageFolder(path="pets"), root, "image '1.png' in 'pets' cannot be read")


# What leads out


def test_links_that_lead_out_of_the_root_are_refused_everywhere(root):
    image(root.parent / "outside" / "cat" / "1.png", 0)
    image(root / "pets" / "cat" / "1.png", 0)
    (root / "pets" / "dog").mkdir()
    (root / "pets" / "dog" / "1.png").symlink_to(root.parent / "outside" / "cat" / "1.png")
    refused(ImageFolder(path="pets"), root, "leads out of the data root")
    (root / "all").symlink_to(root.parent / "outside")
    refused(ImageFolder(path="all"), root, "leads out of the data root")
    (root / "t.csv").symlink_to(root.parent / "secret.txt")
    for settings in (Csv(path="t.csv"), Npz(path="t.csv"), Parquet(path="t.csv")):
        refused(settings, root, "leads out of the data root")


def test_a_pipe_is_not_waited_for(root):
    os.mkfifo(root / "t.csv")
    refused(Csv(path="t.csv"), root, "no file 't.csv'")


# The hub


def test_a_data_set_of_the_hub_is_read_as_a_table_or_as_text():
    data = read(FRAME, HuggingFace(name="a/b", target="kind", columns=("a", "b")))
    assert data.inputs.tolist() == [[1, 0.5], [2, 0.25], [3, 1]]
    text = read(FRAME, HuggingFace(name="a/b", text="kind", unit="character"))
    assert isinstance(text, Text)
    assert "".join(text.vocabulary[token] for token in text.tokens) == "x\ny\nx"
    with pytest.raises(DataError, match="no column 'words'; it has a, b, good, kind"):
        read(FRAME, HuggingFace(name="a/b", text="words"))


@pytest.mark.parametrize("name", ["../etc", "/etc", "a/../b", "a/b/c", ".hidden", "a b", ""])
def test_names_that_could_be_paths_are_no_names_of_the_hub(name):
    with pytest.raises(ValueError, match="name"):
        HuggingFace(name=name)


def test_a_missing_package_is_named_with_what_needs_it():
    with pytest.raises(DataError, match="no package 'no_such_package', which a test needs; install it there"):
        own_files.needed("no_such_package", "a test")
