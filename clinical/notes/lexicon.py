"""A small open lexicon for editing notes: findings with their synonyms, cues of negation, units with plausible ranges.

Written for this project, from common clinical usage, and far from complete: it decides what an edit touches, so a rate
measured with it speaks of these words and no others. Terms in capitals are abbreviations and match as they stand; all
others match in any case. A group holds terms that clinicians use for the same finding; a group of one has no synonym.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words of one language.

    Attributes:
        groups: findings, each with its terms.
        cues: words that deny what follows them in the sentence, longest first.
        denial: what denies a finding when it is put before it.
        mask: what stands for a word that was taken out; "___" as in the de-identified notes of MIMIC.
    """

    groups: tuple[tuple[str, ...], ...]
    cues: tuple[str, ...]
    denial: str
    mask: str = "___"


@dataclass(frozen=True, slots=True)
class Plausible:
    """What a number before a unit may become: within [low, high], and within a share `spread` of what it was."""

    low: float
    high: float
    spread: float = 0.2


#: Unit as written → the range its numbers stay in. Wide, since one unit serves many measurements.
UNITS: dict[str, Plausible] = {
    "%": Plausible(0, 100),
    "°C": Plausible(33, 42, 0.04),
    "ºC": Plausible(33, 42, 0.04),
    "mmHg": Plausible(20, 260),
    "mm Hg": Plausible(20, 260),
    "bpm": Plausible(25, 230),
    "breaths/min": Plausible(6, 60),
    "mg/dL": Plausible(0.1, 1500),
    "mg/dl": Plausible(0.1, 1500),
    "g/dL": Plausible(1, 22),
    "g/dl": Plausible(1, 22),
    "mg/L": Plausible(0.1, 600),
    "mg/l": Plausible(0.1, 600),
    "g/L": Plausible(1, 220),
    "g/l": Plausible(1, 220),
    "mmol/L": Plausible(0.5, 190),
    "mmol/l": Plausible(0.5, 190),
    "mEq/L": Plausible(0.5, 190),
    "mEq/l": Plausible(0.5, 190),
    "ng/mL": Plausible(0.01, 5000),
    "ng/ml": Plausible(0.01, 5000),
    "pg/mL": Plausible(1, 70000),
    "pg/ml": Plausible(1, 70000),
    "U/L": Plausible(1, 20000),
    "IU/L": Plausible(1, 20000),
    "mm": Plausible(0.5, 500),
    "cm": Plausible(0.1, 250),
    "kg": Plausible(1, 250),
    "mL": Plausible(1, 5000),
    "ml": Plausible(1, 5000),
    "years": Plausible(1, 105),
    "year-old": Plausible(1, 105),
    "años": Plausible(1, 105),
}

_ENGLISH = Lexicon(
    groups=(
        ("hypertension", "high blood pressure", "HTN"),
        ("shortness of breath", "dyspnea", "breathlessness", "SOB"),
        ("myocardial infarction", "heart attack"),
        ("heart failure", "cardiac failure", "CHF"),
        ("atrial fibrillation", "AF", "afib"),
        ("coronary artery disease", "coronary heart disease", "CAD"),
        ("chest pain", "thoracic pain", "pain in the chest"),
        ("palpitations",),
        ("syncope", "fainting", "loss of consciousness"),
        ("fast heart rate", "tachycardia"),
        ("slow heart rate", "bradycardia"),
        ("low blood pressure", "hypotension"),
        ("deep vein thrombosis", "deep venous thrombosis", "DVT"),
        ("pulmonary embolism", "lung embolism"),
        ("stroke", "cerebrovascular accident"),
        ("seizure", "convulsion", "epileptic fit"),
        ("headache", "cephalalgia", "cephalea"),
        ("dizziness", "lightheadedness", "giddiness"),
        ("confusion", "disorientation", "altered mental status"),
        ("weakness", "loss of strength"),
        ("diabetes mellitus", "diabetes", "DM"),
        ("high blood sugar", "hyperglycemia"),
        ("low blood sugar", "hypoglycemia"),
        ("high cholesterol", "hypercholesterolemia", "dyslipidemia", "hyperlipidemia"),
        ("underactive thyroid", "hypothyroidism"),
        ("overactive thyroid", "hyperthyroidism"),
        ("obesity",),
        ("chronic obstructive pulmonary disease", "COPD", "chronic obstructive lung disease"),
        ("asthma", "bronchial asthma"),
        ("pneumonia",),
        ("cough", "coughing"),
        ("pleural effusion", "fluid around the lung"),
        ("obstructive sleep apnea", "OSA"),
        ("fever", "pyrexia", "febrile temperature"),
        ("chills", "rigors", "shivering"),
        ("sepsis", "septicemia", "bloodstream infection"),
        ("urinary tract infection", "UTI", "infection of the urinary tract"),
        ("kidney failure", "renal failure", "renal insufficiency"),
        ("acute kidney injury", "acute renal failure", "AKI"),
        ("chronic kidney disease", "chronic renal disease", "CKD"),
        ("kidney stones", "nephrolithiasis", "renal stones"),
        ("blood in the urine", "hematuria"),
        ("painful urination", "dysuria"),
        ("abdominal pain", "belly pain", "pain in the abdomen"),
        ("nausea", "feeling sick"),
        ("vomiting", "emesis"),
        ("diarrhea", "loose stools"),
        ("constipation",),
        ("acid reflux", "gastroesophageal reflux", "GERD"),
        ("gallstones", "cholelithiasis"),
        ("jaundice", "icterus"),
        ("liver cirrhosis", "cirrhosis", "cirrhosis of the liver"),
        ("difficulty swallowing", "dysphagia"),
        ("black stools", "melena", "tarry stools"),
        ("anemia", "low hemoglobin"),
        ("cancer", "malignancy", "malignant tumor"),
        ("metastasis", "metastatic disease"),
        ("weight loss", "loss of weight"),
        ("loss of appetite", "anorexia", "poor appetite"),
        ("fatigue", "tiredness", "exhaustion"),
        ("night sweats", "nocturnal sweating"),
        ("swelling", "edema", "oedema"),
        ("itching", "pruritus"),
        ("rash", "skin eruption", "exanthem"),
        ("joint pain", "arthralgia"),
        ("muscle pain", "myalgia"),
        ("back pain", "dorsalgia"),
        ("fracture", "broken bone"),
        ("osteoporosis",),
        ("depression", "depressive disorder"),
        ("anxiety", "anxiety disorder", "nervousness"),
        ("insomnia", "sleeplessness"),
        ("bleeding", "hemorrhage"),
        ("bruising", "ecchymosis"),
        ("infection",),
        ("inflammation",),
        ("malaise", "feeling unwell"),
        ("tremor", "shaking"),
        ("blurred vision", "blurry vision"),
        ("ulcer", "ulceration"),
    ),
    cues=(
        "no evidence of",
        "negative for",
        "no history of",
        "no signs of",
        "denied",
        "denies",
        "without",
        "w/o",
        "never",
        "nor",
        "not",
        "no",
    ),
    denial="no evidence of",
)

_SPANISH = Lexicon(
    groups=(
        ("hipertensión arterial", "hipertensión", "HTA", "tensión arterial alta"),
        ("disnea", "dificultad respiratoria", "sensación de ahogo"),
        ("infarto agudo de miocardio", "infarto de miocardio", "IAM"),
        ("insuficiencia cardiaca", "fallo cardiaco"),
        ("fibrilación auricular", "FA"),
        ("cardiopatía isquémica", "enfermedad coronaria"),
        ("dolor torácico", "dolor de pecho"),
        ("síncope", "desmayo", "pérdida de conocimiento"),
        ("trombosis venosa profunda", "TVP"),
        ("tromboembolismo pulmonar", "embolia pulmonar", "TEP"),
        ("accidente cerebrovascular", "ictus", "ACV"),
        ("crisis epiléptica", "convulsión"),
        ("cefalea", "dolor de cabeza"),
        ("mareo",),
        ("diabetes mellitus", "diabetes", "DM"),
        ("dislipemia", "hipercolesterolemia"),
        ("hipotiroidismo", "hipofunción tiroidea"),
        ("enfermedad pulmonar obstructiva crónica", "EPOC"),
        ("neumonía",),
        ("derrame pleural", "líquido pleural"),
        ("fiebre", "síndrome febril", "temperatura elevada"),
        ("escalofríos", "tiritona"),
        ("sepsis", "septicemia"),
        ("infección del tracto urinario", "infección urinaria", "ITU"),
        ("insuficiencia renal", "fallo renal"),
        ("litiasis renal", "cálculos renales", "nefrolitiasis"),
        ("hematuria", "sangre en la orina"),
        ("dolor abdominal", "dolor en el abdomen"),
        ("vómitos", "emesis"),
        ("diarrea", "deposiciones líquidas"),
        ("estreñimiento",),
        ("ictericia", "coloración amarilla de la piel"),
        ("disfagia", "dificultad para tragar"),
        ("anemia", "hemoglobina baja"),
        ("cáncer", "neoplasia maligna", "tumor maligno"),
        ("metástasis",),
        ("pérdida de peso", "adelgazamiento"),
        ("astenia", "cansancio", "fatiga"),
        ("edema", "hinchazón"),
        ("prurito", "picor"),
        ("exantema", "erupción cutánea"),
        ("artralgias", "dolor articular"),
        ("mialgias", "dolor muscular"),
        ("fractura", "rotura ósea"),
        ("depresión", "trastorno depresivo"),
        ("hemorragia", "sangrado"),
        ("úlcera", "ulceración"),
        ("temblor",),
    ),
    cues=("sin evidencia de", "sin signos de", "negativo para", "negaba", "niega", "tampoco", "sin", "ni", "no"),
    denial="sin evidencia de",
)

LEXICONS: dict[str, Lexicon] = {"en": _ENGLISH, "es": _SPANISH}


def read_lexicon(language: str) -> Lexicon:
    """Give the lexicon of a language.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if language not in LEXICONS:
        raise ValueError(f"no lexicon for the language {language!r}: there are {', '.join(LEXICONS)}")
    return LEXICONS[language]
