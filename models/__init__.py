"""The networks: extractors of the four cues, the virality model, and the weights that they load."""
