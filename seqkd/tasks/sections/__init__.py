"""What only one task's report shows, besides what all have (`seqkd.experiment.report`)."""
