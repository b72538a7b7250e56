"""A network of scikit-learn on handwritten digits that goes on after a kill as if there had been none."""

import json
import os
import pickle
import time

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_info

BATCH = 64
PARAMETERS = json.loads(os.environ["ASSAY_HYPERPARAMETERS"])


def parameter(name):
    return int(PARAMETERS[name])


def say_what_is_in_force():
    """Asks the libraries, not the environment: Assay compares this with what it set."""
    pools = threadpool_info()
    blas = sorted({pool["architecture"] for pool in pools if pool["user_api"] == "blas"})
    report = {
        "blas_core": ",".join(blas),
        "threads": max(pool["num_threads"] for pool in pools),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "blas": sorted({f'{pool["prefix"]} {pool["version"]}' for pool in pools}),
    }
    with open(os.environ["ASSAY_IN_FORCE"], "w") as file:
        json.dump(report, file)


def load():
    rows = np.loadtxt(os.environ["ASSAY_DATASET_DIGITS"], delimiter=",", dtype=np.float64)
    part = len(rows) * 4 // 5
    pixels, labels = rows[:, :64] / 16.0, rows[:, 64].astype(int)
    return (pixels[:part], labels[:part]), (pixels[part:], labels[part:])


class State:
    """All that the next step depends on: the model with its optimiser, the generator, the place."""

    def __init__(self, seed):
        self.step = 0
        self.random = np.random.RandomState(seed)
        self.order = np.array([], dtype=int)
        self.model = MLPClassifier(
            hidden_layer_sizes=(parameter("hidden"),), batch_size=BATCH, random_state=self.random
        )

    def learn(self, pixels, labels):
        if len(self.order) < BATCH:
            self.order = self.random.permutation(len(pixels))
        batch, self.order = self.order[:BATCH], self.order[BATCH:]
        self.model.partial_fit(pixels[batch], labels[batch], classes=np.arange(10))
        self.step += 1
        return self.model.loss_


def save(state):
    """Whole or not at all: written aside, then renamed."""
    folder = os.environ["ASSAY_CHECKPOINT_DIR"]
    aside = os.path.join(folder, f".step-{state.step}")
    os.makedirs(aside)
    with open(os.path.join(aside, "state.pickle"), "wb") as file:
        pickle.dump(state, file, protocol=5)
    os.rename(aside, os.path.join(folder, f"step-{state.step}"))


def begin():
    resume = os.environ.get("ASSAY_RESUME_FROM")
    if not resume:
        return State(int(os.environ["ASSAY_SEED"]))
    with open(os.path.join(resume, "state.pickle"), "rb") as file:
        state = pickle.load(file)
    print(f"resumed at step {state.step}", flush=True)
    return state


def main():
    say_what_is_in_force()
    train, held_out = load()
    state = begin()
    while state.step < parameter("steps"):
        loss = state.learn(*train)
        print(f"step {state.step} loss {loss:.6f}", flush=True)
        with open(os.environ["ASSAY_METRICS"], "a") as file:
            file.write(json.dumps({"step": state.step, "loss": round(float(loss), 6)}) + "\n")
        if state.step % parameter("checkpoint_every") == 0:
            save(state)
        time.sleep(parameter("step_delay_ms") / 1000)
    output = os.environ["ASSAY_OUTPUT_DIR"]
    for number, weights in enumerate(state.model.coefs_ + state.model.intercepts_):
        np.save(os.path.join(output, f"weights-{number}.npy"), weights)
    print(f"held-out accuracy {state.model.score(*held_out):.4f}", flush=True)


main()
