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
    case("adafactor", 0.05, lambda p, r, d: optim.Adafactor(p, r, weight_decay=d))
    case("adafactor:decay=0.5,threshold=1.5,eps=0.01", 0.5,
         lambda p, r, d: optim.Adafactor(p, r, beta2_decay=-0.5, d=1.5, eps=(None, 1e-2), weight_decay=d))
    rounded, torch.Tensor.bfloat16 = torch.Tensor.bfloat16, lambda x: x.clone()  # the iteration in the matrix's own type
    case("muon:scale=original", 0.05, lambda p, r, d: optim.Muon(p, r, weight_decay=d), tensors=("w",))
    case("muon:momentum=0.5,nesterov=false", 0.05,
         lambda p, r, d: optim.Muon(p, r, weight_decay=d, momentum=0.5, nesterov=False,
                                    adjust_lr_fn="match_rms_adamw"), tensors=("w",))
    torch.Tensor.bfloat16 = rounded
    for settings, history in (("", 10), (",history=3", 3)):
        w, b = (INITIAL[name].clone().requires_grad_() for name in "wb")
        optimizer = optim.LBFGS([w, b], 0.5, max_iter=4, history_size=history)

        def closure():
            optimizer.zero_grad()
            loss = (0.3 * w).exp().sum() + 0.5 * (w * w).sum() + 0.25 * ((b * b - 1)**2).sum()
            loss.backward()
            return loss

        for _ in range(STEPS):
            optimizer.step(closure)
            for name, p in (("w", w), ("b", b)):
                out.setdefault(f"closure lbfgs:line_search=false,iterations=4{settings} @ 0.5 @ 0 @ {name}",
                               []).append(p.detach().clone())


def rates(out, text, peak, floor, steps, make, losses=None):
    """The rate of every step under make(optimizer), one more than `steps`; step() is told `losses` where given."""
    optimizer = optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    schedule = make(optimizer)
    values = []
    for step in range(steps + 1):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([losses[step]] if losses else []))
    out[f"schedule {text} @ {peak} @ {floor} @ {steps}"] = [torch.tensor(v) for v in values]


PLATEAU_LOSSES = [3, 2, 2.5, 2, 1.9999, 2.1, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 2.1, 2.2, 2.3, 2.4, 1.4, 1.5, 1.6, 1.7, 1.8]


def schedules(out):
    s = lr_scheduler
    rates(out, "constant", 0.5, 0, 6, lambda o: s.ConstantLR(o, factor=1, total_iters=6))
    rates(out, "step:every=4,gamma=0.3", 0.5, 0, 20, lambda o: s.StepLR(o, 4, 0.3))
    rates(out, "multistep:milestones=3/8/15,gamma=0.2", 0.5, 0, 20, lambda o: s.MultiStepLR(o, [3, 8, 15], 0.2))
    rates(out, "exponential:gamma=0.9", 0.5, 0, 20, lambda o: s.ExponentialLR(o, 0.9))
    rates(out, "linear", 0.5, 0.1, 20, lambda o: s.LinearLR(o, 1, 0.2, 20))
    rates(out, "polynomial:power=1", 0.5, 0, 20, lambda o: s.PolynomialLR(o, 20, 1))
    rates(out, "polynomial:power=2.5", 0.5, 0, 20, lambda o: s.PolynomialLR(o, 20, 2.5))
    rates(out, "cosine", 0.5, 0.1, 20, lambda o: s.CosineAnnealingLR(o, 20, 0.1))
    rates(out, "cosine-restarts:period=5", 0.5, 0.1, 23, lambda o: s.CosineAnnealingWarmRestarts(o, 5, 1, 0.1))
    rates(out, "cosine-restarts:period=3,growth=2", 0.5, 0.1, 40, lambda o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.1))
    rates(out, "one-cycle", 0.5, 0, 20, lambda o: s.OneCycleLR(o, 0.5, total_steps=22))
    rates(out, "cyclic:up=4,down=6", 0.5, 0.1, 33,
          lambda o: s.CyclicLR(o, 0.1, 0.5, 4, 6, cycle_momentum=False))
    rates(out, "cyclic:up=4,fade=0.5", 0.5, 0.1, 33,
          lambda o: s.CyclicLR(o, 0.1, 0.5, 4, mode="triangular2", cycle_momentum=False))
    rates(out, "plateau:patience=2,factor=0.5", 0.5, 0, 20, lambda o: s.ReduceLROnPlateau(o, factor=0.5, patience=2),
          PLATEAU_LOSSES)
    rates(out, "plateau:patience=1,factor=0.5,cooldown=2,threshold=0.3", 0.5, 0.1, 20,
          lambda o: s.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=2, threshold=0.3, min_lr=0.1),
          PLATEAU_LOSSES)
    rates(out, "warmup:steps=5,from=0.2+exponential:gamma=0.9", 0.5, 0, 20,
          lambda o: s.SequentialLR(o, [s.LinearLR(o, 0.2 + 0.8 / 5, 1, 4), s.ExponentialLR(o, 0.9)], [5]))
    rates(out, "step:every=3,gamma=0.5*exponential:gamma=0.9", 0.5, 0, 20,
          lambda o: s.ChainedScheduler([s.StepLR(o, 3, 0.5), s.ExponentialLR(o, 0.9)]))


def main():
    from safetensors.torch import save_file
    out = {}
    optimizers(out)
    schedules(out)
    out = {name: torch.stack(values) for name, values in out.items()}
    out |= {"gradients w": W, "gradients b": B, "initial w": INITIAL["w"], "initial b": INITIAL["b"], "plateau losses": torch.tensor(PLATEAU_LOSSES)}
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, HERE / "optimizers.safetensors")


if __name__ == "__main__":
    main()
