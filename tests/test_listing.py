"""Folders: what is a picture by its content is judged whatever its name, and nothing is passed over in silence."""

import io
import json
import struct

import pytest
from conftest import make_image
from PIL import Image

import indexing
import predict
from detector import ModelError, load
from imaging.door import ImageError, open_image
from imaging.kinds import sniff
from imaging.listing import list_pictures, others_in_words

# Names that browsers, phones and cameras give, of files that are JPEGs.
NAMES = ("photo.jfif", "photo.jpe", "photo.pjpeg", "photo.jpg_large", "photo", "photo.jpg ", "photo.jpg?x=1",
         "photo.txt", "PHOTO.JPG", "photo.heic", "photo.", "photo.jpg.download")  # fmt: skip
ALL = (*NAMES, *(f"{number}.dat" for number in range(5)))
RAW = b"II*\0\x10\0\0\0CR\2\0"


def encoded(kind: str) -> bytes:
    data = io.BytesIO()
    make_image(False, 1).save(data, kind)
    return data.getvalue()


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_bytes(encoded("JPEG"))
    for number, kind in enumerate(("PNG", "WEBP", "GIF", "BMP", "TIFF")):
        (tmp_path / f"{number}.dat").write_bytes(encoded(kind))
    return tmp_path


def test_the_content_decides(folder):
    assert sorted(path.name for path in list_pictures(folder).pictures) == sorted(
        [*NAMES, *(f"{n}.dat" for n in range(5))]
    )
    assert list_pictures(folder).others == ()


OTHERS = {
    "notes.txt": b"BM is how this text begins", "page.html": b"<!doctype html><svg></svg>", "more.txt": b"hello",
    "clip.mp4": b"\0\0\0\x18ftypisom", "code.py": b'"""<svg"""', "Thumbs.db": b"\xd0\xcf\x11\xe0", "empty": b"",
    "model.onnx": b"\x08\x07",
}  # fmt: skip
UNREAD = {
    "a.jxl": b"\xff\x0a\x00", "b": b"\0\0\0\x0cJXL \r\n\x87\n", "c.psd": b"8BPS\0\1", "d.svg": b"<svg xmlns='x'/>",
    "e.CR2": RAW,
    "f.jp2": b"\0\0\0\x0cjP  \r\n", "g.ico": b"\0\0\1\0\1\0\x10\x10\0\0", "empty.jpg": b"", "text.jpeg": b"hello",
    "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n",
}  # fmt: skip


def test_other_files_are_counted_and_unreadable_pictures_are_pictures(folder):
    for name, data in (OTHERS | UNREAD).items():
        (folder / name).write_bytes(data)
    found = list_pictures(folder)
    assert {path.name for path in found.others} == set(OTHERS)
    assert set(UNREAD) <= {path.name for path in found.pictures}
    assert found.others_in_words().startswith("8 other files: 2 .txt, 1 ")
    assert found.others_in_words().endswith("more") and others_in_words(()) == ""


def test_predict_judges_a_folder_by_content(folder, decided, capsys):
    for name, data in (OTHERS | UNREAD).items():
        (folder / name).write_bytes(data)
    status = predict.main([str(folder), "--model", str(decided), "--json"])
    said, errors = capsys.readouterr()
    rows = {row["file"].rsplit("/", 1)[1]: row for row in map(json.loads, said.splitlines())}
    assert status == 1 and set(rows) == {*ALL, *UNREAD}
    assert {name for name, row in rows.items() if "error" in row} == set(UNREAD)
    slugs = {name: rows[name]["error"]["slug"] for name in UNREAD}
    assert slugs.pop("empty.jpg") == "empty-file" and set(slugs.values()) == {"unsupported-type"}
    assert f"{folder}: passed over: 8 other files: 2 .txt" in errors and errors.count("passed over") == 1


def test_only_other_files_are_no_images(tmp_path, decided, capsys):
    for name, data in OTHERS.items():
        (tmp_path / name).write_bytes(data)
    assert predict.main([str(tmp_path), "--model", str(decided)]) == 1
    assert f"no images in {tmp_path}" in capsys.readouterr().err


def test_training_folders_go_by_content_too(tmp_path):
    for label in ("Real", "Fake"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "photo.jpg_large").write_bytes(encoded("JPEG"))
        (tmp_path / label / "notes.txt").write_text("hello")
        (tmp_path / label / "a.jxl").write_bytes(b"\xff\x0a\0")
    index = indexing.index_folder(tmp_path)
    assert [sample.path.name for sample in index.samples] == ["photo.jpg_large"] * 2
    assert [reason for _, reason in index.left_out] == [
        "not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC image (it looks like JPEG XL)"
    ] * 2
    assert index.summary().endswith("passed over: 2 other files: 2 .txt")


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\xff\x0a\0", "JPEG XL"), (UNREAD["b"], "JPEG XL"), (RAW, "a camera's raw file"), (b"BM hello, I am text", None),
     (b"\n<?xml version='1.0'?><svg/>", "SVG"), (b"<html><body><svg/></body></html>", "HTML"), (b"see <svg>", None),
     (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file"), (b"\0\0\1\0\0\0", None)],
)  # fmt: skip
def test_kinds(data, kind):
    assert sniff(data) == kind


def test_refusals_name_what_it_is():
    for data, words in (
        (b"\xff\x0a" + bytes(80), "JPEG XL"),
        (UNREAD["pointer.png"], "Git LFS pointer: `git lfs pull`"),
    ):
        with pytest.raises(ImageError, match=words) as error:
            open_image(data)
        assert error.value.slug == "unsupported-type"


def test_the_small_copy_in_a_raw_file_is_not_judged():
    """A TIFF that begins with a reduced copy, as Nikon's and Adobe's raw files do."""
    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, "TIFF", tiffinfo={254: 1})
    with pytest.raises(ImageError, match="a camera's raw file"):
        open_image(data.getvalue())


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "model.onnx"])
def test_a_pointer_in_place_of_a_model(tmp_path, name):
    (tmp_path / name).write_bytes(UNREAD["pointer.png"])
    with pytest.raises(ModelError, match="a Git LFS pointer, not the model itself: `git lfs pull` fetches it"):
        load(tmp_path / name)


def test_web_addresses_and_names_that_begin_with_a_dash(tmp_path, decided, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("-photo.jpg", "--odd.jpg", "-"):
        (tmp_path / name).write_bytes(encoded("JPEG"))
    model = ["--model", str(decided), "--json"]
    assert predict.main(["-photo.jpg", "--odd.jpg", *model]) == 0
    assert [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()] == [
        "./-photo.jpg",
        "./--odd.jpg",
    ]
    assert predict.main(["https://example.org/a.jpg", "HTTP://x/y", *model]) == 1
    errors = capsys.readouterr().err
    assert errors.count("web addresses are not fetched: save the picture and give the file") == 2


def test_many_files_are_looked_at_and_no_special_one_is_opened(tmp_path):
    """Content is read only of regular files, and of those only the beginning."""
    for number in range(500):
        (tmp_path / f"{number:03}").write_bytes(struct.pack("<I", number) * 3)
    assert len(list_pictures(tmp_path).others) == 500
