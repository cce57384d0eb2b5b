"""The work: manifest, decode, extract, shards, dataset, train, evaluate, report. Knows no Luigi."""
