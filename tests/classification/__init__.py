"""Classification of clips and images."""
