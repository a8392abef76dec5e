#!/usr/bin/env python3
"""Ten steps of every rule of torch.optim, and the rates of every schedule: writes optimizers.safetensors beside itself.

A trace's name is what heed is asked for, "TEXT @ RATE @ DECAY" and "TEXT @ PEAK @ FLOOR @ STEPS", so that the file says
what is compared. Everything is f64.
"""
import pathlib

import torch
from torch import optim
from torch.optim import lr_scheduler

HERE = pathlib.Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)  # scalars of the rules, too
STEPS = 10


def gradients(shape, seed):
    return torch.randn((STEPS, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


W, B = gradients((4, 3), 1), gradients((5,), 2)
INITIAL = {"w": gradients((4, 3), 3)[0], "b": gradients((5,), 4)[0]}


def trace(out, text, rate, decay, make, tensors=("w", "b")):
    """make(parameters) gives the optimiser; the weights after every step."""
    parameters = {name: INITIAL[name].clone().requires_grad_() for name in tensors}
    optimizer = make(list(parameters.values()))
    for step in range(STEPS):
        for name, p in parameters.items():
            p.grad = (W if name == "w" else B)[step].clone()
        optimizer.step()
        for name, p in parameters.items():
            out.setdefault(f"optimizer {text} @ {rate} @ {decay} @ {name}", []).append(p.detach().clone())


def optimizers(out):
    def case(text, rate, make, decays=(0, 0.1), **how):
        for decay in decays:
            trace(out, text, rate, decay, lambda p: make(p, rate, decay), **how)

    case("sgd:momentum=0.9,dampening=0.3", 0.1,
         lambda p, r, d: optim.SGD(p, r, momentum=0.9, dampening=0.3, weight_decay=d))
    case("sgd:momentum=0.9,nesterov=true", 0.1, lambda p, r, d: optim.SGD(p, r, 0.9, nesterov=True, weight_decay=d))
    case("adagrad", 0.05, lambda p, r, d: optim.Adagrad(p, r, weight_decay=d))
    case("adagrad:rate_decay=0.2,initial=0.3", 0.05,
         lambda p, r, d: optim.Adagrad(p, r, lr_decay=0.2, initial_accumulator_value=0.3, weight_decay=d))
    case("rmsprop", 0.01, lambda p, r, d: optim.RMSprop(p, r, weight_decay=d))
    case("rmsprop:alpha=0.9,momentum=0.8,centered=true", 0.01,
         lambda p, r, d: optim.RMSprop(p, r, alpha=0.9, momentum=0.8, centered=True, weight_decay=d))
    case("adadelta", 1, lambda p, r, d: optim.Adadelta(p, r, weight_decay=d))
    case("adam", 0.01, lambda p, r, d: optim.Adam(p, r, weight_decay=d))
    case("adam:beta1=0.8,beta2=0.95,eps=0.001", 0.01,
         lambda p, r, d: optim.Adam(p, r, betas=(0.8, 0.95), eps=1e-3, weight_decay=d))
    case("amsgrad:beta2=0.9", 0.01, lambda p, r, d: optim.Adam(p, r, betas=(0.9, 0.9), amsgrad=True, weight_decay=d))
    case("adamw", 0.01, lambda p, r, d: optim.AdamW(p, r, weight_decay=d))
    case("nadam", 0.01, lambda p, r, d: optim.NAdam(p, r, weight_decay=d))
    case("radam:beta2=0.9", 0.01, lambda p, r, d: optim.RAdam(p, r, betas=(0.9, 0.9), weight_decay=d))
    case("adamax", 0.01, lambda p, r, d: optim.Adamax(p, r, weight_decay=d))
    case("asgd:start=3", 0.05, lambda p, r, d: optim.ASGD(p, r, t0=3, weight_decay=d))
    case("rprop", 0.01, lambda p, r, d: optim.Rprop(p, r), decays=(0,))


def main():
    from safetensors.torch import save_file
    out = {}
    optimizers(out)
    out = {name: torch.stack(values) for name, values in out.items()}
    out |= {"gradients w": W, "gradients b": B, "initial w": INITIAL["w"], "initial b": INITIAL["b"]}
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, HERE / "optimizers.safetensors")


if __name__ == "__main__":
    main()
