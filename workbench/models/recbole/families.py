"""RecBole's 94 models: which there are, what each learns from, which are supported, and which cannot run and why. Facts, no code."""

# ruff: noqa: SIM905, names are easier to read in a row

FAMILIES = {
    "general": (
        "ADMMSLIM AsymKNN BPR CDAE ConvNCF DGCF DiffRec DMF EASE ENMF FISM GCMC ItemKNN LDiffRec LightGCN LINE MacridVAE MultiDAE MultiVAE "
        "NAIS NCEPLRec NCL NeuMF NGCF NNCF Pop RaCT Random RecVAE SGL SimpleX SLIMElastic SpectralCF"
    ).split(),
    "context": "AFM AutoInt DCN DCNV2 DeepFM DSSM EulerNet FFM FiGNN FM FNN FwFM KD_DAGFM LR NFM PNN WideDeep xDeepFM".split(),
    "sequential": (
        "BERT4Rec Caser CORE DIEN DIN FDSA FEARec FOSSIL FPMC GCSAN GRU4Rec GRU4RecCPR GRU4RecF GRU4RecKG HGN HRM KSR LightSANs NARM "
        "NextItNet NPE RepeatNet S3Rec SASRec SASRecCPR SASRecF SHAN SINE SRGNN STAMP TransRec"
    ).split(),
    "knowledge": "CFKG CKE KGAT KGCN KGIN KGNNLS KTUP MCCLK MKR RippleNet".split(),
    "trees": ["LightGBM", "XGBoost"],
}
FAMILY = {name: family for family, names in FAMILIES.items() for name in names}

SUPPORTED = (
    "BPR NeuMF LightGCN SGL SimpleX MultiVAE RecVAE SLIMElastic NGCF GRU4Rec NARM SASRec BERT4Rec LightSANs CORE FM DeepFM xDeepFM DCNV2 "
    "AutoInt WideDeep"
).split()
"""Pass the contract of `workbench.testing`, with settings that suit a log of ML-100k's size."""

CLOSED_FORM = frozenset({"ADMMSLIM", "AsymKNN", "EASE", "ItemKNN", "NCEPLRec", "Pop", "Random", "SLIMElastic"})
"""Made in one go from the log; the others learn by gradient."""

FROM_PEOPLE = frozenset({"CDAE", "DiffRec", "ENMF", "LDiffRec", "MacridVAE", "MultiDAE", "MultiVAE", "RaCT", "RecVAE"})
"""Learn from whole people, all their items at once: an example is a person. The others' examples are events."""

FROM_HISTORY = frozenset({"DiffRec", "EASE", "ItemKNN", "MacridVAE", "MultiDAE", "MultiVAE", "RaCT", "RecVAE", "SLIMElastic"})
"""General models that score a person from the history alone, so that they serve people they never trained on."""

IMPERSONAL = frozenset({"Pop", "Random"})
"""Need to know nothing of a person."""

WITH_PEOPLE = frozenset({"Caser", "DIEN", "DIN", "FOSSIL", "FPMC", "HGN", "HRM", "NPE", "SHAN", "TransRec"})
"""Sequential models that learn a vector for each person besides: they serve whom they trained on."""

EVERY_POSITION = frozenset({"GRU4Rec", "SASRec"})
"""Sequential models whose state after an event depends on nothing later, so that one pass over a sequence asks for every next item."""

FROM_ITEM_FEATURES = frozenset({"DIEN", "DIN", "FDSA", "GRU4RecF", "S3Rec", "SASRecF"})
"""Sequential models that cannot do without features of items."""

NOTES = {
    "BERT4Rec": "learns from windows, RecBole from every prefix of them",
    "CPR": "reranks `reranker_CAN_NUM` items, so that there must be as many",
    "ConvNCF": "without what it could learn before",
    "DGCF": "needs people enough to draw from without replacement: about as many as a batch share of items",
    "DIEN": "an event against one unseen item; needs features of items",
    "DIN": "an event against one unseen item; needs features of items",
    "FEARec": "by its main loss: RecBole's file names no contrast for it",
    "FwFM": "leaves out features that are numbers",
    "GRU4Rec": "every event of a window is a target; `every_position=False` takes RecBole's rows",
    "KD_DAGFM": "the teacher alone: what it would teach reads a pickle",
    "NCL": "as many clusters as there are points at most, found on the CPU; RecBole's asks for a GPU",
    "NeuMF": "without what it could learn before",
    "Pop": "counts events; RecBole's counts an item once a batch",
    "RaCT": "the actor alone: its critic reads a pickle",
    "Random": "draws anew for each request, whatever the seed; `random` does not",
    "RecVAE": "an epoch is `n_enc_epochs` passes for the encoder and `n_dec_epochs` for the decoder",
    "S3Rec": "without its pre-training, which RecBole keeps in a pickle",
    "SASRec": "every event of a window is a target; `every_position=False` takes RecBole's rows",
    "SimpleX": "with 20 unseen items an event rather than one",
}
NOTES |= dict.fromkeys(("GRU4RecCPR", "SASRecCPR"), NOTES.pop("CPR"))
"""What somebody who knows RecBole's should know of ours."""

GRAPH = "a knowledge graph, which no data set here has"
VECTORS = "vectors of entities that somebody trained before, which no data set here has"
IMPOSSIBLE = {
    **dict.fromkeys(FAMILIES["knowledge"], f"needs {GRAPH}"),
    "GRU4RecKG": f"needs {VECTORS}",
    "KSR": f"needs {VECTORS}",
    "LDiffRec": "needs clusters of item vectors that somebody trained before, read from a pickle",
    "LightGBM": "is no network: RecBole hands files to LightGBM's own trainer",
    "XGBoost": "is no network: RecBole hands files to XGBoost's own trainer",
}
"""What keeps a model from running, whatever the settings."""
