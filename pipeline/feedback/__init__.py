"""What a dancer could do otherwise: one clip held against the best clips of its challenge."""
