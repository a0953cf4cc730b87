"""The page's template and the way its numbers are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment


def environment(templates: Mapping[str, str]) -> Environment:
    """Return what every page is drawn with: what stands in a record is text, and a name that is not there an error."""
    from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape

    pages = Environment(
        loader=DictLoader(templates),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["score"] = score_text
    pages.filters["epsilon"] = epsilon_text
    pages.filters["share"] = share_text
    return pages


def score_text(score: Mapping[str, Any] | float | None) -> str:
    """Write a score with three decimals, with its 95 % interval where there is one."""
    if score is None:
        return "–"
    if isinstance(score, (int, float)):
        return f"{score:.3f}"
    value, low, high = score["value"], score["low"], score["high"]
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f}–{high:.3f})"


def epsilon_text(epsilon: float | None) -> str:
    """Write an epsilon with three significant digits, never as a power of ten; None is no guarantee."""
    if epsilon is None:
        return "no guarantee"
    return f"{epsilon:.3g}" if epsilon < 100 else f"{epsilon:,.0f}"


def share_text(share: float | None) -> str:
    """Write a rate or a noise multiplier with three decimals."""
    return "–" if share is None else f"{share:.3f}"


STYLE = """
:root { --ink: #1b2a33; --soft: #5b6b75; --line: #dde3e6; --accent: #0072b2; --bad: #a3261f; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; color: var(--ink);
  background: #fff; margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
p { max-width: 46rem; } .soft { color: var(--soft); } .bad { color: var(--bad); font-weight: 600; }
.answer { border-left: 4px solid var(--accent); padding: .2rem 0 .2rem 1rem; font-size: 1.15rem; }
.answer.bad { border-color: var(--bad); }
.wide { overflow-x: auto; margin: .8rem 0 1.2rem; }
caption { break-after: avoid; } td { white-space: nowrap; } td.text, tbody td:only-of-type { white-space: normal; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { text-align: right; padding: .32rem .7rem .32rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child, .text { text-align: left; } tbody th { white-space: nowrap; }
thead th { border-bottom: 2px solid var(--ink); font-weight: 600; }
svg { width: 100%; height: auto; font-size: 12px; } svg text { fill: var(--soft); }
code { font-size: .85em; overflow-wrap: anywhere; }
@page { margin: 14mm; }
@media print { body { font-size: 9pt; max-width: none; padding: 0; } h2 { break-after: avoid; margin-top: 1.6rem; }
  tr, svg { break-inside: avoid; } thead { display: table-header-group; } svg { max-width: 14cm; }
  .wide { overflow: visible; } table { font-size: 7.5pt; } th, td { padding: .18rem .5rem .18rem 0; } }
"""

CODING = """<h2>Hospitals</h2>
<div class="wide"><table><caption>Held-out patients of each hospital, rule "{{ final.rule }}"; 95 % bootstrap intervals over patients</caption>
<thead><tr><th scope="col">hospital</th><th scope="col">micro-F1</th>{% if alone %}<th scope="col">micro-F1, alone</th>{% endif %}
<th scope="col">macro-F1</th><th scope="col">precision at 8</th><th scope="col">MAP</th><th scope="col">micro AUC</th></tr></thead><tbody>
{% for site, scores in final.sites|dictsort %}<tr><th scope="row">{{ site }}</th><td>{{ scores.micro_f1|score }}</td>
{% if alone %}<td>{{ alone.sites[site].micro_f1|score if site in alone.sites else '–' }}</td>{% endif %}
<td>{{ scores.macro_f1|score }}</td><td>{{ scores.precision_at_8|score }}</td><td>{{ scores.mean_average_precision|score }}</td>
<td>{{ scores.micro_auc|score }}</td></tr>{% endfor %}
<tr><th scope="row">all, pooled</th><td>{{ final.pooled.micro_f1|score }}</td>{% if alone %}<td>{{ alone.pooled.micro_f1|score }}</td>{% endif %}
<td>{{ final.pooled.macro_f1|score }}</td><td>{{ final.pooled.precision_at_8|score }}</td>
<td>{{ final.pooled.mean_average_precision|score }}</td><td>{{ final.pooled.micro_auc|score }}</td></tr></tbody></table></div>
<h2>All metrics</h2>
<div class="wide"><table><caption>Pooled from counts over all hospitals, never averaged over sites. Macro metrics are over codes with a positive:
{{ final.pooled.macro_f1.codes }} of {{ run.vocabulary.codes|length }}; {{ final.withheld.fully }} codes were withheld everywhere and
{{ final.withheld.partly }} somewhere because too few patients have them.</caption>
<thead><tr><th scope="col">metric</th><th scope="col">rule "{{ final.rule }}"</th>{% for rule in final.rules %}<th scope="col">{{ rule }}</th>{% endfor %}</tr></thead><tbody>
{% for key, name in metrics.items() %}{% if key in final.pooled %}<tr><th scope="row">{{ name }}</th><td>{{ final.pooled[key]|score }}</td>
{% for rule, scores in final.rules.items() %}<td>{{ scores[key].value|score if key in scores else '–' }}</td>{% endfor %}</tr>{% endif %}{% endfor %}
</tbody></table></div>
<h2>Thresholds</h2>
<div class="wide"><table><caption>Chosen once on the pooled tuning split</caption><thead><tr><th scope="col">rule</th><th scope="col">codes</th>
<th scope="col">probability</th></tr></thead><tbody>
{% for rule, points in run.thresholds.items() %}{% for point in points %}<tr><th scope="row">{{ rule }}</th><td>{{ point.codes }}</td>
<td>{{ point.probability|score }}</td></tr>{% endfor %}{% endfor %}</tbody></table></div>
<h2>Codes</h2>
<div class="wide"><table><caption>Each code of the vocabulary on held-out patients; – is withheld or undefined</caption>
<thead><tr><th scope="col">code</th><th scope="col" class="text">title</th><th scope="col">positives</th><th scope="col">predicted</th>
<th scope="col">precision</th><th scope="col">recall</th><th scope="col">F1</th><th scope="col">AUC</th></tr></thead><tbody>
{% for row in final.codes %}<tr><th scope="row">{{ row.code }}</th><td class="text">{{ run.vocabulary.codes[loop.index0].title or '' }}</td>
<td>{{ row.positives if row.positives is not none else '–' }}</td><td>{{ row.predicted if row.predicted is not none else '–' }}</td>
<td>{{ row.precision|score }}</td><td>{{ row.recall|score }}</td><td>{{ row.f1|score }}</td><td>{{ row.auc|score }}</td></tr>
{% endfor %}</tbody></table></div>
"""

PREDICTION = """<h2>Hospitals</h2>
<div class="wide"><table><caption>Held-out patients of each hospital; 95 % bootstrap intervals over patients</caption>
<thead><tr><th scope="col">hospital</th>{% for name in outcomes.values() %}<th scope="col">{{ name }}</th>{% endfor %}
{% if alone %}<th scope="col">{{ outcomes[lead] }}, alone</th>{% endif %}</tr></thead><tbody>
{% for site, scores in final.sites|dictsort %}<tr><th scope="row">{{ site }}</th>{% for key in outcomes %}<td>{{ scores[key]|score }}</td>{% endfor %}
{% if alone %}<td>{{ alone.sites[site][lead]|score if site in alone.sites else '–' }}</td>{% endif %}</tr>{% endfor %}
<tr><th scope="row">all, pooled</th>{% for key in outcomes %}<td>{{ final.pooled[key]|score }}</td>{% endfor %}
{% if alone %}<td>{{ alone.pooled[lead]|score }}</td>{% endif %}</tr></tbody></table></div>
<p>Pooled from sums over all hospitals, never averaged over sites.{% if final.withheld %} Withheld, because too few patients stand on one
side of the answer: {{ final.withheld|join(', ') }}; they are not in the pooled row.{% endif %}</p>
{% if calibration %}<h2>Calibration</h2>{{ calibration|safe }}{% endif %}
{% if final.groups %}<h2>Sub-groups</h2>
<div class="wide"><table><caption>Held-out patients of all hospitals that may show the group; groups with too few patients are left out</caption>
<thead><tr><th scope="col">group</th>{% for name in outcomes.values() %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for group, scores in final.groups|dictsort %}<tr><th scope="row">{{ group }}</th>{% for key in outcomes %}<td>{{ scores[key]|score }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>{% endif %}
{% if final.beside %}<h2>Tasks beside</h2>
<div class="wide"><table><caption>The same model asked what it learnt beside; held-out patients of all hospitals, pooled</caption>
<thead><tr><th scope="col">task</th>{% for name in outcomes.values() %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for task, scores in final.beside|dictsort %}<tr><th scope="row">{{ task }}</th>{% for key in outcomes %}<td>{{ scores[key]|score }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>{% endif %}
"""

SYNTHESIS = """<h2>What was made</h2>
<p>{{ final.rows }} rows by {{ final.generator }}, fitted to {{ "noisy counts" if counted else "the noisy steps of a critic" }} of {{ final.hospitals|length }} hospitals together; the rows and their
record lie in the folder <code>{{ final.folder }}</code> beside this page. {{ final.turned_down }} drawn rows broke a rule of the specification and were
drawn again. The specification is <code>{{ final.specification }}</code>.</p>
<div class="wide"><table><caption>Columns: what the specification says publicly{{ ', and into how many groups the values fell where pairs were counted' if counted }}</caption>
<thead><tr><th scope="col">column</th><th scope="col" class="text">kind</th>{% if counted %}<th scope="col">groups</th>{% endif %}</tr></thead><tbody>
{% for column in final.columns %}<tr><th scope="row">{{ column.name }}</th><td class="text">{{ column.kind }}</td>
{% if counted %}<td>{{ final.groups[column.name] }}</td>{% endif %}</tr>{% endfor %}</tbody></table></div>
{% if final.pairs %}<div class="wide"><table><caption>Pairs that were counted together: rows were drawn along them, so other dependences are followed only as far as these carry
them</caption><thead><tr><th scope="col">column</th><th scope="col" class="text">drawn given</th></tr></thead><tbody>
{% for parent, child in final.pairs %}<tr><th scope="row">{{ child }}</th><td class="text">{{ parent }}</td></tr>{% endfor %}</tbody></table></div>{% endif %}
<p>How good the rows are, and whether they may be shared, is another question: <code>wardround synth score</code> and <code>wardround synth release</code>
answer it at a hospital, beside patients whom the cohort was not made of.</p>
"""

TEMPLATE = (
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ run.study.study.name }}: run {{ run.run }}</title><style>"""
    + STYLE
    + """</style></head><body>
<header><p class="soft">Wardround run {{ run.run }}, begun {{ run.started }}</p>
<h1>{{ run.study.study.name }}</h1></header>
{% if run.status != 'completed' %}
<p class="answer bad">This run is {{ run.status }}{% if run.reason %}: {{ run.reason }}{% endif %}.</p>
{% elif final and final.family == 'synthesis' %}
<p class="answer">A synthetic cohort of {{ final.rows }} rows stands for the patients of {{ final.hospitals|length }} hospitals, none of which has seen another's.</p>
{% elif final and final.family == 'prediction' %}
<p class="answer">{{ run.task.question }} The federated model answers with {{ outcomes[lead] }} {{ final.pooled[lead]|score }}
{{ run.task.unit if lead == 'mae' }} on held-out patients of {{ final.sites|length }} hospitals{% if alone %}; hospitals training alone reach
{{ alone.pooled[lead]|score }} on the same patients{% endif %}.</p>
{% elif final %}
<p class="answer">The federated model reaches micro-F1 {{ final.pooled.micro_f1|score }} on held-out patients of
{{ final.sites|length }} hospitals{% if alone %}; hospitals training alone reach {{ alone.pooled.micro_f1|score }} on the
same patients{% endif %}.</p>
{% endif %}
{% if final and final.family != 'synthesis' and final.noised %}<p>These scores carry noise: they are read from sums in which no single patient can be made out, so they have no
bootstrap intervals{{ ', no table by code and no macro averages' if final.family == 'coding' else '; each patient counts once in them, however often something was asked' }}.</p>{% endif %}
{% if final and final.family == 'coding' and final.collapse %}<p class="bad">{{ final.collapse }}</p>{% endif %}

<h2>Privacy</h2>
{% if privacy %}
{% set guaranteed = run.study.privacy.epsilon > 0 %}
{% if guaranteed %}
<p>The guarantee is differential privacy for each <strong>patient</strong> with all his or her records: whoever sees
{{ 'every count, critic and row' if synthesis else 'every model' }} this run released can hardly tell whether that patient was in the {{ "hospital's table" if synthesis else 'training data' }}. How hardly is epsilon:
smaller is stronger. The study asked for {{ run.study.privacy.epsilon|epsilon }} at delta {{ run.study.privacy.delta }}.</p>
{% else %}<p class="bad">This run gives no guarantee: it trained without differential privacy.</p>{% endif %}
<div class="wide"><table><caption>What each hospital's patients paid for this run, and over all runs on its ledger</caption>
<thead><tr><th scope="col">hospital</th><th scope="col">epsilon</th><th scope="col">delta</th><th scope="col" class="text">unit, neighbours</th>
<th scope="col" class="text">accountant</th><th scope="col">steps</th><th scope="col">rate</th><th scope="col">noise</th>
<th scope="col">all runs / ceiling</th><th scope="col">ledger head</th></tr></thead><tbody>
{% for site, paid in privacy|dictsort %}{% set s = paid.statement %}
<tr><th scope="row">{{ site }}</th><td>{{ s.epsilon|epsilon }}</td><td>{{ s.delta if s.delta is not none else '–' }}</td>
<td class="text">{{ s.unit }}, {{ s.relation }}</td><td class="text">{{ s.accountant }}</td><td>{{ s.steps }}</td>
<td>{{ s.sampling_rate|share }}</td><td>{{ s.noise_multiplier|share }}</td>
{% if paid.ledger %}<td>{{ paid.ledger.epsilon_all_runs|epsilon }} / {{ paid.ledger.ceiling|epsilon }}</td>
<td><code>{{ paid.ledger.head[:12] }}</code></td>{% else %}<td>–</td><td>–</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
{% for s in (privacy.values()|map(attribute='statement')|list)[:1] %}
{% if s.releases %}<p>The epsilon covers counts and metrics too: each hospital released up to {{ s.releases }} noisy sums besides its updates,
with noise of {{ s.release_noise|share }} times what one patient may add.</p>{% endif %}
<p>Not covered: {{ s.not_covered|join('; ') }}.
{% if s.reproducible_noise %}<span class="bad">The noise came from a known seed: the guarantee is void for whoever knows it.</span>{% endif %}</p>
{% endfor %}
{% else %}<p>No hospital has stated a cost: nothing was released.</p>{% endif %}
{% if hospitals %}{% set plan = hospitals.plan %}
<h2>Privacy of whole hospitals</h2>
<p>The coordinator hides each <strong>hospital</strong> as a whole as well: whoever sees the model after every round can hardly tell whether a
hospital's updates were in it. A round's noise is about {{ '%.3g'|format(plan.noise_norm) }} long and all {{ plan.hospitals }} hospitals together
move the model by at most {{ '%.3g'|format(plan.clip_norm) }}: {{ '%.3g'|format(plan.noise_over_clip) }} times as much noise as the longest signal
in a round, {{ '%.3g'|format(plan.study_noise_over_reach) }} times over the whole study.</p>
{% if hospitals.statement is defined %}{% set s = hospitals.statement %}
<div class="wide"><table><caption>What each hospital paid for this run, and over all runs on the coordinator's ledger</caption>
<thead><tr><th scope="col">epsilon</th><th scope="col">delta</th><th scope="col" class="text">unit, neighbours</th>
<th scope="col" class="text">accountant</th><th scope="col">rounds</th><th scope="col">noise</th><th scope="col">clip</th>
<th scope="col">all runs / ceiling</th><th scope="col">ledger head</th></tr></thead><tbody>
<tr><td>{{ s.epsilon|epsilon }}</td><td>{{ s.delta }}</td><td class="text">{{ s.unit }}, {{ s.relation }}</td><td class="text">{{ s.accountant }}</td>
<td>{{ s.steps }}</td><td>{{ s.noise_multiplier|share }}</td><td>{{ s.clip_norm }}</td>
<td>{{ hospitals.ledger.epsilon_all_runs|epsilon }} / {{ hospitals.ledger.ceiling|epsilon }}</td><td><code>{{ hospitals.ledger.head[:12] }}</code></td></tr>
</tbody></table></div>
<p>Not covered: {{ s.not_covered|join('; ') }}.
{% if s.reproducible_noise %}<span class="bad">The noise came from a known seed: the guarantee is void for whoever knows it.</span>{% endif %}</p>
{% else %}<p class="bad">The coordinator has not stated what this cost: the run was cut off or refused.</p>{% endif %}{% endif %}

{% if curve %}<h2>Training</h2>{{ curve|safe }}{% endif %}
{% if final %}
{% include final.family %}
{% endif %}

{% if run.sites is defined %}<h2>Who took part</h2>
<div class="wide"><table><caption>Admitted hospitals</caption><thead><tr><th scope="col">hospital</th><th scope="col">{{ '' if synthesis else 'training ' }}patients</th>
{% if run.vocabulary is defined and not notes %}<th scope="col">discharges</th><th scope="col">discharges of another system</th><th scope="col">groups of another system</th>
{% elif run.vocabulary is defined %}<th scope="col">documents</th><th scope="col">translated codes</th><th scope="col">lost codes</th><th scope="col">unknown codes</th><th scope="col">notes without codes</th>{% endif %}</tr></thead><tbody>
{% for site in run.sites %}<tr><th scope="row">{{ site.name }}</th><td>{{ site.patients }}</td>{% if run.vocabulary is defined %}<td>{{ site.documents if site.documents is not none else '–' }}</td>
{% if site.coding and not notes %}<td>{{ site.coding.discharges_in_other_system }}</td><td>{{ site.coding.groups_in_other_system }}</td>
{% elif site.coding %}<td>{{ site.coding.translated }}</td><td>{{ site.coding.lost }}</td><td>{{ site.coding.unknown_codes }}</td>
<td>{{ site.coding.notes_without_codes }}</td>{% else %}<td colspan="{{ 4 if notes else 2 }}">not said: the study covers its releases</td>{% endif %}{% endif %}</tr>{% endfor %}</tbody></table></div>{% endif %}
{% if run.absences is defined and run.absences %}<div class="wide"><table><caption>Hospitals that did not take part</caption><thead><tr><th scope="col">hospital</th>
<th scope="col" class="text">how</th><th scope="col" class="text">why</th></tr></thead><tbody>
{% for gone in run.absences %}<tr><th scope="row">{{ gone.site }}</th><td class="text">{{ gone.kind }}</td><td class="text">{{ gone.reason }}</td></tr>{% endfor %}</tbody></table></div>{% endif %}
{% if run.rounds is defined %}{% set troubled = run.rounds|selectattr('absences')|list %}
{% if troubled %}<div class="wide"><table><caption>Replies that were missing or rejected</caption><thead><tr><th scope="col">round</th><th scope="col" class="text">hospital</th>
<th scope="col" class="text">how</th><th scope="col" class="text">why</th></tr></thead><tbody>
{% for entry in troubled %}{% for gone in entry.absences %}<tr><th scope="row">{{ entry.round }}</th><td class="text">{{ gone.site }}</td><td class="text">{{ gone.kind }}</td><td class="text">{{ gone.reason }}</td></tr>{% endfor %}{% endfor %}</tbody></table></div>
{% elif run.rounds %}<p>Every hospital delivered {{ 'the counts of each of the' if synthesis and counted else 'a sound update in each of the' }} {{ run.rounds|length }}
{{ 'measurements' if synthesis and counted else 'rounds' }}.</p>{% endif %}{% endif %}

<h2>Settings and versions</h2>
<p>Agreed study <code>{{ run.digest }}</code></p>
<div class="wide"><table><caption>The study as parsed</caption><tbody>
{% for key, value in settings %}<tr><th scope="row"><code>{{ key }}</code></th><td>{{ value }}</td></tr>{% endfor %}</tbody></table></div>
<div class="wide"><table><caption>Software, and where the seconds went</caption><tbody>
{% for name, version in run.software.items() %}<tr><th scope="row">{{ name }}</th><td>{{ version }}</td></tr>{% endfor %}
{% for phase, seconds in run.seconds.items() %}<tr><th scope="row">seconds, {{ phase }}</th><td>{{ '%.1f'|format(seconds) }}</td></tr>{% endfor %}
</tbody></table></div>
</body></html>
"""
)
