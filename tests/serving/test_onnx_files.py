"""Weights that an ONNX file keeps elsewhere are found wherever the format lets them be, by reading the file's own fields."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, checker, helper

from workbench.errors import WorkError
from workbench.serving.manifest import read_onnx
from workbench.serving.onnx_files import _fields, external_tensors


def tensor(name="w", elsewhere=False):
    found = helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0])
    return moved(found) if elsewhere else found


def moved(found):
    """As the `onnx` package writes one whose data are in another file."""
    found.ClearField("float_data")
    found.data_location = TensorProto.EXTERNAL
    entry = found.external_data.add()
    entry.key, entry.value = "location", "../weights.bin"
    return found


def values(name, shape=(2,)):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def graph(nodes=(), initializers=(), sparse=(), name="g"):
    nodes = nodes or [helper.make_node("Identity", ["x"], ["y"])]
    return helper.make_graph(nodes, name, [values("x")], [values("y")], list(initializers), sparse_initializer=list(sparse))


def model(main=None, functions=()):
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(main or graph(), functions=list(functions), opset_imports=opsets)


def constant(elsewhere, name="c"):
    return helper.make_node("Constant", [], [name], value=tensor("inside", elsewhere))


def branch(elsewhere, deeper=None):
    """A graph without inputs, as `If` takes one, with an initializer or another `If` inside."""
    if deeper is not None:
        return helper.make_graph(deeper, "branch", [], [values("y")])
    nodes = [helper.make_node("Identity", ["kept"], ["y"])]
    return helper.make_graph(nodes, "branch", [], [values("y")], [tensor("kept", elsewhere)])


def choice(elsewhere):
    plain = branch(False)
    return [helper.make_node("If", ["b"], ["y"], then_branch=plain, else_branch=branch(elsewhere))]


def sparse(part, elsewhere):
    told = helper.make_tensor("s", TensorProto.FLOAT, [1], [3.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [1])
    if elsewhere:
        moved(told if part == "values" else places)
    return helper.make_sparse_tensor(told, places, [4])


def attribute(elsewhere, **told):
    """A node with an attribute of a kind that none of the standard operators here has."""
    return [helper.make_node("Own", ["x"], ["y"], domain="own", **told)]


PLACES = {
    "an initializer": lambda far: model(graph(initializers=[tensor("plain"), tensor("w", far)])),
    "a Constant's attribute": lambda far: model(graph([constant(far), helper.make_node("Add", ["x", "c"], ["y"])])),
    "a branch of an If": lambda far: model(graph(choice(far))),
    "a branch of an If in a branch of an If": lambda far: model(
        graph([helper.make_node("If", ["b"], ["y"], then_branch=branch(False), else_branch=branch(far, choice(far)))])
    ),
    "a function's body": lambda far: model(
        functions=[
            helper.make_function(
                "own", "F", ["x"], ["y"], [constant(far), helper.make_node("Add", ["x", "c"], ["y"])], [helper.make_opsetid("", 20)]
            )
        ]
    ),
    "a sparse initializer's values": lambda far: model(graph(sparse=[sparse("values", far)])),
    "a sparse initializer's places": lambda far: model(graph(sparse=[sparse("places", far)])),
    "a sparse attribute": lambda far: model(graph(attribute(far, of=sparse("values", far)))),
    "one of several sparse attributes": lambda far: model(graph(attribute(far, of=[sparse("values", False), sparse("values", far)]))),
    "one of several tensors of an attribute": lambda far: model(graph(attribute(far, of=[tensor("a"), tensor("b", far)]))),
    "one of several graphs of an attribute": lambda far: model(graph(attribute(far, of=[branch(False), branch(far)]))),
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_elsewhere_are_found_wherever_they_are_named(place):
    assert external_tensors(PLACES[place](False).SerializeToString()) == []
    (name,) = external_tensors(PLACES[place](True).SerializeToString())
    assert name in {"w", "inside", "kept", "s", "places", "b"}


def test_the_default_of_a_functions_attribute_is_looked_at():
    """FunctionProto.attribute_proto, field 11."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    defaults = [helper.make_attribute("weights", tensor("default", True))]
    own = helper.make_function("own", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 20)], attribute_protos=defaults)
    assert external_tensors(model(functions=[own]).SerializeToString()) == ["default"]


def test_all_that_are_elsewhere_are_named_and_the_order_is_the_files():
    main = graph([constant(True), helper.make_node("Add", ["x", "c"], ["y"])], [tensor("a", True), tensor("b"), tensor("c2", True)])
    assert sorted(external_tensors(model(main).SerializeToString())) == ["a", "c2", "inside"]


def test_where_data_are_is_enough_although_their_place_is_not_said():
    """And a place is enough although nobody says that it counts."""
    said, placed = tensor("said"), tensor("placed")
    said.data_location = TensorProto.EXTERNAL
    entry = placed.external_data.add()
    entry.key, entry.value = "location", "x"
    assert external_tensors(model(graph(initializers=[said, placed])).SerializeToString()) == ["said", "placed"]


def test_a_tensor_that_says_its_data_are_here_is_here():
    here = tensor("here")
    here.data_location = TensorProto.DEFAULT
    assert external_tensors(model(graph(initializers=[here])).SerializeToString()) == []


def test_a_tensor_without_a_name_is_found():
    assert external_tensors(model(graph(initializers=[tensor("", True)])).SerializeToString()) == [""]


def test_a_field_that_is_there_twice_is_read_twice():
    """Protobuf merges messages that stand one after another."""
    first, second = model(), ModelProto(graph=graph(initializers=[tensor("late", True)]))
    assert external_tensors(first.SerializeToString() + second.SerializeToString()) == ["late"]


def test_numbers_beside_the_data_are_no_fault():
    """Fields of every kind of wire: 32 and 64 bits, lengths, and numbers of ten bytes."""
    told = helper.make_node("Own", ["x"], ["y"], domain="own", a=1.5, b=-1, c=[1.0, 2.0], d=[-(2**63)], e="text", f=["x"])
    doubles = helper.make_tensor("d", TensorProto.DOUBLE, [2], [1.0, 2.0])
    made = model(graph([told], [doubles, helper.make_tensor("i", TensorProto.INT64, [1], [-5])]))
    assert external_tensors(made.SerializeToString()) == []


def test_a_plain_graph_is_one_to_onnx_too():
    made = PLACES["a branch of an If"](False)
    checker.check_model(model(graph(initializers=[tensor("w")])))
    assert external_tensors(made.SerializeToString()) == []
    assert external_tensors(b"") == []


def test_who_reads_a_bundles_graph_is_told_its_name_and_the_weights(tmp_path):
    (tmp_path / "retriever.onnx").write_bytes(PLACES["an initializer"](True).SerializeToString())
    with pytest.raises(WorkError, match=r'retriever\.onnx keeps the weights "w" in a file outside of itself'):
        read_onnx(tmp_path, "retriever.onnx")
    plain = PLACES["an initializer"](False).SerializeToString()
    (tmp_path / "retriever.onnx").write_bytes(plain)
    assert read_onnx(tmp_path, "retriever.onnx") == plain


def found_or_refused(content):
    try:
        found = external_tensors(content)
    except WorkError:
        return None
    assert all(isinstance(each, str) for each in found)
    return found


@settings(max_examples=150, deadline=1000)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    found_or_refused(content)


KEYS = st.sampled_from([number << 3 | kind for number in (1, 2, 5, 6, 7, 8, 10, 11, 13, 14, 15, 22, 23, 25) for kind in (0, 1, 2, 5)])


@settings(max_examples=150, deadline=1000)
@given(st.lists(st.one_of(KEYS, st.integers(0, 255), st.sampled_from([0, 1, 2, 4, 127, 128, 255])), max_size=150).map(bytes))
def test_bytes_that_begin_like_fields_are_read_or_refused(content):
    found_or_refused(content)


WHOLE = {name: make(True).SerializeToString() for name, make in PLACES.items()}


@settings(max_examples=100, deadline=1000)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_changed_byte_is_never_another_fault(name, data):
    content = bytearray(WHOLE[name])
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found_or_refused(bytes(content))


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_cut_short_is_refused_or_ends_between_two_fields(name):
    content = WHOLE[name]
    ends = [end for end in range(len(content)) if found_or_refused(content[:end]) is not None]
    assert len(ends) <= 8, "a model has few fields of its own"


@pytest.mark.parametrize(
    "content",
    [b"\x3a", b"\x3a\xff", b"\x3a\x05\x0a", b"\x80" * 40, b"\x3a" + b"\xff" * 20, b"\x0b", b"\x0c", b"\x0f", b"\x09\x00", b"\x0d\x00\x00"],
)
def test_lengths_that_lead_past_the_end_and_wires_that_there_are_none_of_are_refused(content):
    assert found_or_refused(content) is None


def test_a_graph_in_a_graph_in_a_graph_is_read_or_refused():
    """Protobuf itself reads no more than 100 messages in one another: what is deeper is no ONNX to anybody."""
    content = tensor("deep", True).SerializeToString()
    content = b"\x2a" + varint(len(content)) + content  # graph: initializer
    for _ in range(1000):
        for key in (b"\x32", b"\x2a", b"\x0a"):  # attribute: g; node: attribute; graph: node
            content = key + varint(len(content)) + content
    assert found_or_refused(b"\x3a" + varint(len(content)) + content) in (None, ["deep"])


def varint(number):
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def test_every_kind_of_attribute_that_holds_tensors_is_known():
    """A newer ONNX that has another is noticed here."""
    holding = {field.name for field in AttributeProto.DESCRIPTOR.fields if field.message_type is not None}
    assert holding == {"t", "g", "tp", "sparse_tensor", "tensors", "graphs", "sparse_tensors", "type_protos"}


def test_a_field_whose_number_others_read_as_another_is_refused():
    """Other readers take the lower 32 bits of a field's key: this one is where weights are, to them alone."""
    told = tensor("w", elsewhere=True).SerializeToString()
    key = bytes([(13 << 3) | 2])
    assert told.count(key) == 1
    hidden = told.replace(key, bytes([(13 << 3) | 2 | 128, 128, 128, 128, 16]))
    made = model(graph(initializers=[tensor("w", elsewhere=True)])).SerializeToString()
    assert external_tensors(made) == ["w"]
    with pytest.raises(WorkError, match="is no ONNX"):
        list(_fields(memoryview(hidden)))
