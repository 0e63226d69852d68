"""Makes checkpoint folders of FMA Server from pretrained transformers, without training and without PyTorch."""
