"""What may a session be told to do, and what becomes of a plan?

A session is one framework that obeys verbs: the methods of `Session` that `VERBS` names, each by
default something that the framework does not have. Whoever adds a framework writes those that it
has. docs/protocol.md describes the lines on the pipe.

A request is {"id", "how", "arrays": {name: array}, "steps": {name: {"do": verb, its arguments}}},
and its reply {"id", "observed": {name: answer}}. Steps are obeyed in their order. `of`, `like` and
`after` name earlier steps; {"array": NAME} stands for an array. A step that raised is answered
{"error", "traceback"}, one that the framework cannot do {"unsupported": reason}, and either is also
the answer of whatever refers to it. Equal steps are obeyed once.

Sizes: B samples, T timesteps, F features, H units.
Arrays: x (B,T,F), kernel (F,H), recurrent_kernel (H,H), bias (H,), states (B,T,H), mask (B,T).
"""

from __future__ import annotations

import json
from typing import Any, Optional

from .wire import Array, decode, description

VERBS = (
    *("make", "summary", "weights", "config", "run", "run_shapes", "reset", "gradients", "reload"),
    *("save", "read_file", "serve", "compose", "export", "fit", "attempt", "offers"),
    *("describe", "inspect"),
)
REFERENCES = ("of", "like", "after")
Answer = dict[str, Any]
Descriptions = list[dict[str, Any]]
Maybe = Optional[Array]


class Unsupported(Exception):
    """What this framework, or this version of it, does not have. The message is the reason."""


class Made:
    """Layers, which later steps name. told: what is answered beside.

    spoilt: whether they may be others by now than what they were made.
    """

    told: Answer = {}  # noqa: RUF012  never changed
    spoilt = False


class Session:
    """One framework in this process."""

    framework = ""
    mode = "eager"
    dtype: str | None = None

    def identity(self) -> Answer:
        """Who is asked."""
        raise NotImplementedError

    def begin(self, how: Answer) -> None:
        """What holds for the whole request.

        mode: "eager", "function" (tf.function) or "xla" (tf.function's jit_compile, jax.jit). Of a
        few batches in "eager" TensorFlow's models are told to run eagerly as well; of more they are
        compiled as Keras does by default, which is faster then.
        dtype: a Keras dtype policy, given to every layer and cell. floatx: what is no layer
        computes in (by default float32). replace: {"SimpleRNN": "FILE.py:CLASS"}, classes
        that stand in for the framework's.
        """
        self.mode = how.get("mode", "eager")
        self.dtype = how.get("dtype")
        if how.get("replace"):
            raise Unsupported(f"{self.framework} takes no class in place of another")

    # the verbs: what they are asked, by name, and what without a default may be None or is needed

    def make(self, *_: Any, **asked: Any) -> Made:
        """layers, input_shape, weights, like, below, drawn=False, model, seed, copy="".

        Layers one after the other, built for input of this shape (B,T,F).

        weights: {layer: {path: array}}; what is not given is as the framework makes it. A path is
        "kernel", of a wrapped or cell's weight as well; "forward.kernel" and "backward.kernel" of
        a Bidirectional layer; "cell_0.kernel", ... of a list of cells. like: another make, whose
        weights these layers get. below: arrays that are appended to those weights as further rows.
        drawn: whether the initializers matter, and are to draw as described. seed: what all random
        numbers are drawn from, from here on. model: inputs {"x",
        "initial_state", "mask"}: a model of them builds the layers as it calls them. copy: tells
        makes apart that are otherwise equal. Answers {}.
        """
        raise self.has_no("make")

    def summary(self, *_: Any, **asked: Any) -> Answer:
        """of.

        {"layers": [{"name", "kind", "output_shape", "parameters", "trainable",
        "non_trainable"}], "parameters", "trainable", "non_trainable"} of a real model."""
        raise self.has_no("summary")

    def weights(self, *_: Any, **asked: Any) -> Answer:
        """of, after="", optimizer="".

        {"weights": {layer: {path: array}}, "trainable": {layer: [paths]}}. optimizer: of what kind
        the one is that trained it; "optimizer": {"iterations", state: {layer: {path: array}}}, as
        fit has them in "updates"."""
        raise self.has_no("weights")

    def config(self, *_: Any, **asked: Any) -> Answer:
        """layers.

        {"layers": {name: what get_config() says}, "optimizers": {"Adam": ..., "SGD": ...}}.

        What Keras serializes is {"kind": its class, its own arguments}.
        """
        raise self.has_no("configuration")

    def run(self, *_: Any, **asked: Any) -> Answer:
        """of, keep=("output",), through="layers", x, initial_state, mask, training, loss, target,
        after="", batch_size, metrics=(), sample_weight.

        Run the layers on x and say of it what `keep` names.

        x of an integer dtype stays so; (B,T) is for an Embedding. initial_state (B,H), of
        Bidirectional (2,B,H), and mask go to the first recurrent layer. through: "layers", called
        one after the other; "call", "predict" or "evaluate" of a model; "cell", the cell of an RNN
        called by itself at every step with the states that it returned before. In batches of
        batch_size, all at once if it is not given: "predict", "evaluate", and "predict_on_batch"
        and "test_on_batch" of each of them. after: the step whose states this goes on from;
        otherwise what is stateful is reset first. loss, target: of evaluate; a target that is not
        given is zeros.

        output: of the whole (B,T,H) or (B,H). states: the recurrent layer's own sequence (B,T,H),
        as return_sequences=True gives it; of a cell as well. last_state: what return_state=True
        gives (B,H); of several cells a list. layers, masks: of each layer its own output, and the
        mask that it carries or null. beside: what the last layer returns beside its output. losses:
        {"sum", "each"} of the model after a call. activities: {layer: output} of those with an
        activity_regularizer in that call; a list with the states, where these are returned.
        left: the states (B,H) of the last layer afterwards, of several a list. loss: what evaluate
        reports. reported: by name, with `metrics` (and as "weighted_mse", where samples weigh,
        those once more in which they do), what evaluate or each test_on_batch (a list) does.
        """
        raise self.has_no("run")

    def run_shapes(self, *_: Any, **asked: Any) -> Answer:
        """of, each.

        {"outputs": [array]} of one model that does not know how many samples and timesteps
        there will be, for each of these inputs."""
        raise self.has_no("model of unknown shapes")

    def reset(self, *_: Any, **asked: Any) -> Answer:
        """of, after="".

        {"left": what is left in the last layer} after its state is reset."""
        raise self.has_no("state that is kept from run to run")

    def gradients(self, *_: Any, **asked: Any) -> Answer:
        """of, loss, wrt, keep=(), last=False, starts, x, initial_state, mask.

        By the framework's own differentiation: {"loss", "weights": {layer: {path: array}}}, the
        gradients of the inputs that wrt names, and what `keep` names of the same run. starts:
        {layer: its initial state (B,H), or (S,B,H) of several}, of recurrent layers after the
        first; answered as "starts": {layer: [the gradient of each state]}.

        loss: {"kind": "cotangent", "value": array like the output}, the sum of their product, or
        {"kind": "mse" | "categorical_crossentropy", "target": array}. last: the recurrent layer
        returns a sequence, and its last step is what goes on.
        """
        raise self.has_no("gradients")

    def reload(self, *_: Any, **asked: Any) -> Made:
        """of, how, after="".

        Layers made with `model`, again: how "config" (from_config(get_config()) of each),
        "config_twice" (the second layer of one configuration), "weights" (saved, and loaded into
        a model made anew), "keras" or "h5" (saved whole, in a file that is called so, and loaded),
        "clone", "pickle" or "deepcopy". Where it was compiled and how it was trained goes with the
        last two and with whole files. Answers {"same_config", "same_weights"}; names count, but
        not for "weights"."""
        raise self.has_no("way to save and load a layer as Keras does")

    def save(self, *_: Any, **asked: Any) -> Answer:
        """of, how, after="".

        {"file": what it is written as (bytes, uint8)}: how "keras" or "h5" (a whole model),
        "weights", or "export" (a SavedModel, a folder, as a .zip of it)."""
        raise self.has_no("files of Keras's")

    def read_file(self, *_: Any, **asked: Any) -> Made:
        """layers, input_shape, data, name, own=False, compiled=False.

        The model in a file (bytes, uint8) of that name: a whole one (.keras, .h5), or weights
        (.weights.h5) for these layers. A file that names a class that no claim may name is
        refused, but for one that a subject wrote itself (own). compiled: with what trained it."""
        raise self.has_no("files of Keras's")

    def serve(self, *_: Any, **asked: Any) -> Answer:
        """data, x, initial_state, mask.

        {"output"}: what TensorFlow computes with a SavedModel that `save` wrote."""
        raise self.has_no("SavedModel")

    def compose(self, *_: Any, **asked: Any) -> Made:
        """of, how.

        The layers in another model of x: how "sequential", "nested" (the first half of them a model
        in a model), "subclassed", "twice" (called for the first half of the samples, and for the
        others) or "constructed" (made anew, their weights given to the constructors that take
        them)."""
        raise self.has_no("models of the same layers")

    def export(self, *_: Any, **asked: Any) -> Answer:
        """of, x, initial_state, mask.

        {"output"}: what TensorFlow computes with the SavedModel that the model is exported as."""
        raise self.has_no("way to export a model as Keras does")

    def fit(self, *_: Any, **asked: Any) -> Answer:
        """of, optimizer, loss, keep=(), epochs=1, batch_size=None, x, initial_state, mask, target,
        after="", sample_weight=None, class_weight=None, metrics=(), by_batch=False,
        reset_states=False.

        Train on all samples in their order. optimizer: {"kind", "learning_rate", its options}.
        sample_weight (B,) or (B,T); class_weight: {"0": weight}. reset_states: of stateful layers,
        when an epoch ends.

        batch_size: all of them if it is not given. keep: "loss", as it is reported, (epochs,);
        "left", as of run; "updates", watched: weights, the optimizer's states by their short names
        ("m" momentum, "v" velocity, "s" largest velocity, "a" average gradient, "average" of the
        weights, "accumulated" gradient) and iterations before the first batch and after each, the
        weights when training "ended", and the optimizer's constants; "reported", of each epoch by
        name, with `metrics` as of run, validated on the same samples; or by_batch, of each
        train_on_batch; "scale", what the loss is multiplied by before the first gradient is taken,
        and in mixed_float16 only with it: 1 where it is not.
        """
        raise self.has_no("fit")

    def attempt(self, *_: Any, **asked: Any) -> Answer:
        """of, layers, input_shape=(), keys, x, initial_state, mask.

        {"raised": [class, its bases ...], "message": 300 characters of it, "at": "construct" |
        "build" | "call"} or {"returned": the output's shape}.

        Of calling what was made; or of making layers, the last with these keys, building them for
        the shape and calling them. initial_state may be a list.
        """
        raise self.has_no("way to be misused as Keras is")

    def offers(self, *_: Any, **asked: Any) -> Answer:
        """kind.

        {"lacks": [sentences]}: of the class that replaces this one, what the verbs need."""
        raise self.has_no("class that could be replaced")

    def describe(self, *_: Any, **asked: Any) -> Answer:
        """where, only="", x=None.

        {"layers": descriptions, "weights": {layer: {path: array}}, "input_shape" (B,T,F) with null
        where any size will do, "parameters", "dtype": the policy} of the layer or model that a user
        keeps at FILE.keras, FILE.py:NAME or MODULE:NAME, FILE.pt, FILE.onnx, or of the layer `only`
        in it; with x the
        "output" of a call. {"refused": why} of what has no description.
        """
        raise self.has_no("models that could be described")

    def inspect(self, *_: Any, **asked: Any) -> Answer:
        """where, own={}, inputs=None, cotangent=1.

        {"inputs": what the model takes (see `inspected.taken`), "layers": its recurrent layers, and
        why one cannot be certified}. own: {FILE.py:CLASS: the class of Keras's that it computes the
        same as}. With inputs [[name, array]] it is run on them, each layer watched where it stands:
        "outputs", and "calls" (see `watched.Watch.run`); "gradients" of the sum of all outputs
        times numbers drawn with the seed `cotangent` (see `inspected._gradients`).
        """
        raise self.has_no("models that could be inspected")

    # what becomes of a plan

    def has_no(self, what: str) -> Unsupported:
        return Unsupported(f"{self.framework} has no {what}")

    def looks(self, verb: str, asked: Answer) -> bool:
        """Whether the verb leaves the layers that it is asked of as they are."""
        return False

    def whose(self, error: Exception) -> Answer:
        """An exception as an answer."""
        if isinstance(error, Unsupported):
            return {"unsupported": str(error)}
        return description(error)


def reply_to(session: Session, line: str) -> Answer:
    number = None
    try:
        request = json.loads(line)
        number = request.get("id")
        session.begin(request.get("how") or {})
        return {"id": number, "observed": follow(session, request)}
    except Unsupported as error:
        reason = {"unsupported": str(error)}
        return {"id": number, "observed": dict.fromkeys(request["steps"], reason)}
    except Exception as error:  # whatever a framework raises is an observation
        return {"id": number, **description(error)}


def follow(session: Session, request: Answer) -> dict[str, Answer]:
    """The answers to the steps of a request, by their names."""
    arrays = {name: decode(array) for name, array in (request.get("arrays") or {}).items()}
    made: dict[str, Made] = {}
    answers: dict[str, Answer] = {}
    obeyed: dict[str, str] = {}
    for name, written in request["steps"].items():
        step = {k: obeyed.get(f"={v}", v) if k in REFERENCES else v for k, v in written.items()}
        twin = obeyed.setdefault(json.dumps(step, sort_keys=True), name)
        obeyed[f"={name}"] = twin
        if twin == name:
            answers[name] = obey(session, step, arrays, made, answers, name)
        else:
            answers[name] = answers[twin]
    return answers


def obey(
    session: Session,
    step: Answer,
    arrays: dict[str, Array],
    made: dict[str, Made],
    answers: dict[str, Answer],
    name: str,
) -> Answer:
    used: list[Made] = []
    try:
        arguments = {key: with_arrays(value, arrays) for key, value in step.items()}
        verb = arguments.pop("do")
        if verb not in VERBS:
            raise ValueError(f"unknown verb {verb!r}")
        for key in REFERENCES:
            if key not in arguments:
                continue
            earlier = arguments[key]
            if earlier not in answers:
                raise ValueError(f"{key}: no step before this one is called {earlier!r}")
            if {"error", "unsupported"} & answers[earlier].keys():
                return answers[earlier]
            if key != "after":
                arguments[key] = made[earlier]
                used.append(made[earlier])
        if not session.looks(verb, arguments):
            spoil(used)
        answer = getattr(session, verb)(**arguments)
        if not isinstance(answer, Made):
            return answer  # type: ignore[no-any-return]
        made[name] = answer
        return answer.told
    except Exception as error:  # whatever a framework raises is an observation
        spoil(used)
        return session.whose(error)


def spoil(used: list[Made]) -> None:
    for each in used:
        each.spoilt = True


def with_arrays(node: Any, arrays: dict[str, Array]) -> Any:
    """An argument, the arrays in it in place of their names."""
    if isinstance(node, dict):
        if node.keys() == {"array"}:
            return arrays[node["array"]]
        return {key: with_arrays(value, arrays) for key, value in node.items()}
    return [with_arrays(each, arrays) for each in node] if isinstance(node, list) else node
