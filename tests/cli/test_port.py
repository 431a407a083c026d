"""Is a layer followed from one framework's file to another's, and what is wrong with it told?"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from rnn_check.asking import ported
from rnn_check.cli.commands import main
from rnn_check.subjects import ask
from rnn_check.subjects.asked import torch_files
from rnn_check.subjects.asked.layouts import KERAS, ONNX, TORCH, moved
from rnn_check.subjects.identity import known
from tests.support.puppet import InThisProcess
from tests.support.sampling import long
from tests.support.sessions import opened

F, H = 3, 2
CLASSES = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}


class Here(InThisProcess):
    """A subject of the framework that is asked for, whose session runs in this process."""

    sessions: dict[str, Any] = {}  # noqa: RUF012  opened once
    wrong: Any = None  # changes what is given for the states

    def __init__(self, backend: Any, framework: str = "keras", **_: Any) -> None:
        if framework not in self.sessions:
            self.sessions[framework] = opened(framework)
        super().__init__(self.sessions[framework])

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def identity(self) -> Any:
        return known(self.session.identity())


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "Subject", Here)


def port(*words: Any) -> Result:
    return CliRunner().invoke(main, ["port", *map(str, words)])


def arrays(kind: str, rng: Any, ways: int = 1, size: int = F) -> dict[str, Any]:
    """As torch has them, of each direction."""
    wide, found = H * len(TORCH[kind]), {}
    for end in ("", "_reverse")[:ways]:
        shapes = {"weight_ih": (wide, size), "weight_hh": (wide, H), "bias_ih": (wide,),
                  "bias_hh": (wide,)}  # fmt: skip
        for name, shape in shapes.items():
            found[f"{name}_l0{end}"] = rng.normal(size=shape).astype(np.float32)
    return found


def torch_file(path: Path, **modules: dict[str, Any]) -> Path:
    torch = pytest.importorskip("torch")
    state = {f"{m}.{n}": torch.tensor(a) for m, own in modules.items() for n, a in own.items()}
    torch.save(state, path)
    return path


def turned(kind: str, array: Any, order: dict[str, str] = ONNX) -> Any:
    """Gates one below the other, from torch's order to another one."""
    return moved(array.T, TORCH[kind], order[kind]).T


def onnx_file(
    path: Path, kind: str, own: dict[str, Any], order: dict[str, str] = ONNX, **options: Any
) -> Path:
    """A node of that kind, named `node`, whose weights were torch's."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    ends = [e for e in ("", "_reverse") if f"weight_ih_l0{e}" in own]
    each = {
        name: np.stack([turned(kind, own[f"{theirs}_l0{end}"], order) for end in ends])
        for name, theirs in (("W", "weight_ih"), ("R", "weight_hh"))
    }
    each["B"] = np.stack(
        [
            np.concatenate([turned(kind, own[f"bias_{i}_l0{end}"], order) for i in ("ih", "hh")])
            for end in ends
        ]
    )
    options.setdefault("direction", "bidirectional" if len(ends) > 1 else "forward")
    if kind == "GRU":
        options.setdefault("linear_before_reset", 1)
    node = helper.make_node(CLASSES[kind], ["X", "W", "R", "B"], ["Y"], name="node",
                            hidden_size=H, **options)  # fmt: skip
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("X", 1, [None, None, F])], [value("Y", 1, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in each.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), path)
    return path


@pytest.mark.thinned(2)
@pytest.mark.parametrize("ways", [1, 2], ids=["forward", "in both directions"])
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_a_right_port_is_the_same_layer_and_both_compute_it(
    kind: str, ways: int, tmp_path: Path, here: None
) -> None:
    own = arrays(kind, np.random.default_rng(2), ways)
    pt, onnx = torch_file(tmp_path / "a.pt", m=own), onnx_file(tmp_path / "b.onnx", kind, own)
    for before, after in ((f"{pt}:m", f"{onnx}:node"), (onnx, pt)):
        done = port(before, after, "--json")
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        assert said["sentence"] == "The same layer, and both compute it."
        assert [each["name"] for each in said["directions"]] == [["", "forward"][ways - 1],
                                                                 "backward"][:ways]  # fmt: skip
        for each in said["directions"]:
            assert [part["same"] for part in each["weights"]] == [True] * 4
            assert [run["certified"] for run in each["computed"]] == [True, True]
            assert 0 <= each["apart"]["ratio"] <= 1
            assert each["apart"]["bounds"] > 0


def test_a_layer_that_was_never_ported_is_told_as_another(tmp_path: Path, here: None) -> None:
    one, other = (arrays("LSTM", np.random.default_rng(seed)) for seed in (3, 4))
    done = port(torch_file(tmp_path / "a.pt", m=one), torch_file(tmp_path / "b.pt", m=other))
    assert done.exit_code == 1
    words = "Every weight is another: these seem to be two layers, none made of the other."
    assert done.stdout.endswith(f"Not the same layer.\n{words}\n")
    assert "  no mistake in converting that is known here explains it\n" in done.stdout
    places = {str(tmp_path / name) for name in ("a.pt", "b.pt")}
    rest = [line for line in done.stdout.splitlines() if line.partition(":")[0] not in places]
    assert max(map(len, rest)) <= 81


def test_gates_that_were_not_reordered_are_told_and_the_exit_code_is_1(
    tmp_path: Path, here: None
) -> None:
    own = arrays("LSTM", np.random.default_rng(3))
    pt = torch_file(tmp_path / "a.pt", m=own)
    done = port(pt, onnx_file(tmp_path / "b.onnx", "LSTM", own, TORCH))
    assert done.exit_code == 1
    why = (
        "its gates stand as i f c o where i o f c belongs: they were not reordered, and are in "
        "torch's order"
    )
    assert f"explained: {why}" in done.stdout
    assert "Not the same layer.\nOf kernel, recurrent_kernel" in done.stdout
    assert done.stdout.endswith(f": {why}.\n")
    assert done.stdout.count("every step follows from the one before") == 2  # each of its own


@pytest.mark.parametrize(
    ("kind", "names", "exit_code"),
    [("SimpleRNN", ["Tanh"], 0), ("LSTM", ["Sigmoid", "Tanh", "Tanh"], 0),
     ("LSTM", ["Sigmoid", "Softsign", "Softsign"], 1), ("GRU", ["Sigmoid", "Softsign"], 1)],
)  # fmt: skip
def test_activations_have_to_be_the_same_where_both_files_say_them(
    kind: str, names: list[str], exit_code: int, tmp_path: Path, here: None
) -> None:
    own = arrays(kind, np.random.default_rng(3))
    pt = torch_file(tmp_path / "a.pt", m=own)
    done = port(pt, onnx_file(tmp_path / "b.onnx", kind, own, activations=names))
    assert done.exit_code == exit_code, done.output
    assert ("activation: tanh became softsign" in done.stdout) is (exit_code == 1)


def test_an_activation_that_a_state_dict_does_not_say_is_the_other_layers(
    tmp_path: Path, here: None
) -> None:
    own = arrays("SimpleRNN", np.random.default_rng(3))
    pt = torch_file(tmp_path / "a.pt", m=own)
    relu = ported.kept(
        ported.place(str(onnx_file(tmp_path / "b.onnx", "SimpleRNN", own, activations=["Relu"]))),
        Here(None, "onnx"),  # type: ignore[arg-type]
    )
    assert relu.ways[0].spec["activation"] == "relu"
    plain = ported.kept(ported.place(str(pt)), Here(None, "torch"))  # type: ignore[arg-type]
    assert "activation" not in plain.ways[0].spec


def test_a_framework_that_computes_something_else_is_told(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = arrays("GRU", np.random.default_rng(4))
    pt, onnx = torch_file(tmp_path / "a.pt", m=own), onnx_file(tmp_path / "b.onnx", "GRU", own)
    assert port(pt, onnx).exit_code == 0
    session = Here.sessions["torch"]
    right = session.recur

    def wrong(*given: Any) -> Any:
        sequence, ends = right(*given)
        return sequence * (1 + 1e-4), ends

    monkeypatch.setattr(session, "recur", wrong)
    done = port(pt, onnx)
    assert done.exit_code == 1
    assert "a step does not follow from the one before" in done.stdout
    assert done.stdout.endswith("The same weights, but a framework computes something else.\n")


def test_a_second_bias_is_computed_with(tmp_path: Path, here: None) -> None:
    """Of biases that cancel each other nothing is left in Keras's one, but both are added."""
    own = arrays("LSTM", np.random.default_rng(5))
    own["bias_ih_l0"] = own["bias_ih_l0"] * np.float32(1000)
    own["bias_hh_l0"] = -own["bias_ih_l0"] + np.float32(0.125)
    pt, onnx = torch_file(tmp_path / "a.pt", m=own), onnx_file(tmp_path / "b.onnx", "LSTM", own)
    done = port(pt, onnx, "--json")
    assert done.exit_code == 0, done.output
    (said,) = json.loads(done.stdout)["directions"]
    assert said["apart"]["bounds"] > 1e-5  # what adding thousands loses
    alone = port(pt)
    assert alone.exit_code == 0
    assert alone.stdout.endswith("It is computed as its weights say.\n")


def test_the_nodes_of_a_file_are_judged_by_themselves(tmp_path: Path, here: None) -> None:
    own = arrays("GRU", np.random.default_rng(6))
    reverse = onnx_file(tmp_path / "a.onnx", "GRU", own, direction="reverse", linear_before_reset=0)
    assert port(f"{reverse}:node").exit_code == 0
    relu = onnx_file(tmp_path / "b.onnx", "LSTM", arrays("LSTM", np.random.default_rng(6)),
                     activations=["Sigmoid", "Relu", "Relu"])  # fmt: skip
    done = port(relu)  # which the reference evaluator computes as tanh
    assert done.exit_code == 1 and "a step does not follow" in done.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"clip": 3.0}, "node: it has clip, which no layer of Keras has"),
        ({"activations": ["Sigmoid", "Tanh", "Relu"]}, "which no layer of Keras has"),
        ({"activations": ["Sigmoid", "ScaledTanh", "ScaledTanh"]}, "ScaledTanh, which Keras has"),
        ({"input_forget": 1}, "node: it has input_forget, which no layer of Keras has"),
    ],
)
def test_a_node_that_is_no_layer_of_keras_is_refused(
    options: dict[str, Any], reason: str, tmp_path: Path, here: None
) -> None:
    own = arrays("LSTM", np.random.default_rng(7))
    done = port(onnx_file(tmp_path / "a.onnx", "LSTM", own, **options))
    assert done.exit_code == 2
    assert reason in done.stderr and "Traceback" not in done.stderr


def test_what_is_no_place_of_a_layer_is_one_error(tmp_path: Path, here: None) -> None:
    own = arrays("LSTM", np.random.default_rng(8))
    two = torch_file(tmp_path / "two.pt", one=own, other=own)
    none = torch_file(tmp_path / "none.pt", dense={"weight": np.ones((2, 2), np.float32)})
    projected = torch_file(
        tmp_path / "p.pt", m={**own, "weight_hr_l0": np.ones((1, H), np.float32)}
    )
    odd = torch_file(tmp_path / "odd.pt", m={**own, "weight_hh_l0": np.ones((5, 2), np.float32)})
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    tensors = tmp_path / "a.safetensors"
    tensors.write_bytes(b"\x04\0\0\0\0\0\0\0{}")
    saved = tmp_path / "a.keras"
    saved.write_bytes(b"no archive")
    folder = tmp_path / "a.pth"
    folder.mkdir()
    for words, message in (
        ([two], "it has several layers: one, other; name one"),
        ([f"{two}:three"], "it has no layer three; it has one, other"),
        ([none], "it has no recurrent layer"),
        ([projected], "m projects its state (proj_size)"),
        ([odd], "m has no weight_ih and weight_hh of an RNN, LSTM or GRU"),
        ([damaged], "it is no ONNX file"),
        ([tensors], "it is no .safetensors file"),
        ([saved], "a.keras: no model that Keras saved: such a file is a zip archive"),
        ([tmp_path / "absent.pt"], "absent.pt: no such file"),
        ([folder], "a.pth: a folder"),
        ([tmp_path / "a.txt"], "a.txt: expected FILE:LAYER, with FILE one of .pt, .pth"),
        ([two, "--backend", "jax"], "--backend: none of the files is Keras's"),
        ([two, "--onnxruntime"], "--onnxruntime: none of the files is an .onnx file"),
    ):
        done = port(*words)
        assert done.exit_code == 2, done.output
        assert message in done.stderr.replace("\n", " "), done.stderr
        assert "Traceback" not in done.output


class _Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_a_program_in_a_pt_file_does_not_run(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.save({"m": _Bomb()}, "a.pt")
    Path("b.pth").write_bytes(pickle.dumps(_Bomb()))
    for file in ("a.pt", "b.pth"):
        done = port(file)
        assert done.exit_code == 2
        assert "it is no file of weights alone" in done.stderr
    assert not Path("ran").exists()


def safetensors(path: Path, held: dict[str, Any]) -> Path:
    """As its format has it: the length of a JSON header, the header, the bytes."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, array) in held.items():
        raw = array.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_safetensors_hold_the_same_and_narrow_ones_are_told(tmp_path: Path, here: None) -> None:
    own = arrays("LSTM", np.random.default_rng(9))
    pt = torch_file(tmp_path / "a.pt", m=own)
    same = safetensors(tmp_path / "a.safetensors", {f"m.{n}": ("F32", a) for n, a in own.items()})
    assert port(pt, same).exit_code == 0
    cut = {f"m.{n}": ("BF16", (a.view(np.uint32) >> 16).astype(np.uint16)) for n, a in own.items()}
    narrow = torch_files.safetensors(str(safetensors(tmp_path / "b.safetensors", cut)))
    for name, array in own.items():
        kept = narrow[f"m.{name}"]
        assert kept.dtype == np.float32
        assert np.array_equal(kept.view(np.uint32), array.view(np.uint32) >> 16 << 16)
    half = {f"m.{n}": ("F16", a.astype(np.float16)) for n, a in own.items()}
    done = port(pt, safetensors(tmp_path / "c.safetensors", half))
    assert "the same, all 24 numbers: rounded to float16" in done.stdout


def test_a_safetensors_file_is_read_as_its_own_package_reads_it(tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    own = arrays("GRU", np.random.default_rng(10), 2)
    package.save_file(own, tmp_path / "a.safetensors")
    found = torch_files.safetensors(str(tmp_path / "a.safetensors"))
    assert found.keys() == own.keys()
    assert all(np.array_equal(found[name], own[name]) for name in own)


def test_layers_of_a_module_are_named_one_by_one(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    deep = torch.nn.GRU(F, H, num_layers=2, bidirectional=True)
    whole = torch.nn.ModuleDict({"deep": deep, "cell": torch.nn.LSTMCell(F, H)})
    torch.save({"epoch": 3, "model_state_dict": whole.state_dict()}, tmp_path / "a.pt")
    torch.save(torch.nn.RNN(F, H, bias=False).state_dict(), tmp_path / "b.pt")
    found = torch_files.layers_in(torch, str(tmp_path / "a.pt"))
    assert list(found) == ["deep.l0", "deep.l1", "cell"]
    assert found["deep.l1"]["layer"]["kind"] == "Bidirectional"
    assert found["deep.l1"]["weights"]["backward.kernel"].shape == (2 * H, 3 * H)
    assert found["cell"]["layer"] == {"kind": "LSTM", "units": H, "name": "layer"}
    (only,) = torch_files.layers_in(torch, str(tmp_path / "b.pt")).items()
    assert only[0] == "l0"
    assert only[1]["layer"] == {
        "kind": "SimpleRNN", "units": H, "use_bias": False, "name": "layer"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "file", "layer"),
    [
        ("a.pt", "a.pt", ""),
        ("a.pt:lstm", "a.pt", "lstm"),
        ("b.onnx:/rnn/LSTM:0", "b.onnx", "/rnn/LSTM:0"),
        ("c.weights.h5:mine", "c.weights.h5", "mine"),
    ],
)
def test_a_place_is_a_file_and_a_name(
    text: str, file: str, layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file).touch()
    found = ported.place(text)
    assert (str(found.file), found.layer) == (file, layer)


WRITE = """
import sys
import keras
import numpy as np
given = np.load("given.npz")
lstm, gru = keras.layers.LSTM(2, name="mine"), keras.layers.GRU(2, name="other")
inner = keras.layers.SimpleRNN(2, activation="relu", return_sequences=True)
both = keras.layers.Bidirectional(inner, name="both")
for layers, name in (([lstm], "lstm"), ([both, gru], "deep")):
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    for layer in layers:
        layer.set_weights([given[f"{layer.name}.{i}"] for i in range(len(layer.weights))])
    for end in ("keras", "h5", "weights.h5"):
        (model.save_weights if "weights" in end else model.save)(f"{name}.{end}")
"""


@pytest.fixture(scope="module")
def backend(pytestconfig: pytest.Config) -> str:
    return pytestconfig.getoption("--backend") or ask.default_backend()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, backend: str) -> Path:
    """Files of torch, and of Keras with the same weights, as somebody would convert them."""
    pytest.importorskip("torch")
    folder, rng = tmp_path_factory.mktemp("saved"), np.random.default_rng(12)
    own = {"lstm": arrays("LSTM", rng), "gru": arrays("GRU", rng, size=2 * H),
           "rnn": arrays("SimpleRNN", rng, 2)}  # fmt: skip
    torch_file(folder / "torch.pt", **own)
    given: dict[str, Any] = {}
    for name, theirs, kind in (("mine", "lstm", "LSTM"), ("other", "gru", "GRU"),
                               ("both", "rnn", "SimpleRNN")):  # fmt: skip
        of = own[theirs]
        for end in ("", "_reverse") if kind == "SimpleRNN" else ("",):
            w, r, b, c = (
                turned(kind, of[f"{n}_l0{end}"], KERAS)
                for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            start = 3 * bool(end)
            bias = np.stack([b, c]) if kind == "GRU" else b + c
            for i, array in enumerate((w.T, r.T, bias), start):
                given[f"{name}.{i}"] = array
    np.savez(folder / "given.npz", **given)
    subprocess.run(
        [sys.executable, "-c", WRITE], cwd=folder, check=True, capture_output=True,
        env={**os.environ, "KERAS_BACKEND": backend},
    )  # fmt: skip
    return folder


@long
@pytest.mark.parametrize("end", ["keras", "h5", "weights.h5"])
def test_what_keras_saved_is_the_layer_of_torch(saved: Path, end: str, backend: str) -> None:
    words = {
        "keras": (f"{saved}/deep.{end}:both", f"{saved}/torch.pt:rnn"),
        "h5": (f"{saved}/torch.pt:lstm", f"{saved}/lstm.{end}"),
        "weights.h5": (f"{saved}/torch.pt:gru", f"{saved}/deep.{end}:other"),
    }[end]
    done = port(*words, "--backend", backend)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("The same layer, and both compute it.\n")
