"""From a task to its text, and from a text to what a Query-Former looks for in each image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor.data.templates import ANY_IMAGE, WHOLE_IMAGE, image_queries, reconstruct, segment, subjects, text_to_image

labels = st.lists(st.text("abcin éthe'-.", min_size=1, max_size=12), min_size=1, max_size=4).map(" ".join)
labels = labels.map(lambda text: " ".join(text.split())).filter(bool)
captions = st.text("a fox in the <hat>.", max_size=30).filter(lambda text: "<image>" not in text)


@given(st.lists(labels, min_size=1, max_size=14), captions)
def test_every_template_gives_its_labels_back(names, caption):
    assert image_queries(subjects(names, caption)) == names
    assert image_queries(segment(names[0])) == names[:1]
    assert image_queries(reconstruct(caption)) == [WHOLE_IMAGE]
    assert image_queries(text_to_image(caption)) == []


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("The fox in <image>.\nIt sits on a beach.", ["fox"]),
        ("A cat in <image>.\n A cat in the snow", ["cat"]),
        ("put the fox in <image> next to an old hat IN <image>", ["fox", "old hat"]),
        ("the cat in the hat in\t<image>", ["cat in the hat"]),
        ("Foxes in <image>", [ANY_IMAGE]),
        ("the in <image>", [ANY_IMAGE]),
        ("in<image>", [ANY_IMAGE]),
        ("a fox like <image>", [ANY_IMAGE]),
        ("<image> <image>", [ANY_IMAGE, ANY_IMAGE]),
        ("the fox in\n<image> and <image>", [ANY_IMAGE, ANY_IMAGE]),
        ("<image>", [WHOLE_IMAGE]),
        ("<image> in blue", [WHOLE_IMAGE]),
        ("the image is <image>\na fox", [WHOLE_IMAGE]),
        ("a drawing like\n<image>", [ANY_IMAGE]),
        ("no picture", []),
    ],
)
def test_what_people_write(text, queries):
    assert image_queries(text) == queries
