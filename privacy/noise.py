"""Randomness an adversary cannot predict: the noise of a release and the draw of the patients behind it.

The guarantee of a noisy sum is only as good as the noise. A Mersenne Twister can be reconstructed from its output, so
a hospital's default is an AES-256 keystream in counter mode, keyed by the operating system. AES runs in hardware at
several gigabytes a second, which makes secure Gaussian noise as cheap as `torch.normal`.

Float pitfalls, named because they are the limits of the promise:

* Box-Muller maps uniform words to a radius and an angle. With w bits the radius ends at sqrt(2 w ln 2): 24 bits would
  cut every tail at 5.8 sigma. Here the rarest 2^-23 of the draws are refined with 32 further bits, so the tail ends at
  9.4 sigma, whose mass (5e-21 a draw) is far below any delta over any number of parameters trained in practice.
* Near radius zero float32 resolves steps of 3e-4 sigma, and the sum `noise + gradient` is rounded to float32: the set
  of reachable outputs depends, at the scale of one rounding, on the secret (Mironov 2012). As in every floating-point
  DP-SGD, the guarantee is stated for real arithmetic.

Source: Box & Muller 1958; NIST SP 800-38A (CTR); Mironov, "On Significance of the Least Significant Bits For
Differential Privacy", CCS 2012; Holohan & Braghin, "Secure Random Sampling in Differential Privacy", ESORICS 2021.
"""

from __future__ import annotations

import hashlib
import math
import os
from typing import TYPE_CHECKING, NoReturn

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_PAIRS = 1 << 17  # pairs of normals made at a time: the working set stays in the second-level cache
_REFINED_BELOW = 1 << 8  # radius words under this (2^-23 of all) get 32 further bits


class NoiseSource:
    """A keystream that fills tensors with Gaussian noise and decides who is drawn.

    Use `SecureNoise` in a hospital and `ReproducibleNoise` in a test; this base only turns a key into numbers.
    """

    reproducible: bool

    def __init__(self, key: bytes) -> None:
        self._start(key)

    def _start(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def words(self, count: int) -> NDArray[np.uint32]:
        """Returns the next `count` uniform 32-bit words of the keystream, shape [count]."""
        out = np.zeros(count, dtype="<u4")
        plain = out.data.cast("B")
        self._stream.update_into(plain, plain)  # in place: zeros become keystream
        return out

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Returns `count` uniforms on [0, 1) with 53 random bits each, shape [count]."""
        return (self.words(2 * count).view("<u8") >> np.uint64(11)) * 2.0**-53

    def normal_(self, tensor: Tensor, *, std: float) -> Tensor:
        """Overwrites `tensor` with independent N(0, std^2) draws.

        Args:
            tensor: any shape, floating dtype and device; draws are made in float32 on the CPU.
            std: standard deviation, >= 0. Zero costs no randomness.

        Returns:
            The same tensor.

        Raises:
            ValueError: `std` is negative or not finite.
        """
        import torch

        if not (std >= 0 and math.isfinite(std)):
            raise ValueError(f"std must be a finite number >= 0, got {std}")
        with torch.no_grad():
            if std == 0:
                return tensor.zero_()
            if tensor.is_contiguous() and tensor.dtype == torch.float32 and tensor.device.type == "cpu":
                self._fill(tensor.view(-1), std)
                return tensor
            flat = torch.empty(tensor.numel(), dtype=torch.float32)
            self._fill(flat, std)
            return tensor.copy_(flat.view(tensor.shape))

    def normals(self, count: int, *, std: float) -> NDArray[np.float64]:
        """Returns `count` independent N(0, std^2) draws of float32 resolution, float64 [count].

        Raises:
            ValueError: `std` is negative or not finite.
        """
        import torch

        drawn: NDArray[np.float64] = self.normal_(torch.empty(count, dtype=torch.float64), std=std).numpy()
        return drawn

    def _fill(self, flat: Tensor, std: float) -> None:
        for start in range(0, flat.numel(), 2 * _PAIRS):
            part = flat[start : start + 2 * _PAIRS]
            pairs = part.numel() // 2
            if part.numel() % 2:
                self._pairs(part.new_empty(1), part[-1:], std)
            self._pairs(part[:pairs], part[pairs : 2 * pairs], std)

    def _pairs(self, cosines: Tensor, sines: Tensor, std: float) -> None:
        """Box-Muller into two equally long tensors; every operation is in place."""
        import torch

        n = cosines.numel()
        words = self.words(2 * n)
        radius_words = words[:n] & np.uint32(0x7FFFFFFF)
        radius = torch.from_numpy(radius_words.view(np.int32)).float().add_(0.5)
        if radius_words.min(initial=_REFINED_BELOW) < _REFINED_BELOW:  # seldom, and cheaper to ask than to search
            for i in np.flatnonzero(radius_words < _REFINED_BELOW):
                radius[i] = float(radius_words[i]) + (float(self.words(1)[0]) + 0.5) * 2.0**-32
        radius.mul_(2.0**-31).log_().mul_(-2.0 * std * std).sqrt_()
        # the upper 24 bits only: float32 holds them exactly, so no angle is rounded onto another
        angle = torch.from_numpy((words[n:] >> np.uint32(8)).view(np.int32)).float().mul_(2.0 * math.pi * 2.0**-24)
        torch.cos(angle, out=cosines).mul_(radius)
        torch.sin(angle, out=sines).mul_(radius)


class SecureNoise(NoiseSource):
    """Noise keyed from the operating system; the default of every hospital.

    Guarantee:
        Against an adversary who sees any number of outputs, further outputs cannot be told from true randomness
        without breaking AES-256. A forked process draws a fresh key, and the state cannot be copied or pickled, so
        no two releases share noise.
    """

    reproducible = False

    def __init__(self) -> None:
        super().__init__(os.urandom(32))
        self._owner = os.getpid()

    def words(self, count: int) -> NDArray[np.uint32]:
        """Returns the next `count` uniform 32-bit words; a forked child starts a stream of its own."""
        if self._owner != os.getpid():
            self._start(os.urandom(32))
            self._owner = os.getpid()
        return super().words(count)

    def __reduce__(self) -> NoReturn:
        raise TypeError("SecureNoise cannot be copied or pickled: two holders would release the same noise")


class ReproducibleNoise(NoiseSource):
    """The same numbers for the same seed: for tests and for studies that declare it. No guarantee holds.

    Whoever knows the seed can subtract the noise, so a statement made with this source says so. Hospitals that share
    a seed share noise: mix the site into it.

    >>> import torch
    >>> first, second = (ReproducibleNoise(7).normal_(torch.empty(3), std=1.0) for _ in range(2))
    >>> bool((first == second).all())
    True
    """

    reproducible = True

    def __init__(self, seed: int | str) -> None:
        super().__init__(hashlib.sha256(f"wardround reproducible noise {seed}".encode()).digest())


def poisson_sample(patients: int, rate: float, noise: NoiseSource) -> NDArray[np.int64]:
    """Draws each patient independently with probability `rate`.

    Args:
        patients: how many patients the hospital has, >= 0; they are numbered 0..patients-1.
        rate: probability in (0, 1] that one patient takes part in the step.
        noise: source of the draws; amplification by sampling holds only while the draw stays secret.

    Returns:
        Indices of the drawn patients, ascending, int64 [n]; may be empty, and an empty draw is still a step that costs.

    Raises:
        ValueError: `patients` is negative or `rate` is outside (0, 1].

    Guarantee:
        Membership of one patient is independent of every other patient's: the sampling `privacy.accounting` assumes.
        Shuffling into batches of equal size would not be (arXiv 2403.17673).
    """
    if patients < 0:
        raise ValueError(f"patients must be >= 0, got {patients}")
    if not 0 < rate <= 1:
        raise ValueError(f"the sampling rate must lie in (0, 1], got {rate}")
    return np.flatnonzero(noise.uniform(patients) < rate).astype(np.int64)
