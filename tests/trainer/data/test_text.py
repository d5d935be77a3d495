import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat.spec.data import TextFile
from trainer.data.datasets import load
from trainer.data.samples import DataError
from trainer.data.text import BYTES, tokenized


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_characters_are_found_again_through_the_vocabulary(text):
    tokens = tokenized(text, "character")
    assert "".join(tokens.vocabulary[token] for token in tokens.tokens) == text
    assert list(tokens.vocabulary) == sorted(set(text))


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_bytes_are_those_of_utf_8(text):
    assert bytes(tokenized(text, "byte").tokens.tolist()) == text.encode()


def test_the_vocabulary_of_bytes_has_a_printable_name_for_each():
    assert len(set(BYTES)) == 256
    assert all(name.isprintable() for name in BYTES)
    assert BYTES[65] == "A"


def test_no_text_at_all_is_an_error():
    with pytest.raises(DataError, match="the text is empty"):
        tokenized("", "byte")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "poem.txt").write_text("Füße\n", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "data"


def test_a_file_under_the_data_root_is_read(root):
    assert bytes(load(TextFile(path="deep/poem.txt"), root).tokens.tolist()).decode() == "Füße\n"
    characters = load(TextFile(path="deep/poem.txt", unit="character"), root)
    assert characters.vocabulary == ("\n", "F", "e", "ß", "ü")


def test_a_link_that_stays_inside_is_followed(root):
    (root / "link.txt").symlink_to(root / "deep" / "poem.txt")
    assert len(load(TextFile(path="link.txt"), root).tokens) == 7


@pytest.mark.parametrize("path", ["../secret.txt", "deep/../../secret.txt", "/etc/passwd"])
def test_a_path_that_leads_out_is_refused_even_past_the_spec_s_own_check(root, path):
    settings = TextFile.model_construct(kind="text_file", path=path, unit="byte")
    with pytest.raises(DataError, match="leads out of the data root"):
        load(settings, root)


def test_links_that_lead_out_are_refused(root):
    (root / "file.txt").symlink_to(root.parent / "secret.txt")
    (root / "folder").symlink_to(root.parent)
    for path in ("file.txt", "folder/secret.txt"):
        with pytest.raises(DataError, match="leads out of the data root"):
            load(TextFile(path=path), root)


def test_without_a_data_root_the_message_says_how_to_set_one():
    with pytest.raises(DataError, match="set GYROSTAT_DATA_ROOT"):
        load(TextFile(path="poem.txt"))


def test_what_cannot_be_read_is_named(root):
    (root / "latin.txt").write_bytes(b"Fu\xdfe")
    for path, message in (("missing.txt", "no file"), ("latin.txt", "not UTF-8 text"), ("deep", "no file")):
        with pytest.raises(DataError, match=message):
            load(TextFile(path=path), root)
