"""A network in JAX on handwritten digits that goes on after a kill as if there had been none."""

import json
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

BATCH = 64
RATE, MOMENTUM, KEPT = 0.1, 0.9, 0.8
PARAMETERS = json.loads(os.environ["ASSAY_HYPERPARAMETERS"])


def parameter(name):
    return int(PARAMETERS[name])


def say_what_is_in_force():
    """Asks JAX, not the environment that Assay set: it compares the two."""
    report = {
        "matmul_precision": jax.config.jax_default_matmul_precision,
        "threefry_partitionable": jax.config.jax_threefry_partitionable,
        "xla_flags": os.environ["XLA_FLAGS"],
        "backend": jax.default_backend(),
        "jax": jax.__version__,
        "numpy": np.__version__,
    }
    with open(os.environ["ASSAY_IN_FORCE"], "w") as file:
        json.dump(report, file)


def load():
    rows = np.loadtxt(os.environ["ASSAY_DATASET_DIGITS"], delimiter=",", dtype=np.float32)
    part = len(rows) * 4 // 5
    pixels, labels = rows[:, :64] / 16.0, rows[:, 64].astype(np.int32)
    return (pixels[:part], labels[:part]), (pixels[part:], labels[part:])


def outputs(weights, pixels):
    hidden = jnp.tanh(pixels @ weights["w0"] + weights["b0"])
    return hidden @ weights["w1"] + weights["b1"]


def loss_of(weights, key, pixels, labels):
    seen = jax.random.bernoulli(key, KEPT, pixels.shape)
    scores = jax.nn.log_softmax(outputs(weights, jnp.where(seen, pixels / KEPT, 0.0)))
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


@jax.jit
def learn(weights, speed, key, pixels, labels):
    key, now = jax.random.split(key)
    loss, slope = jax.value_and_grad(loss_of)(weights, now, pixels, labels)
    speed = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, speed, slope)
    return jax.tree.map(jnp.add, weights, speed), speed, key, loss


def fresh(seed):
    """All that the next step depends on: weights, momentum, both generators, the place."""
    random = np.random.RandomState(seed)
    sizes = [64, parameter("hidden"), 10]
    state = {"step": np.int64(0), "key": np.asarray(jax.random.PRNGKey(seed))}
    for layer, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        state[f"w{layer}"] = (random.randn(rows, columns) / np.sqrt(rows)).astype(np.float32)
        state[f"b{layer}"] = np.zeros(columns, np.float32)
    for name in ["w0", "b0", "w1", "b1"]:
        state[f"v_{name}"] = np.zeros_like(state[name])
    state["order"] = np.array([], dtype=np.int64)
    return state, random


def save(state, random):
    """Whole or not at all: written aside, then renamed."""
    folder, step = os.environ["ASSAY_CHECKPOINT_DIR"], int(state["step"])
    aside = os.path.join(folder, f".step-{step}")
    os.makedirs(aside)
    for name, value in state.items():
        np.save(os.path.join(aside, f"{name}.npy"), value)
    kind, words, place, has_gauss, gauss = random.get_state()
    np.savez(os.path.join(aside, "random.npz"), words=words, rest=[place, has_gauss, gauss])
    os.rename(aside, os.path.join(folder, f"step-{step}"))


def begin():
    state, random = fresh(int(os.environ["ASSAY_SEED"]))
    folder = os.environ.get("ASSAY_RESUME_FROM")
    if folder:
        state = {name: np.load(os.path.join(folder, f"{name}.npy")) for name in state}
        saved = np.load(os.path.join(folder, "random.npz"))
        place, has_gauss, gauss = saved["rest"]
        random.set_state(("MT19937", saved["words"], int(place), int(has_gauss), float(gauss)))
        print(f"resumed at step {int(state['step'])}", flush=True)
    return state, random


def main():
    say_what_is_in_force()
    (pixels, labels), (held_pixels, held_labels) = load()
    state, random = begin()
    names = ["w0", "b0", "w1", "b1"]
    while state["step"] < parameter("steps"):
        if len(state["order"]) < BATCH:
            state["order"] = random.permutation(len(pixels))
        batch, state["order"] = state["order"][:BATCH], state["order"][BATCH:]
        weights = {name: state[name] for name in names}
        speed = {name: state[f"v_{name}"] for name in names}
        found = learn(weights, speed, state["key"], pixels[batch], labels[batch])
        weights, speed, key, loss = jax.tree.map(np.asarray, found)
        state.update(weights, key=key, step=state["step"] + 1)
        state.update({f"v_{name}": value for name, value in speed.items()})
        step = int(state["step"])
        print(f"step {step} loss {float(loss):.6f}", flush=True)
        with open(os.environ["ASSAY_METRICS"], "a") as file:
            file.write(json.dumps({"step": step, "loss": round(float(loss), 6)}) + "\n")
        if step % parameter("checkpoint_every") == 0:
            save(state, random)
        time.sleep(parameter("step_delay_ms") / 1000)
    weights = {name: state[name] for name in names}
    for name, value in weights.items():
        np.save(os.path.join(os.environ["ASSAY_OUTPUT_DIR"], f"{name}.npy"), value)
    right = np.asarray(outputs(weights, held_pixels)).argmax(axis=1) == held_labels
    print(f"held-out accuracy {right.mean():.4f}", flush=True)


main()
