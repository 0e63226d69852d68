"""FMA beside other efficient attentions: the same model, data, steps and seeds for each."""
