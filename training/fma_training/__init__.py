"""Training, export and evaluation of Fast Multipole Attention (FMA) language models."""
