"""The corpus is real text, cut without loss, the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.workload.corpus import FILE_BYTES_MAX, Corpus, SourceFile, read_corpus


def write_source(folder: Path, name: str, lines: int = 30) -> str:
    text = "".join(f"# {name} line {place}\n" for place in range(lines))
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return text


def test_standard_library_gives_100_files_of_22_distinct_chunks() -> None:
    corpus = read_corpus()
    assert len(corpus.documents) == 100
    assert corpus.chunks_per_document == 22
    chunks = [chunk for document in corpus.documents for chunk in document.chunks]
    assert len(set(chunks)) == 2200
    assert all(chunk.strip() for chunk in chunks)
    assert [d.name for d in corpus.documents] == sorted(d.name for d in corpus.documents)


def test_the_same_folder_gives_the_same_corpus() -> None:
    assert read_corpus(files=5).digest == read_corpus(files=5).digest


def test_chunks_joined_are_the_file(tmp_path: Path) -> None:
    text = write_source(tmp_path, "a.py", 100) + "\x0clast line \u2028 without its end"
    (tmp_path / "a.py").write_bytes(text.encode())
    (document,) = read_corpus(tmp_path, files=1, chunks_per_file=7).documents
    assert "".join(document.chunks) == text
    assert len(document.chunks) == 7
    assert all(chunk.endswith("\n") for chunk in document.chunks[:-1])


def test_carriage_returns_survive(tmp_path: Path) -> None:
    text = "".join(f"line {place}\r\n" for place in range(12))
    (tmp_path / "a.py").write_bytes(text.encode())
    (document,) = read_corpus(tmp_path, files=1, chunks_per_file=2).documents
    assert "".join(document.chunks) == text


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe" * 200,
        b"one line\n" * 5,
        b"repeated\n" * 60,
        b"\n" * 60 + b"".join(b"line %d\n" % place for place in range(60)),
        b"x" * 1000 + b"".join(b"line %d\n" % place for place in range(FILE_BYTES_MAX // 5)),
        b"",
    ],
    ids=["not UTF-8", "short", "repeating", "blank chunk", "large", "empty"],
)
def test_files_that_do_not_fit_are_passed_over(tmp_path: Path, content: bytes) -> None:
    write_source(tmp_path, "good.py")
    (tmp_path / "bad.py").write_bytes(content)
    corpus = read_corpus(tmp_path, files=1, chunks_per_file=3)
    assert [document.name for document in corpus.documents] == ["good.py"]
    with pytest.raises(ValueError, match=r"has 1 UTF-8 source files .*; 2 wanted"):
        read_corpus(tmp_path, files=2, chunks_per_file=3)


def test_a_copy_of_a_file_is_not_counted_twice(tmp_path: Path) -> None:
    text = write_source(tmp_path, "a.py")
    (tmp_path / "b.py").write_text(text)
    with pytest.raises(ValueError, match="has 1 UTF-8"):
        read_corpus(tmp_path, files=2, chunks_per_file=3)


def test_links_binaries_and_installed_packages_are_left_out(tmp_path: Path) -> None:
    write_source(tmp_path, "real/a.py")
    write_source(tmp_path, "site-packages/b.py")
    write_source(tmp_path, ".hidden/c.py")
    write_source(tmp_path, "d.bin")
    (tmp_path / "link.py").symlink_to(tmp_path / "d.bin")
    with pytest.raises(ValueError, match="has 1 UTF-8"):
        read_corpus(tmp_path, files=2, chunks_per_file=3)
    assert read_corpus(tmp_path, files=1, chunks_per_file=3).documents[0].name == "real/a.py"


def test_digest_changes_with_name_text_and_cut(tmp_path: Path) -> None:
    write_source(tmp_path / "one", "a.py")
    write_source(tmp_path / "two", "b.py")
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "a.py").write_text((tmp_path / "two" / "b.py").read_text())
    digests = {
        read_corpus(tmp_path / folder, files=1, chunks_per_file=chunks).digest
        for folder, chunks in [("one", 3), ("one", 4), ("two", 3), ("three", 3)]
    }
    assert len(digests) == 4


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        read_corpus(tmp_path / "absent")
    with pytest.raises(ValueError, match="at least 1"):
        read_corpus(tmp_path, files=0)
    with pytest.raises(ValueError, match="at least one document"):
        Corpus(name="x", documents=(), digest="")
    uneven = (SourceFile(name="a", chunks=("x",)), SourceFile(name="b", chunks=("y", "z")))
    with pytest.raises(ValueError, match="one size"):
        Corpus(name="x", documents=uneven, digest="")
