"""The networks: extractors of the modalities, the virality model, and the weights that they load."""
