"""The audit page's template and how it prints."""

STYLE = """
.first { border-bottom: 1px solid var(--line); padding-bottom: 1rem; }
.verdict { border: 2px solid var(--ink); border-left-width: 10px; padding: .7rem 1rem; margin: 1rem 0; }
.verdict strong { font-size: 1.35rem; display: block; } .verdict p { margin: .3rem 0; }
.verdict.fail { border-color: var(--bad); } .verdict.fail strong { color: var(--bad); }
.verdict.inconclusive { border-style: dashed; border-left-style: solid; }
dl { display: grid; grid-template-columns: 11rem 1fr; gap: .5rem 1rem; margin: 1rem 0; }
dt { font-weight: 600; } dd { margin: 0; max-width: 40rem; }
p, li, dd { overflow-wrap: anywhere; } ul { padding-left: 1.2rem; } li { max-width: 46rem; margin: .2rem 0; }
pre { background: #f4f6f7; padding: .6rem .8rem; white-space: pre-wrap; max-width: 46rem; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
small { display: block; color: var(--soft); font-size: .85em; } td { white-space: nowrap; }
.hash td { white-space: normal; } .hash code { overflow-wrap: anywhere; }
.lines td { height: 3.2rem; min-width: 9rem; }
.paper { display: none; }
@media (max-width: 560px) { dl { grid-template-columns: 1fr; gap: .1rem; } dd { margin-bottom: .7rem; } }
@page { size: A4; margin: 20mm 15mm 18mm; font: 8pt sans-serif; color: #5b6b75;
  @bottom-right { content: counter(page) " / " counter(pages); } }
@page :first { @top-left { content: none; } @top-right { content: none; } }
@media print {
  .paper { display: block; } .first h2 { font-size: 12pt; margin: 1rem 0 .3rem; } .first dl { gap: .3rem 1rem; margin: .5rem 0; }
  .first p, .first li, .first dd { line-height: 1.4; } .lines td { height: 1.1cm; } p:has(+ figure) { break-after: avoid; }
  .first { break-after: page; border: 0; } section { break-before: auto; } h2, h3, caption, figcaption { break-after: avoid; }
  figure, .verdict, .keep { break-inside: avoid; } h1 { font-size: 20pt; } svg { max-height: 8cm; } figcaption { font-size: 8pt; }
  .verdict strong { font-size: 15pt; } small { font-size: 6.5pt; }
  p, li, dd { orphans: 3; widows: 3; } dl { grid-template-columns: 4cm 1fr; } a { color: inherit; }
}
"""

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Privacy audit: {{ audit.subject.study }}, run {{ audit.subject.run }}</title><style>{{ base|safe }}{{ style|safe }}</style></head><body>
{% macro est(found, kind) %}{{ found.value|written(kind) }}<small>{{ found|bounds(kind) }}</small>{% endmacro %}
{% macro mark(verdict) %}{% if verdict == 'fail' %}<span class="bad">{{ verdicts.fail|lower }}</span>{% else %}{{ verdicts[verdict]|lower }}{% endif %}{% endmacro %}
<main>
<section class="first">
<header><p class="soft">Privacy audit of {{ audit.subject.hospitals|join(', ') }}, begun {{ audit.started }}</p>
<h1>{{ audit.subject.study }}, run {{ audit.subject.run }}</h1></header>
<div class="verdict {{ audit.verdict }}"><strong>{{ headline[0] }}</strong>
<p>{{ audit.statement }}</p><p class="soft">{{ headline[1] }}</p></div>
{% if audit.reasons %}<h2>Reasons</h2><ul>{% for reason in audit.reasons %}<li>{{ reason }}</li>{% endfor %}</ul>{% endif %}
<h2>What is promised, in plain words</h2>
<dl>
<dt>Who is protected</dt><dd>{% if audit.claim.epsilon is none %}Nobody is promised protection, neither at {{ audit.subject.hospitals|sort|join(', ') }} nor elsewhere.{% else %}
Each single {{ audit.claim.unit }} whose records trained the model at {{ audit.subject.hospitals|sort|join(', ') }}, with all of his or her records there.{% endif %}</dd>
<dt>Against whom</dt><dd>{% if audit.claim.epsilon is none %}Against nobody who sees the model or an update.{% else %}Against whoever sees every model these hospitals
sent, other hospitals, the coordinator and the public among them, whatever else they know and however long they compute. Not against a hospital's own staff, who hold the
records.{% endif %}</dd>
<dt>How much</dt><dd>{% if audit.claim.epsilon is none %}<span class="bad">Nothing is promised: the model was trained without differential
privacy.</span>{% else %}Epsilon {{ audit.claim.epsilon|epsilon }} at delta {{ audit.claim.delta }}, for neighbouring sets of records ({{ audit.claim.relation }} {{ audit.claim.unit }}). Epsilon bounds how much anything released can tell whether one {{ audit.claim.unit }} took part: smaller is
stronger. Delta is the probability that the bound may fail.{% endif %}</dd>
<dt>What is not covered</dt><dd>{{ not_covered|join('; ') or 'Nothing is named' }}. What is true of patients in general is never hidden.</dd>
{% if audit.claim.canaries %}<dt>Price of the audit</dt><dd>{{ audit.claim.canaries }} invented canary patients were planted at each audited
hospital while the model was trained.</dd>{% endif %}
</dl>
{% if signed %}<p>{% for one in signed %}Signed by <strong>{{ one.name }}</strong>{% if one.role %}, {{ one.role }}{% endif %}, {{ one.at }}{% if one.comment %}:
“{{ one.comment }}”{% endif %}.{% if not loop.last %}<br>{% endif %}{% endfor %}</p>
{% else %}<p class="soft">This copy shows no signature. Signatures lie beside the record and are checked with <code>wardround audit verify</code>; see
“Integrity and signatures”.</p>
<div class="wide keep paper"><table class="lines"><caption>For a signature on paper</caption><thead><tr><th scope="col">office</th><th scope="col" class="text">name</th><th scope="col" class="text">date</th>
<th scope="col" class="text">signature</th></tr></thead><tbody><tr><th scope="row">data-protection officer</th><td></td><td></td><td></td></tr>
<tr><th scope="row">data steward</th><td></td><td></td><td></td></tr></tbody></table></div>{% endif %}
</section>

<section><h2>The claim, and the ledgers behind it</h2>
<div class="wide keep"><table><caption>What each hospital states for its patients</caption><thead><tr><th scope="col">hospital</th><th scope="col">epsilon</th>
<th scope="col">delta</th><th scope="col">steps</th><th scope="col">rate</th><th scope="col">noise</th><th scope="col">other releases</th>
<th scope="col" class="text">accountant</th><th scope="col">all runs / ceiling</th></tr></thead><tbody>
{% for s in statements %}<tr><th scope="row">{{ s.name }}</th><td>{{ s.epsilon|epsilon }}</td><td>{{ '–' if s.delta is none else s.delta }}</td>
<td>{{ '–' if s.steps is none else s.steps }}</td><td>{{ s.sampling_rate|number }}</td><td>{{ s.noise_multiplier|number }}</td>
<td>{{ '–' if s.releases is none else s.releases }}</td><td class="text">{{ s.accountant or '–' }}</td>
<td>{% if s.ledger %}{{ s.ledger.epsilon_all_runs|epsilon }} / {{ s.ledger.ceiling|epsilon }}{% else %}–{% endif %}</td></tr>{% endfor %}</tbody></table></div>
{% for name, ledger in audit.claim.ledgers|dictsort %}
<h3>Ledger of {{ name }}</h3>
<p>{% if ledger.head %}{{ ledger.rows }} rows; head of the chain <code>{{ ledger.head }}</code>. {% else %}<span class="bad">No ledger was found.</span> {% endif %}
{% if ledger.agrees %}The rows of this run agree with the statement above.{% elif ledger.agrees is none %}There is nothing to compare: no guarantee is stated, or
there is no ledger.{% else %}<span class="bad">The rows of this run do not agree with the statement above.</span>{% endif %}</p>
{% if ledger.entries %}<div class="wide"><table><caption>The rows of this run</caption><thead><tr><th scope="col">row</th><th scope="col" class="text">written</th>
<th scope="col" class="text">kind</th><th scope="col">rate</th><th scope="col">noise</th><th scope="col">steps</th><th scope="col" class="text">hash</th></tr></thead><tbody>
{% for row in ledger.entries|extract %}{% if row is none %}<tr><th scope="row">…</th><td class="text" colspan="6">further rows stand in the record</td></tr>{% else %}<tr><th scope="row">{{ row.sequence }}</th><td class="text">{{ row.at }}</td><td class="text">{{ row.kind }}</td>
<td>{{ row.sampling_rate|number }}</td><td>{{ row.noise_multiplier|number }}</td><td>{{ row.steps }}</td><td class="text"><code>{{ row.hash[:12] }}</code></td></tr>
{% endif %}{% endfor %}</tbody></table></div>{% endif %}{% endfor %}
</section>

{% if audit.evidence is defined and audit.evidence %}<section><h2>What the verdict rests on</h2>
<div class="wide keep"><table><caption>Evidence against the claim; the intervals are widened for the number of tests</caption><thead><tr><th scope="col">instrument</th>
<th scope="col" class="text">measure</th><th scope="col">value</th><th scope="col">allowed</th><th scope="col">could have shown</th><th scope="col">confidence</th><th scope="col" class="text">against the claim</th></tr></thead><tbody>
{% for one in audit.evidence %}{% for name, found in one.estimates.items() %}<tr><th scope="row">{{ one.instrument }}</th><td class="text">{{ name }}</td><td>{{ est(found, 'number') }}</td>
<td>{{ found.allowed|number }}</td><td>{{ found.reach|number }}</td><td>{{ found.confidence|number }}</td><td class="text">{{ mark(found.verdict) }}</td></tr>
{% endfor %}<tr><th scope="row">{{ one.instrument }}</th><td class="text" colspan="5">together; in its self-test it {{ 'caught' if one.catches else 'missed' }} a planted leak and
{{ 'spared' if one.spares else 'accused' }} a model that knows nobody</td><td class="text">{{ mark(one.verdict) }}</td></tr>{% endfor %}</tbody></table></div>
</section>{% endif %}

<section><h2>Self-test: can this audit say no?</h2>
<p>{% if audit.self_test.passed %}On the same patients and sizes, the audit caught every planted leak and spared the models that leak nothing. {% else %}
<span class="bad">Not every planted world was judged as it must be: an instrument that failed its test is not relied on to acquit.</span> {% endif %}
{% if audit.self_test.detectable_tpr is not none %}The least true-positive rate at 1 % false positives that it could have told from what is allowed is
{{ audit.self_test.detectable_tpr|percent }}.{% else %}With so few patients no true-positive rate at 1 % false positives could be told from what is
allowed.{% endif %} {% if audit.self_test.detectable_epsilon is not none %}The highest lower bound on epsilon that it could have shown is
{{ audit.self_test.detectable_epsilon|number }}.{% endif %}</p>
<div class="wide keep"><table><caption>Planted worlds</caption><thead><tr><th scope="col">world</th><th scope="col" class="text">must be</th>
<th scope="col" class="text">was</th><th scope="col" class="text">detail</th><th scope="col" class="text">test</th></tr></thead><tbody>
{% for check in audit.self_test.checks %}<tr><th scope="row">{{ check.name }}</th><td class="text">{{ mark(check.expected) }}</td><td class="text">{{ mark(check.found) }}</td>
<td class="text">{{ check.detail }}</td><td class="text">{{ 'passed' if check.passed else 'FAILED' }}</td></tr>{% endfor %}</tbody></table></div>
</section>

<section><h2>Membership inference: who took part?</h2>
<p>An attacker who sees the model and a patient's records guesses whether that patient trained it. {{ audit.cohort.rule|sentence }}
{{ audit.cohort.members }} members and {{ audit.cohort.non_members }} others were attacked; groups with fewer than {{ audit.cohort.minimum_cell }} of either are
withheld{% if audit.cohort.withheld %}: {{ audit.cohort.withheld|join(', ') }}{% endif %}.</p>
{% if pictures.roc %}<figure>{{ pictures.roc }}<figcaption>How many members an attack finds (upwards) at how many false alarms (to the right), over all patients.
Bars are the intervals at the rates in the table below; the dotted line is a guess.</figcaption></figure>{% endif %}
{% for name, rows in audit.attacks|groupby('name') %}
<div class="wide"><table><caption>Attack “{{ attacks.get(name, name) }}”: rate or area (interval)</caption><thead><tr><th scope="col">patients</th><th scope="col">members</th><th scope="col">others</th>
{% for rate in rows[0].tpr %}<th scope="col">found at {{ rate|float|percent }} false alarms</th>{% endfor %}<th scope="col">area under the curve</th>
<th scope="col">area allowed</th><th scope="col" class="text">against the claim</th></tr></thead><tbody>
{% for row in rows %}<tr><th scope="row">{{ row.group }}{% if row.bears_verdict %} *{% endif %}</th><td>{{ row.members }}</td><td>{{ row.non_members }}</td>
{% for found in row.tpr.values() %}<td>{{ est(found, 'percent') }}</td>{% endfor %}
<td>{{ est(row.auc, 'share') }}</td><td>{{ row.auc.allowed|share }}</td>
<td class="text">{{ mark(row|worst) }}</td></tr>
{% endfor %}</tbody></table></div>{% else %}<p>No attack on membership was run.</p>{% endfor %}
{% if audit.attacks %}<p class="soft">* The verdict on the first page rests on these rows.</p>{% endif %}
{% if pictures.groups %}<figure>{{ pictures.groups }}<figcaption>Risk by group of patients: the area under the curve with its interval. A group far to the right of
the others is exposed more than they are.</figcaption></figure>{% endif %}
</section>

{% if audit.one_run %}<section><h2>One-run audit: what the canaries show</h2>
<p>Canary patients were planted by the toss of a coin while the model was trained; who can tell from the model which of them took part has shown
that much leakage. This bounds epsilon from below; more than the promise breaks it.</p>
{% if pictures.one_run %}<figure>{{ pictures.one_run }}<figcaption>Epsilon that the audit shows at least, against the promise.</figcaption></figure>{% endif %}
<div class="wide keep"><table><caption>Guesses about canaries</caption><thead><tr><th scope="col">view</th><th scope="col">canaries</th><th scope="col">scored</th><th scope="col">guesses</th>
<th scope="col">right</th><th scope="col">epsilon, at least</th><th scope="col">could have shown</th><th scope="col">if Gaussian, at least</th><th scope="col">area under the curve</th>
<th scope="col" class="text">against the claim</th></tr></thead><tbody>
{% for view in audit.one_run %}<tr><th scope="row">{{ view.view }}{% if view.bears_verdict %} *{% endif %}</th><td>{{ view.canaries }}</td><td>{{ view.scored }}</td><td>{{ view.guesses }}</td>
<td>{{ view.correct }}</td><td>{{ view.epsilon.low|number }}</td><td>{{ view.epsilon.reach|number }}</td><td>{{ view.epsilon_gaussian.low|number }}</td><td>{{ est(view.auc, 'share') }}</td>
<td class="text">{{ mark(view.epsilon.verdict) }}</td></tr>{% endfor %}</tbody></table></div>
</section>{% endif %}

{% if audit.inversion %}<section><h2>Gradient inversion: can records be rebuilt from an update?</h2>
<div class="wide keep"><table><caption>Inputs rebuilt from one captured update, against a guess that sees no update</caption><thead><tr><th scope="col">update</th><th scope="col" class="text">method</th><th scope="col">examples</th>
<th scope="col">rebuilt</th><th scope="col">by a guess</th><th scope="col">similarity</th><th scope="col">of a guess</th></tr></thead><tbody>
{% for one in audit.inversion %}<tr><th scope="row">{{ one['update'] }}</th><td class="text">{{ one.method }}</td><td>{{ one.batch }}</td><td>{{ est(one.recovered, 'percent') }}</td>
<td>{{ one.recovered.baseline|percent }}</td><td>{{ est(one.cosine, 'share') }}</td><td>{{ one.cosine.baseline|share }}</td></tr>{% endfor %}</tbody></table></div>
</section>{% endif %}

{% if robustness %}<section><h2>Robustness: do small edits of a note change its codes?</h2>
<p>This is no privacy result and bears on no verdict. {{ robustness.documents }} notes of {{ robustness.patients }} held-out patients were edited in each of the ways below, and as
many words were edited at random beside it.</p>
<div class="wide keep"><table><caption>Patients for whom the model's codes changed (interval)</caption><thead><tr><th scope="col">edit</th><th scope="col">notes edited</th><th scope="col">words edited</th><th scope="col">codes changed</th>
<th scope="col">by as many random edits</th><th scope="col">difference</th><th scope="col">in the main directions</th><th scope="col">decisions changed</th></tr></thead><tbody>
{% for row in robustness.perturbations %}<tr><th scope="row">{{ row.name }}</th><td>{{ row.edited_notes }}</td><td>{{ row.edited_words }}</td><td>{{ est(row.flips, 'percent') }}</td>
<td>{{ est(row.random.flips, 'percent') }}</td><td>{{ est(row.excess, 'percent') }}</td><td>{{ est(row.latent_flips, 'percent') }}</td><td>{{ est(row.decisions, 'percent') }}</td></tr>{% endfor %}
<tr><th scope="row">no edit, embedded again</th><td>–</td><td>–</td><td>{{ est(robustness.unedited.flips, 'percent') }}</td><td>–</td><td>–</td><td>{{ est(robustness.unedited.latent_flips, 'percent') }}</td>
<td>{{ est(robustness.unedited.decisions, 'percent') }}</td></tr></tbody></table></div>
<ul>{% for line in robustness.method + robustness.limits %}<li>{{ line }}</li>{% endfor %}</ul>
</section>{% endif %}

<section><h2>Method</h2><ul>{% for line in audit.method %}<li>{{ line }}</li>{% endfor %}</ul>
<p>{{ audit.tests }} tests bear the verdict.</p></section>
<section><h2>Limits</h2><ul>{% for line in audit.limits %}<li>{{ line }}</li>{% endfor %}</ul></section>

<section><h2>To do it again</h2>
<pre><code>{{ audit.command }}</code></pre>
{% if robustness %}<pre><code>{{ robustness.command }}</code></pre>{% endif %}
<div class="wide"><table class="hash"><caption>What was audited, with which software</caption><tbody>
<tr><th scope="row">task and model</th><td class="text">{{ audit.subject.task }}, {{ audit.subject.model }}{% if audit.subject.codes %}, {{ audit.subject.codes }} codes{% endif %}</td></tr>
<tr><th scope="row">run directory</th><td class="text"><code>{{ audit.subject.folder }}</code></td></tr>
<tr><th scope="row">agreed study</th><td class="text"><code>{{ audit.subject.digest }}</code></td></tr>
<tr><th scope="row">SHA-256 of the model</th><td class="text"><code>{{ audit.subject.model_sha256 }}</code></td></tr>
<tr><th scope="row">SHA-256 of run.json</th><td class="text"><code>{{ audit.subject.run_sha256 }}</code></td></tr>
{% for name, seed in audit.seeds.items() %}<tr><th scope="row">seed, {{ name }}</th><td class="text">{{ seed }}</td></tr>{% endfor %}
{% for name, version in audit.software.items() %}<tr><th scope="row">{{ name }}</th><td class="text">{{ version }}</td></tr>{% endfor %}
{% for phase, seconds in audit.seconds.items() %}<tr><th scope="row">seconds, {{ phase }}</th><td class="text">{{ '%.1f'|format(seconds) }}</td></tr>{% endfor %}
</tbody></table></div></section>

<section class="keep"><h2>Integrity and signatures</h2>
{% if signed %}<p>This copy was drawn after signing, from the record and the signatures beside it. It is itself no signed file: what counts is the directory, checked with the
public keys of those who sign:</p>{% else %}<p>Who signs, signs every file of this audit's directory, this page included, with an Ed25519 key: a changed, added, removed or renamed file
is found. Sign and check with:</p>
<pre><code>wardround audit sign DIRECTORY --key KEY --name NAME --role ROLE</code></pre>{% endif %}
<pre><code>wardround audit verify DIRECTORY --key KEY.pub</code></pre>
{% if signed %}<div class="wide"><table class="hash"><caption>Signatures; the time is the signer's own word</caption><thead><tr><th scope="col">name</th><th scope="col" class="text">office</th><th scope="col" class="text">time</th>
<th scope="col" class="text">comment</th><th scope="col" class="text">SHA-256 of the key</th></tr></thead><tbody>
{% for one in signed %}<tr><th scope="row">{{ one.name }}</th><td class="text">{{ one.role or '–' }}</td><td class="text">{{ one.at }}</td><td class="text">{{ one.comment or '–' }}</td>
<td class="text"><code>{{ one.fingerprint }}</code></td></tr>{% endfor %}</tbody></table></div>
{% endif %}
{% if manifest %}<div class="wide"><table class="hash"><caption>Manifest: what was signed</caption><thead><tr><th scope="col">file</th><th scope="col" class="text">SHA-256</th></tr></thead><tbody>
{% for name, digest in manifest.files|dictsort %}<tr><th scope="row">{{ name }}</th><td class="text"><code>{{ digest }}</code></td></tr>{% endfor %}</tbody></table></div>{% endif %}
</section>
</main>
</body></html>
"""
