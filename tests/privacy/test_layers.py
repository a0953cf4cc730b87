"""Every layer's clipping against brute force: one backward pass for each patient."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from privacy.clipping import (
    Clipping,
    UnsupportedLayer,
    check_independence,
    check_model,
    patient_norms,
    private_gradient,
)
from privacy.layers import convolution, gradients
from privacy.noise import ReproducibleNoise
from tests.torch_noise import TorchNoise

SILENT = ReproducibleNoise(0)

owned = st.lists(st.integers(1, 4), min_size=1, max_size=5)
seeds = st.integers(0, 10_000)


class Cohort:
    """A model and patients with given numbers of examples; the loss weighs every output differently."""

    def __init__(self, model, inputs, notes):
        self.model = model
        self.patient = torch.tensor([p for p, n in enumerate(notes) for _ in range(n)])
        self.patient = self.patient[torch.randperm(len(self.patient))]
        self.inputs = tuple(make(len(self.patient)) for make in inputs)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.5)
            self.targets = torch.randn_like(model(*self.inputs))

    def loss(self, output, examples=slice(None)):
        return (torch.tanh(output) * self.targets[examples] + 0.1 * output.square()).flatten(1).sum(1)

    def parameters(self):
        return [p for p in self.model.parameters() if p.requires_grad]

    def brute_force(self):
        """Each patient's gradient, [P, parameters], with the model's own forward."""
        rows = []
        for p in range(int(self.patient.max()) + 1):
            mine = self.patient == p
            total = self.loss(self.model(*(x[mine] for x in self.inputs)), mine).sum()
            found = torch.autograd.grad(total, self.parameters(), allow_unused=True)
            pairs = zip(found, self.parameters(), strict=True)
            rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]))
        return torch.stack(rows)

    def step(self, clip_norm=1.0, *, noise=SILENT, noise_multiplier=0.0, patients_expected=1.0):
        report = private_gradient(
            self.model,
            self.inputs,
            self.loss,
            self.patient,
            clip_norm=clip_norm,
            patients_expected=patients_expected,
            noise=noise,
            noise_multiplier=noise_multiplier,
        )
        return torch.cat([p.grad.flatten() for p in self.parameters()]), report

    def check(self):
        """Norms and clipped sums, per patient and per example, with and without clipping."""
        originally = self.patient
        for self.patient in (originally, torch.arange(len(originally))):
            each = self.brute_force()
            lengths = each.norm(dim=1)
            close(patient_norms(self.model, self.inputs, self.loss, self.patient), lengths)
            for clip_norm in (0.5 * float(lengths.median()) + 1e-3, 1e6):
                want = ((clip_norm / lengths.clamp(min=1e-12)).clamp(max=1)[:, None] * each).sum(0)
                close(self.step(clip_norm)[0], want, scale=float(lengths.clamp(max=clip_norm).max()))
        self.patient = originally


def close(got, want, scale=1e-3):
    """Equal to 1e-5 of the largest number, or of what was summed where a sum cancels."""
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * max(float(want.abs().max()), scale))


def numbers(*shape):
    return lambda B: torch.randn(B, *shape)


def codes(rows, *shape):
    return lambda B: torch.randint(rows, (B, *shape))


@pytest.fixture(scope="module", params=[False, True], ids=["as it comes", "nothing kept, one patient at a time"])
def sizes(request):
    with pytest.MonkeyPatch.context() as patch:
        for module in (gradients, convolution) if request.param else ():
            patch.setattr(module, "KEPT", 0)
            patch.setattr(module, "FLOATS", 1)
        yield


shared = settings(max_examples=12, deadline=None, derandomize=True)
both_sizes = pytest.mark.usefixtures("sizes")


@both_sizes
@shared
@given(seeds, owned, st.integers(1, 6), st.integers(1, 7), st.integers(1, 5), st.booleans())
def test_linear_maps_over_time(seed, notes, time, width, out, bias):
    torch.manual_seed(seed)
    Cohort(nn.Linear(width, out, bias=bias), [numbers(time, width)], notes).check()


@both_sizes
@shared
@given(seeds, owned, st.integers(0, 6), st.sampled_from([1, 2, 5]), st.integers(1, 5), st.booleans())
def test_embeddings_of_repeated_codes(seed, notes, time, rows, width, padded):
    torch.manual_seed(seed)
    model = nn.Embedding(rows, width, padding_idx=0 if padded else None)
    Cohort(model, [codes(rows, time) if time else codes(rows)], notes).check()


@both_sizes
@shared
@given(seeds, owned, st.integers(1, 6), st.sampled_from([1, 4]), st.sampled_from(["sum", "mean"]), st.booleans())
def test_bags_of_repeated_codes(seed, notes, time, rows, mode, padded):
    torch.manual_seed(seed)
    model = nn.EmbeddingBag(rows, 3, mode=mode, padding_idx=0 if padded else None)
    Cohort(model, [codes(rows, time)], notes).check()


@both_sizes
@shared
@given(seeds, owned, st.lists(st.integers(1, 4), max_size=2), st.integers(2, 6), st.booleans(), st.booleans())
def test_normalised_rows(seed, notes, between, width, bias, both):
    torch.manual_seed(seed)
    shape = (3, width) if both else (width,)
    for norm in (nn.LayerNorm(shape, bias=bias), nn.RMSNorm(shape)):
        Cohort(norm, [numbers(*between, *shape)], notes).check()


@both_sizes
@shared
@given(
    seed=seeds,
    notes=owned,
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    padding=st.sampled_from([0, 2, "same", "valid"]),
    mode=st.sampled_from(["zeros", "zeros", "circular", "replicate"]),
    bias=st.booleans(),
    extra=st.integers(0, 20),
)
def test_convolutions(seed, notes, channels, groups, kernel, stride, dilation, padding, mode, bias, extra):
    torch.manual_seed(seed)
    into, out = channels[0] * groups, channels[1] * groups
    model = nn.Conv1d(
        into,
        out,
        kernel,
        stride=1 if padding == "same" else stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias,
        padding_mode=mode,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel", category=UserWarning)
        Cohort(model, [numbers(into, dilation * (kernel - 1) + 2 + extra)], notes).check()


@both_sizes
def test_a_convolution_with_many_channels_takes_the_inner_products():
    torch.manual_seed(0)
    Cohort(nn.Conv1d(20, 30, 3, stride=2, padding=1, dilation=2), [numbers(20, 9)], [1, 3, 1, 2]).check()


class Depthwise(nn.Module):
    """A causal depthwise convolution of [B, T, C], called twice."""

    def __init__(self, channels):
        super().__init__()
        self.layer = nn.Conv1d(channels, channels, 3, groups=channels)

    def forward(self, x):
        x = x.transpose(1, 2)
        for _ in range(2):
            x = self.layer(functional.pad(x, (2, 0)))
        return x


@both_sizes
def test_a_depthwise_convolution_called_twice():
    torch.manual_seed(0)
    Cohort(Depthwise(4), [numbers(5, 4)], [1, 3, 1, 2]).check()


class States(nn.Module):
    """All states and the last ones of a GRU, whose first ones depend on the input."""

    def __init__(self, width, hidden, levels, *, bias, given):
        super().__init__()
        self.gru = nn.GRU(width, hidden, levels, batch_first=True, bias=bias)
        self.first = nn.Linear(width, levels * hidden) if given else None

    def forward(self, x):
        start = None
        if self.first is not None:
            start = self.first(x[:, 0]).unflatten(1, (self.gru.num_layers, -1)).transpose(0, 1).contiguous()
        out, last = self.gru(x, start)
        return torch.cat([out.flatten(1), last.transpose(0, 1).flatten(1)], dim=1)


@both_sizes
@shared
@given(
    seeds,
    owned,
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_recurrent_layers(seed, notes, time, width, hidden, levels, bias, given):
    torch.manual_seed(seed)
    Cohort(States(width, hidden, levels, bias=bias, given=given), [numbers(time, width)], notes).check()


class Attention(nn.Module):
    """Attention with whatever masks it is given; a padded key never is the first."""

    def __init__(self, heads, *, cross, need, bias, causal, mask):
        super().__init__()
        self.layer = nn.MultiheadAttention(2 * heads, heads, bias=bias, batch_first=True, **cross)
        self.need, self.causal, self.mask = need, causal, mask

    def forward(self, query, key, value):
        L, S = query.shape[1], key.shape[1]
        padding = None
        if self.mask:
            padding = torch.arange(S) > key[:, 0, 0, None].abs() * S
            padding = padding if self.mask == "bool" else padding.float() * -3.0
        causal = None
        if self.causal:
            causal = torch.arange(S) > torch.arange(L)[:, None]
            if self.causal == "by example":
                causal = causal.expand(len(query) * self.layer.num_heads, -1, -1)
            if self.mask == "float":
                causal = torch.zeros(causal.shape).masked_fill(causal, -2.0)
        out, weights = self.layer(query, key, value, padding, need_weights=self.need, attn_mask=causal)
        return torch.cat([out.flatten(1), weights.flatten(1)], dim=1) if self.need else out


class SelfAttention(Attention):
    def forward(self, x):
        return super().forward(x, x, x)


@both_sizes
@shared
@given(
    seed=seeds,
    notes=owned,
    heads=st.integers(1, 3),
    lengths=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kind=st.sampled_from(["self", "memory", "three", "widths"]),
    need=st.booleans(),
    bias=st.booleans(),
    causal=st.sampled_from([None, "all", "by example"]),
    mask=st.sampled_from([None, "bool", "float"]),
)
def test_attention(seed, notes, heads, lengths, kind, need, bias, causal, mask):
    torch.manual_seed(seed)
    cross = {"kdim": 3, "vdim": 5} if kind == "widths" else {}
    settings_ = {"cross": cross, "need": need, "bias": bias, "causal": causal, "mask": mask}
    L, S, E = *lengths, 2 * heads
    if kind == "self":
        Cohort(SelfAttention(heads, **settings_), [numbers(L, E)], notes).check()
    elif kind == "memory":
        Cohort(Memory(heads, **settings_), [numbers(L, E), numbers(S, E)], notes).check()
    else:
        widths = (3, 5) if kind == "widths" else (E, E)
        makers = [numbers(L, E), numbers(S, widths[0]), numbers(S, widths[1])]
        Cohort(Attention(heads, **settings_), makers, notes).check()


class Memory(Attention):
    """Attends to itself, then to another sequence, with the same weights."""

    def forward(self, x, memory):
        here = self.layer(x, x, x, need_weights=False)[0]
        return super().forward(here, memory, memory)


@pytest.mark.parametrize("norm_first", [False, True])
def test_torchs_own_transformer_layers(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    Cohort(model, [numbers(5, 8)], [1, 2, 1]).check()


class LabelAttention(nn.Module):
    """Each label looks at the chunks that matter to it."""

    def __init__(self, width, labels):
        super().__init__()
        self.query, self.label = nn.Linear(width, labels), nn.Linear(width, labels)

    def forward(self, x):
        return (functional.softmax(self.query(x), dim=1) * self.label(x)).sum(1)


@both_sizes
@shared
@given(seeds, owned, st.integers(1, 5), st.integers(1, 6), st.integers(1, 9))
def test_label_attention(seed, notes, chunks, width, labels):
    torch.manual_seed(seed)
    Cohort(LabelAttention(width, labels), [numbers(chunks, width)], notes).check()


class SelectiveStateSpace(nn.Module):
    """A selective state space block, its own parameters as embeddings of one row."""

    def __init__(self, width, inner, states):
        super().__init__()
        self.states = states
        self.into, self.convolution = nn.Linear(width, 2 * inner), nn.Conv1d(inner, inner, 3, groups=inner, padding=2)
        self.selection, self.step = nn.Linear(inner, 1 + 2 * states), nn.Linear(1, inner)
        self.decay, self.skip = nn.Embedding(1, inner * states), nn.Embedding(1, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, x):
        one = torch.zeros(len(x), dtype=torch.int64)
        u, gate = self.into(x).chunk(2, dim=2)
        u = functional.silu(self.convolution(u.transpose(1, 2))[:, :, : x.shape[1]].transpose(1, 2))
        step, b, c = self.selection(u).split([1, self.states, self.states], dim=2)
        step = functional.softplus(self.step(step))
        a = -torch.exp(self.decay(one)).view(len(x), 1, -1, self.states)
        kept, put = torch.exp(step[..., None] * a), (step * u)[..., None] * b[:, :, None]
        state, seen = torch.zeros_like(put[:, 0]), []
        for k, p, read in zip(kept.unbind(1), put.unbind(1), c.unbind(1), strict=True):
            state = k * state + p
            seen.append((state @ read[:, :, None]).squeeze(2))
        y = torch.stack(seen, dim=1) + self.skip(one)[:, None] * u
        return self.out(y * functional.silu(gate))


@both_sizes
def test_a_selective_state_space_block():
    torch.manual_seed(0)
    Cohort(SelectiveStateSpace(4, 6, 3), [numbers(5, 4)], [1, 3, 1, 2]).check()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2), (4, 6, 5)),
        (nn.Conv2d(1, 2, 3, padding="same", dilation=2, bias=False), (1, 5, 4)),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3)),
        (nn.GroupNorm(2, 6), (6, 4)),
        (nn.InstanceNorm1d(3, affine=True), (3, 5)),
    ],
)
def test_layers_that_only_opacus_knows(model, shape):
    torch.manual_seed(0)
    Cohort(model, [numbers(*shape)], [1, 3, 1, 2]).check()


class Mixed(nn.Module):
    """One of each family behind a head."""

    def __init__(self):
        super().__init__()
        self.code, self.convolution, self.norm = nn.Embedding(7, 4), nn.Conv1d(4, 4, 3, padding=1), nn.LayerNorm(4)
        self.gru, self.attention = nn.GRU(4, 4, batch_first=True), nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm(self.convolution(self.code(x).transpose(1, 2)).transpose(1, 2))
        x = x + self.gru(x)[0]
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x.mean(1))


def mixed(seed, notes=(1, 3, 2, 1, 4)):
    torch.manual_seed(seed)
    return Cohort(Mixed(), [codes(7, 5)], notes)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seeds, st.sets(st.integers(0, 17), max_size=10))
def test_any_parameter_may_be_frozen(seed, frozen):
    cohort = mixed(seed)
    for i, parameter in enumerate(cohort.model.parameters()):
        parameter.requires_grad = i not in frozen
    cohort.check()
    assert all(p.grad is None for p in cohort.model.parameters() if not p.requires_grad)


@pytest.mark.parametrize(
    "names", [("in_proj_weight", "in_proj_bias"), ("out_proj",), ("weight_ih", "bias_ih"), ("weight_hh",)]
)
def test_what_hides_inside_a_layer_may_be_frozen_by_itself(names):
    torch.manual_seed(0)
    attention = {"cross": {}, "need": False, "bias": True, "causal": None, "mask": None}
    for model, shape in ((States(4, 4, 2, bias=True, given=False), (3, 4)), (SelfAttention(2, **attention), (3, 4))):
        cohort = Cohort(model, [numbers(*shape)], [1, 3, 2])
        for name, parameter in model.named_parameters():
            parameter.requires_grad = not any(part in name for part in names)
        cohort.check()


def test_a_frozen_attention_with_an_unknown_setting_is_still_refused():
    model = nn.MultiheadAttention(2, 1)
    model.in_proj_weight.requires_grad = model.in_proj_bias.requires_grad = False
    with pytest.raises(UnsupportedLayer, match="puts time before"):
        check_model(model)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seeds, owned, st.integers(1, 12), st.booleans())
def test_micro_batches_change_nothing_but_memory(seed, notes, most, per_layer):
    cohort = mixed(seed, notes)
    clip_norm = float(cohort.brute_force().norm(dim=1).median())
    want, expected = cohort.step(Clipping(clip_norm, per_layer=per_layer))
    want = want.clone()
    sizes = []
    handle = cohort.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    got, report = cohort.step(Clipping(clip_norm, per_layer=per_layer, micro_batch=most))
    handle.remove()
    close(got, want)
    assert report.loss_sum == pytest.approx(expected.loss_sum, rel=1e-5, abs=1e-5)
    assert report.median_norm == pytest.approx(expected.median_norm, rel=1e-4)
    assert (report.examples, report.patients) == (expected.examples, expected.patients)
    assert sum(sizes) == len(cohort.patient)
    assert max(sizes) <= max(most, *notes, 1)


def test_a_failed_micro_batch_leaves_no_half_sum_behind():
    cohort = mixed(0, [1, 1, 1])
    cohort.targets[cohort.patient == 2] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        cohort.step(Clipping(1.0, micro_batch=1), noise_multiplier=1.0)
    assert all(p.grad is None for p in cohort.parameters())


def test_noise_is_added_once_however_many_micro_batches():
    cohort = mixed(1)
    whole = cohort.step(Clipping(1.0), noise=ReproducibleNoise(5), noise_multiplier=2.0)[0].clone()
    close(cohort.step(Clipping(1.0, micro_batch=2), noise=ReproducibleNoise(5), noise_multiplier=2.0)[0], whole)


def test_an_empty_batch_of_sequences_releases_noise_alone():
    cohort = mixed(2)
    cohort.inputs, cohort.patient = (cohort.inputs[0][:0],), cohort.patient[:0]
    got, report = cohort.step(Clipping(1.0, per_layer=True, micro_batch=2), noise_multiplier=1.0)
    assert report.patients == 0
    assert float(got.std()) == pytest.approx(1.0, rel=0.2)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seeds, st.sampled_from([0.1, 1.0, 1e4]))
def test_clipping_by_layer_bounds_each_layer_and_so_the_whole(seed, clip_norm):
    cohort = mixed(seed)
    layers = [layer for layer in cohort.model.modules() if list(layer.parameters(recurse=False))]
    bound = clip_norm / len(layers) ** 0.5
    want = torch.zeros(sum(p.numel() for p in cohort.parameters()))
    for each in cohort.brute_force():
        position, clipped = 0, []
        for layer in (layer for layer in cohort.model.modules() if layer in layers):
            size = sum(p.numel() for p in layer.parameters(recurse=False))
            own = each[position : position + size]
            clipped.append(own * min(1.0, bound / float(own.norm())))
            position += size
        assert float(torch.cat(clipped).norm()) <= clip_norm * (1 + 1e-5)
        want += torch.cat(clipped)
    close(cohort.step(Clipping(clip_norm, per_layer=True))[0], want)


@pytest.mark.parametrize("options", [{"norm": 0.0}, {"norm": float("inf")}, {"norm": 1.0, "micro_batch": 0}])
def test_clipping_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="must be"):
        Clipping(**options)


def test_the_noised_step_equals_opacus_for_linear_norm_and_convolution():
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.GELU(), nn.Flatten(), nn.LayerNorm(30), nn.Linear(30, 5))
    cohort = Cohort(model, [numbers(4, 5)], [1] * 9)
    theirs = GradSampleModule(copy.deepcopy(model))
    optimizer = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=1.0),
        noise_multiplier=0.7,
        max_grad_norm=2.0,
        expected_batch_size=5,
        generator=torch.Generator().manual_seed(9),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        cohort.loss(theirs(*cohort.inputs)).mean().backward()
    optimizer.pre_step()
    want = torch.cat([p.grad.flatten() for p in theirs.parameters()])
    got, _ = cohort.step(2.0, patients_expected=5.0, noise_multiplier=0.7, noise=TorchNoise(9))
    close(got, want)


def capture(cohort):
    """The outputs of the model while a step runs."""
    seen = []
    handle = cohort.model.register_forward_hook(lambda _m, _i, output: seen.append(output.detach()))
    cohort.step()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("need", [False, True])
def test_substitutes_compute_what_the_layers_compute_and_leave_them_as_they_were(need):
    torch.manual_seed(0)
    attention = {"cross": {}, "need": need, "bias": True, "causal": "all", "mask": "bool"}
    for model, shape in ((States(5, 7, 2, bias=True, given=True), (6, 5)), (SelfAttention(3, **attention), (5, 6))):
        cohort = Cohort(model, [numbers(*shape)], [2, 1, 3])
        before = [dict(vars(layer)) for layer in model.modules()]
        torch.testing.assert_close(capture(cohort), model(*cohort.inputs).detach(), rtol=1e-6, atol=1e-6)
        assert [vars(layer).keys() for layer in model.modules()] == [each.keys() for each in before]


def test_layers_are_restored_when_a_step_fails():
    cohort = mixed(0)

    def broken(output):
        raise KeyError(output.shape)

    with pytest.raises(KeyError):
        patient_norms(cohort.model, cohort.inputs, broken, cohort.patient)
    for layer in cohort.model.modules():
        assert "forward" not in vars(layer)
        assert not layer._forward_hooks


def test_a_forward_that_was_replaced_before_is_put_back():
    cohort = mixed(0)
    own = cohort.model.gru.forward
    cohort.model.gru.forward = own
    cohort.step()
    assert vars(cohort.model.gru)["forward"] is own


def test_a_hook_of_the_users_changes_the_output_not_the_gradient_s_exactness():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    model[0].register_forward_hook(lambda _m, _i, output: 2 * output)
    Cohort(model, [numbers(2, 3)], [1, 2]).check()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.LSTM(2, 2), r"the model itself \(LSTM\) cannot be clipped"),
        (nn.InstanceNorm1d(2, track_running_stats=True), "keeps statistics"),
        (nn.ModuleDict({"norm": nn.BatchNorm2d(2, affine=False)}), r"norm \(BatchNorm2d\) mixes"),
        (nn.GRU(2, 2), "puts time before the examples"),
        (nn.GRU(2, 2, batch_first=True, bidirectional=True), "both directions"),
        (nn.GRU(2, 2, 2, batch_first=True, dropout=0.1), "drops out between its layers"),
        (nn.MultiheadAttention(2, 1), "puts time before the examples"),
        (nn.MultiheadAttention(2, 1, batch_first=True, add_bias_kv=True), "add_bias_kv"),
        (nn.MultiheadAttention(2, 1, batch_first=True, add_zero_attn=True), "add_zero_attn"),
        (nn.Embedding(2, 1, max_norm=1.0), "max_norm"),
        (nn.Embedding(2, 1, scale_grad_by_freq=True), "scale_grad_by_freq"),
        (nn.Embedding(2, 1, sparse=True), "sparse"),
        (nn.EmbeddingBag(2, 1, mode="max"), "maximum"),
        (nn.Conv2d(1, 1, 1, padding_mode="reflect"), "pads with its input"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "cannot be clipped"),
        (nn.Bilinear(2, 2, 2), r"Bilinear\) cannot be clipped"),
    ],
)
def test_what_no_rule_covers_is_refused_by_name(model, words):
    with pytest.raises(UnsupportedLayer, match=words):
        check_model(model)


class Borrowed(nn.Module):
    """Uses a layer's weight beside the layer."""

    def __init__(self, *, called):
        super().__init__()
        self.layer, self.called = nn.Linear(3, 3), called

    def forward(self, x):
        y = self.layer(x) if self.called else x
        return functional.linear(y, self.layer.weight)


@pytest.mark.parametrize("called", [False, True])
def test_a_weight_used_outside_its_layer_is_refused(called):
    model = nn.Sequential(nn.Linear(3, 3), Borrowed(called=called))
    cohort = Cohort(model, [numbers(2, 3)], [1, 2])
    with pytest.raises(UnsupportedLayer, match=r"1\.layer\.weight is used outside its layer"):
        cohort.step()


def test_a_weight_in_the_loss_is_refused():
    model = nn.Linear(3, 3)
    cohort = Cohort(model, [numbers(3)], [1, 2])
    with pytest.raises(UnsupportedLayer, match="weight is used outside"):
        patient_norms(model, cohort.inputs, lambda y: y.sum(1) + model.weight.square().sum(), cohort.patient)


class Recomputed(nn.Module):
    def __init__(self, *, reentrant):
        super().__init__()
        self.layer, self.reentrant = nn.Linear(3, 3), reentrant

    def forward(self, x):
        from torch.utils.checkpoint import checkpoint

        return checkpoint(self.layer, x.requires_grad_(), use_reentrant=self.reentrant)


def test_recomputed_activations_are_exact_or_refused():
    Cohort(Recomputed(reentrant=False), [numbers(3)], [1, 2]).check()
    with pytest.raises(UnsupportedLayer, match="gradients switched off"):
        Cohort(Recomputed(reentrant=True), [numbers(3)], [1, 2]).step()


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (nn.Conv1d(2, 2, 1), torch.randn(2, 5), "keep the examples in the first dimension"),
        (nn.GRU(3, 3, batch_first=True), torch.randn(2, 3), "padded sequences"),
        (nn.MultiheadAttention(2, 1, batch_first=True), torch.randn(3, 2), "batches"),
    ],
)
def test_unbatched_calls_are_refused(model, inputs, words):
    arguments = (inputs,) * 3 if isinstance(model, nn.MultiheadAttention) else (inputs,)
    with pytest.raises(UnsupportedLayer, match=words):
        patient_norms(model, arguments, lambda y: y[0].sum(1), torch.arange(len(inputs)))


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        y = self.layer(x)
        return y - y.mean(0)


def test_examples_that_depend_on_each_other_are_found():
    check_independence(mixed(0).model, mixed(0).inputs, mixed(0).loss)
    cohort = Cohort(Mixing(), [numbers(3)], [1, 2, 1])
    with pytest.raises(UnsupportedLayer, match=r"layer \(Linear\) the model or its loss mixes examples"):
        check_independence(cohort.model, cohort.inputs, cohort.loss)
    with pytest.raises(UnsupportedLayer, match="mixes examples"):
        check_independence(nn.Linear(3, 3), torch.randn(4, 3), lambda y: y.softmax(0).square().sum(1))


@both_sizes
def test_every_pair_of_calls_of_one_layer_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.code, self.gru = nn.Embedding(4, 3), nn.GRU(3, 3, batch_first=True)
            self.attention, self.norm = nn.MultiheadAttention(3, 1, batch_first=True), nn.LayerNorm(3)

        def forward(self, x, y):
            a, b = self.norm(self.code(x)), self.norm(self.code(y))
            a, b = self.gru(a)[0], self.gru(b)[0]
            return sum(self.attention(q, k, v)[0] for q, k, v in ((a, b, b), (a, a, a), (a, b, a[:, : b.shape[1]])))

    torch.manual_seed(0)
    Cohort(Twice(), [codes(4, 5), codes(4, 3)], [1, 3, 2]).check()
