"""Audit records to draw: the shape of ``audit.json`` filled with numbers as an audit of some size would give them."""

import hashlib

import numpy as np
from scipy.stats import norm


def audit_record(*, separation=0.25, claimed=3.0, shown=1.9, verdict="pass", hospitals=("hospital-1",)):
    """A whole record.

    Args:
        separation: how far members' scores lie above those of others, in standard deviations.
        claimed: the promised epsilon; None promises nothing.
        shown: epsilon lower bound of the one-run audit.
        verdict: of the whole.
        hospitals: whose patients were attacked.
    """
    groups = {"all": 592, "outliers": 59, "notes: 1": 402, "notes: 2 or more": 190, "sex: F": 301, "sex: M": 291}
    attacks = [
        attack(name, group, members, separation=separation * (1.6 if group == "outliers" else 1.0) * factor)
        for name, factor in (("loss", 0.7), ("rmia", 1.0))
        for group, members in groups.items()
    ]
    return {
        "format": 1,
        "kind": "model",
        "verdict": verdict,
        "exit_code": {"pass": 0, "fail": 1, "inconclusive": 3}[verdict],
        "statement": f"The run promises epsilon {claimed}; the audit shows at least epsilon {shown}.",
        "reasons": ["one-run audit (all rounds): 118 of 131 guesses about canaries were right"],
        "subject": {
            "run": "4611",
            "folder": "icd-coding-4611",
            "study": "icd-coding",
            "digest": sha("study"),
            "task": "icd-coding",
            "model": "mlp-s",
            "model_sha256": sha("model"),
            "run_sha256": sha("run"),
            "hospitals": list(hospitals),
            "codes": 180,
        },
        "claim": claim(claimed, hospitals),
        "evidence": evidence(shown, claimed, verdict),
        "cohort": {
            "members": 592,
            "non_members": 198,
            "minimum_cell": 5,
            "groups": {group: {"members": n, "non_members": n // 3} for group, n in groups.items()},
            "withheld": ["notes: 5"],
            "rule": "members: patients of the training split; non-members: patients of the other splits",
        },
        "attacks": attacks,
        "one_run": [one_run("final model", shown - 0.7, claimed), one_run("all rounds", shown, claimed)],
        "inversion": [inversion("plain", 0.93), inversion("clipped and noised", 0.01)],
        "self_test": {
            "passed": True,
            "detectable_tpr": None,
            "detectable_epsilon": 3.61,
            "checks": [
                check("a model that memorised its patients", "fail", "area under the curve 0.99"),
                check("a constant model", "pass", "area under the curve 0.50"),
            ],
        },
        "tests": 3,
        "method": [
            "RMIA with 8 reference models.",
            "Thresholds of the one-run audit come from canaries that are not scored.",
        ],
        "limits": ["An audit can contradict a promise and never prove one."],
        "software": {"wardround": "0.1.0", "torch": "2.9.1"},
        "command": "wardround audit model runs/icd-coding-4611 --data hospitals/hospital-1",
        "seeds": {"audit": 7},
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": {"self-test": 4.2, "references": 21.0, "attacks": 3.1, "total": 31.0},
    }


def robustness_record():
    """The shape of ``robustness.json`` with numbers in it."""
    return {
        "format": 1,
        "kind": "robustness",
        "run": "4611",
        "model_sha256": sha("model"),
        "documents": 312,
        "patients": 198,
        "perturbations": [perturbation(name, rate) for name, rate in (("mask", 0.31), ("negate", 0.22))],
        "unedited": {"flips": rate_of(0.0), "latent_flips": rate_of(0.0), "decisions": rate_of(0.0)},
        "method": ["Edits are drawn with seed 11."],
        "limits": ["Edits follow word lists, not a clinician."],
        "command": "wardround audit robustness runs/icd-coding-4611 --data hospitals/hospital-1",
    }


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def estimate(value, low, high, **others):
    found = {"value": value, "low": low, "high": high, "baseline": 0.0, "n": 790, "verdict": "pass", "allowed": None}
    return found | {"reach": None, "confidence": 0.95} | others


def rate_of(value):
    return estimate(value, max(value - 0.06, 0.0), min(value + 0.07, 1.0))


def attack(name, group, members, *, separation):
    rates = np.concatenate([[0.0], np.geomspace(1e-3, 1, 60)])
    found = norm.cdf(separation + norm.ppf(rates))
    tpr = {
        str(rate): estimate(float(value), float(value) / 3, min(3 * float(value), 1.0), baseline=rate, allowed=0.2)
        for rate in (0.001, 0.01, 0.1)
        for value in [norm.cdf(separation + norm.ppf(rate))]
    }
    area, width = float(norm.cdf(separation / 2**0.5)), 1.1 / members**0.5
    auc = estimate(area, area - width, min(area + width, 1.0), baseline=0.5, allowed=0.953)
    return {
        "name": name,
        "group": group,
        "members": members,
        "non_members": members // 3,
        "tpr": tpr,
        "auc": auc,
        "roc": [[float(x), float(y)] for x, y in zip(rates, found, strict=True)],
        "bears_verdict": name == "rmia" and group in {"all", "outliers"},
    }


def claim(epsilon, hospitals):
    delta = None if epsilon is None else 0.0001
    statement = {
        "epsilon": epsilon,
        "delta": delta,
        "sampling_rate": 0.4324,
        "noise_multiplier": 3.117,
        "clip_norm": 1.0,
        "steps": 60,
        "not_covered": ["metrics, thresholds and their intervals", "patients per hospital"],
        "releases": 0,
        "release_noise": None,
        "reproducible_noise": False,
        "unit": "patient",
        "relation": "add/remove one",
        "accountant": "PRV, cross-checked by PLD",
    }
    ledger = {"epsilon_all_runs": 4.231, "ceiling": 10.0, "head": sha("head")}
    kinds = ["reserve", *["charge"] * 12, "settle"]
    entries = [
        {
            "sequence": number,
            "at": f"2026-01-01T00:00:{number:02}+00:00",
            "kind": kind,
            "run_id": "4611",
            "sampling_rate": 0.4324,
            "noise_multiplier": 3.117,
            "steps": {"reserve": 60, "charge": 5, "settle": 0}[kind],
            "hash": sha(f"row {number}"),
        }
        for number, kind in enumerate(kinds, start=1)
    ]
    held = {"head": sha("head"), "rows": 14, "agrees": True, "entries": entries}
    return {
        "epsilon": epsilon,
        "delta": delta,
        "unit": "patient",
        "relation": "add/remove one",
        "canaries": 300,
        "hospitals": {f"hospital-{n}": {"statement": dict(statement), "ledger": dict(ledger)} for n in (1, 2, 3)},
        "ledgers": {name: dict(held) for name in hospitals},
    }


def evidence(shown, claimed, verdict):
    area = estimate(0.57, 0.51, 0.63, baseline=0.5, allowed=0.953, reach=0.985, confidence=0.983)
    bound = one_run("all rounds", shown, claimed)["epsilon"] | {"confidence": 0.983}
    return [
        {
            "instrument": "membership",
            "verdict": "pass",
            "catches": True,
            "spares": True,
            "estimates": {"rmia: auc": area},
        },
        {
            "instrument": "canaries",
            "verdict": verdict,
            "catches": True,
            "spares": True,
            "estimates": {"all rounds: epsilon": bound},
        },
    ]


def one_run(view, low, claimed):
    broken = claimed is not None and low > claimed
    bound = {"baseline": 0.0, "allowed": claimed, "reach": 5.4, "verdict": "fail" if broken else "pass"}
    return {
        "view": view,
        "canaries": 300,
        "scored": 150,
        "guesses": 131,
        "correct": 118,
        "epsilon": estimate(low + 0.4, low, None, **bound),
        "epsilon_gaussian": estimate(None, low + 0.3, None, **bound),
        "delta": 0.0001,
        "auc": estimate(0.81, 0.76, 0.87),
        "bears_verdict": True,
    }


def inversion(update, recovered):
    return {
        "update": update,
        "method": "linear layer",
        "batch": 8,
        "recovered": estimate(recovered, max(recovered - 0.05, 0), min(recovered + 0.05, 1), baseline=0.0),
        "cosine": estimate(0.31, 0.27, 0.35, baseline=0.29),
        "tolerance": 0.01,
    }


def check(name, expected, detail):
    return {"name": name, "expected": expected, "found": expected, "detail": detail, "passed": True}


def perturbation(name, rate):
    return {
        "name": name,
        "edited_notes": 298,
        "edited_words": 894,
        "flips": rate_of(rate),
        "latent_flips": rate_of(rate / 2),
        "decisions": rate_of(rate / 4),
        "excess": estimate(0.083, -0.012, 0.174),
        "random": {"flips": rate_of(rate - 0.08), "latent_flips": rate_of(0.1), "decisions": rate_of(0.05)},
    }
