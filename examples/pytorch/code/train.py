"""PyTorch's DistributedDataParallel on handwritten digits; a kill of any rank leaves no trace in the bits."""

import json
import os
import random
import time

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

BATCH = 32
RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
PARAMETERS = json.loads(os.environ["ASSAY_HYPERPARAMETERS"])


def parameter(name):
    return int(PARAMETERS[name])


def set_up(seed):
    random.seed(seed)
    np.random.seed(seed)
    # Each rank drops out other pixels.
    torch.manual_seed(seed + RANK)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def cpu_capability():
    if hasattr(torch.backends, "cpu"):
        return torch.backends.cpu.get_cpu_capability()
    # Before version 2.0 only this text says it.
    lines = [line for line in torch.__config__.show().split("\n") if "CPU capability" in line]
    return lines[0].split(":")[-1].strip() if lines else "unknown"


def say_what_is_in_force():
    """Asks PyTorch, not the environment: Assay compares this with what it set."""
    report = {
        "cpu_capability": cpu_capability(),
        "cuda_matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "process_group": dist.get_backend(),
    }
    with open(os.environ["ASSAY_IN_FORCE"], "w") as file:
        json.dump(report, file)


def load():
    rows = np.loadtxt(os.environ["ASSAY_DATASET_DIGITS"], delimiter=",", dtype=np.float32)
    pixels, labels = torch.from_numpy(rows[:, :64] / 16.0), torch.from_numpy(rows[:, 64]).long()
    part = len(rows) * 4 // 5
    return (pixels[:part], labels[:part]), (pixels[part:], labels[part:])


def order(seed, epoch, rows):
    """The same on all ranks, and known from the epoch alone: nothing of it need be saved."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(rows, generator=generator)


def save(step, model, optimizer):
    """Rank 0 writes for all, with each rank's generator: aside, then renamed."""
    own = torch.get_rng_state()
    generators = [torch.empty_like(own) for _ in range(WORLD)]
    dist.all_gather(generators, own)
    if RANK != 0:
        return
    folder = os.environ["ASSAY_CHECKPOINT_DIR"]
    aside = os.path.join(folder, f".step-{step}")
    os.makedirs(aside)
    state = {
        "step": step,
        "model": model.module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generators": generators,
    }
    torch.save(state, os.path.join(aside, "state.pt"))
    os.rename(aside, os.path.join(folder, f"step-{step}"))


def main():
    seed = int(os.environ["ASSAY_SEED"])
    set_up(seed)
    dist.init_process_group("gloo")
    say_what_is_in_force()
    (pixels, labels), (held_pixels, held_labels) = load()
    hidden = parameter("hidden")
    net = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10))
    model = DistributedDataParallel(net)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    step, resume = 0, os.environ.get("ASSAY_RESUME_FROM")
    if resume:
        state = torch.load(os.path.join(resume, "state.pt"))
        step = state["step"]
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generators"][RANK])
        print(f"resumed at step {step}", flush=True)
    in_epoch = len(pixels) // (BATCH * WORLD)
    while step < parameter("steps"):
        epoch, place = divmod(step, in_epoch)
        rows = order(seed, epoch, len(pixels))[RANK::WORLD][place * BATCH : (place + 1) * BATCH]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pixels[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        step += 1
        print(f"step {step} loss {loss.item():.6f}", flush=True)
        with open(os.environ["ASSAY_METRICS"], "a") as file:
            file.write(json.dumps({"step": step, "loss": round(loss.item(), 6)}) + "\n")
        if step % parameter("checkpoint_every") == 0:
            save(step, model, optimizer)
        time.sleep(parameter("step_delay_ms") / 1000)
    if RANK == 0:
        model.eval()
        for name, value in model.module.state_dict().items():
            np.save(os.path.join(os.environ["ASSAY_OUTPUT_DIR"], f"{name}.npy"), value.numpy())
        right = (model.module(held_pixels).argmax(dim=1) == held_labels).float().mean()
        print(f"held-out accuracy {right.item():.4f}", flush=True)
    dist.barrier()


main()
