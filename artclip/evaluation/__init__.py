"""How robust a model is, and what each defence gives at what cost."""
