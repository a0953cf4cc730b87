"""The cohort page's template and how it prints."""

STYLE = """
.verdict { border: 2px solid var(--ink); border-left-width: 10px; padding: .7rem 1rem; margin: 1rem 0; }
.verdict strong { font-size: 1.35rem; display: block; } .verdict p { margin: .3rem 0; }
.verdict.refuse { border-color: var(--bad); } .verdict.refuse strong { color: var(--bad); }
.verdict.inconclusive { border-style: dashed; border-left-style: solid; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: .6rem 1.2rem; margin: 1rem 0; }
.small figure { margin: 0; } .small figcaption { font-weight: 600; color: var(--ink); }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
.small figcaption span { font-weight: 400; color: var(--soft); } h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
td.why { white-space: normal; text-align: left; min-width: 14rem; color: var(--soft); font-size: .85em; }
td.name { text-align: left; } .key { display: inline-block; width: .8em; height: .8em; margin-right: .3em; }
.bars { background: #0072b2; } .rings { border: 2px solid #d55e00; border-radius: 50%; }
@media print { .small { grid-template-columns: repeat(3, 1fr); } figure, .verdict { break-inside: avoid; } h3 { break-after: avoid; }
  td.why { min-width: 8rem; } }
"""

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Synthetic cohort: {{ size }}</title><style>{{ base|safe }}{{ style|safe }}</style></head><body>
{% macro mark(verdict) %}{% if verdict == 'fail' %}<span class="bad">fail</span>{% elif verdict == 'inconclusive' %}<em>inconclusive</em>{% else %}{{ verdict }}{% endif %}{% endmacro %}
{% macro table(scores, caption, judged) %}<div class="wide"><table><caption>{{ caption }}</caption><thead><tr><th scope="col">what</th>
<th scope="col">value</th><th scope="col">95 % interval</th><th scope="col">baseline</th>{% if judged %}<th scope="col">verdict</th>{% endif %}<th scope="col" class="text">what stands behind it</th></tr></thead><tbody>
{% for name, score in scores.items() %}<tr><th scope="row">{{ name }}</th><td>{{ score.value|number }}</td><td>{{ score|ends }}</td>
<td>{{ score.baseline|number }}</td>{% if judged %}<td>{{ mark(score.verdict) }}</td>{% endif %}<td class="why">{{ score.reason if judged or score.reason != 'described, not judged' else '' }}</td></tr>
{% endfor %}</tbody></table></div>{% endmacro %}
<header><p class="soft">A synthetic cohort: {{ size }}, {{ card|sum(attribute='columns') }} columns</p>
<h1>{{ headline }}</h1></header>
<main>
<div class="verdict {{ cohort.decision }}"><strong>{{ decision }}</strong>
<p>{{ meaning }}</p></div>
{% if cohort.reasons %}<h2>What did not pass</h2><ul>{% for reason in cohort.reasons %}<li>{{ reason }}</li>{% endfor %}</ul>{% endif %}

<h2>Privacy, in plain words</h2>
{% set claim = cohort.privacy.claim %}
{% if claim %}<p>The rows were made with differential privacy for each <strong>{{ claim.unit }}</strong>: whoever sees them can hardly tell whether that
{{ claim.unit }} was among the {{ cohort.privacy.patients }} they were learnt from. How hardly is epsilon, {{ claim.epsilon|epsilon }} at delta
{{ '%.1g'|format(claim.delta) }} (neighbours: {{ claim.relation }}; accountant: {{ claim.accountant }}); smaller is stronger. {% if booked %}The gate found every
step of it in the hospital's ledger.{% else %}<span class="bad">The hospital's ledger does not show it.</span>{% endif %}{% if uncontradicted %} No attack it made on the
cohort contradicts the claim, which does not prove it.{% else %} <span class="bad">An attack contradicts it.</span>{% endif %}</p>
<p>Not covered: {{ claim.not_covered|join('; ') }}; the numbers on this page, which were worked out from patients without noise. None is about fewer
than twenty of them.</p>
{% else %}<p>No differential privacy is claimed. That the rows give nobody away is what the attacks below found, not what mathematics guarantees: another attack may
find more.</p>{% endif %}
<p>{% if cohort.privacy.release %}This is release {{ cohort.privacy.release }} of some of these patients{% if cohort.privacy.release > 1 %}; it was attacked together
with all the earlier ones{% endif %}.{% endif %} No row is a patient's: rows equal to a patient whom no other equals were looked for.</p>

<h2>The checks</h2>
<div class="wide"><table><caption>A cohort leaves where every family passes; the gate first tries itself on leaks it plants in this very cohort</caption>
<thead><tr><th scope="col">family</th><th scope="col">verdict</th><th scope="col">passed</th><th scope="col">failed</th><th scope="col">inconclusive</th></tr></thead><tbody>
{% for check in cohort.checks %}<tr><th scope="row">{{ check.family }}</th><td>{{ mark(check.verdict) }}{{ ', waived' if check.waived }}</td>
{% for verdict in ('pass', 'fail', 'inconclusive') %}<td>{{ (check.scores.values()|selectattr('verdict', 'equalto', verdict)|list|length) or '–' }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<div class="wide"><table><caption>The gate's test of itself: training rows planted in this cohort, and half of the holdout posing as one</caption>
<thead><tr><th scope="col">planted</th><th scope="col">rows</th><th scope="col">as it should be</th><th scope="col" class="text">failed by</th></tr></thead><tbody>
{% for trial in cohort.self_test %}<tr><th scope="row">{{ trial.world }}</th><td>{{ trial.planted or '–' }}</td><td>{{ 'yes' if trial.as_it_should else 'no' }}</td>
<td class="why">{{ trial.caught_by|join(', ') or 'nothing' }}</td></tr>{% endfor %}</tbody></table></div>

<h2>Risks</h2>
<p>A dot is what an attack reached, the line its 95 % interval; the dashed line is the most the site allows.</p>
{% for picture in pictures %}<figure>{{ picture.svg }}<figcaption>{{ picture.caption }}</figcaption></figure>{% endfor %}
{% for check in cohort.checks if check.scores %}<h3>{{ check.family }}: {{ mark(check.verdict) }}{{ ', waived by the site' if check.waived }}</h3>
{{ table(check.scores, captions[check.family], true) }}{% endfor %}

<h2>What the cohort looks like</h2>
<p><span class="key bars"></span>share of the cohort's rows{% if cohort.portrait.smallest_cell %}; <span class="key rings"></span>share of the patients it was learnt from, in cells
of at least {{ cohort.portrait.smallest_cell }} patients{% else %}. Nothing is shown of the patients themselves: {{ 'their counts are not covered by the claim above' if claim else 'the site lets no cell of theirs leave' }}{% endif %}.</p>
<div class="small">{% for column in columns %}<figure><figcaption>{{ column.name }} <span>{{ column.kind }}</span></figcaption>{{ column.svg }}</figure>{% endfor %}</div>
{% if pairs %}<h3>How columns hang together</h3>
<figure>{{ pairs }}<figcaption>Cramér's V of every two columns, numbers cut at the cohort's quintiles; darker is stronger. Below the diagonal the cohort{% if cohort.portrait.pairs.training %},
above it the patients{% endif %}.</figcaption></figure>{% endif %}
<h3>Fidelity: described, not judged</h3>
{{ table(cohort.fidelity, 'A copy would have the highest; the baseline is what other patients of the same draw reach', false) }}

<h2>Data card</h2>
{% for each in card %}<div class="wide"><table><caption>{{ each.table ~ ': what' if each.table else 'What' }} is public of each column; generators and checks knew nothing else of it</caption><thead><tr><th scope="col">column</th><th scope="col">kind</th>
<th scope="col" class="text">values</th><th scope="col">missing</th><th scope="col" class="text">role</th></tr></thead><tbody>
{% for row in each.rows %}<tr><th scope="row">{{ row.name }}</th><td>{{ row.kind }}</td><td class="why">{{ row['values'] }}</td><td>{{ row.missing }}</td><td class="name">{{ row.role }}</td></tr>{% endfor %}
</tbody></table></div>{% endfor %}
{% if rules %}<h3>Rules every row obeys</h3><ul>{% for rule in rules %}<li>{{ rule }}</li>{% endfor %}</ul>{% endif %}
<h3>Use</h3>
<ul><li>Made for developing and comparing methods, teaching, and planning studies; not for conclusions about patients without checking them on real records.</li>
<li>Associations that the tables above do not measure may be lost; rare groups suffer first.</li>
<li>Together with other data about the same patients it may say more than alone.</li></ul>
<h3>Thresholds of the site</h3>
<p class="soft">{% for name, value in cohort.thresholds.items() %}{{ name|replace('_', '-') }} {{ value|join(', ') or 'none' if value is sequence and value is not string else value }}{{ '; ' if not loop.last }}{% endfor %}</p>
</main></body></html>
"""
